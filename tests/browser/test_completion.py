"""Tab and Shift-Tab in a real JupyterLab: the popups show the companion's names and words."""

from __future__ import annotations

from browser.lab import Notebook
from waiting import until

POPUP = ".jp-Completer:not(.lm-mod-hidden) .jp-Completer-match"


def offered(notebook: Notebook) -> list[str]:
    """Press Tab and return what the popup offers."""
    notebook.page.keyboard.press("Tab")
    notebook.page.wait_for_selector(POPUP, timeout=10_000)
    return [str(text) for text in notebook.page.locator(POPUP).all_inner_texts()]


def test_tab_in_a_cell_of_a_companion_offers_its_names_only(notebook: Notebook) -> None:
    notebook.run("shared_here, shared_too = 1, 2")
    notebook.run("%%isolated\nshared_there = [1]\nshared_more = 2")
    notebook.type("%%isolated\n'🎉'; shared_")
    assert offered(notebook) == ["shared_more", "shared_there"]
    notebook.page.keyboard.press("Enter")
    until(lambda: "shared_more" in notebook.cell(-1).inner_text())
    notebook.page.keyboard.type("; shared_there.app")
    assert offered(notebook) == ["append"]
    notebook.page.keyboard.press("Enter")
    until(lambda: "'🎉'; shared_more; shared_there.append" in notebook.cell(-1).inner_text())


def test_tab_on_a_proxy_offers_what_the_object_has(notebook: Notebook) -> None:
    notebook.run("json = import_isolated('json')")
    notebook.type("json.dum")
    assert offered(notebook) == ["dump", "dumps"]


def test_shift_tab_shows_the_docstring_over_there(notebook: Notebook) -> None:
    notebook.run("%%isolated -o helper\ndef helper(number, wanted=1):\n    'Help with it.'")
    for number, (code, place) in enumerate((("%%isolated\nhelper", ""), ("helper", "Companion:")), start=2):
        notebook.type(code)
        notebook.page.keyboard.press("Shift+Tab")
        shown = notebook.page.locator(".jp-Tooltip")
        shown.wait_for(timeout=10_000)
        text = shown.inner_text()
        assert "helper(number, wanted=1)" in text
        assert "Help with it." in text
        assert place in text
        notebook.page.keyboard.press("Escape")
        notebook.page.keyboard.press("Shift+Enter")
        notebook.wait(number)


def test_a_question_mark_opens_the_pager(notebook: Notebook) -> None:
    notebook.run("%%isolated\nimport json\njson.dumps?")
    until(lambda: "Serialize ``obj`` to a JSON formatted" in notebook.page.inner_text("body"))
