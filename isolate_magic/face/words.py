"""What can follow on the line of a magic of ours: options, commands, companions, names, files (face)."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from typing import Any

from isolate_magic.face import autoisolate
from isolate_magic.face.cell import CELL
from isolate_magic.face.commands import COMMANDS
from isolate_magic.face.options import Line
from isolate_magic.link.answers import MOST, Completed, Match
from isolate_magic.policy import PRESETS
from isolate_magic.session import companions

_LAST = re.compile(r"[^\s,=\"']*$")
_BOUND = re.compile(r"^([^\W\d]\w*)\s*=(?!=)", re.MULTILINE)


def of_cell(line: str, cursor: int, space: dict[str, Any], body: str, there: Iterable[str]) -> Completed:
    """Complete the line of `%%isolated`.

    Args:
        line: what stands before the cursor, from the options on.
        cursor: the place of the cursor in the cell.
        space: the names of this session.
        body: the code of the cell, whose names `-o` can bind.
        there: the names of the companion.
    """
    options = _wanted(CELL)
    option, word = _split(line)
    wanted = options.get(option, "")
    if not wanted:
        return _fitting(sorted(options, key=lambda one: one.lstrip("-")), "", word, cursor)
    if wanted == "in":
        names = [name for name in space if type(name) is str and (word or not name.startswith("_"))]
        return _fitting(names, "variable", word, cursor)
    if wanted in ("out", "copy"):
        return _fitting([*dict.fromkeys([*_BOUND.findall(body), *there])], "variable", word, cursor)
    return _value(wanted, word, cursor)


def _wanted(line: Line) -> dict[str, str]:
    """Return all flags of a magic, each with the name of the value that it takes, or ""."""
    return {
        flag: option.flags[-1].lstrip("-") if option.value else ""
        for option in line.options
        for flag in option.flags
    }


def of_line(line: str, cursor: int) -> Completed:
    """Complete a line of `%isolate`; arguments as for `of_cell`."""
    option, word = _split(line)
    before = line[: len(line) - len(word)].split()
    if not before:
        return _fitting([*COMMANDS, "--help"], "magic", word, cursor)
    command = COMMANDS.get(before[0])
    if command is None:
        return Completed(cursor, cursor, [])
    options = _wanted(command.line)
    if options.get(option):
        return _value(options[option], word, cursor)
    if command.words == "PATH" and not word.startswith("-"):
        return _fitting(_files(word, ""), "path", word, cursor)
    if word.startswith("-") or len(before) > 1 or command.words != "[NAME]":
        return _fitting(options, "", word, cursor)
    return _value("companion", word, cursor)


def of_autoisolate(line: str, cursor: int) -> Completed:
    """Complete a line of `%autoisolate`; arguments as for `of_cell`."""
    options = _wanted(autoisolate.LINE)
    option, word = _split(line)
    if options.get(option):
        return _value(options[option], word, cursor)
    switch = ("on", "off") if not line[: len(line) - len(word)].split() else ()
    return _fitting([*switch, *options], "", word, cursor)


def _split(line: str) -> tuple[str, str]:
    """Return the option whose value is typed at the end of a line, or "", and what there is of the value."""
    found = _LAST.search(line)
    word = found[0] if found else ""
    before = line[: len(line) - len(word)].rstrip("=,\"' ")
    last = before.split()[-1] if before.split() else ""
    begun = before != line[: len(line) - len(word)] and last.startswith("-") and not word.startswith("-")
    return (last if begun else _listed(line, word)), word


def _listed(line: str, word: str) -> str:
    """Return the option of a list of names: in `-i first,sec` the word is the second of its value."""
    words = line[: len(line) - len(word)].split()
    return words[-2] if len(words) > 1 and words[-1].endswith(",") and words[-2].startswith("-") else ""


def _value(what: str, word: str, cursor: int) -> Completed:
    if what == "companion":
        return _fitting([one.name for one in companions()], "instance", word, cursor)
    if what in ("policy", "policy-file"):
        presets = PRESETS if what == "policy" else ()
        return _fitting([*presets, *_files(word)], "path", word, cursor)
    if what == "key-file":
        return _fitting(_files(word, ""), "path", word, cursor)
    return Completed(cursor, cursor, [])


def _files(begin: str, end: str = ".toml") -> list[str]:
    found = glob.glob(glob.escape(begin) + "*") if begin.isprintable() else []
    folders = [f"{name}/" for name in found if os.path.isdir(name)]
    return [*folders, *(name for name in found if name.endswith(end) and f"{name}/" not in folders)][:MOST]


def _fitting(words: Iterable[str], kind: str, word: str, cursor: int) -> Completed:
    found = [Match(one, kind) for one in words if one.startswith(word)][:MOST]
    return Completed(cursor - len(word), cursor, found)
