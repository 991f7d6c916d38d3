"""Widgets and comms of a companion in a real kernel: what goes out, what comes in, and the end."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel
from waiting import until

VIEW = "application/vnd.jupyter.widget-view+json"
ANSWERS = (
    "comm_open",
    "comm_msg",
    "comm_close",
    "stream",
    "display_data",
    "update_display_data",
    "error",
    "clear_output",
)


class Page:
    """Be the page that a kernel's widgets are shown on."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.client = kernel.client

    def send(self, kind: str, content: dict[str, Any], buffers: Any = None, **metadata: Any) -> str:
        """Send a message and return its id."""
        session = self.client.session
        message = session.msg(kind, content, metadata=metadata)
        session.send(self.client.shell_channel.socket, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    def until_idle(self, sent: str) -> list[dict[str, Any]]:
        """Return what has come under a message until the kernel was done with it."""
        found: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] in ANSWERS:
                found.append(message)
            elif message["content"].get("execution_state") == "idle":
                return found

    def until(self, kind: str, sent: str | None = None) -> dict[str, Any]:
        """Return the next message of a type, under one that was sent or under any."""
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=30)
            if message["msg_type"] == kind and sent in (None, message["parent_header"].get("msg_id")):
                return message

    def tell(self, comm: str, data: dict[str, Any], buffers: Any = None) -> list[dict[str, Any]]:
        """Send a comm message and return the answers."""
        return self.until_idle(self.send("comm_msg", {"comm_id": comm, "data": data}, buffers))

    def move(self, model: str, value: Any) -> list[dict[str, Any]]:
        """Move a slider."""
        return self.tell(model, {"method": "update", "state": {"value": value}})

    def states(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask for the states of all widgets, as a page that is loaded again; return them and the message."""
        name = uuid.uuid4().hex
        target = {"comm_id": name, "target_name": "jupyter.widget.control", "data": {}}
        self.until_idle(self.send("comm_open", target, version="1.0.0"))
        (answer,) = self.tell(name, {"method": "request_states"})
        self.until_idle(self.send("comm_close", {"comm_id": name, "data": {}}))
        return answer["content"]["data"]["states"], answer


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\nmanager = get_ipython().kernel.comm_manager")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """Give the kernel with a living companion of few widgets."""
    one_kernel.run("%isolate start")
    one_kernel.run("%isolate restart")
    one_kernel.run("%isolate config rewind=auto")
    assert one_kernel.run("%%isolated\nimport ipywidgets as w").status == "ok"
    return one_kernel


@pytest.fixture
def page(kernel: Kernel) -> Page:
    return Page(kernel)


def model_of(cell: Cell) -> str:
    """Return the model of the widget that a cell shows."""
    (shown,) = [c for c in cell.of("display_data", "execute_result") if VIEW in c["data"]]
    return str(shown["data"][VIEW]["model_id"])


def slider(kernel: Kernel, rest: str = "") -> str:
    return model_of(kernel.run(f"%%isolated\ns = w.IntSlider(value=3)\n{rest}\ns"))


def said(messages: list[dict[str, Any]]) -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def count(kernel: Kernel) -> int:
    """Count the comms that the main kernel knows, but for its own widgets: a crash card has some."""
    code = "from ipywidgets.widgets.widget import _instances\nlen(manager.comms.keys() - _instances.keys())"
    return int(kernel.run(code).result["text/plain"])


# ---------------------------------------------------------------- both ways


def test_a_widget_is_opened_and_shown_with_text_beside(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\ns = w.IntSlider(value=3)\ns")
    opened = [c for c in cell.of("comm_open") if c["comm_id"] == model_of(cell)]
    assert opened[0]["target_name"] == "jupyter.widget"
    assert opened[0]["data"]["state"]["value"] == 3
    assert cell.result["text/plain"] == "IntSlider(value=3)"


def test_moving_it_changes_its_value_and_runs_callbacks_there(page: Page, kernel: Kernel) -> None:
    model = slider(kernel, "import os\ns.observe(lambda c: print(os.getpid(), 'saw', c.new), 'value')")
    pid = kernel.run("%%isolated\nos.getpid()").result["text/plain"]
    assert said(page.move(model, 8)) == f"{pid} saw 8\n"
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "8"


def test_a_later_cell_moves_it(kernel: Kernel) -> None:
    model = slider(kernel)
    (moved,) = kernel.run("%%isolated\ns.value = 9").of("comm_msg")
    assert (moved["comm_id"], moved["data"]["state"]) == (model, {"value": 9})


def test_what_a_comm_says_keeps_its_place_among_text_and_displays(kernel: Kernel) -> None:
    slider(kernel)
    cell = kernel.run(
        "%%isolated\nprint('a')\ns.value = 1\nprint('b')\ndisplay('c')\ns.value = 2\nprint('d')"
    )
    kinds = [content.get("text", kind).strip() for kind, content in cell.messages]
    assert kinds == ["a", "comm_msg", "b", "display_data", "comm_msg", "d"]


def test_a_button_runs_its_callback(page: Page, kernel: Kernel) -> None:
    model = model_of(kernel.run("%%isolated\nb = w.Button()\nb.on_click(lambda b: print('clicked'))\nb"))
    assert said(page.tell(model, {"method": "custom", "content": {"event": "click"}})) == "clicked\n"


def test_an_output_widget_captures_by_the_message_that_it_names(page: Page, kernel: Kernel) -> None:
    model = slider(
        kernel,
        "out = w.Output()\n@out.capture()\ndef caught(change):\n    print('inside')\n    1 / 0\n"
        "s.observe(caught, 'value')",
    )
    sent = page.send("comm_msg", {"comm_id": model, "data": {"method": "update", "state": {"value": 5}}})
    names, kinds = [], []
    for message in page.until_idle(sent):
        state = message["content"].get("data", {}).get("state", {})
        names += [state["msg_id"]] if "msg_id" in state else []
        kinds.append(message["msg_type"])
    assert names == [sent, ""]
    assert kinds == ["comm_msg", "comm_msg", "stream", "error", "comm_msg"]


def test_an_output_widget_captures_in_a_cell_by_the_cells_message(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%isolated\nout = w.Output()\nwith out:\n    print('inside')\n    1 / 0\nprint('after')"
    )
    names = [c["data"]["state"]["msg_id"] for c in cell.of("comm_msg") if "msg_id" in c["data"]["state"]]
    assert names[0].startswith(kernel.client.session.session)
    assert names[1] == ""
    kinds = [kind for kind, _ in cell.messages if kind in ("stream", "error")]
    assert (cell.status, kinds) == ("ok", ["stream", "error", "stream"])


def test_an_error_of_a_callback_shows_below_its_widget_and_ends_nothing(page: Page, kernel: Kernel) -> None:
    model = slider(kernel, "s.observe(lambda c: 1 / 0, 'value')")
    page.until(
        "error",
        page.send("comm_msg", {"comm_id": model, "data": {"method": "update", "state": {"value": 4}}}),
    )
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "4"


def test_buffers_cross_both_ways_as_they_are(page: Page, kernel: Kernel) -> None:
    code = (
        "%%isolated\nfrom comm import create_comm\nc = create_comm('drawing', buffers=[bytes(range(256)), b''])\n"
        "c.on_msg(lambda m: c.send({'sizes': [len(b) for b in m['buffers']]}, buffers=m['buffers'][::-1]))\n"
        "c.comm_id"
    )
    sent = kernel.client.execute(code)
    opened = page.until("comm_open", sent)
    assert [bytes(part) for part in opened["buffers"]] == [bytes(range(256)), b""]
    page.until_idle(sent)
    large = b"\0\xff" * 1_000_000
    answer = page.tell(opened["content"]["comm_id"], {}, [b"first", large])[0]
    assert answer["content"]["data"] == {"sizes": [5, 2_000_000]}
    assert [bytes(part) for part in answer["buffers"]] == [large, b"first"]


def test_the_page_may_open_a_comm_towards_a_target_in_the_companion(page: Page, kernel: Kernel) -> None:
    kernel.run(
        "%%isolated\ndef opened(comm, message):\n    comm.on_msg(lambda m: comm.send({'twice': 2 * m['content']['data']['x']}))\n"
        "    comm.send({'hello': message['content']['data']['name']})\n"
        "get_ipython().kernel.comm_manager.register_target('calculator', opened)"
    )
    before = count(kernel)
    content = {"comm_id": "c1", "target_name": "calculator", "data": {"name": "Ada"}}
    (answer,) = page.until_idle(page.send("comm_open", content))
    assert answer["content"]["data"] == {"hello": "Ada"}
    assert page.tell("c1", {"x": 21})[0]["content"]["data"] == {"twice": 42}
    page.until_idle(page.send("comm_close", {"comm_id": "c1", "data": {}}))
    assert count(kernel) == before
    kernel.run("%isolate stop")
    assert kernel.run("'calculator' in manager.targets").result["text/plain"] == "False"


def test_a_target_of_the_main_session_stays_its_own(page: Page, kernel: Kernel) -> None:
    kernel.run("manager.register_target('mine', lambda comm, message: comm.send({'from': 'here'}))")
    kernel.run("%%isolated\nget_ipython().kernel.comm_manager.register_target('mine', print)")
    opened = page.until_idle(page.send("comm_open", {"comm_id": "c2", "target_name": "mine", "data": {}}))
    assert opened[0]["content"]["data"] == {"from": "here"}
    kernel.run("manager.unregister_target('mine', None); manager.comms.pop('c2', None)")


# ---------------------------------------------------------------- a page that is loaded again


def test_a_reloaded_page_gets_the_present_state_of_all_widgets(page: Page, kernel: Kernel) -> None:
    model = slider(kernel)
    page.move(model, 6)
    kernel.run("%%isolated\ns.max = 50")
    own = model_of(kernel.run("import ipywidgets\nipywidgets.IntSlider(value=11)"))
    states, _ = page.states()
    assert (states[model]["state"]["value"], states[model]["state"]["max"]) == (6, 50)
    assert states[model]["model_name"] == "IntSliderModel"
    assert states[own]["state"]["value"] == 11


def test_a_reloaded_page_gets_bytes_at_their_places(page: Page, kernel: Kernel) -> None:
    model = model_of(kernel.run("%%isolated\ni = w.Image(value=b'GIF89a', width=10)\ni"))
    states, answer = page.states()
    paths = answer["content"]["data"]["buffer_paths"]
    place = paths.index([model, "state", "value"])
    assert bytes(answer["buffers"][place]) == b"GIF89a"
    assert "value" not in states[model]["state"]


def test_comm_info_lists_the_widgets(page: Page, kernel: Kernel) -> None:
    model = slider(kernel)
    page.client.comm_info(target_name="jupyter.widget")
    while (reply := page.client.get_shell_msg(timeout=10))["msg_type"] != "comm_info_reply":
        pass
    assert model in reply["content"]["comms"]


# ---------------------------------------------------------------- a companion that is busy


@pytest.fixture
def busy(kernel: Kernel, tmp_path: Path) -> Iterator[Path]:
    """Keep the companion busy in another thread until a file is there, whose path this is."""
    go = tmp_path / "go"
    kernel.run(
        "def wait(path):\n    import os, time\n    open(path + '-begun', 'w').close()\n    while not os.path.exists(path): time.sleep(0.01)\n"
        "from threading import Thread\nfrom isolate_magic import get_companion\n"
        "seen = []"
    )
    yield go
    go.touch()
    kernel.run("thread.join()")


def hold(kernel: Kernel, go: Path) -> None:
    code = f"thread = Thread(target=get_companion('default').call, args=(wait, {str(go)!r})); thread.start()"
    assert kernel.run(code).status == "ok"
    until(Path(f"{go}-begun").exists)


def test_a_busy_companion_does_not_hold_up_the_main_kernel(page: Page, kernel: Kernel, busy: Path) -> None:
    model = slider(kernel, "seen = []\ns.observe(lambda c: seen.append(c.new), 'value')")
    hold(kernel, busy)
    begun = time.monotonic()
    for value in range(10, 60):
        assert page.move(model, value) == []
    assert kernel.run("thread.is_alive()").result["text/plain"] == "True"
    assert time.monotonic() - begun < 5
    busy.touch()
    kernel.run("thread.join()")
    assert kernel.run("%%isolated\nseen[-1]").result["text/plain"] == "59"
    # The first was on its way already, and the others were merged into one.
    assert kernel.run("%%isolated\nlen(seen)").result["text/plain"] in ("2", "3")


def test_no_value_is_merged_across_a_click(page: Page, kernel: Kernel, busy: Path) -> None:
    model = slider(kernel, "b = w.Button(); clicks = []\nb.on_click(lambda b: clicks.append(s.value))")
    button = model_of(kernel.run("%%isolated\nb"))
    hold(kernel, busy)
    for value in (10, 11, 12):
        page.move(model, value)
    page.tell(button, {"method": "custom", "content": {"event": "click"}})
    for value in (20, 21):
        page.move(model, value)
    sent = page.send(
        "comm_msg", {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    )
    page.until_idle(sent)
    busy.touch()
    kernel.run("thread.join()")  # the next cell waits for what was moved before it
    assert kernel.run("%%isolated\nclicks").result["text/plain"] == "[12, 21]"


def test_a_callback_runs_after_the_cell_that_waits_for_the_main_session(kernel: Kernel) -> None:
    code = (
        "from isolate_magic.face import comms\n(relay,) = comms.relays.values()\n"
        "def meanwhile(model):\n"
        "    message = {'header': {}, 'content': {'comm_id': model, 'data': {'method': 'update', 'state': {'value': 7}}}}\n"
        "    Thread(target=relay.twins[model].handle_msg, args=(message,)).start()\n"
        "    while not relay.mailbox.under_way: pass\n"
    )
    model = slider(kernel)
    assert kernel.run("from threading import Thread\n" + code).status == "ok"
    cell = kernel.run(f"%%isolated -i meanwhile\nmeanwhile({model!r})\nprint(s.value)")
    assert cell.stream() == "3\n"
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "7"


def test_a_cell_that_awaits_a_widget_gets_its_message(page: Page, kernel: Kernel) -> None:
    model = slider(kernel)
    code = (
        "%%isolated\nimport asyncio\nmoved = asyncio.get_running_loop().create_future()\n"
        "s.observe(lambda c: moved.set_result(c.new), 'value')\nprint('waits')\nawait moved"
    )
    kernel.run(
        "from isolate_magic.face import comms\nfrom threading import Thread\n"
        "def move(model):\n    (relay,) = comms.relays.values()\n"
        "    message = {'header': {}, 'content': {'comm_id': model, 'data': {'method': 'update', 'state': {'value': 8}}}}\n"
        "    relay.twins[model].handle_msg(message)"
    )
    kernel.run(f"from threading import Timer\ntimer = Timer(1, move, ({model!r},)); timer.start()")
    assert kernel.run(code).result["text/plain"] == "8"


def test_an_interrupt_ends_a_callback_and_nothing_else(page: Page, kernel: Kernel) -> None:
    model = slider(
        kernel,
        "import time\ndef endless(c):\n    print('began')\n    while True: pass\ns.observe(endless, 'value')",
    )
    sent = page.send("comm_msg", {"comm_id": model, "data": {"method": "update", "state": {"value": 4}}})
    page.until("stream", sent)
    kernel.manager.interrupt_kernel()
    found = page.until_idle(sent)
    assert any("KeyboardInterrupt" in str(m["content"]) for m in found)
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "4"


def test_an_interrupt_of_a_cell_that_waits_for_a_callback_ends_the_callback(
    page: Page, kernel: Kernel
) -> None:
    model = slider(
        kernel,
        "def endless(c):\n    print('began', flush=True)\n    while True: pass\ns.observe(endless, 'value')",
    )
    kernel.run(
        "from threading import Thread\nfrom isolate_magic.face import comms\n(relay,) = comms.relays.values()\n"
        "message = {'header': {}, 'content': {'data': {'method': 'update', 'state': {'value': 7}}}}\n"
        f"message['content']['comm_id'] = {model!r}\n"
        "moving = Thread(target=relay.twins[message['content']['comm_id']].handle_msg, args=(message,))\n"
        "moving.start()\nwhile not (relay.mailbox.under_way and relay.mailbox.under_way.begun): pass"
    )
    kernel.run(
        "import signal, sys, threading, traceback\nmain = threading.main_thread().ident\n"
        "def press():\n"
        "    names = set()\n"
        "    while not names >= {'settle', 'wait'}:\n"
        "        frames = traceback.walk_stack(sys._current_frames()[main])\n"
        "        names = {frame.f_code.co_name for frame, _ in frames}\n"
        "    signal.pthread_kill(main, signal.SIGINT)\n"
        "Thread(target=press).start()"
    )
    page.until_idle(kernel.client.execute("get_ipython().run_cell_magic('isolated', '', '1')"))
    kernel.run("moving.join()")
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "7"


def test_dragging_lags_little_more_than_in_the_main_session(page: Page, kernel: Kernel) -> None:
    there = slider(kernel, "l = w.Label()\ns.observe(lambda c: setattr(l, 'value', str(c.new)), 'value')")
    here = model_of(
        kernel.run(
            "import ipywidgets as w\ns = w.IntSlider()\nl = w.Label()\n"
            "s.observe(lambda c: setattr(l, 'value', str(c.new)), 'value')\ns"
        )
    )
    seconds: dict[str, list[float]] = {here: [], there: []}
    for value in range(50):
        for model, found in seconds.items():
            begun = time.perf_counter()
            page.move(model, value + 5)
            found.append(time.perf_counter() - begun)
    assert statistics.median(seconds[there]) < statistics.median(seconds[here]) + 0.02


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("%isolate stop", "companion 'default' was stopped; run the cell again"),
        ("%isolate restart", "companion 'default' was stopped; run the cell again"),
        ("%%isolated\nimport os; os.abort()", "companion 'default' died; run the cell again"),
    ],
)
def test_the_end_of_a_companion_closes_its_comms_and_says_so(
    page: Page, kernel: Kernel, end: str, text: str
) -> None:
    kernel.run("%isolate config rewind=off")
    before = count(kernel)
    shown = kernel.run("%%isolated\ns = w.IntSlider()\ndisplay(s)").of("display_data")[0]
    value = kernel.client.execute("%%isolated\ns")
    page.until_idle(value)
    sent = kernel.client.execute(end)
    updated = page.until("update_display_data")
    assert updated["content"]["transient"] == {"display_id": shown["transient"]["display_id"]}
    assert updated["content"]["data"]["text/plain"] == text
    assert page.until("display_data", value)["content"]["data"]["text/plain"] == text
    closed = page.until("comm_close")["content"]["comm_id"]
    assert closed
    page.until_idle(sent)
    assert count(kernel) == before


def test_a_companion_that_dies_in_a_callback_holds_nobody_up(page: Page, kernel: Kernel) -> None:
    kernel.run("%isolate config rewind=off")
    before = count(kernel)
    model = slider(kernel, "import os\ns.observe(lambda c: os.abort(), 'value')")
    found = page.move(model, 4)
    assert model in [m["content"]["comm_id"] for m in found if m["msg_type"] == "comm_close"]
    assert count(kernel) == before
    assert kernel.run("%%isolated\n1 + 1").result["text/plain"] == "2"


def test_a_callback_that_kills_its_companion_costs_no_widget(page: Page, kernel: Kernel) -> None:
    model = slider(kernel, "import os\ns.observe(lambda c: os.abort() if c.new == 4 else None, 'value')")
    found = page.move(model, 4)
    states = [m["content"]["data"].get("state", {}) for m in found if m["content"].get("comm_id") == model]
    assert states[-1]["value"] == 3  # the page shows what holds there
    assert not [m for m in found if m["msg_type"] == "comm_close"]
    page.move(model, 5)
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "5"


def test_a_widget_of_the_cell_that_died_is_closed(page: Page, kernel: Kernel) -> None:
    model = slider(kernel)
    before = count(kernel)
    died = kernel.run("%%isolated\nt = w.IntSlider()\ndisplay(t)\nimport os; os.abort()")
    assert len(died.of("comm_close")) == 3
    assert count(kernel) == before
    page.move(model, 6)
    assert kernel.run("%%isolated\ns.value").result["text/plain"] == "6"


def test_unloading_closes_what_is_open(kernel: Kernel) -> None:
    before = count(kernel)
    slider(kernel)
    assert count(kernel) > before
    kernel.run("%reload_ext isolate_magic")
    assert count(kernel) == before


def test_nothing_is_left_behind_by_many_widgets(page: Page, kernel: Kernel) -> None:
    before = count(kernel)
    kernel.run("%%isolated\nfor i in range(200): w.IntSlider().close()")
    model = slider(kernel)
    kernel.run("%%isolated\ns.close()")
    page.move(model, 1)  # whose page has not seen yet that it is closed
    kernel.run("%isolate stop")
    assert count(kernel) == before
    assert kernel.run("from isolate_magic.face import comms; len(comms.relays)").result["text/plain"] == "0"


def test_a_widget_that_is_closed_is_closed_in_the_page(kernel: Kernel) -> None:
    model = slider(kernel)
    closed = kernel.run("%%isolated\ns.close()").of("comm_close")
    assert model in [content["comm_id"] for content in closed]
    assert kernel.run(f"{model!r} in manager.comms").result["text/plain"] == "False"


def test_a_quiet_cell_may_make_a_widget_that_a_later_one_shows(kernel: Kernel) -> None:
    kernel.run("%%isolated -q\ns = w.IntSlider()")
    model = model_of(kernel.run("%%isolated\ns"))
    assert kernel.run(f"{model!r} in manager.comms").result["text/plain"] == "True"


# ---------------------------------------------------------------- who is not trusted


def test_widgets_of_an_untrusted_companion_show_as_text(kernel: Kernel) -> None:
    before = count(kernel)
    kernel.run("%isolate start stranger --policy untrusted")
    cell = kernel.run("%%isolated -c stranger\nimport ipywidgets as w\nw.IntSlider(value=3)")
    assert "IntSlider(value=3)" in cell.result["text/plain"]
    assert VIEW not in cell.result
    assert f"1 {VIEW}" in cell.stream("stderr")
    assert cell.of("comm_open", "comm_msg") == []
    assert count(kernel) == before


def test_an_untrusted_companion_that_opens_comms_is_refused_and_counted(kernel: Kernel) -> None:
    before = count(kernel)
    kernel.run("%isolate start stranger --policy untrusted")
    cell = kernel.run(
        "%%isolated -c stranger\nsession = get_ipython().kernel.session; session.relays = True\n"
        "from comm import create_comm\nc = create_comm('x'); c.send({}); c.close()\n"
        "session.now_under(1); session.tell_target('evil')"
    )
    dropped = "dropped 3 unknown type messages, 1 comm_open message, 1 comm_msg message"
    assert dropped in cell.stream("stderr")
    assert cell.of("comm_open", "comm_msg", "comm_close") == []
    assert count(kernel) == before
    assert kernel.run("'evil' in manager.targets").result["text/plain"] == "False"


def test_an_untrusted_companion_learns_of_no_message(kernel: Kernel) -> None:
    kernel.run("%isolate start stranger --policy untrusted")
    code = "%%isolated -c stranger\nfrom isolate_magic.link import packing\npacking.here.ask_host('parent')"
    assert kernel.run(code).reply["ename"] == "PermissionError"


# ---------------------------------------------------------------- without a page


def test_a_saved_notebook_holds_the_widget_its_state_and_the_text_beside(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    sources = ["%load_ext isolate_magic", "%%isolated\nimport ipywidgets as w\nw.IntSlider(value=3)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = notebook.cells[1].outputs
    assert shown["data"]["text/plain"] == "IntSlider(value=3)"
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert state[shown["data"][VIEW]["model_id"]]["state"]["value"] == 3


def test_in_a_terminal_a_widget_prints_its_text() -> None:
    code = (
        "from IPython.terminal.interactiveshell import TerminalInteractiveShell\n"
        "shell = TerminalInteractiveShell.instance(simple_prompt=True)\n"
        "shell.run_cell('%load_ext isolate_magic')\n"
        "shell.run_cell('%%isolated\\nimport ipywidgets as w\\nout = w.Output()\\n"
        "with out: 1 / 0\\nw.IntSlider(value=3)', store_history=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "IntSlider(value=3)" in done.stdout
    assert "ZeroDivisionError" in done.stderr


def test_without_ipython_nothing_is_relayed_and_errors_of_output_widgets_are_printed() -> None:
    code = (
        "from isolate_magic import Companion\n"
        "with Companion('plain') as companion:\n"
        "    print(companion.run('import ipywidgets as w; s = w.IntSlider(value=3); s.value'))\n"
        "    companion.run('with w.Output(): 1 / 0')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "3\n"
    assert "ZeroDivisionError" in done.stderr


# ---------------------------------------------------------------- a cell in the background


def test_widgets_of_a_background_cell_belong_to_it(page: Page, kernel: Kernel) -> None:
    sent = kernel.client.execute(
        "%%isolated -b\nout = w.Output()\nwith out:\n    print('inside')\n    1 / 0\ndisplay(out)\ns = w.IntSlider()\ns"
    )
    named = page.until("comm_msg")["content"]["data"]["state"]["msg_id"]
    assert named == sent
    assert page.until("stream", sent)["content"]["text"].startswith("inside")
    assert page.until("error", sent)["content"]["ename"] == "ZeroDivisionError"
    shown = page.until("display_data", sent)["content"]
    while VIEW not in shown["data"]:
        shown = page.until("display_data", sent)["content"]
    assert VIEW in page.until("execute_result", sent)["content"]["data"]
    kernel.run("%isolate result")
    kernel.client.execute("%isolate stop")
    updated = page.until("update_display_data")["content"]
    while "stopped" not in updated["data"]["text/plain"]:
        updated = page.until("update_display_data")["content"]
    assert updated["transient"] == {"display_id": shown["transient"]["display_id"]}


def test_a_background_cell_cannot_ask(kernel: Kernel) -> None:
    kernel.run("%%isolated -b\ninput()")
    cell = kernel.run("%isolate result", allow_stdin=True, stdin_hook=lambda message: None)
    assert "from a cell that runs in the foreground" in cell.error
