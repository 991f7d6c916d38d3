"""The arrows between the layers: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import isolate_magic

ROOT = Path(isolate_magic.__file__).parent
SHARED = {"errors", "_version", "origins", "patterns", "policy", "quantities", "refusals", "settings"}


def layer(module: str) -> str:
    """Name the layer of a module, given by its dotted name within the package."""
    head = module.split(".")[0]
    if head in ("link", "child", "face", "kernel"):
        return head
    if head in SHARED:
        return "shared"
    return "command" if head == "__main__" else "host"


ALLOWED = {
    "shared": {"shared"},
    "link": {"shared", "link"},
    "child": {"shared", "link", "child"},
    "host": {"shared", "link", "host"},
    "face": {"shared", "link", "host", "face"},
    "kernel": {"shared", "link", "host", "face", "kernel"},
    "command": {"shared", "link", "host", "kernel"},
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return {
        name.removeprefix("isolate_magic.")
        for name in found
        if name.startswith("isolate_magic.") and exists(name.removeprefix("isolate_magic."))
    }


def exists(module: str) -> bool:
    base = ROOT.joinpath(*module.split("."))
    return base.with_suffix(".py").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    wrong = {name for name in imported(path) if layer(name) not in ALLOWED[layer(module)]}
    assert not wrong


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    code = (
        "import sys, isolate_magic; print(sorted(m for m in sys.modules if m.startswith('isolate_magic.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['isolate_magic._version']"


def test_the_companion_loads_nothing_of_the_host() -> None:
    code = "import sys, isolate_magic.child.zygote; print(*(m for m in sys.modules if m.startswith('isolate_magic.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name.removeprefix("isolate_magic.") for name in done.stdout.split()]
    assert {layer(name) for name in loaded} <= {"shared", "link", "child"}


def test_numpy_and_pandas_are_loaded_only_when_they_are_used() -> None:
    code = "import sys, isolate_magic.child.zygote, isolate_magic.companion; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
