"""The import allow-list: what cells may import, and that it is a convenience above the kernel's rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isolate_magic import Companion, Policy
from isolate_magic.child import imports


@pytest.fixture(scope="module")
def listed() -> Iterator[Companion]:
    with Companion("listed", policy=Policy(imports=["json", "xml.dom", "csv"], name="course")) as made:
        yield made


@pytest.mark.parametrize(
    "source", ["import json", "import json.decoder", "from json import loads", "import csv"]
)
def test_a_module_that_is_listed_and_what_is_in_it_can_be_imported(listed: Companion, source: str) -> None:
    listed.run(source)


def test_the_packages_above_it_can_be_imported_but_not_what_is_beside_it(listed: Companion) -> None:
    listed.run("import xml.dom.minidom")
    with pytest.raises(ImportError):
        listed.run("import xml.etree")


@pytest.mark.parametrize(
    "source", ["import wave", "from wave import open", "import wave as json", "import jsonx"]
)
def test_another_cannot_and_the_error_tells_the_cure(listed: Companion, source: str) -> None:
    with pytest.raises(
        ImportError, match=r"policy 'course' allows to import csv, json, xml.dom, not '\w+'"
    ) as caught:
        listed.run(source)
    assert f"allow_import({caught.value.name!r}) would allow it" in str(caught.value)
    (shown,) = [note for note in caught.value.__notes__ if note.startswith("In companion")]
    assert source in shown
    assert "imports.py" not in shown


def test_what_an_allowed_module_imports_is_its_own_business(listed: Companion) -> None:
    assert listed.run("import xml.dom.minidom; xml.dom.minidom.io.__name__") == "io"


def test_the_main_session_is_held_to_it_as_well(listed: Companion) -> None:
    assert listed.load_module("json").loads("[1]")[0] == 1
    with pytest.raises(ImportError):
        listed.load_module("wave")


def test_nothing_can_be_imported_where_nothing_is_listed() -> None:
    with Companion("none", policy=Policy(imports=[])) as companion:
        assert companion.run("6 * 7") == 42
        with pytest.raises(ImportError, match="allows to import nothing"):
            companion.run("import json")


def test_it_is_no_wall(listed: Companion) -> None:
    assert listed.run("import json; json.codecs.sys.modules['os'].getpid()") == listed.pid


def test_a_traceback_may_have_a_frame_without_a_line() -> None:
    """As one has where an interrupt meets an instruction that belongs to none."""

    def failing() -> None:
        raise KeyboardInterrupt

    failing.__code__ = failing.__code__.replace(co_linetable=b"")
    with pytest.raises(KeyboardInterrupt) as caught:
        failing()
    trace = caught.tb
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert trace.tb_lineno is None
    found = imports.without(caught.tb, ())
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    assert found is not None
    assert found.tb_lineno == failing.__code__.co_firstlineno
