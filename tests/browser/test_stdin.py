"""`input()` of a companion in a real JupyterLab and a real Notebook: its box is the page's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser.lab import Notebook, Server
from waiting import until

BOX = ".jp-Stdin-input"


@pytest.fixture
def classic(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """Give a notebook in the Notebook application instead of JupyterLab."""
    server = Server(tmp_path_factory.mktemp("classic"), app="notebook")
    made = Notebook(browser, server, "classic.ipynb")
    made.run("%load_ext isolate_magic")
    yield made
    made.close()
    server.close()


def answer(notebook: Notebook, number: int, text: str) -> None:
    """Type an answer into the box below a cell."""
    box = (
        notebook.output(number).locator(BOX).last.element_handle()
    )  # this one, even if the next is there already
    box.fill(text)
    box.press("Enter")
    box.wait_for_element_state("hidden")


def test_a_cell_asks_in_its_box(notebook: Notebook) -> None:
    number = notebook.start("%%isolated\nprint('before')\nname = input('name? ')\nprint('hello', name)")
    notebook.output(number).locator(BOX).wait_for()
    assert "before" in notebook.text(number)
    answer(notebook, number, "Ada")
    notebook.wait_for(number, "hello Ada")
    until(lambda: notebook.output(number).locator(BOX).count() == 0)
    assert notebook.text(number).split() == ["before", "name?", "Ada", "hello", "Ada"]


def test_a_password_stays_unseen(notebook: Notebook) -> None:
    number = notebook.start("%%isolated\nimport getpass\nlen(getpass.getpass('key? '))")
    box = notebook.output(number).locator(BOX)
    box.wait_for()
    assert box.get_attribute("type") == "password"
    answer(notebook, number, "secret")
    notebook.wait(number)
    assert "6" in notebook.text(number)
    assert "secret" not in notebook.text(number)


def test_a_debugger_asks_line_by_line(notebook: Notebook) -> None:
    number = notebook.start("%%isolated\ndef half(x):\n    breakpoint()\n    return x / 2\nhalf(1)")
    for line in ("p x + 40", "x = 84", "c"):
        answer(notebook, number, line)
    notebook.wait(number)
    assert "41" in notebook.text(number)
    assert "42.0" in notebook.text(number)


def test_the_stop_button_closes_the_box(notebook: Notebook) -> None:
    number = notebook.start("%%isolated\ninput('wait? ')")
    notebook.output(number).locator(BOX).wait_for()
    notebook.page.locator(
        "[data-command='notebook:interrupt-kernel'], [title^='Interrupt the kernel']"
    ).first.click()
    notebook.wait_for(number, "KeyboardInterrupt")
    assert "2" in notebook.run("%%isolated\n1 + 1")


def test_the_notebook_application_has_box_and_widgets_too(classic: Notebook) -> None:
    number = classic.start("%%isolated\nname = input('name? ')\nprint('hello', name)")
    answer(classic, number, "Ada")
    classic.wait_for(number, "hello Ada")
    number = classic.start(
        "%%isolated\nimport ipywidgets as w\nb, l = w.Button(description='Press'), w.Label()\n"
        "b.on_click(lambda button: setattr(l, 'value', 'pressed here'))\ndisplay(b, l)"
    )
    classic.output(number).get_by_text("Press", exact=True).click()
    classic.wait_for(number, "pressed here")
