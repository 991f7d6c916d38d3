"""The pictures of an untrusted companion, checked and stripped to what is drawn (host).

A PNG keeps only the chunks that say what is drawn (PNG specification 3rd edition, chapter 11), a JPEG is
looked at up to its frame header (ITU T.81, B.2.2). What a browser would draw too large is refused, and
so is an SVG whose references multiply. An SVG is shown by `<img>` alone, where neither scripts run nor
other files are loaded (SVG 2, "secure static mode").
"""

from __future__ import annotations

import base64
import binascii
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

_MOST_BYTES = 16 << 20
_MOST_PIXELS = 16 << 20
_MOST_SIDE = 8192
_MOST_SVG = 4 << 20
_MOST_DRAWN = 1_000_000  # elements after every <use> is followed
_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"sRGB", b"cHRM", b"pHYs"}
_DECLARATION = re.compile(r"\s*<\?xml[^<>]*\?>")  # Python and a browser may read its encoding differently
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[<>]*>", re.IGNORECASE)


def decoded(text: object) -> bytes:
    """Return the bytes of a picture in base64.

    Raises:
        ValueError: it is no base64, or too much.
    """
    if not isinstance(text, str) or len(text) > _MOST_BYTES * 4 // 3:
        raise ValueError("no base64 of at most 16 MiB")
    compact = text.replace("\n", "")  # as `base64.encodebytes` writes it
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise ValueError("no base64") from None


def png(text: object) -> str:
    """Return a PNG in base64, without its metadata.

    Raises:
        ValueError: it is no PNG, or too large.
    """
    data = decoded(text)
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[8:16] != b"\0\0\0\rIHDR":
        raise ValueError("no PNG")
    _measured(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    chunks = list(_chunks(data))
    if chunks[-1][4:8] != b"IEND":
        raise ValueError("a PNG without an end")
    return base64.b64encode(data[:8] + b"".join(chunks)).decode()


def _chunks(data: bytes) -> Iterator[bytes]:
    """Give the chunks of a PNG that say what is drawn."""
    place, kind = 8, b""
    while place < len(data) and kind != b"IEND":
        size = int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        end = place + 12 + size
        if end > len(data):
            raise ValueError("a PNG cut short")
        if kind == b"IHDR" and place > 8:
            raise ValueError("a PNG with two headers")
        if kind in _KEPT:
            yield data[place:end]
        place = end


def jpeg(text: object) -> str:
    """Return a JPEG in base64.

    Raises:
        ValueError: it is no JPEG, or too large.
    """
    data = decoded(text)
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG")
    place, found = 2, False
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        kind, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            if found:
                raise ValueError("a JPEG with two frames")
            found = True
            _measured(
                int.from_bytes(data[place + 7 : place + 9], "big"),
                int.from_bytes(data[place + 5 : place + 7], "big"),
            )
        if kind == 0xDA and found:
            return base64.b64encode(data).decode()
        if size < 2:
            break
        place += 2 + size
    raise ValueError("a JPEG without a frame")


def _measured(width: int, height: int) -> None:
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE and width * height <= _MOST_PIXELS):
        raise ValueError("more than 8192 pixels a side or 16 million in all")


def svg(text: object) -> str:
    """Return an SVG in base64.

    Raises:
        ValueError: it is no SVG, too large, or draws more than it says.
    """
    if not isinstance(text, str) or len(text) > _MOST_SVG:
        raise ValueError("no SVG of at most 4 MiB")
    text = _DOCTYPE.sub("", _DECLARATION.sub("", text, count=1), count=1)
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ValueError("an SVG with entities")
    try:
        root = ET.fromstring(text.encode("utf-8"))
    except (ET.ParseError, ValueError, LookupError):  # LookupError: an unknown encoding
        raise ValueError("no SVG") from None
    if root.tag not in ("svg", "{http://www.w3.org/2000/svg}svg"):
        raise ValueError("no SVG")
    if _drawn(root) > _MOST_DRAWN:
        raise ValueError("an SVG that draws too much")
    return base64.b64encode(text.encode("utf-8")).decode()


def _drawn(root: ET.Element) -> int:
    """Count the elements drawn when every reference is followed; raise ValueError for a circle."""
    named = {element.get("id"): element for element in root.iter() if element.get("id")}
    counts: dict[ET.Element, int] = {}
    begun: set[ET.Element] = set()
    stack = [root]
    while stack:
        element = stack[-1]
        if element in counts:
            stack.pop()
            continue
        parts = [*element, *_referred(element, named)]
        if element in begun:
            if any(part not in counts for part in parts):
                raise ValueError("an SVG that refers to itself")
            counts[element] = min(1 + sum(counts[part] for part in parts), 2 * _MOST_DRAWN)
            stack.pop()
            continue
        begun.add(element)
        stack += [part for part in parts if part not in counts]
    return counts[root]


def _referred(element: ET.Element, named: dict[str | None, ET.Element]) -> list[ET.Element]:
    """Return the elements that an element draws once more: by href, or by url(#...) in an attribute."""
    names: list[str] = []
    for key, value in element.items():
        if key == "href" or key.endswith("}href"):
            names.append(value.strip().removeprefix("#"))
        names += re.findall(r"url\(\s*[\"']?#([^\"')\s]+)", value)
    return [named[name] for name in names if name in named]
