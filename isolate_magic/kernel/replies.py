"""The companion's word on a request, made a reply of the kernel: bounded, and filtered if need be (host)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from isolate_magic import ration
from isolate_magic.errors import ProcessTerminationError, text_of
from isolate_magic.face.tracebacks import lines_of
from isolate_magic.filtering import filter_bundle
from isolate_magic.link import weight

_TEXT = 10_000
_STATES = ("complete", "incomplete", "invalid", "unknown")
_INDENT = 400
_PAGES = 10


def executed(told: object, number: int, asked: Iterable[str], name: str, trusted: bool) -> dict[str, Any]:
    """Return the content of an `execute_reply`, and `shown`, which the front takes out of it.

    It says whether the error is to be shown.

    Args:
        told: what the companion has answered.
        number: the prompt number of the cell.
        asked: the names of the user expressions that were asked for.
        name: the companion's name.
        trusted: whether the companion is trusted; its payloads are passed on then, else pages only.

    Raises:
        ValueError: it makes no sense.
    """
    content = _parsed(told, trusted)
    count = content.get("execution_count")
    reply: dict[str, Any] = {
        "status": "ok" if content.get("status") == "ok" else "error",
        "execution_count": count if type(count) is int and number - 1 <= count <= number else number,
        "user_expressions": {},
        "payload": [page for page in _list(content.get("payload")) if isinstance(page, dict)],
    }
    values = content.get("user_expressions")
    if isinstance(values, dict):
        reply["user_expressions"] = {key: values[key] for key in asked if isinstance(values.get(key), dict)}
    if reply["status"] == "error":
        reply |= _error(content, trusted)
    if not trusted:
        pages = (_page(one, name) for one in reply["payload"][:_PAGES])
        reply["payload"] = [page for page in pages if page]
        reply["user_expressions"] = {
            key: _expression(value, name) for key, value in reply["user_expressions"].items()
        }
    return {**sound(reply), "shown": content.get("shown") is not False}


def failed(error: BaseException, number: int) -> dict[str, Any]:
    """Return the content of an `execute_reply` for a cell that its companion has not answered for.

    Args:
        error: why; a crash shows its report.
        number: the prompt number of the cell.
    """
    if isinstance(error, ProcessTerminationError) and error.report is not None:
        lines = str(error.report).splitlines()
        lines[0] = f"{type(error).__name__}: {lines[0]}"
    elif isinstance(error, KeyboardInterrupt):
        lines = list(error.__dict__.get("_isolate_lines_") or ["KeyboardInterrupt"])
    else:
        lines = lines_of(error)
    reply = {
        "status": "error", "execution_count": number, "user_expressions": {}, "payload": [],
        "ename": type(error).__name__, "evalue": text_of(error), "traceback": lines,
    }  # fmt: skip
    return {**sound(reply), "shown": True}


def sound(thing: Any) -> Any:
    """Return what a message says without halves of characters, which no message can carry."""
    if isinstance(thing, str):
        return thing if thing.isascii() else thing.encode("utf-8", "replace").decode()
    if isinstance(thing, dict):
        return {sound(key): sound(value) for key, value in thing.items()}
    return [sound(item) for item in thing] if isinstance(thing, (list, tuple)) else thing


def completeness(told: object) -> dict[str, Any]:
    """Return the content of an `is_complete_reply`; anything that makes no sense is `unknown`."""
    try:
        status, indent = json.loads(told) if isinstance(told, str) and len(told) < _TEXT else ("", 0)
    except (ValueError, TypeError, RecursionError):
        status, indent = "", 0
    if status not in _STATES:
        return {"status": "unknown"}
    if status != "incomplete":
        return {"status": status}
    return {"status": status, "indent": " " * min(indent, _INDENT) if type(indent) is int else ""}


def _parsed(told: object, trusted: bool) -> dict[str, Any]:
    if not isinstance(told, str):
        raise ValueError(f"a {type(told).__name__} in the place of a reply")
    if not trusted:
        weight.check_json(told.encode("utf-8", "replace"))
    try:
        content = json.loads(told)
    except RecursionError:
        raise ValueError("a reply that is nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError("a reply that is none")
    return content


def _error(content: dict[str, Any], trusted: bool) -> dict[str, Any]:
    name, text = str(content.get("ename")), str(content.get("evalue"))
    told = tuple(map(str, _list(content.get("traceback")))) if content.get("shown") is not False else ()
    if trusted:
        return {"ename": name, "evalue": text, "traceback": list(told)}
    lines = list(ration.lines(told, False))
    return {"ename": ration.label(name), "evalue": ration.tidy(text, _TEXT), "traceback": lines}


def _page(payload: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return a page of an untrusted companion, filtered; None for a payload of another kind."""
    if payload.get("source") != "page":
        return None
    data, _ = filter_bundle(payload.get("data"), {}, name)
    return {"source": "page", "data": data, "start": 0} if data else None


def _expression(value: dict[str, Any], name: str) -> dict[str, Any]:
    if value.get("status") != "ok":
        return {"status": "error"} | _error(value, False)
    data, metadata = filter_bundle(value.get("data"), value.get("metadata"), name)
    return {"status": "ok", "data": data, "metadata": metadata}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
