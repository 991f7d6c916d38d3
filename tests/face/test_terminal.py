"""The magics in an IPython terminal, without any notebook."""

from __future__ import annotations

import subprocess
import sys

SESSION = """
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
for cell in {cells!r}:
    shell.run_cell(cell, store_history=True)
"""


def terminal(*cells: str) -> str:
    """Run cells in a terminal session of its own and return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", SESSION.format(cells=cells)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def test_a_value_is_shown_like_any_other() -> None:
    assert "Out[2]: 42" in terminal("%load_ext isolate_magic", "%%isolated\n6 * 7")


def test_output_and_displays_are_printed() -> None:
    seen = terminal("%load_ext isolate_magic", "%%isolated\nprint('said')\ndisplay({'a': 1})")
    assert "said\n{'a': 1}" in seen


def test_a_crash_prints_the_report_and_the_session_goes_on() -> None:
    seen = terminal("%load_ext isolate_magic", "%%isolated\nimport os; os.abort()", "print('still', 'here')")
    assert "SIGABRT" in seen
    assert "Cell In[2], line 2" in seen
    assert "still here" in seen


def test_an_error_shows_the_companions_traceback() -> None:
    seen = terminal("%load_ext isolate_magic", "%%isolated\nx = 1\n1 / 0")
    assert "ZeroDivisionError" in seen
    assert "isolate_magic/" not in seen
