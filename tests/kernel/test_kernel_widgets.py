"""Widgets and other comms of the isolated kernel: what a page opens, moves and asks for."""

from __future__ import annotations

from typing import Any

import pytest
from face.test_comms import VIEW, Page, model_of, said
from kernels import Kernel


@pytest.fixture
def page(kernel: Kernel) -> Page:
    assert kernel.run("import ipywidgets as w").status == "ok"
    return Page(kernel)


def test_a_widget_is_opened_shown_and_moved(page: Page, kernel: Kernel) -> None:
    cell = kernel.run("s = w.IntSlider(value=3)\ns.observe(lambda c: print('saw', c.new), 'value')\ns")
    model = model_of(cell)
    (opened,) = [c for c in cell.of("comm_open") if c["comm_id"] == model]
    assert opened["data"]["state"]["value"] == 3
    assert cell.result["text/plain"] == "IntSlider(value=3)"
    assert said(page.move(model, 8)) == "saw 8\n"
    assert kernel.run("s.value").result["text/plain"] == "8"
    (moved,) = kernel.run("s.value = 5").of("comm_msg")
    assert moved["data"]["state"]["value"] == 5


def test_interact_and_output_widgets_work(page: Page, kernel: Kernel) -> None:
    cell = kernel.run("def f(x=3): print('x is', x)\nw.interact(f);")
    sliders = [
        c["comm_id"]
        for c in cell.of("comm_open")
        if c["data"]["state"].get("_model_name") == "IntSliderModel"
    ]
    page.move(sliders[-1], 7)
    output = kernel.run("out = w.Output()\nwith out: print('into it')\nout")
    updates = [c["data"]["state"] for c in output.of("comm_msg")]
    assert any(state.get("msg_id") for state in updates)
    assert output.stream() == "into it\n"


def test_a_page_that_is_loaded_again_gets_the_states(page: Page, kernel: Kernel) -> None:
    model = model_of(kernel.run("t = w.IntSlider(value=31)\nt"))
    states, _ = page.states()
    assert states[model]["state"]["value"] == 31


def test_a_page_opens_comms_towards_targets_of_the_cells(page: Page, kernel: Kernel) -> None:
    kernel.run(
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda m: comm.send({'twice': 2 * m['content']['data']['n']}))\n"
        "    comm.send({'hello': message['content']['data']})\n"
        "get_ipython().kernel.comm_manager.register_target('mine', opened)"
    )
    answers = page.until_idle(
        page.send("comm_open", {"comm_id": "c1", "target_name": "mine", "data": {"a": 1}})
    )
    assert answers[0]["content"]["data"] == {"hello": {"a": 1}}
    assert page.tell("c1", {"n": 21})[0]["content"]["data"] == {"twice": 42}
    kernel.client.comm_info(target_name="mine")
    reply = kernel.client.get_shell_msg(timeout=30)
    assert reply["content"]["comms"] == {"c1": {"target_name": "mine"}}


def test_an_error_of_a_callback_is_shown_and_ends_nothing(page: Page, kernel: Kernel) -> None:
    model = model_of(kernel.run("b = w.IntSlider()\nb.observe(lambda c: 1 / 0, 'value')\nb"))
    (error,) = [m for m in page.move(model, 2) if m["msg_type"] == "error"]
    assert error["content"]["ename"] == "ZeroDivisionError"
    assert kernel.run("b.value").result["text/plain"] == "2"


def test_widgets_go_on_after_a_callback_that_crashes_and_the_next_cell_says_so(
    page: Page, kernel: Kernel
) -> None:
    model = model_of(
        kernel.run(
            "import os\ndef saw(c):\n    os.abort() if c.new == 2 else print('saw', c.new)\n"
            "b = w.IntSlider(value=1)\nb.observe(saw, 'value')\nb"
        )
    )
    page.move(model, 2)
    assert said(page.move(model, 3)) == "saw 3\n"
    after = kernel.run("b.value")
    assert after.result["text/plain"] == "3"
    assert "died in a message of a widget: SIGABRT" in after.stream("stderr")


def test_widgets_of_an_untrusted_kernel_are_text(student: Kernel) -> None:
    cell = student.run("import ipywidgets\nipywidgets.IntSlider(value=3)")
    assert cell.of("comm_open") == []
    assert VIEW not in cell.result
    assert "IntSlider(value=3)" in cell.result["text/plain"]
    assert f"dropped 1 {VIEW}" in cell.stream("stderr")


def test_what_a_page_sends_to_an_untrusted_kernel_reaches_nobody(student: Kernel) -> None:
    page = Page(student)
    target: dict[str, Any] = {"comm_id": "c2", "target_name": "jupyter.widget.control", "data": {}}
    answers = page.until_idle(page.send("comm_open", target, version="1.0.0"))
    assert "No such comm target registered" in said(answers)
    assert answers[-1]["msg_type"] == "comm_close"
