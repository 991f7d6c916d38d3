"""A companion that is trusted but broken: what its comms say in the wrong way leaves the session usable."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from boundary.test_surface import PRELUDE, there, value
from kernels import Cell, Kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\nimport isolate_magic, ipywidgets, threading, time")
    yield made
    made.close()


@pytest.fixture
def guest(kernel: Kernel) -> Iterator[Kernel]:
    """Give a kernel with a trusted companion that knows how messages are sent."""
    cell = kernel.run(PRELUDE)
    assert cell.status == "ok", cell.error
    yield kernel
    kernel.run("isolate_magic.get_companion('guest').close()")


def well(kernel: Kernel) -> None:
    """Fail unless a new widget of the companion is opened and shown."""
    cell = there(kernel, "import ipywidgets as w\nw.IntSlider(value=3)")
    assert cell.status == "ok", cell.error
    assert "IntSlider" in str(cell.of("comm_open"))


def logged(cell: Cell) -> list[str]:
    return cell.stream("stderr").splitlines()


NONSENSE = {
    "no id": "",
    "a state that is none": "comm_id='a', target_name='jupyter.widget', data=dict(state=5)",
    "no data": "comm_id='b', target_name='jupyter.widget', data=[1]",
    "a place that is not there": "comm_id='c', target_name='jupyter.widget', data=dict(state=dict(a=1), buffer_paths=[['x', 'y']]), buffers=['AAAA']",
    "no place": "comm_id='d', target_name='jupyter.widget', data=dict(state=dict(a=1), buffer_paths=[[]]), buffers=['AAAA']",
    "no base64": "comm_id='e', target_name='t', buffers=['!']",
    "no list of buffers": "comm_id='f', target_name='t', buffers=5",
    "one comm again and again": "comm_id='g', target_name='jupyter.widget', data=dict(state={})",
    "deep": "comm_id='h', target_name='jupyter.widget', data=dict(state=__import__('functools').reduce(lambda x, _: [x], range(900), 1))",
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_a_comm_message_without_sense_is_left_out_and_told_of_a_few_times(guest: Kernel, said: str) -> None:
    code = "for kind in ('comm_open', 'comm_msg', 'comm_close', 'comm_target', 'comm_under') * 40:\n"
    cell = there(guest, f"{code}    show(kind, {said})\ntime.sleep(0.3)")
    assert cell.status == "ok", cell.error
    lines = logged(cell)
    assert len(lines) <= 10
    assert "Traceback" not in cell.stream("stderr")
    assert max(map(len, lines), default=0) < 400
    well(guest)


def test_comms_without_end_leave_nothing_behind(guest: Kernel) -> None:
    before = value(
        guest, "len(get_ipython().kernel.comm_manager.comms), len(get_ipython().kernel.comm_manager.targets)"
    )
    there(
        guest,
        "for i in range(500):\n"
        "    show('comm_open', comm_id=f'o{i}', target_name='jupyter.widget', data=dict(state={'a': 1}))\n"
        "    show('comm_target', target_name=f't{i}')",
    )
    assert int(value(guest, "len(get_ipython().kernel.comm_manager.comms)")) >= 500
    guest.run("isolate_magic.get_companion('guest').stop()")
    assert (
        value(
            guest,
            "len(get_ipython().kernel.comm_manager.comms), len(get_ipython().kernel.comm_manager.targets)",
        )
        == before
    )


def test_a_flood_of_messages_holds_no_cell_up(guest: Kernel) -> None:
    there(
        guest,
        "show('comm_open', comm_id='m', target_name='jupyter.widget', data=dict(state={'a': 1}))\n"
        "def flood():\n    while True: show('comm_msg', comm_id='m', data=dict(method='update', state=dict(a='x' * 100)))\n"
        "threading.Thread(target=flood, daemon=True).start()",
    )
    begun = time.monotonic()
    assert value(guest, "6 * 7") == "42"
    assert "8" in there(guest, "2 ** 3").result["text/plain"]
    assert guest.run("%isolate kill guest").status == "ok"
    assert value(guest, "6 * 7") == "42"
    assert time.monotonic() - begun < 20


def test_a_companion_that_dies_or_closes_all_in_a_callback_leaves_the_next_cell_as_it_is(
    guest: Kernel,
) -> None:
    for ends in (
        "os.abort()",
        "w.Widget.close_all(); show('comm_close', comm_id=s.model_id)",
        "talk.sock.close()",
    ):
        cell = there(
            guest,
            f"import ipywidgets as w\ns = w.IntSlider()\ndef moved(change):\n    {ends}\n"
            "s.observe(moved, 'value')\nprint(s.model_id)",
        )
        data = {"method": "update", "state": {"value": 5}, "buffer_paths": []}
        content = {"comm_id": cell.stream().strip(), "data": data}
        guest.client.shell_channel.send(guest.client.session.msg("comm_msg", content))
        assert value(guest, "6 * 7") == "42"
        assert guest.run(PRELUDE).status == "ok"
    well(guest)
