"""The displays of an untrusted companion: a bundle of MIME types of which the harmless ones stay (host).

Plain text, PNG, JPEG, SVG and HTML stay, each checked or written anew; all other types go and are
counted, scripts, widgets and vendors' types among them. What is not plain text is shown as HTML within
a border that says whose it is. A PNG or JPEG stays beside that too, for nbconvert to PDF.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from isolate_magic import escapes, markup, pictures

_MOST_TEXT = 1 << 20
_NAMED = {  # types that are named to the reader when they are left out
    "application/javascript",
    "application/json",
    "application/pdf",
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.plotly.v1+json",
    "application/vnd.bokehjs_exec.v0+json",
    "application/vnd.bokehjs_load.v0+json",
    "application/vnd.vegalite.v5+json",
    "application/vnd.vega.v5+json",
    "application/geo+json",
    "image/gif",
    "text/latex",
    "text/markdown",
    "comm_open",
    "comm_msg",
    "input_request",
}
_OBJECT = re.compile(r"<IPython\.core\.display\.(Markdown|Latex|Math) object>\Z")
_PICTURES = {"image/png": pictures.png, "image/jpeg": pictures.jpeg, "image/svg+xml": pictures.svg}
_TAKEN = {"text/plain", "text/html", *_PICTURES}


def filter_bundle(
    data: object, metadata: object, name: str = "", dropped: Counter[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what may be shown of a display; never raise for what a companion can send.

    Args:
        data: the companion's bodies by MIME type.
        metadata: its metadata by MIME type; width and height of a picture are all that stays.
        name: how the companion is called.
        dropped: counts what is left out.

    Returns:
        Data and metadata, both empty if nothing may be shown.
    """
    dropped = Counter() if dropped is None else dropped
    texts = _texts(data, dropped)
    found = _checked(texts, dropped)
    body = markup.clean(texts["text/html"], dropped) if "text/html" in texts else ""
    sizes = {kind: _size(metadata, kind) for kind in found}
    if not markup.shows_something(body):
        body = next(
            (markup.picture(kind, found[kind], sizes[kind]) for kind in reversed(_PICTURES) if kind in found),
            "",
        )
    plain = _plain(texts, dropped)
    if not body and not plain:
        return {}, {}
    shown: dict[str, Any] = {
        "text/plain": plain or f"{escapes.GUTTER}<{'picture' if found else 'HTML'} output>"
    }
    if body:
        shown["text/html"] = markup.framed(body, name)
    kept = {kind: found[kind] for kind in ("image/png", "image/jpeg") if kind in found}
    return shown | kept, {kind: sizes[kind] for kind in kept if sizes[kind]}


def _texts(data: object, dropped: Counter[str]) -> dict[str, str]:
    """Return the bodies that are texts; count the others and those of other types."""
    texts: dict[str, str] = {}
    for kind, body in data.items() if isinstance(data, dict) else ():
        if kind in ("text/markdown", "text/latex") and isinstance(body, str) and len(body) <= _MOST_TEXT:
            texts[kind] = body  # its source may stand for it
        if kind not in _TAKEN or not isinstance(body, str):
            dropped[mime(kind)] += 1
        else:
            texts[kind] = body
    return texts


def mime(kind: object) -> str:
    """Return a MIME or message type that can be named to the reader: what a companion invents cannot."""
    return kind if isinstance(kind, str) and kind in (_NAMED | _TAKEN) else "unknown type"


def _checked(texts: dict[str, str], dropped: Counter[str]) -> dict[str, str]:
    """Return the pictures that pass, in base64."""
    found: dict[str, str] = {}
    for kind, check in _PICTURES.items():
        if kind in texts:
            try:
                found[kind] = check(texts[kind])
            except ValueError as problem:
                dropped[f"{kind} ({problem})"] += 1
    return found


def _plain(texts: dict[str, str], dropped: Counter[str]) -> str:
    """Return the plain text; the source for Markdown and LaTeX, whose plain text says nothing."""
    text = texts.get("text/plain", "")
    if not text or _OBJECT.match(text):
        text = texts.get("text/markdown") or texts.get("text/latex") or text
    if len(text) > _MOST_TEXT:
        dropped["plain text over 1 MiB"] += 1
        text = f"{text[:_MOST_TEXT]}\n..."
    return escapes.clean(text, dropped=dropped)


def _size(metadata: object, kind: str) -> dict[str, int]:
    """Return the size to show a picture at."""
    given = metadata.get(kind) if isinstance(metadata, dict) else None
    if not isinstance(given, dict):
        return {}
    return {
        key: given[key]
        for key in ("width", "height")
        if type(given.get(key)) is int and 0 < given[key] <= 8192
    }


def displays(told: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data and metadata by MIME type from the JSON of a display."""
    data, metadata = json.loads(told)
    if not type(data) is type(metadata) is dict:
        raise ValueError("a display that is none")
    return data, metadata
