"""Properties of remote classes: found statically, run only when they are used."""

from __future__ import annotations

import inspect
import pydoc
import re
import unittest.mock
from collections.abc import Iterator

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from there import There, there_with

from isolate_magic.link.attributes import Attribute, attributes

SOURCE = """
import functools
ran = []
class Trap:
    @property
    def danger(self):
        ran.append("danger")
        raise RuntimeError("danger")
    @property
    def missing(self):
        ran.append("missing")
        raise AttributeError("not here")
    @functools.cached_property
    def cached(self):
        ran.append("cached")
        return self
    @property
    def size(self):
        return 3
    def method(self):
        "Do it."
        ran.append("method")
        return self
class Sub(Trap): pass
"""


@pytest.fixture
def there() -> Iterator[There]:
    with there_with("attributes", SOURCE) as made:
        yield made


@pytest.mark.parametrize("jedi", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_tab_runs_no_property_and_no_method(there: There, jedi: bool) -> None:
    shell = InteractiveShell.instance()
    shell.push({"trap": there.Sub()})
    shell.Completer.use_jedi = jedi
    with provisionalcompleter():
        for text in ("trap.", "trap.da", "trap.method().", "print(trap.mis"):
            found = [match.text for match in shell.Completer.completions(text, len(text))]
            if text == "trap.":
                assert {"danger", "missing", "cached", "size", "method"} <= {
                    name.lstrip(".") for name in found
                }
    assert there("ran") == []


def test_a_property_is_found_statically_and_runs_once_when_used(there: There) -> None:
    trap = there.Sub()
    assert type(inspect.getattr_static(trap, "danger")) is Attribute
    assert there("ran") == []
    assert trap.size == 3
    for name, error in (("danger", RuntimeError), ("missing", AttributeError)):
        with pytest.raises(error):
            getattr(trap, name)
    assert not hasattr(trap, "missing")
    assert there("ran") == ["danger", "missing", "missing"]
    assert str(there.Sub.size).startswith("<property object")


def test_a_property_of_a_class_can_be_patched(there: There) -> None:
    with unittest.mock.patch.object(there.Trap, "size", 7):
        assert there.Sub().size == 7
    assert there.Sub().size == 3
    with unittest.mock.patch.object(there.Trap, "method", there("lambda self: 8")):
        assert there.Sub().method() == 8
    assert isinstance(there.Sub().method(), there.Sub)


def test_help_lists_methods_and_properties_with_their_texts(there: There) -> None:
    text = pydoc.plain(pydoc.render_doc(there.Sub))
    assert re.search(r"method\(self\)( from __main__\.Trap)?\n \|      Do it\.", text)  # Python 3.13 names it
    assert "size" in text
    assert not there("ran")


def test_a_mirror_has_no_name_that_python_or_a_proxy_acts_on() -> None:
    names = ("good", "_isolate_", "__class__", "_repr_html_", "no identifier", "__eq__")
    assert list(attributes(names, names)) == ["good"]
