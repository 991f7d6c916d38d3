"""The isolated kernel in a real JupyterLab: a crash is a cell's error, and no dialog ever says that it died."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from browser.lab import CHROMIUM, Notebook, Server
from browser.test_completion import offered
from waiting import until

from isolate_magic.kernel.specification import install

DIED = "appears to have died"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a JupyterLab that knows the isolated kernel, trusted and not."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium): JupyterLab itself is not tested")
    prefix = tmp_path_factory.mktemp("prefix")
    install("isolated", "trusted", prefix=str(prefix))
    install("student", "untrusted", prefix=str(prefix))
    made = Server(
        tmp_path_factory.mktemp("notebooks"), environment={"JUPYTER_PATH": str(prefix / "share" / "jupyter")}
    )
    yield made
    made.close()


def test_cells_crashes_widgets_input_and_the_stop_button(
    server: Server, opened: Callable[[str], Notebook]
) -> None:
    server.write("trusted.ipynb", kernel="isolated")
    notebook = opened("trusted.ipynb")
    assert "42" in notebook.run("kept = 6 * 7\nkept")
    assert "Python 3 (isolated)" in notebook.page.inner_text(".jp-KernelName")
    crash = notebook.run("import ctypes\nctypes.string_at(0)")
    assert "died in Cell In[2]: SIGSEGV" in crash
    assert "ctypes.string_at(0)" in crash
    assert "rewound to before cell In[2]" in crash
    assert "42" in notebook.run("kept")
    assert "[3]" in notebook.cell(2).inner_text()

    number = notebook.start("name = input('name? ')\nprint('hello', name)")
    box = notebook.output(number).locator(".jp-Stdin-input").last
    box.wait_for()
    box.fill("Ada")
    box.press("Enter")
    notebook.wait_for(number, "hello Ada")

    number = notebook.start(
        "import ipywidgets as w\nb, l = w.Button(description='Press'), w.Label()\n"
        "b.on_click(lambda button: setattr(l, 'value', 'pressed there'))\ndisplay(b, l)"
    )
    notebook.output(number).get_by_text("Press", exact=True).click()
    notebook.wait_for(number, "pressed there")

    number = notebook.start("print('begun', flush=True)\nwhile True: pass")
    notebook.wait_for(number, "begun")
    notebook.page.locator(
        "[data-command='notebook:interrupt-kernel'], [title^='Interrupt the kernel']"
    ).first.click()
    notebook.wait_for(number, "KeyboardInterrupt")

    notebook.run("import matplotlib.pyplot as plt; plt.plot([1, 2]);")
    assert notebook.output(-2).locator("img").count() == 1
    assert DIED not in notebook.page.content()
    assert not any(DIED in line for line in notebook.console)


def test_tab_and_shift_tab_know_the_names_of_the_cells(
    server: Server, opened: Callable[[str], Notebook]
) -> None:
    server.write("tab.ipynb", kernel="isolated")
    notebook = opened("tab.ipynb")
    notebook.run("def shared_half(x):\n    'Give half.'\nshared_more = 7")
    notebook.type("shared_")
    assert offered(notebook) == ["shared_half", "shared_more"]
    notebook.page.keyboard.press("Enter")
    until(lambda: "shared_half" in notebook.cell(-1).inner_text())
    notebook.page.keyboard.press("Shift+Tab")
    shown = notebook.page.locator(".jp-Tooltip")
    shown.wait_for(timeout=10_000)
    assert "Give half." in shown.inner_text()


def test_no_script_of_an_untrusted_kernel_runs_and_no_dialog_comes(
    server: Server, opened: Callable[[str], Notebook]
) -> None:
    server.write("student.ipynb", kernel="student")
    notebook = opened("student.ipynb")
    said = notebook.run(
        "from IPython.display import HTML, Javascript\ndisplay(HTML('<b>kept</b><script>window.evil = 1</script>"
        "<img src=x onerror=\"window.evil = 1\">'), Javascript('window.evil = 1'))"
    )
    assert "kept" in said
    assert "dropped" in said
    assert notebook.page.evaluate("window.evil") is None
    assert "exit code 3" in notebook.run("import os; os._exit(3)")
    assert "2" in notebook.run("1 + 1")
    assert DIED not in notebook.page.content()
