"""The names of a companion: bounded, and without running any code of the values' own."""

from __future__ import annotations

import pytest

from isolate_magic import Companion, ProtocolError


def told(companion: Companion, source: str) -> dict[str, tuple[str, str, str]]:
    """Run a cell and return what is told of each name."""
    companion.run(source)
    return {one.name: one[1:] for one in companion.vars()}


def test_names_come_with_type_size_and_value(companion: Companion) -> None:
    found = told(
        companion,
        "a, text, table, nothing = [1, 'b'], 'abc', {'k': (1.5, None)}, None\nimport math\ndef f(): pass\nclass C: pass",
    )
    assert found["a"] == ("list", "2 items", "[1, 'b']")
    assert found["text"] == ("str", "3 characters", "'abc'")
    assert found["table"] == ("dict", "1 item", "{'k': (1.5, None)}")
    assert found["nothing"] == ("NoneType", "", "None")
    assert found["math"] == ("module", "", "<module math>")
    assert found["f"][2] == "<function f>"
    assert found["C"][2] == "<class __main__.C>"


def test_arrays_and_tables_tell_their_shape(companion: Companion) -> None:
    found = told(
        companion, "import numpy, pandas\nx = numpy.zeros((3, 4))\ny = pandas.DataFrame({'a': [1, 2]})"
    )
    assert found["x"][1] == "3 x 4 float64"
    assert found["y"][1] == "2 x 1"


def test_ipythons_own_names_are_left_out(companion: Companion) -> None:
    assert told(companion, "mine = 1") == {"mine": ("int", "", "1")}


def test_no_code_of_the_values_runs(companion: Companion) -> None:
    found = told(
        companion,
        "import os\n"
        "class Meta(type):\n    def __getattribute__(cls, name): os.abort()\n"
        "class Bad:\n    def __repr__(self): os.abort()\n    __str__ = __len__ = __hash__ = __repr__\n"
        "    def __getattr__(self, name): os.abort()\n    __class__ = property(lambda self: os.abort())\n"
        "class Worse(metaclass=Meta): pass\n"
        "class List(list):\n    def __iter__(self): os.abort()\n    __repr__ = __len__ = __iter__\n"
        "bad, worse, inside, mine = Bad(), Worse(), [Bad()], List()",
    )
    assert found["bad"] == ("__main__.Bad", "", "<__main__.Bad object>")
    assert found["worse"][0] == "__main__.Worse"
    assert found["inside"][2] == "[<__main__.Bad object>]"
    assert found["mine"][2] == "<__main__.List object>"


def test_large_values_give_short_texts_at_once(companion: Companion) -> None:
    found = told(
        companion,
        "text = 'x' * 10**7\nnumber = 10**100000\nitems = list(range(10**6))\ndeep = []\nfor _ in range(100): deep = [deep]\n"
        "ring = []\nring.append(ring)",
    )
    assert all(len(part) <= 200 for row in found.values() for part in row)
    assert found["number"][2] == "an int of 332,193 bits"
    assert found["items"][1:] == ("1,000,000 items", "[0, 1, 2, 3, 4, 5, ...]")


def test_more_names_than_anybody_reads_are_cut_off(companion: Companion) -> None:
    companion.run("for n in range(3000): globals()[f'v{n}'] = n")
    assert len(companion.vars()) == 1000


@pytest.mark.parametrize(
    "answer",
    ["'text'", "((1, 2, 3, 4),)", "(('a', 'b', 'c'),)", "(('a',) * 4,) * 1001", "[('a', 'b', 'c', 'd')]"],
)
def test_a_list_of_names_that_is_none_ends_the_companion(answer: str) -> None:
    with Companion("liar-of-names", policy="untrusted") as liar:
        liar.run(
            "import gc\nfrom isolate_magic.child.service import Service\n"
            f"Service.variables = lambda self: {answer}"
        )
        with pytest.raises(ProtocolError):
            liar.vars()


def test_names_of_an_untrusted_companion_do_nothing_in_a_terminal() -> None:
    with Companion("painter", policy="untrusted") as painter:
        painter.run(
            "from isolate_magic.child.service import Service\n"
            r"Service.variables = lambda self: (('a', 'b', 'c', '\x1b]52;c;eA==\x07' + 'x' * 10**5),)"
        )
        (row,) = painter.vars()
        assert "\x1b" not in row.text
        assert len(row.text) < 1000
