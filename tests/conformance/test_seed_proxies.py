"""What process_isolation's own tests and README promise, in our words and today's Python."""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_magic import Companion, ProcessTerminationError, byvalue, isproxy

MODULE = '''
"""Foo docs."""
import collections
X = 35
xs = [1, 2, 3]
class Foo:
    """The class Foo."""
    kind = "animal"
    def __init__(self, x=15): self.x = x
    def bar(self, a=2): "Do bar."; return self.x + a
    def __eq__(self, other): return isinstance(other, Foo) and self.x == other.x
    def __lt__(self, other): return self.x < other.x
    def __hash__(self): return hash(self.x)
    def __str__(self): return "Foo:%d" % self.x
    def __repr__(self): return "Foo(%d)" % self.x
class Bar(Foo): pass
class Problem(Exception): pass
class Loop:
    def __init__(self): self.n = 3
    def __iter__(self): return self
    def __next__(self):
        self.n -= 1
        if self.n < 0: raise StopIteration
        return self.n
foo = Foo()
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def identity(x): return x
def tell(a, b=2, *args, **kwargs): return (a, b, args, sorted(kwargs.items()))
def fail(): raise ValueError("no good")
def fail_own(): raise Problem("own", 7)
def count():
    yield 1
    yield 2
    return "done"
def call(f, *args): return f(*args)
def die():
    import ctypes
    ctypes.string_at(0)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("seed")
    (place / "seed_module.py").write_text(MODULE)
    return place


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Companion]:
    with Companion("seed") as companion:
        yield companion


@pytest.fixture(scope="module")
def module(shared: Companion, folder: Path) -> Any:
    return shared.load_module("seed_module", path=[str(folder)])


def test_a_variable_of_a_module_is_read(module: Any) -> None:
    assert module.X == 35


def test_a_variable_of_a_module_is_set_and_deleted_there(module: Any, shared: Companion) -> None:
    module.Y = 12
    assert shared.run("import sys; sys.modules['seed_module'].Y") == 12
    del module.Y
    with pytest.raises(AttributeError):
        module.Y  # noqa: B018


def test_a_function_runs_there(module: Any) -> None:
    assert module.fact(5) == 120
    assert module.tell(1, *(3, 4), z=5) == (1, 3, (4,), [("z", 5)])


def test_a_builtin_function_runs_there(shared: Companion) -> None:
    assert shared.load_module("math").gcd(12, 18) == 6


def test_attributes_of_an_object_are_read_set_and_deleted(module: Any) -> None:
    foo = module.Foo(3)
    assert foo.x == 3
    foo.y = "new"
    assert foo.y == "new"
    del foo.y
    assert not hasattr(foo, "y")


def test_a_missing_attribute_is_an_attribute_error(module: Any) -> None:
    with pytest.raises(AttributeError):
        module.nothing_of_that_name  # noqa: B018


def test_a_method_is_called_with_positional_and_named_arguments(module: Any) -> None:
    foo = module.Foo(1)
    assert (foo.bar(), foo.bar(4), foo.bar(a=5)) == (3, 5, 6)


def test_an_attribute_of_a_class_is_read(module: Any) -> None:
    assert module.Foo.kind == module.Foo().kind == "animal"


def test_a_class_is_the_same_class_each_time(module: Any, shared: Companion, folder: Path) -> None:
    again = shared.load_module("seed_module", path=[str(folder)])
    assert module.Foo is module.Foo is again.Foo
    assert type(module.foo) is module.Foo
    assert module.foo.__class__ is module.Foo


def test_an_object_is_the_same_proxy_each_time(module: Any) -> None:
    assert module.foo is module.foo
    assert module.identity(module.foo) is module.foo


def test_instances_are_told_by_their_classes(module: Any) -> None:
    assert isinstance(module.Bar(), module.Foo)
    assert not isinstance(module.Foo(), module.Bar)
    assert issubclass(module.Bar, module.Foo)
    assert not isinstance(5, module.Foo)


def test_a_builtin_exception_keeps_its_class_and_message(module: Any) -> None:
    with pytest.raises(ValueError) as caught:
        module.fail()
    assert type(caught.value) is ValueError
    assert str(caught.value) == "no good"


def test_an_exception_class_of_the_module_can_be_caught(module: Any) -> None:
    try:
        module.fail_own()
    except module.Problem as problem:
        assert problem.args == ("own", 7)
    else:
        pytest.fail("nothing was raised")


def test_slices_reach_the_object(module: Any) -> None:
    assert list(module.xs[1:]) == [2, 3]
    numbers = module.identity(module.xs[:])
    numbers[1:2] = [7, 8]
    assert list(numbers) == [1, 7, 8, 3]
    del numbers[::2]
    assert list(numbers) == [7, 3]


def test_an_iterator_is_iterated(module: Any) -> None:
    assert list(module.Loop()) == [2, 1, 0]
    assert [x for x in module.xs] == [1, 2, 3]


def test_a_generator_is_iterated_and_ends_with_its_value(module: Any) -> None:
    generator = module.count()
    assert (next(generator), next(generator)) == (1, 2)
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "done"


def test_str_repr_and_format_are_the_objects_own(module: Any) -> None:
    foo = module.Foo(4)
    assert (str(foo), repr(foo), f"{foo}") == ("Foo:4", "Foo(4)", "Foo:4")


def test_comparison_and_hash_are_the_objects_own(module: Any) -> None:
    small, large = module.Foo(1), module.Foo(2)
    assert small < large
    assert small == module.Foo(1)
    assert small != large
    assert hash(small) == hash(module.Foo(1))
    assert sorted([large, small]) == [small, large]


def test_truth_length_and_membership_are_the_objects_own(module: Any) -> None:
    assert len(module.xs) == 3
    assert 2 in module.xs
    assert 9 not in module.xs
    assert not module.identity(module.xs[:0])


def test_dir_lists_what_the_object_has(module: Any) -> None:
    assert {"x", "bar", "kind"} <= set(dir(module.Foo()))
    assert {"Foo", "fact", "X"} <= set(dir(module))
    assert not [name for name in dir(module.Foo()) if "isolate" in name]


def test_docs_are_the_objects_own(module: Any) -> None:
    assert module.__doc__ == "Foo docs."
    assert module.Foo.__doc__ == module.foo.__doc__ == "The class Foo."
    assert module.foo.bar.__doc__ == "Do bar."


def test_a_file_is_written_and_read_there(shared: Companion, tmp_path: Path) -> None:
    remote_open = shared.load_module("builtins").open
    place = str(tmp_path / "file.txt")
    with remote_open(place, "w") as file:
        file.write("one\ntwo\n")
    assert Path(place).read_text() == "one\ntwo\n"
    with remote_open(place) as file:
        assert list(file) == ["one\n", "two\n"]


def test_a_lambda_is_called_with_objects_from_there(module: Any) -> None:
    assert module.call(lambda x: x + 1, 4) == 5
    assert module.call(lambda foo: foo.x, module.Foo(9)) == 9


def test_byvalue_gives_the_object_itself(module: Any) -> None:
    assert byvalue(module.xs) == [1, 2, 3]
    assert type(byvalue(module.xs)) is list


def test_importing_twice_gives_the_same_module(shared: Companion) -> None:
    assert shared.load_module("json") is shared.load_module("json")


def test_a_crash_is_an_exception_here(folder: Path) -> None:
    with Companion("seed-crash") as companion:
        module = companion.load_module("seed_module", path=[str(folder)])
        with pytest.raises(ProcessTerminationError):
            module.die()
        assert companion.run("1 + 1") == 2


def test_a_second_companion_shares_nothing(shared: Companion) -> None:
    with Companion("seed-second") as second:
        mine, its = shared.load_module("string"), second.load_module("string")
        assert mine is not its
        mine.mark = 1
        assert not hasattr(its, "mark")
        del mine.mark
        assert second.call(os.getpid) != shared.call(os.getpid) != os.getpid()


def test_sys_of_the_companion_is_not_ours(shared: Companion, capfd: pytest.CaptureFixture[str]) -> None:
    remote = shared.load_module("sys")
    assert remote.version == sys.version
    assert remote.modules is not sys.modules
    assert "seed_mark" not in sys.modules
    remote.stdout.write("Hello world\n")
    remote.stdout.flush()
    shared.run("0")
    assert "Hello world" in capfd.readouterr().out


def test_os_of_the_companion_works_on_the_same_files(shared: Companion, tmp_path: Path) -> None:
    remote = shared.load_module("os")
    (tmp_path / "foo").mkdir()
    remote.rmdir(str(tmp_path / "foo"))
    assert not (tmp_path / "foo").exists()
    assert remote.getpid() == shared.pid
    assert remote.path.join("a", "b") == "a/b"


def test_sqlite_runs_there_with_its_own_exceptions(shared: Companion) -> None:
    sqlite = shared.load_module("sqlite3")
    connection = sqlite.connect(":memory:")
    cursor = connection.cursor()
    cursor.execute("create table people (name text primary key, age integer)")
    with connection:
        cursor.executemany("insert into people values (?, ?)", [("Ada", 36), ("Alan", 41)])
    caught = None
    try:
        with connection:
            connection.execute("insert into people values ('Bob', 1)")
            connection.execute("insert into people values (?, ?)", ("Ada", 1))
    except sqlite.IntegrityError as error:
        caught = error
    assert isinstance(caught, sqlite.DatabaseError)
    assert str(caught) == "UNIQUE constraint failed: people.name"
    assert list(connection.execute("select name, age from people order by name")) == [
        ("Ada", 36),
        ("Alan", 41),
    ]
    connection.create_function("shout", 1, lambda text: text.upper())
    assert connection.execute("select shout(name) from people where age > ?", (40,)).fetchone() == ("ALAN",)
    connection.row_factory = sqlite.Row
    row = connection.execute("select * from people").fetchone()
    assert (row["name"], row[1], tuple(row.keys())) == ("Ada", 36, ("name", "age"))
    connection.close()
    with pytest.raises(sqlite.ProgrammingError):
        connection.execute("select 1")


# ------------------------------------------------------------ the README


def test_readme_an_ordered_dict_is_used_like_a_real_one(shared: Companion) -> None:
    remote = shared.load_module("collections").OrderedDict()
    remote["abc"] = 123
    assert remote["abc"] == 123
    assert list(remote.values()) == [123]
    assert [(key, value) for key, value in remote.items()] == [("abc", 123)]
    with pytest.raises(KeyError):
        remote["xyz"]


def test_readme_byvalue_brings_an_ordered_dict(shared: Companion) -> None:
    proxy = shared.load_module("collections").OrderedDict({"fred": 11, "tom": 12})
    real = byvalue(proxy)
    assert isproxy(proxy)
    assert type(real) is collections.OrderedDict
    assert real == {"fred": 11, "tom": 12}
    proxy["fred"] = 0
    assert real["fred"] == 11


def test_readme_dragons_do_not_come_over(tmp_path: Path) -> None:
    (tmp_path / "buggy.py").write_text(
        "import types\n"
        "def dragons_here():\n"
        "    code = (lambda: None).__code__.replace(co_code=bytes([100, 255]) * 4, co_stacksize=1)\n"
        "    types.FunctionType(code, {})()\n"
        "    import ctypes; ctypes.string_at(0)\n"
    )
    with Companion("dragons") as companion:
        buggy = companion.load_module("buggy", path=[str(tmp_path)])
        with pytest.raises(ProcessTerminationError) as caught:
            buggy.dragons_here()
        assert caught.value.report.signal in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL")


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_readme_untrusted_code_sees_only_its_jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "untrusted.py").write_text("import os\ndef ls_root():\n    return os.listdir('/')\n")
    jail = tmp_path / "jail"
    jail.mkdir()
    (jail / "you_are_in_jail_muahaha").touch()
    monkeypatch.chdir(tmp_path)
    with Companion("jail") as companion:
        companion.call(os.chroot, str(jail))
        untrusted = companion.load_module("untrusted", path=["."])
        assert byvalue(untrusted.ls_root()) == ["you_are_in_jail_muahaha"]
