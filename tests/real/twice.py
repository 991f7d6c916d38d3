"""Run a script as it is, and again with its imports replaced by `import_isolated`."""

from __future__ import annotations

import ast
import importlib.util
import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from isolate_magic import Companion, byvalue, import_isolated, isproxy

SCRIPTS = Path(__file__).parent / "scripts"


def isolated_source(source: str, libraries: Collection[str] | None = None) -> str:
    """Return the source with `import X` replaced by `X = import_isolated('X')`, and nothing else.

    Args:
        source: a script.
        libraries: the top-level modules to isolate; all but the standard library by default.
    """
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.Import):
            new = [_plain(alias, libraries) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and _isolates(node.module or "", libraries):
            new = [
                f"{alias.asname or alias.name} = import_member({node.module!r}, {alias.name!r})"
                for alias in node.names
            ]
        else:
            continue
        assert node.end_lineno is not None
        lines[node.lineno - 1] = "; ".join(new) + "\n"
        for number in range(node.lineno, node.end_lineno):
            lines[number] = "\n"
    return "".join(lines)


def _plain(alias: ast.alias, libraries: Collection[str] | None) -> str:
    if not _isolates(alias.name, libraries):
        return f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
    if alias.asname:
        return f"{alias.asname} = import_isolated({alias.name!r})"
    top = alias.name.partition(".")[0]
    return f"import_isolated({alias.name!r}); {top} = import_isolated({top!r})"


def _isolates(name: str, libraries: Collection[str] | None) -> bool:
    top = name.partition(".")[0]
    return top in libraries if libraries is not None else top not in sys.stdlib_module_names


def run(path: Path, companion: Companion | None = None, libraries: Collection[str] | None = None) -> Any:
    """Run a script and return its `results`.

    Args:
        path: the script.
        companion: where its imports come from; from here if None.
        libraries: as in `isolated_source`.
    """

    def imported(name: str) -> Any:
        return import_isolated(name, companion)

    def import_member(module: str, name: str) -> Any:
        """Do what `from module import name` does."""
        try:
            return getattr(imported(module), name)
        except AttributeError:
            return imported(f"{module}.{name}")

    source = path.read_text()
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    if companion is not None:
        source = isolated_source(source, libraries)
        space |= {"import_isolated": imported, "import_member": import_member}
    exec(compile(source, str(path), "exec"), space)
    return space["results"]


def missing(path: Path) -> str | None:
    """Return the first library of a script that this session does not have, or None."""
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                return name.partition(".")[0]
    return None


def difference(here: Any, there: Any, where: str = "results") -> str | None:
    """Return where two results differ, or None; proxies among the second are copied first."""
    if isproxy(there):
        there = byvalue(there)
    if type(here) is not type(there) and not (isinstance(here, tuple) and isinstance(there, tuple)):
        return f"{where}: {type(here)} here, {type(there)} there"
    if isinstance(here, dict):
        if list(here) != list(there):
            return f"{where}: keys {list(here)} here, {list(there)} there"
        pairs = [(f"{where}[{key!r}]", here[key], there[key]) for key in here]
    elif isinstance(here, (list, tuple)):
        if len(here) != len(there):
            return f"{where}: {len(here)} items here, {len(there)} there"
        pairs = [(f"{where}[{i}]", *both) for i, both in enumerate(zip(here, there, strict=True))]
    else:
        return None if _same(here, there) else f"{where}: {here!r} here, {there!r} there"
    return next((found for pair in pairs if (found := difference(pair[1], pair[2], pair[0]))), None)


def _same(here: Any, there: Any) -> bool:
    module = type(here).__module__.partition(".")[0]
    if module == "numpy":
        import numpy as np

        if here.dtype != there.dtype or here.shape != there.shape:
            return False
        if here.dtype.fields:
            return all(_same(here[name], there[name]) for name in here.dtype.names)
        if here.dtype.kind in "fc":  # another number of threads may add up in another order
            return bool(np.allclose(here, there, rtol=1e-12, atol=1e-12, equal_nan=True))
        return bool((np.asarray(here) == np.asarray(there)).all())
    if module == "pandas":
        import pandas as pd

        compare = {"DataFrame": pd.testing.assert_frame_equal, "Series": pd.testing.assert_series_equal}
        if type(here).__name__ in compare:
            try:
                compare[type(here).__name__](here, there, rtol=1e-12)
            except AssertionError:
                return False
            return True
    if module in ("polars", "torch"):
        return bool(here.equals(there) if module == "polars" else here.equal(there))
    if isinstance(here, float):
        return math.isclose(here, there, rel_tol=1e-12, abs_tol=1e-12) or here != here and there != there
    return bool(here == there)
