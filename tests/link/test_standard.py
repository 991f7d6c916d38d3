"""Standard exceptions of a companion, caught by the names that this session has for them."""

from __future__ import annotations

import configparser
import inspect
import io
import json
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("standard", "import json, sqlite3, subprocess, zlib, struct, io, configparser") as made:
        made(f"{inspect.getsource(nonsense)}")
        yield made


def nonsense() -> None:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("nonsense")
    finally:
        connection.close()


CASES = [
    ("json.loads('{')", json.JSONDecodeError),
    ("json.loads('{')", ValueError),
    ("nonsense()", sqlite3.OperationalError),
    ("nonsense()", sqlite3.Error),
    ("subprocess.run(['false'], check=True)", subprocess.CalledProcessError),
    ("(_ for _ in ()).throw(subprocess.TimeoutExpired('x', 1))", subprocess.TimeoutExpired),
    ("zlib.decompress(b'x')", zlib.error),
    ("struct.pack('b', 999)", struct.error),
    ("io.StringIO().fileno()", io.UnsupportedOperation),
    ("configparser.ConfigParser().get('a', 'b')", configparser.NoSectionError),
]


@pytest.mark.parametrize(("source", "kind"), CASES)
def test_a_standard_exception_is_caught_by_the_class_here(there: There, source: str, kind: Any) -> None:
    with pytest.raises(kind) as here:
        eval(source)
    with pytest.raises(kind) as caught:
        there(source)
    assert str(caught.value) == str(here.value)


def test_the_class_of_the_companions_module_catches_it_too_and_attributes_are_there(there: There) -> None:
    remote = there.companion.load_module("json")
    with pytest.raises(remote.JSONDecodeError) as caught:
        remote.loads("[1, }")
    assert (caught.value.pos, caught.value.msg) == (4, "Expecting value")
    error = there.companion.load_module("sqlite3")
    assert issubclass(error.IntegrityError, error.DatabaseError)
    assert issubclass(error.IntegrityError, sqlite3.IntegrityError)


def test_no_module_is_imported_because_a_companion_names_it(there: There) -> None:
    there("import netrc")
    assert "netrc" not in sys.modules
    assert there("netrc.NetrcParseError").__mro__[1] is Exception
    assert "netrc" not in sys.modules


@pytest.mark.parametrize("module", ["test_standard_secret", "builtins.evil", "isolate_magic.errors"])
def test_a_class_of_any_other_module_here_is_not_taken(there: There, module: str) -> None:
    made: Any = type(sys)(module)

    class Secret(Exception):
        pass

    Secret.__module__, Secret.__qualname__ = module, "Secret"
    made.Secret = Secret
    sys.modules.setdefault(module, made)
    there(f"class Secret(Exception): pass\nSecret.__module__ = {module!r}")
    assert not issubclass(there("Secret"), Secret)


def test_a_class_that_only_calls_itself_a_standard_one_is_no_harm(there: There) -> None:
    there("class error(OSError): pass\nerror.__module__ = 'zlib'\ndef fail(): raise error('x')")
    with pytest.raises(OSError, match="x") as caught:
        there.fail()
    assert not isinstance(caught.value, zlib.error)
