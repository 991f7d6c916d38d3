"""Comms of this companion: what they tell the notebook, and what comes back (companion).

ipykernel's own comm manager does the work. Its messages are EVENTs, in their place among text and displays;
those of the notebook are requests of the host, served between cells as any kernel does.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_client.jsonutil import json_default

OUTWARD = frozenset({"comm_open", "comm_msg", "comm_close"})
"""Messages of a comm that the host relays to the notebook."""

WIDGETS = frozenset({"jupyter.widget", "jupyter.widget.control"})
"""Targets of ipywidgets; those that a page opens are the main session's, which answers for all."""


def announce(kernel: Any) -> None:
    """Let the host know the targets that are registered in this companion, now and later."""
    manager, session = kernel.comm_manager, kernel.session
    register = manager.register_target

    def register_target(target_name: str, f: Any) -> None:
        register(target_name, f)
        session.tell_target(target_name)

    manager.register_target = register_target
    for name in tuple(manager.targets):
        session.tell_target(name)


def packed(content: Mapping[str, Any], metadata: Any, buffers: Iterable[Any] | None) -> bytes:
    """Return a comm message as the JSON of an EVENT; buffers stand in it as base64.

    Args:
        content: as the Jupyter protocol has it: `comm_id`, `data`, and the target for `comm_open`.
        metadata: of the message.
        buffers: what the message carries beside.
    """
    whole = dict(content)
    if metadata:
        whole["metadata"] = metadata
    if buffers:
        whole["buffers"] = [base64.b64encode(memoryview(part).cast("B")).decode("ascii") for part in buffers]
    return json.dumps(whole, default=json_default).encode("utf-8", "replace")


def take(kernel: Any, number: int, kind: str, message: str, buffers: Iterable[bytes]) -> Any:
    """Hand a message of the notebook to the comm that it is for; what that shows belongs to the message.

    Args:
        kernel: the kernel of this companion.
        number: what the host calls the message.
        kind: `comm_msg`, `comm_close`, or `comm_open` for a target that was registered here; `resume` where
            we go on in place of a companion whose comms the notebook knows.
        message: the JSON of header, metadata and content.
        buffers: what came beside.

    Returns:
        the ids of our comms, for `resume`.
    """
    if kind == "resume":
        return _resumed(kernel)
    session = kernel.session
    told = json.loads(message)
    told["buffers"] = list(buffers)
    outer = session.under
    session.now_under(number)
    try:
        getattr(kernel.comm_manager, kind)(None, None, told)
    except BaseException:  # border: callbacks are the user's; an interrupt ends them and nothing else
        kernel.shell.showtraceback()
    finally:
        session.now_under(outer)
    return None


def _resumed(kernel: Any) -> tuple[str, ...]:
    """Tell the notebook the states of our widgets, which may be others there; return the ids of our comms."""
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    for widget in list(widgets._instances.values()) if widgets is not None else ():
        widget.send_state()
    return tuple(kernel.comm_manager.comms)
