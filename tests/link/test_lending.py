"""Iterators, files and sort keys of the main session, used in place by the companion."""

from __future__ import annotations

import functools
import gc
import io
import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from there import There, there_with
from waiting import until

from isolate_magic import ProcessTerminationError, TransferError

SOURCE = """
import io, itertools, json, sys
def take(items, n): return list(itertools.islice(items, n))
def run(f, *args): return f(*args)
def read(file, n): return file.read(n)
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("lending", SOURCE) as made:
        yield made


def test_a_generator_is_advanced_by_what_the_companion_takes(there: There) -> None:
    seen = []
    numbers = (seen.append(n) or n * n for n in itertools.count())
    assert list(there.take(numbers, 3)) == [0, 1, 4]
    assert seen == [0, 1, 2]
    assert next(numbers) == 9


@pytest.mark.parametrize("make", [iter, enumerate, lambda x: map(str, x), lambda x: zip(x, x), reversed])
def test_every_iterator_is_shared_not_copied(there: There, make: Any) -> None:
    items = make([1, 2, 3])
    first = list(there.take(items, 1))
    assert first + list(items) == list(make([1, 2, 3]))


def test_an_exception_of_a_generator_passes_through_as_the_same_object(there: There) -> None:
    error = LookupError("here")

    def failing() -> Iterator[int]:
        yield 1
        raise error

    with pytest.raises(LookupError) as caught:
        there.take(failing(), 5)
    assert caught.value is error


def test_generators_take_what_is_sent_and_thrown_there(there: There) -> None:
    def echo() -> Any:
        got = yield "ready"
        try:
            yield got
        except ValueError:
            yield "caught"

    there("def drive(g): return (next(g), g.send(7), g.throw(ValueError()))")
    assert there.drive(echo()) == ("ready", 7, "caught")


def test_a_buffer_is_written_in_place(there: There) -> None:
    buffer, text = io.BytesIO(), io.StringIO()
    there.run(there("lambda f: f.write(memoryview(b'x'))"), buffer)
    assert buffer.getvalue() == b"x"
    buffer.seek(0)
    there("def fill(b, t): print('hello', file=t); b.write(b'abc')")
    there.fill(buffer, text)
    assert (buffer.getvalue(), text.getvalue()) == (b"abc", "hello\n")


def test_reading_there_moves_the_position_here(there: There, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\nthree\n")
    with path.open() as file:
        assert there.run(there("lambda f: f.readline()"), file) == "one\n"
        assert file.readline() == "two\n"
        assert there.run(there("lambda f: [line for line in f]"), file) == ["three\n"]
        assert there.run(there("lambda f: (f.name, f.mode, f.closed)"), file) == (str(path), "r", False)


def test_a_large_file_is_read_and_written_whole(there: There, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        there.run(there("lambda f: f.write(b'x' * 3_000_000)"), file)
    with path.open("rb") as file:
        assert there.run(there("lambda f: len(f.read())"), file) == 3_000_000


def test_libraries_take_the_stand_in_for_a_file(there: There) -> None:
    buffer = io.StringIO()
    there("import csv, pickle, zipfile")
    there.run(there("lambda f: csv.writer(f).writerows([(1, 2), (3, 4)])"), buffer)
    assert buffer.getvalue() == "1,2\r\n3,4\r\n"
    packed = io.BytesIO()
    there.run(there("lambda f: pickle.dump([1, 2], f)"), packed)
    packed.seek(0)
    assert there.run(there("lambda f: pickle.load(f)"), packed) == [1, 2]
    archive = io.BytesIO()
    there("def zip_it(f):\n    with zipfile.ZipFile(f, 'w') as z: z.writestr('a', 'b')")
    there.zip_it(archive)
    archive.seek(0)
    assert there.run(there("lambda f: zipfile.ZipFile(f).read('a')"), archive) == b"b"
    assert there.run(there("lambda f: (isinstance(f, io.TextIOBase), hasattr(f, 'encoding'))"), buffer) == (
        True,
        True,
    )
    assert there.run(there("lambda f: isinstance(f, io.TextIOBase)"), packed) is False


def test_a_file_here_has_no_descriptor_there(there: There, tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(OSError, match="no descriptor"):
        there.run(there("lambda f: f.fileno()"), file)


def test_sort_keys_compare_here(there: There) -> None:
    compared = []

    def backwards(a: int, b: int) -> int:
        compared.append((a, b))
        return b - a

    items = there("[2, 3, 1]")
    items.sort(key=functools.cmp_to_key(backwards))
    assert items == [3, 2, 1]
    assert compared


def test_what_was_used_in_place_is_freed(there: There) -> None:
    class Buffer(io.BytesIO):
        pass

    buffer = Buffer()
    gone = weakref.ref(buffer)
    there.run(there("lambda f: f.write(b'x')"), buffer)
    del buffer
    until(lambda: (gc.collect(), gone())[1] is None)


def test_a_stand_in_comes_back_as_the_object_itself(there: There) -> None:
    file, numbers = io.StringIO(), iter([1])
    assert there.run(there("lambda *a: a"), file, numbers) == (file, numbers)


def test_views_of_a_dict_travel_as_views(there: There) -> None:
    table = {"a": 1, "b": 1}
    for view in (table.keys(), table.values(), table.items()):
        assert list(there.run(there("lambda v: v"), view)) == list(view)
        assert there.run(there("lambda v: type(v).__name__"), view) == type(view).__name__


@pytest.mark.parametrize("name", ["__reduce__", "__class__", "gi_frame", "__init__", "detach", "buffer"])
def test_the_companion_may_use_nothing_else_of_what_it_was_lent(name: str) -> None:
    attack = f"""
def attack(thing):
    claim = thing._isolate_
    claim.owner.call_host(claim.number, {name!r}, (), {{}})
"""
    for thing in (io.StringIO(), (n for n in [1])):
        with there_with("lending-attack", attack) as there:
            with pytest.raises(ProcessTerminationError):
                there.attack(thing)
            assert there.companion.crash.kind == "protocol"


def test_a_host_function_keeps_its_signature_there(there: There) -> None:
    seen = []

    def model(x: Any, a: Any, /, b: Any, *rest: Any, c: Any, d: Any = 1, **more: Any) -> None:
        seen.append(x)

    there("import inspect")
    text = there.run(there("lambda f: str(inspect.signature(f))"), model)
    assert text == "(x, a, /, b, *rest, c, d=Ellipsis, **more)"


def test_a_method_that_stays_here_is_bound_there(there: There) -> None:
    calls = []

    class Key:
        def __init__(self, n: int) -> None:
            self.n = n

        def __hash__(self) -> int:
            calls.append(self.n)
            return 5

    there("def make_dict(k): return {k: 1}")
    assert len(there.make_dict(Key(3))) == 1
    assert 3 in calls


def test_an_object_that_cannot_travel_is_still_refused(there: There) -> None:
    import threading

    with pytest.raises(TransferError, match="lock"):
        there.take([threading.Lock()], 1)
