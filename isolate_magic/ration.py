"""What a companion that is not trusted may take of this session: text, names, classes (host).

A trusted companion can be broken; one that is not trusted lies on purpose. What it sends is small and true
in form by now, and is looked at here for what it would do later: in a terminal, in a traceback, in sum.
"""

from __future__ import annotations

import re
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.escapes import INVISIBLE
from isolate_magic.link.description import Description

TEXT = 100_000
"""Most characters of an exception's text, or of its traceback, that are kept."""

NOTES = 20
"""Most notes that an exception of an untrusted companion gets; it can be raised again and again."""

PROXIES = 1 << 18
"""Most objects of one untrusted companion that may be held here at a time."""

_LABEL = 200
_CLASSES = 10_000
_NAMES = 2_000_000  # in the descriptions of all classes together
_TEXTS = 64 << 20
_LINE = 1000  # classes above a class
_ORDINARY = 1_000_000  # beyond, a line or column of a SyntaxError is none
# Colours stay (ECMA-48, SGR). All else that a terminal acts on, and what turns a text around, is shown.
_ACTED_ON = re.compile(
    r"\x1b\[[0-9;]{0,30}m"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_UNSEEN = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{INVISIBLE}]")


def tidy(text: str, most: int = TEXT) -> str:
    r"""Return a text of bounded length in which nothing moves a cursor or reaches a clipboard.

    >>> tidy("\x1b[31mred\x1b[0m \x1b]52;c;eA==\x07")
    '\x1b[31mred\x1b[0m \\x1b]52;c;eA==\\x07'
    """
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return _ACTED_ON.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) > 1 else found[0].encode("unicode_escape").decode()


def label(text: str) -> str:
    """Return the name of an object, as it is shown in messages: one line, without colours."""
    return _UNSEEN.sub(_escaped, text[:_LABEL])


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def lines(told: tuple[str, ...], trusted: bool) -> tuple[str, ...]:
    """Return the lines of a traceback, their beginning and end if they are too many."""
    if sum(map(len, told)) <= TEXT:
        return told if trusted else tuple(map(tidy, told))
    text = "\n".join(line.rstrip("\n") for line in told)
    return (tidy(text),)


def sound(cls: type, args: tuple[Any, ...]) -> bool:
    """Return whether a builtin exception can be made of these arguments without harm in `str` or a traceback.

    `str` of a UnicodeError reads the bytes that it names, and does not look whether they are there; a
    traceback underlines as many columns as a SyntaxError names.
    """
    if issubclass(cls, UnicodeError):
        return _sound_unicode(args[-4:])
    if issubclass(cls, SyntaxError) and len(args) > 1:
        return type(args[0]) is str and type(args[1]) is tuple and _sound_place(args[1])
    return True


def _sound_unicode(args: tuple[Any, ...]) -> bool:
    if len(args) < 4:
        return True
    whole, start, end, _ = args
    fits = type(whole) in (str, bytes) and type(start) is type(end) is int
    return fits and 0 <= start <= end <= len(whole)


def _sound_place(place: tuple[Any, ...]) -> bool:
    kinds = (str, int, int, str, int, int)
    return len(place) <= len(kinds) and all(
        part is None or (type(part) is kind and (type(part) is not int or -1 <= part <= _ORDINARY))
        for part, kind in zip(place, kinds, strict=False)
    )


def renamed(cls: type, args: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return the arguments of an exception, that of a syntax error with a file that is not here.

    A cell that shows a SyntaxError reads the line from the file that it names, and a FIFO never ends.

    Args:
        cls: the exception's class.
        args: the arguments.
        name: the companion's.
    """
    if not (issubclass(cls, SyntaxError) and len(args) > 1 and type(args[1]) is tuple and args[1]):
        return args
    file = f"{args[1][0] if type(args[1][0]) is str else '?'} (in companion {name!r})"
    rest = tuple(tidy(part) if type(part) is str else part for part in args[1][1:])
    return (args[0], (label(file[-_LABEL:]), *rest), *args[2:])


class Ration:
    """Count what one untrusted companion has told of its classes.

    Attributes:
        warnings: how many warnings it may still give.
    """

    def __init__(self) -> None:
        self.warnings = 1000
        self._classes = self._names = self._texts = 0

    def describe(self, told: Description) -> Description:
        """Return the description of a class, with names that can be shown.

        Raises:
            ValueError: there are more classes, names or texts than anybody can want.
        """
        names = [*told.special, *told.methods, *told.descriptors, *(told.fields or ())]
        self._classes += 1
        self._names += len(names)
        self._texts += sum(map(len, names)) + len(told.text or "") + len(told.module) + len(told.name)
        if self._classes > _CLASSES or self._names > _NAMES or self._texts > _TEXTS:
            raise ValueError("more classes, or more told of them, than an untrusted companion may have")
        if any(len(base.__mro__) > _LINE for base in told.bases):
            raise ValueError(f"more than {_LINE} classes above one another")
        text = None if told.text is None else tidy(told.text)
        return told._replace(module=label(told.module), name=label(told.name), text=text)


def allow(cls: type) -> None:
    """Raise TransferError for a dataclass that acts when it is thrown away, or that is one of ours."""
    if hasattr(cls, "__del__") or cls.__module__.partition(".")[0] == "isolate_magic":
        raise TransferError(
            f"a {cls.__module__}.{cls.__qualname__} is not taken from a companion that is not trusted: "
            "it acts on its fields by itself; copy the fields"
        )
