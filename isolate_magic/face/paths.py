"""Proxies in the code of a cell: which one an expression leads to, found without running anything (face)."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from isolate_magic.link.proxy import Method, claim_of, isproxy
from isolate_magic.seen import Scope

_STEP = r"\.[^\W\d]\w*|\[(?:\d+|\"[^\"\\\n]*\"|'[^'\\\n]*')\]"
_CHAIN = rf"[^\W\d]\w*(?:{_STEP})*"
_STEPS = re.compile(_STEP)
_TYPED = re.compile(
    rf"(?:^|[^\w.\])}}\"'])(?P<chain>{_CHAIN})(?P<end>\.(?:[^\W\d]\w*)?|\[(?:[\"'][^\"'\\\n]*)?)$"
)
_WHOLE = re.compile(_CHAIN)
NAME = "it"
"""What the companion knows the proxy as while it answers."""
_NOTHING = object()
_ONLY = {"": "names", ".": "names", "[": "items", "(": "params"}
_ARGUMENT = re.compile(r"[(,]\s*([^\W\d]\w*)?$")
_CALLED = re.compile(rf"(?:^|[^\w.\])}}\"'])({_CHAIN})$")
_FAR = 2000  # characters of a call that are looked through


@dataclass(frozen=True)
class Path:
    """Lead from a proxy to what is typed or asked for.

    Attributes:
        proxy: the proxy, or a method of one.
        rest: what follows it in the text, such as `.attribute[0]`.
        place: where that begins.
    """

    proxy: Any
    rest: str
    place: int

    @property
    def talk(self) -> Any:
        """Give the conversation with the companion that the object lives in."""
        return self._claim.owner

    @property
    def scope(self) -> Scope:
        """Say under which key answers are kept, and what they can be."""
        method = self.proxy.__name__ if type(self.proxy) is Method else ""
        return Scope(f"{self._claim.number}.{method}", _ONLY.get(_STEPS.sub("", self.rest)[:2], "keys"))

    @property
    def _claim(self) -> Any:
        return claim_of(self.proxy.__self__ if type(self.proxy) is Method else self.proxy)


def typed(space: dict[str, Any], line: str) -> Path | None:
    """Return the way to the attribute or key that is typed at the end of a line; None without a proxy."""
    found = _TYPED.search(line)
    path = found and _lead(space, found["chain"], found.start("chain"))
    return Path(path.proxy, path.rest + found["end"], path.place) if found and path else None


def called(space: dict[str, Any], code: str) -> Path | None:
    """Return the way to the function in whose call an argument begins at the end of some code."""
    found = _ARGUMENT.search(code)
    opens = _opening(code, found.start()) if found else -1
    function = _CALLED.search(code, max(0, opens - _FAR), opens) if found and opens > 0 else None
    path = function and _lead(space, function[1], function.start(1))
    return Path(path.proxy, f"{path.rest}({found[1] or ''}", 0) if found and path else None


def _opening(code: str, last: int) -> int:
    """Return where the bracket of the innermost call opens; -1 if there is none."""
    depth = 0
    for place in range(last, max(-1, last - _FAR), -1):
        if code[place] in ")]}":
            depth += 1
        elif code[place] in "([{":
            if not depth:
                return place if code[place] == "(" else -1
            depth -= 1
    return -1


def whole(space: dict[str, Any], text: str) -> Path | None:
    """Return the way to the object that a text such as `p.attribute` names; None without a proxy."""
    text = text.strip()
    return _lead(space, text, 0) if _WHOLE.fullmatch(text) else None


def _lead(space: dict[str, Any], chain: str, place: int) -> Path | None:
    steps = _STEPS.findall(chain)
    end = len(chain) - sum(map(len, steps))
    thing = space.get(chain[:end], _NOTHING)
    while not isproxy(thing):
        if thing is _NOTHING or not steps:
            return None
        step = steps.pop(0)
        end += len(step)
        thing = _part(thing, step)
    return Path(thing, chain[end:], place + end)


def _part(thing: Any, step: str) -> Any:
    """Take one step in an object of this session; a property, which would have to run, leads nowhere."""
    if step[0] == ".":
        return inspect.getattr_static(thing, step[1:], _NOTHING)
    if step[1] in "\"'":
        return thing.get(step[2:-2], _NOTHING) if type(thing) is dict else _NOTHING
    place = int(step[1:-1])
    return thing[place] if type(thing) in (list, tuple) and place < len(thing) else _NOTHING
