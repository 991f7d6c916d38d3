"""The state of companions' widgets, kept here for a page that is loaded again (face).

A page that finds its kernel alive asks for the states of all widgets at once. Companions may be busy then,
so the answer is made of what they have told; ipywidgets of the main session adds its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ipykernel.comm.comm import BaseComm

WIDGET = "jupyter.widget"
_CONTROL = "jupyter.widget.control"
_MODEL = ("model_name", "model_module", "model_module_version")


def first(data: Any, buffers: list[Any]) -> dict[str, Any]:
    """Return the state that a widget has been opened with."""
    state: dict[str, Any] = {}
    update(state, {**data, "method": "update"}, buffers)
    return state


def update(state: dict[str, Any], data: Any, buffers: list[Any]) -> None:
    """Take note of what a message says of a widget's state, from either side.

    Args:
        state: is changed.
        data: of the message.
        buffers: belong into the places that `buffer_paths` of the data names.
    """
    if not isinstance(data, dict) or data.get("method") not in ("update", "echo_update"):
        return
    new = copy.deepcopy(data.get("state") or {})
    for path, buffer in zip(data.get("buffer_paths") or (), buffers, strict=False):
        place = new
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = bytes(buffer)
    state.update(new)


def answer_for_all(kernel: Any, relays: Mapping[Any, Any]) -> None:
    """Answer for the widgets of companions too when a page asks for all states.

    Args:
        kernel: the main session's.
        relays: those of all companions.
    """
    if getattr(kernel, "shell", None) is not None:
        import ipywidgets  # noqa: F401 - it registers its target when it is imported, which must not be later

    targets = kernel.comm_manager.targets
    if type(targets.get(_CONTROL)) is not _Control:
        targets[_CONTROL] = _Control(targets.get(_CONTROL), relays)


class _Control:
    """Serve the comm that a page asks for all states on."""

    def __init__(self, own: Any, relays: Mapping[Any, Any]) -> None:
        self.own = own
        self._relays = relays

    def __call__(self, comm: BaseComm, message: dict[str, Any]) -> None:
        """Take a comm that a page has opened."""
        ear = _Ear()
        if self.own is not None:
            self.own(ear, message)
        comm.on_msg(lambda asked: self._answer(comm, ear, asked))

    def _answer(self, comm: BaseComm, ear: _Ear, asked: dict[str, Any]) -> None:
        ear.told = ({"method": "update_states", "states": {}, "buffer_paths": []}, [])
        if ear.hear is not None:
            ear.hear(asked)
        data, buffers = ear.told
        states, paths, buffers = dict(data["states"]), list(data["buffer_paths"]), list(buffers)
        for name, twin in [
            (name, twin) for relay in list(self._relays.values()) for name, twin in list(relay.twins.items())
        ]:
            if twin.state is None:
                continue
            plain = _without_bytes(twin.state, [name, "state"], paths, buffers)
            states[name] = {key: plain.get(f"_{key}") for key in _MODEL} | {"state": plain}
        comm.send({**data, "states": states, "buffer_paths": paths}, buffers=buffers)


class _Ear:
    """Stand for the page's comm before ipywidgets of the main session, and hear its answer."""

    def __init__(self) -> None:
        self.hear: Any = None
        self.told: tuple[dict[str, Any], list[Any]] = ({}, [])

    def on_msg(self, callback: Any) -> None:
        """Take what serves the comm."""
        self.hear = callback

    def send(self, data: dict[str, Any], metadata: Any = None, buffers: Any = None) -> None:
        """Hear an answer."""
        self.told = (data, list(buffers or ()))


def _without_bytes(value: Any, path: list[Any], paths: list[list[Any]], buffers: list[Any]) -> Any:
    """Return a copy of a state without its bytes, which go into `buffers`, and their places into `paths`."""
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            if isinstance(item, bytes):
                paths.append([*path, key])
                buffers.append(item)
            else:
                kept[key] = _without_bytes(item, [*path, key], paths, buffers)
        return kept
    if isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, bytes):
                paths.append([*path, place])
                buffers.append(item)
        return [
            None if isinstance(item, bytes) else _without_bytes(item, [*path, place], paths, buffers)
            for place, item in enumerate(value)
        ]
    return value
