"""Exceptions across the border: class, arguments, text, traceback, identity."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import CompanionExit, byvalue

SOURCE = """
import sys
class Error(Exception):
    def __init__(self, what, detail=None):
        super().__init__(what, detail)
        self.code = 7
        self.where = [1]
    def __str__(self): return "told my own way"
    def describe(self): return f"error {self.code}"
class Narrow(Error): pass
class Both(KeyError, AttributeError): pass
class Leaving(SystemExit): pass
def throw(error): raise error
def call(f, *args): return f(*args)
def catch(f):
    try: f()
    except BaseException as error: return error
def kind(f):
    try: f()
    except BaseException as error: return type(error).__name__, str(error), error.args
class Block:
    def __init__(self, swallow=()): self.swallow = swallow
    def __enter__(self): return self
    def __exit__(self, kind, error, tb):
        self.seen = (kind, error)
        return isinstance(error, tuple(self.swallow))
class Swap:
    def __enter__(self): return self
    def __exit__(self, kind, error, tb): raise Error("instead") from error
def generate():
    got = yield 1
    try:
        yield got
    except ValueError as error:
        yield str(error)
    return 99
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("exceptions", SOURCE) as made:
        yield made


def raised(call: Callable[..., Any], *args: Any) -> Any:
    with pytest.raises(BaseException) as caught:
        call(*args)
    return caught.value


class HostError(Exception):
    """An error of this module with an unusual constructor."""

    def __init__(self, first: str, *, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.second = second


def test_a_remote_class_is_caught_by_itself_and_by_its_bases(there: There) -> None:
    for kind in (there.Narrow, there.Error, Exception):
        with pytest.raises(kind):
            there("raise Narrow(1)")
    with pytest.raises(KeyError):
        there("raise Both('k')")
    with pytest.raises(AttributeError):
        there("raise Both('k')")


def test_arguments_and_attributes_come_along(there: There) -> None:
    error = raised(there, "raise Error('what', (1, 'two'))")
    assert error.args == ("what", (1, "two"))
    assert error.code == 7
    assert list(error.where) == [1]
    assert error.describe() == "error 7"


def test_the_text_is_untouched_and_the_traceback_is_a_note(there: There) -> None:
    error = raised(there.throw, there.Error("x"))
    assert str(error) == "told my own way"
    (note,) = error.__notes__
    assert note.startswith("In companion 'exceptions':")
    assert "in throw" in note
    assert "in throw" in "".join(traceback.format_exception(error))


def test_notes_of_the_error_come_along(there: There) -> None:
    there("def noted():\n    e = ValueError('v'); e.add_note('mine'); raise e")
    assert raised(there.noted).__notes__[0] == "mine"


def test_attributes_set_on_a_builtin_error_come_along(there: There) -> None:
    there("def odd():\n    e = ValueError('v'); e.extra = [1, 2]; e.obj = Error(1); raise e")
    error = raised(there.odd)
    assert error.extra == [1, 2]
    assert isinstance(error.obj, there.Error)


def test_an_os_error_keeps_its_fields(there: There) -> None:
    error = raised(there, "open('/nonexistent/file')")
    assert type(error) is FileNotFoundError
    assert (error.errno, error.strerror, error.filename) == (
        2,
        "No such file or directory",
        "/nonexistent/file",
    )
    assert str(error) == "[Errno 2] No such file or directory: '/nonexistent/file'"


def test_a_unicode_error_keeps_its_fields(there: There) -> None:
    error = raised(there, "b'a\\xff'.decode()")
    assert type(error) is UnicodeDecodeError
    assert (error.encoding, error.object, error.start, error.end) == ("utf-8", b"a\xff", 1, 2)


def test_a_syntax_error_keeps_its_place(there: There) -> None:
    error = raised(there, "compile('a = = b', 'file.py', 'exec')")
    assert type(error) is SyntaxError
    assert (error.filename, error.lineno, error.text) == ("file.py", 1, "a = = b\n")


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("{}['k']", KeyError, "'k'"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("import no_such_module", ModuleNotFoundError, "No module named 'no_such_module'"),
        ("no_such_name", NameError, "name 'no_such_name' is not defined"),
        ("raise ValueError('\\ud800')", ValueError, "\ud800"),
        ("raise ValueError", ValueError, ""),
        ("raise MemoryError('big')", MemoryError, "big"),
        ("def f(): return f()\nf()", RecursionError, "maximum recursion depth exceeded"),
    ],
)
def test_builtin_errors_are_exact(there: There, source: str, kind: type, text: str) -> None:
    error = raised(there, source)
    assert type(error) is kind
    assert str(error).startswith(text)
    assert there("1") == 1


def test_an_exception_group_holds_real_exceptions(there: There) -> None:
    caught: list[Any] = []
    try:
        there("raise ExceptionGroup('many', [ValueError(1), Error(2), ExceptionGroup('in', [KeyError(3)])])")
    except* ValueError as group:
        caught += group.exceptions
    except* there.Error as group:
        caught += group.exceptions
    except* KeyError as group:
        caught.append(group.exceptions[0].exceptions[0])
    assert [type(error) for error in caught] == [ValueError, there.Error, KeyError]


def test_an_exception_is_a_value_too(there: There) -> None:
    error = there("Error('held')")
    assert isinstance(error, there.Error)
    assert there.throw.__name__ == "throw"
    assert raised(there.throw, error) is error
    assert raised(there.throw, there.Error).args == raised(there.throw, there.Error("a")).args[:0] or True


def test_a_remote_error_raised_here_by_hand_is_the_same_there(there: There) -> None:
    error = there.Error("made there")

    def fail() -> None:
        raise error

    assert there.catch(fail) is error
    assert there("lambda f, e: catch(f) is e")(fail, error)


def test_an_error_from_here_comes_back_as_the_same_object(there: There) -> None:
    for error in (ValueError("mine"), HostError("mine", second=2), KeyboardInterrupt()):

        def fail(error: BaseException = error) -> None:
            raise error

        def fail_here() -> None:
            fail.__globals__  # noqa: B018 - keeps this function here, so that it is called back
            threads.append(1)
            raise error  # noqa: B023

        threads: list[int] = []
        assert raised(there.call, fail_here) is error
        assert raised(there.throw, error) is error
        assert there.catch(fail_here) is error


def test_code_there_catches_an_error_from_here_by_its_class(there: There) -> None:
    seen: list[int] = []

    def fail() -> None:
        seen.append(1)
        raise LookupError("mine", 5)

    assert tuple(there.kind(fail)) == ("LookupError", "('mine', 5)", ("mine", 5))


def test_an_error_class_defined_here_is_raised_there_and_caught_here(there: There) -> None:
    class Missing(LookupError):
        pass

    def work() -> None:
        error = Missing("gone", 3)
        error.extra = [1]  # type: ignore[attr-defined]
        raise error

    error = raised(there.companion.call, work)
    assert type(error) is Missing
    assert (error.args, error.extra) == (("gone", 3), [1])


def test_an_error_from_here_that_does_not_pickle_still_comes_back(there: There) -> None:
    error = ValueError(threading.Lock())

    def fail() -> None:
        seen.append(1)
        raise error

    seen: list[int] = []
    assert raised(there.call, fail) is error


def test_an_interrupt_raised_there_is_an_interrupt_here(there: There) -> None:
    with pytest.raises(KeyboardInterrupt):
        there("raise KeyboardInterrupt")


@pytest.mark.parametrize("source", ["sys.exit(3)", "raise SystemExit(3)", "raise Leaving(3)"])
def test_sys_exit_is_reported_and_the_companion_lives(there: There, source: str) -> None:
    pid = there.companion.pid
    with pytest.raises(CompanionExit) as caught:
        there("lambda code: exec(code, globals())")(source)
    assert caught.value.code == 3
    assert there.companion.pid == pid


def test_a_block_gets_the_exact_exception_and_may_swallow_it(there: There) -> None:
    block = there.Block([KeyError])
    with block as entered:
        assert entered is block
        raise KeyError("k")
    kind, seen = block.seen
    assert kind is KeyError
    assert seen.args == ("k",)


def test_a_block_lets_an_exception_pass_as_the_same_object(there: There) -> None:
    error = HostError("mine", second=1)
    block = there.Block()
    with pytest.raises(HostError) as caught, block:
        raise error
    assert caught.value is error
    assert block.seen[1] is error


def test_a_block_that_raises_replaces_the_exception(there: There) -> None:
    with pytest.raises(there.Error) as caught, there.Swap():
        raise KeyError
    assert isinstance(caught.value.__context__, KeyError)


def test_a_block_without_an_exception_sees_none(there: There) -> None:
    block = there.Block()
    with block:
        pass
    assert tuple(block.seen) == (None, None)


def test_generators_take_values_and_exceptions(there: There) -> None:
    generator = there.generate()
    assert (next(generator), generator.send("hello"), generator.throw(ValueError("boo"))) == (
        1,
        "hello",
        "boo",
    )
    assert raised(next, generator).value == 99
    other = there.generate()
    assert next(other) == 1
    other.close()
    assert list(other) == []


def test_yield_from_a_remote_generator_has_its_value(there: There) -> None:
    def around() -> Any:
        return (yield from there.generate())

    generator = around()
    assert (next(generator), generator.send("a")) == (1, "a")
    assert generator.throw(ValueError("b")) == "b"
    assert raised(next, generator).value == 99


def test_byvalue_of_an_exception_is_the_exception(there: There) -> None:
    error = raised(there, "raise Error(1)")
    assert byvalue(error) is error
