"""The paths and patterns of a policy: made absolute, expanded, compared (both sides).

A `str` with `*`, `?` or `[` in it is a pattern; a `Path` is always one path. Stored are absolute texts. In
that of a path that is no pattern special characters are escaped as `glob.escape` does, so it has one meaning.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from isolate_magic.quantities import wrong

_MOST_LINKS = 40  # as the kernel follows (path_resolution(7))
PATHS = 'a list of paths or patterns, such as ["data/*.parquet", "/srv/models"]'


def is_pattern(text: str) -> bool:
    """Tell whether a path has special characters of `glob` in it."""
    return glob.has_magic(text)


def absolute(field: str, path: Any, folder: str | None) -> str:
    """Return a path or a pattern as an absolute text; links in it are kept.

    Args:
        field: the name of the policy's field, for the error.
        path: text, in which `~` is the home folder, or a Path.
        folder: where relative paths begin; None is the current directory.

    Raises:
        PolicyError: it is no path.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        raise wrong(field, path, PATHS) from None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise wrong(field, path, PATHS)
    home, _, rest = text.partition("/")
    begin = os.path.expanduser(home) if home.startswith("~") else ""
    if begin.startswith("/"):
        text = rest
    elif not text.startswith("/"):
        begin = folder or os.getcwd()
    if not isinstance(path, str):
        text = glob.escape(text)
    return "/" + os.path.abspath(os.path.join(glob.escape(begin), text)).lstrip("/")


def must_exist(field: str, text: str) -> None:
    """Raise PolicyError unless an absolute path is there, or a pattern matches something."""
    if any(_found(text, dots=True)):
        return
    if not is_pattern(text):
        cure = "; create it first" if field == "write" else ""
        raise wrong(field, text, f"paths that exist, and this one does not (or cannot be seen){cure}")
    cure = " (a file of that very name exists: give it as a Path)" if os.path.exists(text) else ""
    raise wrong(field, text, f"patterns that match something, and this one matches nothing{cure}")


def expand(entries: Iterable[str], *, dots: bool = False) -> list[str]:
    """Return the existing paths that paths and patterns stand for now, in order.

    Args:
        entries: absolute paths and patterns.
        dots: whether wildcards match names that begin with a dot.
    """
    return sorted({os.path.normpath(path) for text in entries for path in _found(text, dots=dots)})


def _found(text: str, *, dots: bool) -> Iterator[str]:
    while text.endswith("/**"):  # a folder and everything below it: the folder
        text = text[:-3] or "/"
    if is_pattern(text):
        yield from glob.iglob(text, recursive=True, include_hidden=dots)
    elif os.path.exists(text):
        yield text


def links(path: str) -> list[str]:
    """Return the symbolic links that an absolute path leads over, each under its real name."""
    found, done, rest = list[str](), "/", path.split("/")
    while rest and len(found) < _MOST_LINKS:
        part = rest.pop(0)
        here = os.path.normpath(os.path.join(done, part))
        if part in ("", ".", "..") or not os.path.islink(here):
            done = here
            continue
        found.append(here)
        target = os.readlink(here)
        done = "/" if target.startswith("/") else done
        rest = target.split("/") + rest
    return found


def below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or lies in it; both absolute."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def holds(entries: Iterable[str], path: str, *, dots: bool = False) -> bool:
    """Tell whether an absolute path is, or lies in, what one of the entries stands for; it need not exist.

    Args:
        entries: absolute paths and patterns; links in them are followed.
        path: the path; links in it are not followed.
        dots: whether wildcards match names that begin with a dot.
    """
    return any(_reaches(text, path, dots) for text in entries)


def _reaches(text: str, path: str, dots: bool) -> bool:
    base, rest = _split(text)
    roots = (base, os.path.realpath(base))
    if not rest:
        return any(below(path, root) for root in roots)
    heads = [glob.escape(root).rstrip("/").split("/") for root in roots]
    if any(_matches([*head, *rest], path.split("/"), dots) for head in heads):
        return True
    return any(below(path, os.path.realpath(found)) for found in _found(text, dots=dots))


def uncovered(entries: Sequence[str], others: Sequence[str], *, dots: bool = False) -> list[str]:
    """Return the entries that reach something which none of the others reaches.

    A pattern counts as its folder, so it is covered by the same pattern and by a folder around it, not by
    another pattern. A link counts as what it leads to.

    Args:
        entries: absolute paths and patterns.
        others: absolute paths and patterns.
        dots: whether wildcards match names that begin with a dot.
    """
    left = [text for text in entries if text not in others]
    if not left:
        return []
    ground = [os.path.realpath(path) for path in expand(others, dots=dots)]

    def reached(text: str) -> Iterator[str]:
        yield _split(text)[0]
        yield from _found(text, dots=dots)

    return [
        text
        for text in left
        if not all(any(below(os.path.realpath(path), root) for root in ground) for path in reached(text))
    ]


def _split(text: str) -> tuple[str, list[str]]:
    """Split a pattern into the folder before its first special part, and the parts from there on."""
    parts = text.split("/")
    first = next((n for n, part in enumerate(parts) if is_pattern(part)), len(parts))
    return "/".join(parts[:first]) or "/", parts[first:]


def _matches(pattern: list[str], parts: list[str], dots: bool) -> bool:
    """Tell whether the parts of a path begin with what the parts of a pattern match, as `glob` would."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(
            _matches(pattern[1:], parts[n:], dots)
            for n in range(len(parts) + 1)
            if dots or not any(part.startswith(".") for part in parts[:n])
        )
    if not parts:
        return False
    if parts[0].startswith(".") and not dots and not pattern[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:], dots)
