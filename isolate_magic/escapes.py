"""The text of an untrusted companion, of which only harmless control sequences are left (host).

Of all escape sequences only colours and weights stay (SGR, ECMA-48 8.3.117). Everything else that a
terminal obeys goes: titles, links and the clipboard (OSC), cursor movement, device strings, C1 controls,
backspace, and the characters that reorder or hide text (bidi, zero width; a joiner stays, for emoji and
Persian). Each line begins with a thin bar, the gutter: what has none is not the companion's word.

A bare carriage return stays, for progress bars, where the line began with this companion's own line
feed; else it could overprint what the host wrote on that line, so the first one becomes a line feed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

GUTTER = "\u258f"
RESET = "\x1b[0m"
_LINES = 256 << 10  # a traceback longer than this is cut in its middle
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_CONTROL = "\x00-\x1f\x7f-\x9f"
_BREAKS = "\u2028\u2029"  # line feeds to a browser, nothing to a terminal
_SURROGATES = re.compile("[\ud800-\udfff]")
_HIDDEN = re.compile(f"[{INVISIBLE}]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TOKEN = re.compile(
    rf"(?P<plain>(?:[^{_CONTROL}{INVISIBLE}{_BREAKS}]|\t)+)"
    rf"|(?P<feed>[\n{_BREAKS}])|(?P<back>\r)"
    r"|(?P<csi>(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~])"
    r"|(?P<string>\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"
    r"|(?P<escape>\x1b[ -/]{0,8}[0-~])"
    rf"|(?P<invisible>[{INVISIBLE}]+)|(?P<other>.)",
    re.DOTALL,
)
_PARTIAL = re.compile(r"(?:(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}|\x1b[ -/]{0,8})\Z")
_STRING_END = re.compile(r"[\x07\x18\x1a\x1b\x9c\n\u2028\u2029]")
_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_COLON = re.compile(r"(?:4:[0-5]|[345]8:[25](?::[0-9]{0,3}){1,5})\Z", re.ASCII)
_OFF = {22: (1, 2), 23: (3,), 24: (4, 21), 27: (7,), 29: (9,), 39: (30,), 49: (40,), 55: (53,), 59: (58,)}
_ON = {1, 2, 3, 4, 7, 9, 21, 53}  # neither blinking (5, 6) nor hidden (8)


class Text:
    """Filter one stream of text, whatever the pieces it comes in.

    Args:
        gutter: what each line begins with.
        dropped: counts what is left out, by what it is.
    """

    def __init__(self, gutter: str = GUTTER, dropped: Counter[str] | None = None) -> None:
        self.gutter = gutter
        self.dropped: Counter[str] = Counter() if dropped is None else dropped
        self._held = ""  # the beginning of an escape sequence, at most 75 characters
        self._within = False  # inside a device string, which is skipped
        self._returning = False  # a carriage return has come, and it is not known yet what follows
        self._fresh = True  # nothing stands on this line yet
        self._own = False  # this line began with a line feed of ours
        self._open = False  # a colour is on in the output
        self._colours: dict[int, str] = {}
        self._out: list[str] = []

    def feed(self, text: str) -> str:
        """Return what is left of the next piece."""
        data, self._held, place = self._held + _SURROGATES.sub("\ufffd", text), "", 0
        while place < len(data):
            place = self._skip(data, place) if self._within else self._token(data, place)
        return self._taken()

    def pause(self) -> str:
        """Return what switches the colours off until the next piece, in case the host writes now."""
        self._dark()
        return self._taken()

    def close(self) -> str:
        """End the text: return what switches the colours off and ends an open line."""
        self.dropped["escape sequence"] += bool(self._held)
        self._held, self._within, self._returning = "", False, False
        self._dark()
        if not self._fresh:
            self._out.append("\n")
        self._colours.clear()
        self.again()
        return self._taken()

    def again(self) -> None:
        """Note that something else was shown: the next text begins with the gutter."""
        self._fresh, self._own, self._returning = True, False, False

    def _taken(self) -> str:
        out, self._out = "".join(self._out), []
        return out

    def _token(self, data: str, place: int) -> int:
        """Take one token in ordinary text; return where the next one begins."""
        if data[place] in "\x1b\x9b" and _PARTIAL.match(data, place):
            self._held = data[place:]
            return len(data)
        found = _TOKEN.match(data, place)
        assert found is not None  # the last alternative takes anything
        self._take(found.lastgroup or "", found.group())
        return found.end()

    def _take(self, kind: str, text: str) -> None:
        if kind == "feed":
            self._feed()
        elif kind == "plain":
            self._plain(text)
        elif kind == "back":
            self._returning = True
        elif kind == "invisible":
            self.dropped["invisible character"] += len(text)
        elif kind == "other":
            self.dropped["control character"] += 1
        elif not (kind == "csi" and self._colour(text)):
            self.dropped["escape sequence"] += 1
            self._within = kind == "string"

    def _skip(self, data: str, place: int) -> int:
        """Skip a device string up to its end, a line feed, or the next escape sequence."""
        end = _STRING_END.search(data, place)
        if end is None:
            return len(data)
        place, mark = end.start(), end.group()
        if mark == "\x1b" and place + 1 == len(data):
            self._held = mark
            return len(data)
        self._within = False
        if data.startswith("\x1b\\", place):
            return place + 2
        return place if mark in "\x1b\n\u2028\u2029" else place + 1

    def _plain(self, text: str) -> None:
        self._turn()
        if self._fresh:
            self._out.append(self.gutter)
            self._fresh = False
        if self._colours and not self._open:
            self._out.append(f"\x1b[{';'.join(self._colours.values())}m")
            self._open = True
        self._out.append(text)

    def _feed(self) -> None:
        self._returning = False
        self._dark()
        if self._fresh:
            self._out.append(self.gutter)
        self._out.append("\n")
        self._fresh = self._own = True

    def _turn(self) -> None:
        """Do what a carriage return does, now that something follows it."""
        if not self._returning or self._fresh:
            self._returning = False
            return
        if not self._own:
            self._feed()
            return
        self._returning = False
        self._dark()
        self._out.append("\r")
        self._fresh = True

    def _dark(self) -> None:
        if self._open:
            self._out.append(RESET)
            self._open = False

    def _colour(self, text: str) -> bool:
        """Take an SGR sequence; return whether it is one."""
        found = _SGR.match(text)
        if found is None:
            return False
        self._dark()  # the next text switches on all that is on by then
        parts = found[1].split(";")
        place = 0
        while place < len(parts):
            place += self._parameter(parts, place)
        return True

    def _parameter(self, parts: list[str], place: int) -> int:
        """Take one parameter of an SGR sequence; return how many parts it had."""
        part = parts[place]
        if ":" in part:
            if _COLON.match(part):
                self._colours[{"4:": 4, "38": 30, "48": 40, "58": 58}[part[:2]]] = part
            return 1
        if len(part) > 3:
            return 1
        code = int(part or "0")
        if code in (38, 48, 58):
            count = {"5": 3, "2": 5}.get("".join(parts[place + 1 : place + 2]), 0)
            taken = parts[place : place + count]
            if (
                not count
                or len(taken) < count
                or not all(number.isdigit() and len(number) <= 3 for number in taken)
            ):
                return len(parts)  # terminals read the rest each in their own way
            self._colours[{38: 30, 48: 40, 58: 58}[code]] = ";".join(taken)
            return count
        self._simple(code)
        return 1

    def _simple(self, code: int) -> None:
        if code == 0:
            self._colours.clear()
        elif code in _OFF:
            for on in _OFF[code]:
                self._colours.pop(on, None)
        elif code in _ON:
            self._colours[code] = str(code)
        elif (30 <= code <= 47 or 90 <= code <= 107) and code % 10 <= 7:
            self._colours[30 if code % 60 // 10 == 3 else 40] = str(code)


def plain(text: str) -> str:
    """Return text without any control or invisible character but tabs and line feeds."""
    return _HIDDEN.sub("", _SURROGATES.sub("\ufffd", text))


def clean(text: str, gutter: str = GUTTER, dropped: Counter[str] | None = None) -> str:
    """Return a whole text filtered; it ends with a line feed only if it did before."""
    filtered = Text(gutter, dropped)
    out = filtered.feed(text)
    return out + filtered.close().removesuffix("\n")


def filter_lines(lines: Sequence[str], gutter: str = GUTTER) -> list[str]:
    """Return the lines of a traceback, an exception's text or last words, filtered.

    Args:
        lines: as the companion sent them; what is no text is left out.
        gutter: what each line begins with.
    """
    whole = [line for line in lines if isinstance(line, str)]
    size = sum(len(line) + 1 for line in whole)
    if size > _LINES:
        text = "\n".join(whole)
        whole = [text[: _LINES // 2], f"... {size - _LINES} characters left out ...", text[-_LINES // 2 :]]
    return [clean(line, gutter) for line in whole]
