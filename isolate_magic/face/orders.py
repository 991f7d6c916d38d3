"""One line of `%isolate`, taken apart, and what a command is (face)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.errors import PolicyError
from isolate_magic.face.options import COMPANION, Line, Option, meant
from isolate_magic.policy import Policy
from isolate_magic.session import companions

PRELOAD = Option(
    ("--preload",),
    "modules to import before the fork",
    "MODULES", "module names, as in --preload numpy,pandas",
)  # fmt: skip
POLICY = Option(
    ("-p", "--policy"),
    "what it may do: a preset or a TOML file",
    "POLICY", "a preset or a TOML file, as in --policy untrusted",
)  # fmt: skip
POLICY_FILE = Option(
    ("--policy-file",),
    "a TOML file, whose changes are followed",
    "FILE", "a TOML file, as in --policy-file student.toml",
)  # fmt: skip
TRACE = Option(
    ("--trace",), "let %%isolated --trace follow it, which a policy that builds a wall does anyway"
)


@dataclass
class Order:
    """One line of `%isolate`, taken apart.

    Attributes:
        shell: the main session's.
        words: the words behind the command.
        options: the options by their names.
        name: the companion's name, or None.
    """

    shell: Any
    words: list[str]
    options: Namespace
    name: str | None

    def existing(self) -> Companion:
        """Return the companion that is meant; raises UsageError if there is none."""
        wanted = self.name or "default"
        found = next((one for one in companions() if one.name == wanted), None)
        if found is None:
            names = [companion.name for companion in companions()]
            near = meant(wanted, names)
            there = ", ".join(names) or "none yet"
            raise UsageError(f"there is no companion {wanted!r}; {near}there are: {there}")
        return found

    @property
    def policy(self) -> str | None:
        """Tell the policy that is given, as a preset or a file."""
        given: str | None = (
            self.options.policy if self.options.policy is not None else self.options.policy_file
        )
        return given


@dataclass(frozen=True)
class Command:
    """One command of `%isolate`.

    Attributes:
        name: its name.
        says: what it does, in one line.
        do: does it.
        words: what it takes beside options, as the help shows it: `[NAME]` is a companion's name.
        options: what else it takes; `-c` is added.
        more: what else the help tells.
    """

    name: str
    says: str
    do: Callable[[Order], Any]
    words: str = "[NAME]"
    options: tuple[Option, ...] = ()
    more: str = ""

    @cached_property
    def line(self) -> Line:
        """Give what takes its lines apart."""
        own = (COMPANION,) if self.words else ()
        return Line(f"%isolate {self.name}", self.says, (*own, *self.options), self.words, self.more)


def policy(text: str) -> Policy:
    """Return the policy that a line names.

    Raises:
        UsageError: there is none.
    """
    try:
        return Policy.of(text)
    except PolicyError as error:
        raise UsageError(f"{error}; nothing was changed") from None
