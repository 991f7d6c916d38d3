"""The resource view in a real JupyterLab: it lives, it goes on while cells run, it can be closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from browser.lab import Notebook, Server
from waiting import until

CLOSE = ".widget-button"
WIDGET = "application/vnd.jupyter.widget-view+json"


def clock(notebook: Notebook, number: int) -> str:
    """Return the time that stands below the table."""
    return notebook.text(number).rpartition("updated")[2].strip()


def passes(notebook: Notebook, number: int, seconds: float = 20) -> None:
    """Wait until the table has been updated."""
    before = clock(notebook, number)
    until(lambda: clock(notebook, number) not in ("", before), seconds)


def live(notebook: Notebook) -> int:
    notebook.run("%isolate start worker --policy untrusted")
    notebook.run("%isolate top")
    notebook.wait_for(2, "worker")
    return 2


def test_it_shows_every_companion_and_keeps_up(notebook: Notebook) -> None:
    number = live(notebook)
    assert "of 1 GiB" in notebook.text(number)
    assert notebook.output(number).locator("svg").count() == 2
    passes(notebook, number)
    notebook.run("%isolate start second")
    notebook.wait_for(number, "second")


def test_it_goes_on_while_cells_run_here_and_there(notebook: Notebook) -> None:
    number = live(notebook)
    for source in ("import time\ntime.sleep(3)", "%%isolated -c worker\nimport time\ntime.sleep(3)"):
        running = notebook.start(source)
        notebook.page.wait_for_function("document.querySelector('.jp-mod-running, [data-status=busy]')")
        passes(notebook, number, 3)
        assert "[*]" in notebook.cell(running).locator(".jp-InputPrompt").inner_text()
        notebook.wait(running)


def test_the_button_leaves_a_picture(notebook: Notebook) -> None:
    number = live(notebook)
    notebook.output(number).locator(CLOSE).click()
    notebook.wait_for(number, "closed at")
    assert notebook.output(number).locator(CLOSE).count() == 0
    assert "of 1 GiB" in notebook.text(number)


def test_it_rests_when_its_output_is_gone(notebook: Notebook) -> None:
    number = live(notebook)
    passes(notebook, number)
    notebook.run("from isolate_magic.face import top; top._UNSEEN = 0.1")
    notebook.cell(number).locator(".jp-InputPrompt").click()
    notebook.page.keyboard.press("d")
    notebook.page.keyboard.press("d")  # deletes the cell
    code = "import threading; 'isolate_magic-top' in [one.name for one in threading.enumerate()]"
    until(lambda: "False" in notebook.run(code), 30)


def test_a_saved_notebook_has_the_facts_without_the_widget(
    notebook: Notebook, server: Server, request: pytest.FixtureRequest
) -> None:
    number = live(notebook)
    file = server.folder / f"{request.node.name}.ipynb"

    def saved() -> dict[str, Any]:
        notebook.save()
        try:
            data: dict[str, Any] = json.loads(file.read_text())["cells"][number]["outputs"][0]["data"]
        except (ValueError, LookupError):  # it is being written, or has not been yet
            return {}
        return {mime: "".join(body) for mime, body in data.items()}

    until(lambda: set(saved()) == {WIDGET, "text/html", "text/plain"}, 20)
    until(lambda: "of 1 GiB" in saved().get("text/html", ""), 20)
    notebook.output(number).locator(CLOSE).click()
    notebook.wait_for(number, "closed at")
    until(lambda: set(saved()) == {"text/html", "text/plain"}, 20)
    until(lambda: "closed at" in saved().get("text/html", ""), 20)


def test_an_open_page_gives_signs_of_life_also_when_it_was_loaded_again(lonely: Notebook) -> None:
    lonely.run("from isolate_magic.face import top; top._PULSE = 0.2")
    lonely.run("%isolate start worker")
    number = lonely.start("%isolate top")
    lonely.wait_for(number, "worker")
    count = "top._panels[-1]._pulse.value"
    until(lambda: int(lonely.run(f"print({count})")) > 2, 20)
    lonely.save()
    lonely.page.reload()
    lonely.page.wait_for_selector(".isolate-top", timeout=60_000)
    lonely.page.wait_for_function(
        "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status == 'idle'"
    )
    before = int(lonely.run(f"print({count})"))
    until(lambda: int(lonely.run(f"print({count})")) > before + 2, 20)


def test_it_rests_when_the_page_is_closed(opened: Callable[[str], Notebook], server: Server) -> None:
    name = "closed-page.ipynb"
    server.write(name, "")
    notebook = opened(name)
    notebook.run(
        "%load_ext isolate_magic\nfrom isolate_magic.face import top\ntop._PULSE, top._SILENT, top._UNSEEN = 0.2, 2.0, 0.1"
    )
    number = notebook.start("%isolate start worker\n%isolate top")
    notebook.wait_for(number, "worker")
    notebook.run(
        "import threading\npanel = top._panels[-1]\ndef write():\n    while panel._running: time.sleep(0.1)\n    open('rested', 'w').close()\n"
        "import time; threading.Thread(target=write, daemon=True).start()"
    )
    until(lambda: "True" in notebook.run("panel._pulse.value > 2 and panel._running"), 20)
    notebook.page.close()
    until((server.folder / "rested").exists, 30)
