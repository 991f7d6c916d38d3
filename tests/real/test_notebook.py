"""Libraries of a companion in a real notebook kernel: figures and tables are shown as they would be."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from kernels import Kernel

FIGURE = """
fig, ax = plt.subplots(figsize=(2, 2))
ax.plot([1, 3, 2])
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """Give a kernel in which matplotlib, numpy and pandas come from a companion."""
    pytest.importorskip("matplotlib")
    made = Kernel()
    loaded = made.run(
        "%load_ext isolate_magic\n"
        "plt = import_isolated('matplotlib.pyplot'); np = import_isolated('numpy'); pd = import_isolated('pandas')"
    )
    assert loaded.status == "ok", loaded.error
    yield made
    made.close()


def png(bundle: dict[str, str]) -> bytes:
    data = base64.b64decode(bundle["image/png"])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return data


def test_a_figure_as_the_value_of_a_cell_is_its_picture(kernel: Kernel) -> None:
    cell = kernel.run(f"{FIGURE}fig")
    assert cell.status == "ok", cell.error
    assert png(cell.result) == png(kernel.run("fig").result)
    assert cell.result["text/plain"] == "<Figure size 200x200 with 1 Axes>"


@pytest.mark.parametrize("code", ["plt.plot([1, 2]);", "plt.plot([1, 2]); plt.show()", f"{FIGURE}None"])
def test_a_figure_is_shown_once_at_the_end_of_the_cell_that_drew_it(kernel: Kernel, code: str) -> None:
    cell = kernel.run(code)
    assert [png(content["data"])[1:4] for content in cell.of("display_data")] == [b"PNG"]
    assert kernel.run("plt.get_fignums()").result["text/plain"] == "[]"
    assert kernel.run("plt.show()").of("display_data") == []


def test_a_figure_is_displayed_by_display(kernel: Kernel) -> None:
    cell = kernel.run(f"{FIGURE}display(fig, fig)")
    pictures = [png(content["data"]) for content in cell.of("display_data")]
    assert len(pictures) >= 2
    assert pictures[0] == pictures[1]


def test_a_table_as_the_value_of_a_cell_is_shown_as_html(kernel: Kernel) -> None:
    cell = kernel.run("pd.DataFrame({'a': np.arange(2)})")
    assert "<table" in cell.result["text/html"]
    assert cell.result["text/plain"] == "   a\n0  0\n1  1"


def test_an_error_of_a_library_is_shown_with_its_own_name_and_text(kernel: Kernel) -> None:
    cell = kernel.run("np.linalg.inv(np.zeros((2, 2)))")
    assert cell.status == "error"
    assert "LinAlgError" in cell.error
    assert "Singular matrix" in cell.error


def test_a_class_of_the_notebook_derives_from_one_of_the_library(kernel: Kernel) -> None:
    cell = kernel.run(
        "class Shelf(import_isolated('collections').UserList):\n"
        "    def total(self):\n        return sum(self)\n"
        "Shelf([1, 2]).total()"
    )
    assert cell.result["text/plain"] == "3", cell.error
