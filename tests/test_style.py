"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import pytest

import isolate_magic

ROOT = Path(isolate_magic.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in FILES]


def test_modules_stay_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in FILES}
    assert max(lengths.values()) <= 400, max(lengths, key=lambda path: lengths[path])
    assert statistics.median(lengths.values()) <= 175


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_module_says_first_in_which_process_it_lives(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text
    first = text.split("\n\n")[0]
    if path.name != "__init__.py":
        assert re.search(
            r"\((both sides|host|companion|face|supervisor.*|zygote.*|a process of its own.*|built in .*)\)",
            first,
        ), first


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_everything_is_caught_only_at_marked_borders(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            raises = isinstance(node.body[-1], ast.Raise)
            assert not broad or raises or "# border:" in lines[node.lineno - 1], f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_names_are_nouns_that_say_something(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Manager|Helper|Utils?|Base|Impl)$", node.name), node.name
