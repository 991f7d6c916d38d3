"""Shift-Tab, `obj?` and `obj??` in a real kernel and in a terminal: the companion's word, and no code run."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from face.test_terminal import terminal
from kernels import Cell, Kernel

THERE = """%%isolated -o thing,helper,Thing
import json
def helper(number, wanted: int = 1) -> str:
    'Help with a number.'
    return 'SECRET' + str(number)
class Thing:
    'A thing of there.'
    touched = 0
    @property
    def costly(self):
        'What it costs.'
        Thing.touched += 1
        raise RuntimeError('the property ran')
    def method(self, first):
        'Do something.'
thing = Thing()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\n%config Isolate.snapshots = 'off'")
    made.run(
        "def here_only(): 'Here.'\nfrom isolate_magic.session import get_companion; import threading, time"
    )
    assert made.run(THERE).status == "ok"
    yield made
    made.close()


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def hint(kernel: Kernel, code: str, cursor: int | None = None, detail: int = 0) -> str:
    """Press Shift-Tab and return what shows, without colours; "" if nothing does."""
    place = len(code) if cursor is None else cursor
    reply = kernel.client.inspect(code, place, detail, reply=True, timeout=30)["content"]
    assert reply["status"] == "ok"
    assert reply["found"] == bool(reply["data"])
    return bare(reply["data"].get("text/plain", ""))


def page(cell: Cell) -> str:
    """Return the text that the pager shows after a cell."""
    pages: list[dict[str, Any]] = [part for part in cell.reply["payload"] if part["source"] == "page"]
    return bare(pages[0]["data"]["text/plain"]) if pages else ""


# ---------------------------------------------------------------- the cells of a companion


def test_shift_tab_in_a_cell_shows_what_the_companion_has(kernel: Kernel) -> None:
    seen = hint(kernel, "%%isolated\n'🎉'; helper(3, ")
    assert "helper(number, wanted: int = 1) -> str" in seen
    assert "Help with a number." in seen
    assert "Do something." in hint(kernel, "%%isolated\nthing.method")
    assert hint(kernel, "%%isolated\nhere_only") == ""
    assert hint(kernel, "%%isolated -c nobody\nhere_only") == ""
    assert "SECRET" in hint(kernel, "%%isolated\nhelper", detail=1)
    code = "%%isolated\nx = json.dumps(1)\ny = 2"
    assert "Serialize" in hint(kernel, code, code.index("umps"))


def test_a_question_mark_in_a_cell_opens_the_pager_as_ipython_does(kernel: Kernel) -> None:
    seen = page(kernel.run("%%isolated\nhelper?"))
    assert "helper(number, wanted: int = 1) -> str" in seen
    assert "SECRET" not in seen
    assert "SECRET" in page(kernel.run("%%isolated\nhelper??"))
    assert "timeit" in page(kernel.run("%%isolated\n%timeit?"))
    assert page(kernel.run("%%isolated\n1 + 1")) == ""
    assert page(kernel.run("%%isolated -q\nhelper?")) == ""
    assert "not found" in kernel.run("%%isolated\nhere_only?").stream()


def test_the_line_of_the_magic_explains_the_magic(kernel: Kernel) -> None:
    assert "--companion" in hint(kernel, "%%isolated -c x\nhelper", 4)


# ---------------------------------------------------------------- proxies


def test_shift_tab_on_a_proxy_shows_what_the_companion_tells_and_where_it_lives(kernel: Kernel) -> None:
    seen = hint(kernel, "helper(")
    assert "Signature: helper(number, wanted: int = 1) -> str" in seen
    assert "Companion:   default" in seen
    assert "SECRET" not in seen
    assert "thing.method(first)" in hint(kernel, "x = thing.method")
    assert "A thing of there." in hint(kernel, "Thing")
    assert "SECRET" in hint(kernel, "helper", detail=1)
    assert "Here." in hint(kernel, "here_only")


def test_a_question_mark_on_a_proxy_opens_the_pager(kernel: Kernel) -> None:
    kernel.run("json = import_isolated('json'); class_ = Thing; held = [thing]; kept = thing.method")
    seen = page(kernel.run("json.dumps?"))
    assert "Serialize" in seen
    assert "Companion:   default" in seen
    assert re.search(r"File: +\S+json/__init__.py", seen)
    assert "def dumps(" in page(kernel.run("json.dumps??"))
    assert "A thing of there." in page(kernel.run("held[0]?"))
    assert "Do something." in page(kernel.run("kept?"))
    assert "Here." in page(kernel.run("here_only?"))
    assert "Companion:" not in page(kernel.run("here_only?"))


def test_no_property_runs(kernel: Kernel) -> None:
    assert "What it costs." in hint(kernel, "thing.costly")
    assert "What it costs." in page(kernel.run("thing.costly?"))
    assert "What it costs." in hint(kernel, "%%isolated\nthing.costly")
    assert kernel.run("%%isolated\nThing.touched").result["text/plain"] == "0"


def test_what_is_not_there_is_not_found(kernel: Kernel) -> None:
    assert hint(kernel, "thing.absent") == ""
    assert "not found" in kernel.run("thing.absent?").stream()


def test_a_proxy_of_a_dead_companion_says_so(kernel: Kernel) -> None:
    kernel.run("%%isolated -c mortal -o gone\ngone = [1]")
    kernel.run("%%isolated -c mortal\nimport os; os.abort()")
    assert "SIGABRT" in page(kernel.run("gone?"))
    assert hint(kernel, "gone") == ""
    assert "mortal: dead" in kernel.run("%isolate list").stream()


def test_a_working_companion_tells_what_it_has_told_before(kernel: Kernel) -> None:
    kernel.run("%%isolated -c works -o held\ndef held(one): 'Held.'\ndef other(): 'Other.'")
    assert "Held." in hint(kernel, "held")
    assert "Held." in hint(kernel, "%%isolated -c works\nheld")
    kernel.run(
        "job = threading.Thread(target=lambda: get_companion('works').call(time.sleep, 60)); job.start()\n"
        "while get_companion('works').state != 'busy': pass"
    )
    try:
        begun = time.monotonic()
        assert "Held." in hint(kernel, "held")
        assert "Held." in hint(kernel, "%%isolated -c works\nheld")
        assert hint(kernel, "%%isolated -c works\nother") == ""
        assert time.monotonic() - begun < 10
    finally:
        kernel.run("get_companion('works').interrupt(); job.join()")


# ---------------------------------------------------------------- a companion that lies


def test_an_untrusted_companion_writes_nothing_that_acts(kernel: Kernel) -> None:
    if kernel.run("%isolate start liar --policy untrusted").status != "ok":
        pytest.skip("no confinement on this machine")
    kernel.run("%%isolated -c liar -o bait\ndef bait(): 'Quiet\\x1b]52;c;eA==\\x07\\x1b[2J\\u202e words.'")
    for seen in (
        hint(kernel, "bait"),
        hint(kernel, "%%isolated -c liar\nbait"),
        page(kernel.run("bait?")),
        page(kernel.run("%%isolated -c liar\nbait?")),
    ):
        assert "words." in seen
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", seen)
        assert all(line.startswith("▏") or not line or "Companion:" in line for line in seen.split("\n"))
    kernel.run(
        "%%isolated -c liar\nfrom isolate_magic.child.service import Service\nimport json\n"
        "Service.inspect = lambda self, *a: json.dumps({'found': True, 'text': 'x' * 7_000_000})"
    )
    assert 0 < len(hint(kernel, "bait")) < 300_000
    for answer in (
        "5",
        "None",
        "'{'",
        "json.dumps({'found': 1, 'text': 'x'})",
        "json.dumps({'found': True, 'text': 5})",
    ):
        kernel.run(f"%%isolated -c liar\nService.inspect = lambda self, *a: {answer}")
        assert "Traceback" not in hint(kernel, "bait", detail=1)
        assert kernel.run("bait?").status == "ok"


def test_a_page_counts_as_output_and_belongs_to_a_cell(kernel: Kernel) -> None:
    kernel.run(
        "from isolate_magic import Policy, Companion\nfew = Companion('few', policy=Policy(extends='untrusted', output=2000))"
    )
    if kernel.run("few.start()").status != "ok":
        pytest.skip("no confinement on this machine")
    cell = kernel.run("%%isolated -c few\ndef f(): 'x' * 5\nf.__doc__ = 'x' * 100_000\nf?")
    assert page(cell) == ""
    assert "dropped" in cell.stream("stderr")


# ---------------------------------------------------------------- the terminal


def test_a_question_mark_works_in_a_terminal() -> None:
    seen = bare(terminal(
        "%load_ext isolate_magic", "%%isolated -o helper\ndef helper(number): 'Help here.'", "%%isolated\nhelper?",
        "print('between')", "helper?",
    ))  # fmt: skip
    first, second = seen.split("between")
    assert "helper(number)" in first
    assert "Help here." in second
    assert "Companion:   default" in second
