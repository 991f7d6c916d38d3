"""What one companion has told of its names and objects: checked, bounded, kept for when it works (host)."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from isolate_magic.escapes import clean, plain
from isolate_magic.link import answers
from isolate_magic.link.answers import LONGEST, MOST, Completed, Match

_LISTS = 64  # of matches, that are kept
_TEXTS = 64  # about objects
_LONG = 1 << 20  # characters in all names together
_FRAGMENT = re.compile(r"[^\W\d]\w*$")
_BEFORE = re.compile(r"[\w.\[\]'\"%]*$")
_IMPORT = re.compile(r"\s*(?:import|from)\b")
_KINDS = frozenset({
    "attribute", "class", "dict key", "function", "instance", "keyword", "latex", "magic", "module", "param",
    "path", "property", "statement", "unicode", "variable",
})  # fmt: skip
_LETTER = re.compile(r"\\[\w^ -]+")
_FIT = {  # what an untrusted companion may have a front end insert: nothing that calls, or ends a text
    "": re.compile(r"%{0,2}[\w./~@+:, -]*=?|[\"'][\w./~@+:, -]*[\"']?"),
    "names": re.compile(r"[^\W\d]\w*"),
    "params": re.compile(r"[^\W\d]\w*="),
    "items": re.compile(r"\d+|\"[\w./~@+:, -]*\"|'[\w./~@+:, -]*'"),
    "keys": re.compile(r"[\w./~@+:, -]*"),
}


@dataclass(frozen=True)
class Scope:
    """Say whose names code refers to.

    Attributes:
        key: what the answers are kept under: empty for the companion's cells, else a proxy.
        only: what a match is where the code runs in this session: `names`, `params`, `items` or `keys`.
    """

    key: str = ""
    only: str = ""


class Seen:
    """Keep what one process has told.

    Args:
        trusted: whether the companion is.
    """

    def __init__(self, trusted: bool) -> None:
        self._trusted = trusted
        self._names: tuple[str, ...] = ()
        self._lists: OrderedDict[tuple[str, str], tuple[str, list[Match]]] = OrderedDict()
        self._texts: OrderedDict[tuple[str, str, int], str] = OrderedDict()

    def name(self, told: object) -> None:
        """Take the names that its cells have bound; anything else leaves them as they are."""
        if type(told) is str and len(told) <= _LONG:
            self._names = tuple(name for name in told.split("\n")[: 2 * MOST] if _is_name(name))

    # ------------------------------------------------------------ completions

    def complete(self, told: str, code: str, cursor: int, scope: Scope) -> Completed:
        """Take an answer to Tab, keep it and return what is sound in it."""
        nothing = Completed(cursor, cursor, [])
        try:
            answer = answers.completed(told)
        except (msgspec.MsgspecError, RecursionError):
            return nothing
        start, end = answer.start, answer.end
        if not 0 <= start <= cursor <= end <= len(code) or "\n" in code[start:end]:
            return nothing
        fragment = code[start:cursor]
        matches = [
            Match(match.text, match.kind if match.kind in _KINDS else "", _signature(match.signature))
            for match in answer.matches[:MOST]
            if self._is_sound(match.text, fragment, scope)
        ]
        key = (scope.key, _key(code[:start]))
        self._lists[key] = (fragment, matches)
        self._lists.move_to_end(key)
        while len(self._lists) > _LISTS:
            self._lists.popitem(last=False)
        return Completed(start, end, matches)

    def recall(self, code: str, cursor: int, scope: Scope) -> Completed:
        """Complete without asking: with what was told of the same object, or with the names of its cells."""
        found = _FRAGMENT.search(code[:cursor])
        fragment = found[0] if found else ""
        start = cursor - len(fragment)
        key = _key(code[:start])
        before, matches = self._lists.get((scope.key, key), ("", []))
        known = [match for match in matches if match.text.startswith(fragment)]
        if not fragment.startswith(before):
            known = []
        if not key and not scope.key and not _in_text(code[:start]):
            known += [match for match in self._bound(fragment) if match not in known]
        return Completed(start, cursor, known[:MOST])

    def _bound(self, fragment: str) -> Iterable[Match]:
        """Yield the names that a cell can refer to; those with an underline in front only if one is typed."""
        for names, kind in (
            (self._names, "variable"),
            (keyword.kwlist, "keyword"),
            (dir(builtins), "function"),
        ):
            for name in names:
                if name.startswith(fragment) and (fragment or not name.startswith("_")):
                    yield Match(name, kind)

    def _is_sound(self, text: str, fragment: str, scope: Scope) -> bool:
        """Tell whether a front end may insert a match, which it does unasked if there is only one."""
        if not (0 < len(text) <= LONGEST and text.isprintable() and plain(text) == text):
            return False
        if self._trusted:
            return True
        if fragment.startswith("\\"):  # a letter by its name
            return len(text) == 1 or _LETTER.fullmatch(text) is not None
        begins = text.lower().lstrip("%").startswith(fragment.lower().lstrip("%"))
        return begins and _FIT[scope.only].fullmatch(text) is not None

    # ------------------------------------------------------------ texts

    def inspect(self, told: str, path: str, detail: int, scope: Scope) -> str:
        """Take an answer to Shift-Tab, keep it and return the text; empty if there is no such object."""
        try:
            answer = answers.inspected(told)
        except (msgspec.MsgspecError, RecursionError):
            return ""
        text = answer.text[: answers.TEXT + 1000] if answer.found else ""
        if not self._trusted:
            text = clean(text)
        key = (scope.key, path, detail)
        self._texts[key] = text
        self._texts.move_to_end(key)
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return text

    def told(self, path: str, detail: int, scope: Scope) -> str:
        """Return what was told of an object the last time."""
        return self._texts.get((scope.key, path, detail), "")


def _key(before: str) -> str:
    """Return what stands before the name that is typed and decides what it can be; empty if nothing does."""
    line = before.rpartition("\n")[2]
    if _IMPORT.match(line):
        return line.lstrip()
    found = _BEFORE.search(line)
    return found[0] if found else ""


def _in_text(before: str) -> bool:
    line = before.rpartition("\n")[2]
    return bool(line.count('"') % 2 or line.count("'") % 2)


def _is_name(text: str) -> bool:
    return len(text) <= LONGEST and text.isidentifier() and plain(text) == text


def _signature(text: str) -> str:
    return text if len(text) <= LONGEST and text.isprintable() and plain(text) == text else ""
