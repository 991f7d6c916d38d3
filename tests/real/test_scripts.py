"""Scripts as users write them give the same results with their libraries in a companion as without."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from real.twice import SCRIPTS, difference, isolated_source, missing, run

from isolate_magic import Companion

NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
PRELOAD = {"sklearn": ("sklearn.ensemble", "sklearn.pipeline"), "matplotlib": ("matplotlib.pyplot",)}
MIXED = {  # the library in the companion, numpy here
    "scipy_optimize": ["scipy"], "scipy_calculus": ["scipy"], "scipy_statistics": ["scipy"],
    "scipy_signal": ["scipy"], "pandas_timeseries": ["pandas"], "pandas_cleaning": ["pandas"],
    "sklearn_transformer": ["sklearn"], "sklearn_unsupervised": ["sklearn"], "torch_tensors": ["torch"],
    "matplotlib_lines": ["matplotlib"], "matplotlib_charts": ["matplotlib"],
}  # fmt: skip


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Let the libraries warn; the scripts are old-fashioned on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def companions() -> Iterator[dict[str, Companion]]:
    """Give the companions of this module, one a library, and end them afterwards."""
    made: dict[str, Companion] = {}
    yield made
    for companion in made.values():
        companion.close()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    """Remember what the scripts give without isolation."""
    return {}


def check(
    name: str, companions: dict[str, Companion], outcomes: dict[str, object], libraries: list[str] | None
) -> None:
    path = SCRIPTS / f"{name}.py"
    if library := missing(path):
        pytest.skip(f"{library} is not installed; the extra 'real' has it")
    main = name.partition("_")[0]
    companion = companions.get(main)
    if companion is None:
        companion = Companion(f"real-{main}", preload=PRELOAD.get(main, (main,)))
        companions[main] = companion.start()
    with quietly():
        if name not in outcomes:
            outcomes[name] = run(path)
        there = run(path, companion, libraries)
        assert difference(outcomes[name], there) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_script_gives_the_same_with_all_its_libraries_in_a_companion(
    name: str, companions: dict[str, Companion], outcomes: dict[str, object]
) -> None:
    check(name, companions, outcomes, None)


@pytest.mark.parametrize("name", MIXED)
def test_a_script_gives_the_same_with_one_library_in_a_companion_and_numpy_here(
    name: str, companions: dict[str, Companion], outcomes: dict[str, object]
) -> None:
    check(name, companions, outcomes, MIXED[name])


def test_only_the_imports_of_a_script_are_replaced() -> None:
    source = (
        "import os, numpy as np\nimport scipy.stats\nfrom a.b import (\n    c,\n    d as e,\n)\nx = np.x\n"
    )
    assert isolated_source(source).splitlines() == [
        "import os; np = import_isolated('numpy')",
        "import_isolated('scipy.stats'); scipy = import_isolated('scipy')",
        "c = import_member('a.b', 'c'); e = import_member('a.b', 'd')",
        "", "", "",
        "x = np.x",
    ]  # fmt: skip
    assert "import numpy as np" in isolated_source(source, ["scipy"])
    for path in map(Path, SCRIPTS.glob("*.py")):
        before, after = path.read_text().splitlines(), isolated_source(path.read_text()).splitlines()
        changed = [old for old, new in zip(before, after, strict=True) if old != new]
        assert all(line.startswith(("import ", "from ", "    ", ")")) and "=" not in line for line in changed)
