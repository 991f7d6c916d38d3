"""The options of the magics: one definition for parsing, help, completion and the page in docs (face)."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from IPython.core.error import UsageError

from isolate_magic.errors import PolicyError
from isolate_magic.quantities import size

_WIDTH = 96


@dataclass(frozen=True)
class Option:
    """One option of a magic or a command.

    Attributes:
        flags: as they are typed, the long one last.
        says: what it does, in the help.
        value: what stands for its value in the help; empty for an option without.
        wants: what the value has to be, with an example.
        take: makes the value of the text; a ValueError says that it cannot.
        many: whether it may be given more than once, for a list.
    """

    flags: tuple[str, ...]
    says: str
    value: str = ""
    wants: str = ""
    take: Callable[[str], Any] = str
    many: bool = False

    @property
    def name(self) -> str:
        """Tell what its value is found under."""
        return self.flags[-1].lstrip("-").replace("-", "_")


def seconds(text: str) -> float:
    """Take a positive number of seconds.

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is none: give a positive number of seconds") from None
    if not 0 < number < 1e9:
        raise ValueError(f"{text} leaves no time: give a positive number of seconds")
    return number


def bytes_of(text: str) -> int:
    """Take a size such as 512MiB; raises ValueError if it is none."""
    return size("memory", int(text) if text.isdigit() else text)


HELP = Option(("-h", "--help"), "show this help")
COMPANION = Option(("-c", "--companion"), "which companion; `default` if none is named", "NAME", "a name")


class _Parser(argparse.ArgumentParser):
    """Raise where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


class Line:
    """Take lines of one magic, or of one of its commands, apart.

    Args:
        prog: how the line begins.
        says: what it does.
        options: what it knows; `-h` is added.
        words: what stands for its words in the help; empty if it takes none.
        more: what else the help tells, at its end.
    """

    def __init__(
        self, prog: str, says: str, options: Sequence[Option], words: str = "", more: str = ""
    ) -> None:
        self.prog = prog
        self.options = (*options, HELP)
        self._parser = _Parser(
            prog=prog,
            usage=f"{prog} [options]{f' {words}' if words else ''}".replace("%", "%%"),
            description=says,
            epilog=more,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=_formatter,
        )
        for option in self.options:
            _add(self._parser, option)
        self._parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    def help(self) -> str:
        """Return the help."""
        return self._parser.format_help()

    def parse(self, line: str) -> argparse.Namespace:
        """Take a line apart.

        Returns:
            the options by their names, and `words`.

        Raises:
            UsageError: it says something that cannot be; the text says what can.
        """
        try:
            parts = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{self.prog}: {str(error).lower()} in {line.strip()}") from None
        try:
            found, unknown = self._parser.parse_known_intermixed_args(parts)
        except argparse.ArgumentError as error:
            raise UsageError(self._complaint(error)) from None
        if unknown and not found.help:
            raise UsageError(self.unknown(unknown[0].partition("=")[0]))
        return found

    def flags(self) -> list[str]:
        """Return all flags, as they are typed."""
        return [flag for option in self.options for flag in option.flags]

    def unknown(self, word: str) -> str:
        """Say that an option is not known, and which one may be meant."""
        return (
            f"{self.prog} knows no option {word}; {meant(word, self.flags())}`{self.prog} --help` lists them"
        )

    def _complaint(self, error: argparse.ArgumentError) -> str:
        flags = (error.argument_name or "").split("/")
        option = next((option for option in self.options if option.flags == tuple(flags)), None)
        if option is None:
            return f"{self.prog}: {error}"
        if error.message.startswith("expected"):
            return f"{flags[-1]} wants {option.wants}"
        if error.message.startswith("ignored explicit argument"):
            return f"{flags[-1]} takes no value"
        return f"{flags[-1]}: {error.message}"


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question with the nearest of what is known, or an empty text."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean {near[0]}? " if near else ""


def rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    """Return the rows of a table of options: how each is typed, and what it does."""
    return [
        (f"{', '.join(option.flags)}{f' {option.value}' if option.value else ''}", option.says)
        for option in options
    ]


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=_WIDTH)


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    says = option.says.replace("%", "%%")
    if not option.value:
        parser.add_argument(*option.flags, dest=option.name, action="store_true", help=says)
        return
    parser.add_argument(
        *option.flags,
        dest=option.name,
        metavar=option.value,
        action="append" if option.many else "store",
        default=[] if option.many else None,
        type=_taking(option),
        help=says,
    )


def _taking(option: Option) -> Callable[[str], Any]:
    def take(text: str) -> Any:
        try:
            return option.take(text)
        except (ValueError, PolicyError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return take


def names(given: Iterable[str]) -> list[str]:
    """Split `a,b` and check that each is a name.

    Raises:
        UsageError: one is none.
    """
    found = [name for part in given for name in part.replace(",", " ").split()]
    for name in found:
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name; names are given like -i threshold,table")
    return list(dict.fromkeys(found))
