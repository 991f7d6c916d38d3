"""The crash card in a real JupyterLab: it appears, its buttons work, it outlives its kernel, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser.lab import Notebook, Server

CRASH = """%%isolated
import ctypes
import sys

class Reader:
    def header(self, address):
        return ctypes.string_at(address)

print("sensor 7: no driver, reading raw memory", file=sys.stderr)
Reader().header(0)"""
ONCE = """%%isolated
import os, pathlib
flag = pathlib.Path({path!r})
if not flag.exists():
    flag.touch()
    os.abort()
print("this time it is", 6 * 7)"""


def press(notebook: Notebook, number: int, name: str) -> None:
    notebook.output(number).get_by_role("button", name=name).click()


def test_the_card_appears_once_and_restart_works(notebook: Notebook) -> None:
    # Else a snapshot goes on in its place, and there is nothing to restart.
    notebook.run("%config Isolate.snapshots = 'off'")
    shown = notebook.run(CRASH)
    for fact in (
        "SIGSEGV (segmentation fault)",
        "Cell In[3], line 7, in header",
        "Native stack",
        "peak memory",
    ):
        assert fact in shown
    assert notebook.output(2).locator(".isolate-crash").count() == 1
    assert shown.index("peak memory") < shown.index("Rerun the cell") < shown.index("ProcessTerminationError")
    press(notebook, 2, "Restart")
    notebook.wait_for(2, "started, pid")
    pid = notebook.run("%%isolated\nimport os; os.getpid()").split()[-1]
    assert f"started, pid {pid}" in notebook.text(2)
    assert notebook.output(2).get_by_role("button", name="Restart").is_disabled()


def test_the_line_that_failed_is_marked(notebook: Notebook) -> None:
    notebook.run(f"\n\n\n{CRASH}")
    lines = notebook.cell(1).locator(".cm-line").all_inner_texts()
    number = lines.index("        return ctypes.string_at(address)") + 1  # as a person counts them
    assert number > 7
    marked = notebook.output(1).locator("pre span", has_text="▸").first
    assert f"{number}          return ctypes.string_at(address)" in marked.inner_text()


def test_rerun_shows_its_output_in_the_card(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run(ONCE.format(path=str(tmp_path / "flag")))
    press(notebook, 1, "Rerun the cell")
    notebook.wait_for(1, "this time it is 42")
    notebook.wait_for(1, "ran after")


def test_the_report_can_be_copied_as_text(notebook: Notebook) -> None:
    notebook.run(CRASH)
    press(notebook, 1, "Report as text")
    text = notebook.output(1).locator("textarea")
    text.wait_for()
    assert "----> 7         return ctypes.string_at(address)" in text.input_value()


def test_markup_of_a_companion_is_shown_as_text(notebook: Notebook) -> None:
    shown = notebook.run(
        "%%isolated\nimport os, sys\nprint('<img src=x onerror=\"document.title=1\"><b>bold</b>', file=sys.stderr)\nos.abort()"
    )
    assert shown.count("<b>bold</b>") == 3  # as output, in the cell, on stderr
    assert notebook.output(1).locator("img").count() == 0


def test_the_report_is_there_when_kernel_and_widgets_are_gone(
    server: Server, opened: Callable[[str], Notebook]
) -> None:
    notebook = opened("outlives.ipynb")
    notebook.run("%load_ext isolate_magic")
    notebook.run(CRASH)
    notebook.page.locator("[data-jp-item-name='restart']").first.click()
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    notebook.page.wait_for_function(
        "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status == 'idle'"
    )
    notebook.save()
    notebook.page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
    later = opened("outlives.ipynb")
    later.wait_for(1, "SIGSEGV (segmentation fault)")
    assert "Cell In[2], line 7, in header" in later.text(1)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_can_be_read_in_both_themes(notebook: Notebook, theme: str) -> None:
    notebook.run(CRASH)
    try:
        wear(notebook, theme)
        colours = notebook.output(1).locator(".isolate-crash").evaluate(
            """card => {
              const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number); return 0.3*r + 0.6*g + 0.1*b; };
              const parts = [card, card.querySelector('pre'), card.querySelector('pre span')];
              const behind = getComputedStyle(card.querySelector('pre')).backgroundColor;
              return [light(behind), ...parts.map(part => Math.abs(light(getComputedStyle(part).color) - light(behind)))];
            }"""
        )  # fmt: skip
        assert (colours.pop(0) > 128) == (theme == "Light")
        assert min(colours) > 110  # of 255 between text and what is behind it
    finally:
        wear(notebook, "Light")


def wear(notebook: Notebook, theme: str) -> None:
    """Change the theme of the page."""
    notebook.page.evaluate(
        "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name}).then(() => null)",
        f"JupyterLab {theme}",
    )
    notebook.page.wait_for_function(f"document.body.dataset.jpThemeName == 'JupyterLab {theme}'")
