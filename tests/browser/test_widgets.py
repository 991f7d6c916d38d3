"""Widgets of a companion in a real JupyterLab: moved there, answered by Python in the companion."""

from __future__ import annotations

from collections.abc import Callable

from browser.lab import Notebook
from waiting import until

SLIDER = """%%isolated
import ipywidgets as w
slider, label = w.IntSlider(value=20), w.Label("not moved")
def moved(change):
    import os
    label.value = f"{os.getpid()} saw {change.new}"
slider.observe(moved, "value")
display(slider, label)
"""


def press(notebook: Notebook, number: int, key: str = "ArrowRight", times: int = 1) -> None:
    """Move the slider below a cell by the keyboard."""
    handle = notebook.output(number).locator(".noUi-handle").first
    handle.wait_for()
    handle.focus()
    for _ in range(times):
        notebook.page.keyboard.press(key)


def test_a_slider_drives_python_in_the_companion(notebook: Notebook) -> None:
    number = notebook.start(SLIDER)
    notebook.wait_for(number, "not moved")
    press(notebook, number, times=3)
    notebook.wait_for(number, "saw 23")
    here = notebook.run("import os; os.getpid()").split()[-1]
    assert here not in notebook.text(number)
    assert notebook.run("%%isolated\nslider.value").split()[-1] == "23"
    notebook.run("%%isolated\nslider.value = 77")
    notebook.wait_for(number, "saw 77")
    assert notebook.output(number).locator(".widget-readout").first.inner_text() == "77"


def test_a_dragged_slider_drives_it_too(notebook: Notebook) -> None:
    number = notebook.start(SLIDER)
    handle = notebook.output(number).locator(".noUi-handle").first
    handle.wait_for()
    place = handle.bounding_box()
    assert place is not None
    mouse = notebook.page.mouse
    mouse.move(place["x"] + 5, place["y"] + 5)
    mouse.down()
    mouse.move(place["x"] + 60, place["y"] + 5, steps=20)
    mouse.up()
    readout = notebook.output(number).locator(".widget-readout").first
    until(lambda: int(readout.inner_text()) > 25)
    notebook.wait_for(number, f"saw {readout.inner_text()}")


def test_interact_shows_what_its_function_prints_and_draws(notebook: Notebook) -> None:
    number = notebook.start(
        "%%isolated\nfrom ipywidgets import interact\n"
        "import matplotlib.pyplot as plt\n"
        "@interact(x=(0, 10))\ndef double(x=3):\n    print('twice', 2 * x)\n    plt.plot([0, x])\n    plt.show()"
    )
    notebook.wait_for(number, "twice 6")
    press(notebook, number)
    notebook.wait_for(number, "twice 8")
    until(lambda: notebook.output(number).locator("img").count() == 1)
    assert "twice 6" not in notebook.text(number)


def test_a_button_shows_an_error_of_its_callback_in_an_output_widget(notebook: Notebook) -> None:
    number = notebook.start(
        "%%isolated\nimport ipywidgets as w\nbutton, out = w.Button(description='Press'), w.Output()\n"
        "@out.capture()\ndef pressed(button):\n    print('pressed')\n    1 / 0\n"
        "button.on_click(pressed)\nw.VBox([button, out])"
    )
    notebook.output(number).get_by_text("Press", exact=True).click()
    notebook.wait_for(number, "pressed")
    notebook.wait_for(number, "ZeroDivisionError")


def test_a_widget_that_is_linked_in_the_page_moves_the_other(notebook: Notebook) -> None:
    number = notebook.start(
        "%%isolated\nimport ipywidgets as w\na, b = w.IntSlider(), w.IntText()\n"
        "link = w.jslink((a, 'value'), (b, 'value'))\ndisplay(a, b)"
    )
    press(notebook, number)
    box = notebook.output(number).locator("input[type=number]")
    until(lambda: box.input_value() == "1")
    until(lambda: notebook.run("%%isolated\nb.value").split()[-1] == "1")


def test_a_progress_bar_moves_while_the_cell_runs(notebook: Notebook) -> None:
    number = notebook.start(
        "%%isolated\nfrom tqdm.notebook import tqdm\nimport time\nfor i in tqdm(range(30)): time.sleep(0.1)"
    )
    notebook.output(number).get_by_text("/30").first.wait_for()
    assert "30/30" not in notebook.text(number)
    notebook.wait_for(number, "30/30")


def test_a_reloaded_page_shows_the_widget_with_its_value(
    lonely: Notebook, opened: Callable[[str], Notebook]
) -> None:
    number = lonely.start(SLIDER)
    lonely.wait_for(number, "not moved")
    press(lonely, number, times=5)
    lonely.wait_for(number, "saw 25")
    lonely.save()
    lonely.page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
    lonely.reload()
    lonely.wait_for(number, "saw 25")
    press(lonely, number)
    lonely.wait_for(number, "saw 26")


def test_a_page_that_is_reloaded_while_the_companion_is_busy_shows_its_widgets(lonely: Notebook) -> None:
    number = lonely.start(SLIDER)
    lonely.wait_for(number, "not moved")
    lonely.run(
        "def wait():\n    import os, time\n    while not os.path.exists('go'): time.sleep(0.05)\n"
        "from threading import Thread\nfrom isolate_magic import get_companion\n"
        "busy = Thread(target=get_companion('default').call, args=(wait,)); busy.start()"
    )
    lonely.save()
    lonely.page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
    lonely.reload()
    press(lonely, number)
    assert lonely.run("busy.is_alive()").split()[-1] == "True"  # the main kernel answers meanwhile
    assert "saw 21" not in lonely.text(number)
    lonely.run("open('go', 'w').close()")
    lonely.wait_for(number, "saw 21")


def test_a_slider_goes_on_after_a_crash(notebook: Notebook) -> None:
    number = notebook.start(SLIDER)
    notebook.wait_for(number, "not moved")
    press(notebook, number)
    notebook.wait_for(number, "saw 21")
    notebook.run("%%isolated\nslider.value = 50\nimport os; os.abort()")
    readout = notebook.output(number).locator(".widget-readout").first
    until(lambda: readout.inner_text() == "21")
    press(notebook, number)
    notebook.wait_for(number, "saw 22")


def test_a_dead_widget_says_so(notebook: Notebook) -> None:
    number = notebook.start(SLIDER)
    notebook.wait_for(number, "not moved")
    notebook.run("%isolate config rewind=off")
    value = notebook.start("%%isolated\nslider")
    notebook.wait(value)
    notebook.run("%%isolated\nimport os; os.abort()")
    for one in (number, value):
        notebook.wait_for(one, "companion 'default' died; run the cell again")
        until(lambda one=one: notebook.output(one).locator(".noUi-handle:visible").count() == 0)  # type: ignore[misc]
    notebook.run("%%isolated\nimport ipywidgets as w\nw.IntSlider()")
