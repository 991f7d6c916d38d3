"""What can be configured in `ipython_config.py` or on the command line of a kernel: `c.Isolate` (face)."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from traitlets import Bool, Enum, Float, List, TraitError, Unicode, observe, validate
from traitlets.config import Configurable

from isolate_magic import rules
from isolate_magic.defaults import Defaults, defaults
from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy
from isolate_magic.snapshots import MODES

_log = logging.getLogger(__name__)
_DEFAULTS = tuple(field.name for field in fields(Defaults))


class Isolate(Configurable):
    """Configure isolate_magic.

    An administrator sets `c.Isolate.policy` and `c.Isolate.policy_locked` in a file that users cannot write,
    such as /etc/ipython/ipython_config.py: then no companion of a notebook may have a weaker policy.
    """

    policy = Unicode(
        "trusted",
        help="The policy of companions for which none is given: a preset (trusted, offline, untrusted) or "
        "the path of a TOML file.",
    ).tag(config=True)

    policy_locked = Bool(
        False, help="Whether no companion may have a policy that allows more; cannot be taken back."
    ).tag(config=True)

    preload = List(
        Unicode(), help="Modules that companions import before the fork where `preload` is not given."
    ).tag(config=True)

    timeout = Float(
        0.0, min=0.0, help="Seconds that a cell of %%isolated may take where -t is not given; 0 is no limit."
    ).tag(config=True)

    progress = Bool(True, help="Whether what takes over a second says how far it is.").tag(config=True)

    top_interval = Float(1.0, min=0.1, help="Seconds between two updates of %isolate top.").tag(config=True)

    snapshots = Enum(
        MODES, "auto", help="Whether snapshots are taken before cells, so that a crash loses nothing else."
    ).tag(config=True)

    _ready = False

    @observe(*_DEFAULTS)
    def _set(self, change: Any) -> None:
        if self._ready:
            self.apply()

    def apply(self) -> None:
        """Let all defaults but the policy hold."""
        for name in _DEFAULTS:
            value = getattr(self, name)
            setattr(defaults, name, tuple(value) if isinstance(value, list) else value)

    @validate("policy")
    def _known(self, proposal: Any) -> str:
        text: str = proposal["value"]
        try:
            self._rule(Policy.of(text), self.policy_locked)
        except PolicyError as error:
            raise TraitError(f"Isolate.policy = {text!r}: {error}") from None
        return text

    @validate("policy_locked")
    def _for_good(self, proposal: Any) -> bool:
        lock: bool = proposal["value"]
        try:
            self._rule(rules.default() if self._ready else None, lock)
        except PolicyError as error:
            raise TraitError(f"Isolate.policy_locked = {lock}: {error}") from None
        return lock

    def _rule(self, policy: Policy | None, lock: bool) -> None:
        """Let it hold at once, once everything has been read from the configuration."""
        if self._ready and policy is not None:
            rules.rule(policy, lock)

    def establish(self) -> None:
        """Let what has been read hold.

        Raises:
            PolicyError: the policy cannot be, or a stricter one is locked already.
        """
        rules.rule(Policy.of(self.policy), self.policy_locked)
        self._ready = True


def options_table() -> list[tuple[str, str, str, str]]:
    """Return each option: name, what it takes, default, what it is for; docs/notebook.md shows them."""
    return [
        (name, _TAKES[type(trait).__name__], f"`{trait.default()!r}`", " ".join(str(trait.help).split()))
        for name, trait in sorted(Isolate.class_own_traits(config=True).items())
    ]


_TAKES = {
    "Bool": "True or False",
    "Enum": "auto or off",
    "Float": "a number",
    "List": "a list of names",
    "Unicode": "text",
}


def configure(shell: Any) -> None:
    """Read the configuration of a shell, and let it be changed by `%config Isolate`.

    Raises:
        PolicyError: the policy that it names cannot be.
    """
    shell.configurables[:] = [part for part in shell.configurables if not _is_ours(part)]
    _sort_out(shell.config)
    made = _locked[0] if _locked else Isolate(parent=shell)
    if not _locked:
        made.establish()
    if rules.locked() and not _locked:
        _locked.append(made)
    made.apply()
    shell.configurables.append(made)


def _sort_out(config: Any) -> None:
    """Take out values that a default cannot have: `%config` leaves there what it has refused."""
    trial = Isolate()
    for name in set(_DEFAULTS) & set(config.get("Isolate", {})):
        try:
            setattr(trial, name, config.Isolate[name])
        except TraitError as error:
            _log.warning("c.Isolate.%s does not count: %s", name, error)
            del config.Isolate[name]


def withdraw(shell: Any) -> None:
    """Take it out of a shell, and let nothing of it hold; but a locked policy stays."""
    shell.configurables[:] = [part for part in shell.configurables if not _is_ours(part)]
    for name in _DEFAULTS:
        setattr(defaults, name, getattr(Defaults(), name))


_locked: list[Isolate] = []  # the one that holds for good


def _is_ours(part: object) -> bool:
    """Tell an `Isolate`, also one of this module as it was before it was imported again."""
    return type(part).__name__ == "Isolate" and type(part).__module__ == __name__
