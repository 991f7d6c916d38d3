"""Modules of a companion: members, renewal after a restart, paths."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_magic import Companion, StaleProxyError, import_isolated, isproxy


@pytest.fixture(scope="module")
def shared() -> Iterator[Companion]:
    with Companion("modules") as companion:
        yield companion


def test_a_module_looks_like_one(shared: Companion) -> None:
    math = shared.load_module("math")
    assert isinstance(math, types.ModuleType)
    assert inspect.ismodule(math)
    assert repr(math) == str(math) == "<module 'math' in companion 'modules'>"
    assert math.__name__ == "math"
    assert math.pi == pytest.approx(3.14159, abs=1e-5)
    assert "sqrt" in vars(math)
    assert "sqrt" in dir(math)


def test_members_are_remembered_until_they_are_set(shared: Companion) -> None:
    module = shared.load_module("json")
    assert module.dumps is module.dumps
    assert module.decoder is shared.load_module("json.decoder")
    original = module.dumps
    module.dumps = lambda value: "replaced"
    try:
        assert module.dumps(1) == "replaced"
    finally:
        module.dumps = original
    assert module.dumps([1]) == "[1]"


def test_plain_values_of_a_module_are_read_anew(shared: Companion) -> None:
    shared.run("import types, sys; sys.modules['mine'] = types.ModuleType('mine'); sys.modules['mine'].n = 1")
    module = shared.load_module("mine")
    assert module.n == 1
    shared.run("sys.modules['mine'].n = 2")
    assert module.n == 2


def test_a_module_is_found_in_the_given_folders_only(shared: Companion, tmp_path: Path) -> None:
    (tmp_path / "found_here.py").write_text("X = 1\n")
    package = tmp_path / "packed_here"
    package.mkdir()
    (package / "__init__.py").write_text("from packed_here import inner\n")
    (package / "inner.py").write_text("Y = 2\n")
    assert shared.load_module("found_here", path=str(tmp_path)).X == 1
    assert shared.load_module("packed_here", path=[tmp_path.as_posix()]).inner.Y == 2
    with pytest.raises(ModuleNotFoundError, match=r"no module named 'json5_not' in") as caught:
        shared.load_module("json5_not", path=[str(tmp_path)])
    assert caught.value.name == "json5_not"


def test_a_module_whose_code_raises_is_not_left_half_imported(shared: Companion, tmp_path: Path) -> None:
    (tmp_path / "broken_here.py").write_text("raise ValueError('broken')\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            shared.load_module("broken_here", path=[str(tmp_path)])


def test_a_module_comes_back_after_a_restart_and_other_proxies_do_not() -> None:
    with Companion("modules-restart") as companion:
        module = companion.load_module("collections")
        thing, function = module.OrderedDict(a=1), module.namedtuple
        companion.restart()
        assert list(module.OrderedDict(b=2)) == ["b"]
        assert module.namedtuple("P", "x")(1).x == 1
        for stale in (lambda: thing["a"], lambda: function("P", "x")):
            with pytest.raises(StaleProxyError, match="is gone"):
                stale()


def test_import_isolated_takes_a_companion_or_its_name(shared: Companion) -> None:
    by_name: Any = import_isolated("string", "modules")
    assert by_name is import_isolated("string", shared)
    assert isproxy(by_name)
    assert by_name.digits == "0123456789"
    with pytest.raises(ModuleNotFoundError):
        import_isolated("no_such_module_at_all", shared)
