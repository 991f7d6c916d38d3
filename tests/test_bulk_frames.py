"""Large bodies in both directions, by one copy between address spaces and through sealed memfds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from waiting import until

from isolate_magic import Companion, TransferError, byvalue

np = pytest.importorskip("numpy")


@pytest.fixture(scope="module", params=["direct", "memfd"])
def large(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion for each of the two ways that bodies travel."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ISOLATE_MAGIC_COPIES", request.param)
    with Companion(f"large-{request.param}", preload=["numpy"], env={"WAY": request.param}) as companion:
        companion.run("import numpy as np\ndef same(x): return x\ndef size(x): return len(x)")
        assert companion._process.talk.arguments.direct is (request.param == "direct")  # type: ignore[union-attr]
        yield companion
    patch.undo()


@pytest.mark.parametrize(
    "length", [0, 1, 16_383, 16_385, 65_536, 65_537, 131_000, 131_072, 131_073, 300_000, 3_000_000]
)
@pytest.mark.parametrize("kind", [str, bytes], ids=["str", "bytes"])
def test_arguments_and_results_of_every_size_come_back_equal(
    large: Companion, length: int, kind: type
) -> None:
    value: Any = (
        "añb€"[: length % 5] + "x" * (length - length % 5)
        if kind is str
        else bytes(range(256)) * (length // 256)
    )
    assert large.pull("size")(value) == len(value)
    assert large.pull("same")(value) == value


def test_a_result_of_200_mb_comes_whole(large: Companion) -> None:
    result = large.run("bytes(200_000_000)")
    assert len(result) == 200_000_000
    assert result.count(0) == 200_000_000


def test_many_medium_arrays_travel_in_one_call(large: Companion) -> None:
    arrays = [np.full(10_000 + i, i) for i in range(60)]
    total = large.run("lambda *arrays, **named: sum(int(a.sum()) for a in [*arrays, *named.values()])")
    named = {f"a{i}": array for i, array in enumerate(arrays[30:])}
    assert total(*arrays[:30], **named) == sum(int(array.sum()) for array in arrays)


def test_many_medium_arrays_come_back_in_one_copy(large: Companion) -> None:
    found = byvalue(large.run("[np.full(10_000 + i, i) for i in range(50)]"))
    assert [(len(array), int(array[-1])) for array in found] == [(10_000 + i, i) for i in range(50)]


@pytest.mark.parametrize(
    "text", ["np.arange(5_000_000.0)", "np.asfortranarray(np.arange(600_000).reshape(600, 1000))"]
)
def test_large_arrays_are_copied_exactly(large: Companion, text: str) -> None:
    assert np.array_equal(byvalue(large.run(text)), eval(text))


GAPS = [
    np.arange(3_000_000.0).reshape(1000, 3000)[:, ::2], np.arange(600_000)[::-3], np.arange(400_000).astype("M8[s]")[::2],
    np.arange(600_000.0).reshape(20, 30, 1000)[1:, ::2, 5:].transpose(2, 0, 1), np.ones((2, 2_000_000), "u1")[:, 1:],
    np.zeros(200_000, [("a", "i4"), ("b", "S9")])["b"], np.broadcast_to(np.arange(1000), (900, 1000)),
    np.arange(1_200_000.0).reshape(10, 300, 400).transpose(1, 2, 0), np.asfortranarray(np.ones((900, 700))),
]  # fmt: skip


@pytest.mark.parametrize("array", GAPS, ids=lambda a: f"{a.dtype}-{a.shape}"[:40])
def test_large_arrays_with_gaps_travel_both_ways(large: Companion, array: Any) -> None:
    remote = large.pull("same")([array, b"x", array[:3]])
    there, _, few = byvalue(remote)
    assert np.array_equal(there, array)
    assert (there.dtype, few.shape) == (array.dtype, array[:3].shape)
    large.push({"array": array})
    assert np.array_equal(byvalue(large.pull("array")), array)
    assert np.array_equal(byvalue(large.run("array[::-1, ...]")), array[::-1])


def test_the_axes_of_a_large_array_keep_their_order_in_memory(large: Companion) -> None:
    array = np.zeros((30, 40, 500)).transpose(1, 2, 0)
    strides = large.run("lambda a: a.strides")
    assert strides(array) == array.strides
    assert byvalue(large.pull("same")(array)).strides == array.strides


def test_arrays_that_do_not_fit_together_are_refused_before_the_first_is_copied(large: Companion) -> None:
    if not large._process.talk.arguments.direct:  # type: ignore[union-attr]
        pytest.skip("in memfds they would not even fit there")
    length = int(psutil.virtual_memory().available * 0.6)
    two = large.run(f"[np.zeros({length}, 'u1') for _ in range(2)]")  # of pages that nobody has touched
    before = psutil.Process().memory_info().rss
    with pytest.raises(TransferError, match="do not fit here"):
        byvalue(two)
    assert psutil.Process().memory_info().rss - before < 100 << 20
    assert byvalue(large.run("[np.zeros(9)]"))[0].shape == (9,)


def test_what_is_pushed_is_writable_there_whichever_way_it_came(large: Companion) -> None:
    mine = np.zeros(300_000)
    large.push({"pushed": mine})
    assert large.run("pushed[0] = 9; float(pushed[0])") == 9.0
    assert mine[0] == 0.0


def test_gathering_an_array_with_gaps_takes_no_second_copy_of_it_here() -> None:
    from isolate_magic.link.foreign import numpy as foreign

    array = np.arange(4_000_000.0).reshape(1000, 4000)[:, ::2]
    pieces = [(len(piece), bytes(piece[:8])) for piece in foreign.slabs(array)]
    assert sum(size for size, _ in pieces) == array.nbytes
    assert max(size for size, _ in pieces) <= 1 << 20
    assert b"".join(map(bytes, foreign.slabs(array))) == array.tobytes()


def test_memory_of_arguments_is_used_again_only_when_nothing_looks_at_it(large: Companion) -> None:
    large.run("kept = []\ndef keep(a, n):\n    if n % 2: kept.append(a[n:])\n    return float(a[-1])")
    keep = large.pull("keep")
    for n in range(12):
        assert keep(np.full(700_000 - n, float(n)), n) == n
    assert (
        large.run("[float(a.min()) == float(a.max()) == n for n, a in zip(range(1, 12, 2), kept)]")
        == [True] * 6
    )
    large.run("kept.clear()")


def test_a_callback_may_return_a_megabyte(large: Companion) -> None:
    body = bytes(range(256)) * 4096
    assert (
        large.run("all(f(i) == g(i) for i in range(10))", push={"f": lambda i: body, "g": Give(body)}) is True
    )


class Give:
    """Return a thing, as a callback that must stay here."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing
        self.calls: list[int] = []

    def __call__(self, number: int) -> Any:
        self.calls.append(number)
        return self.thing


def test_the_memory_of_arguments_and_results_is_given_back(large: Companion) -> None:
    use = large.run("def use(x, f): return len(x) + len(f(0))\nuse")
    body = bytes(5_000_000)
    give = Give(body)
    make = large.run("def make(): return bytearray(5_000_000)\nmake")
    meter = psutil.Process(large.pid)

    def cycle() -> None:
        assert use(body, give.__call__) == 10_000_000
        assert len(byvalue(make())) == 5_000_000

    for _ in range(3):
        cycle()
    gc.collect()
    before = meter.memory_info().rss
    for _ in range(30):
        cycle()
    until(lambda: meter.memory_info().rss - before < 60 << 20)
    talk = large._process.talk  # type: ignore[union-attr]
    assert not talk.poured


def test_a_large_display_comes_whole(large: Companion) -> None:
    class Record:
        shown = ""

        def stream(self, name: str, text: str) -> None:
            pass

        def message(self, kind: str, content: dict[str, Any]) -> None:
            Record.shown += content["data"]["text/plain"]

    large.run("display({'text/plain': 'y' * 5_000_000}, raw=True)", sink=Record())
    assert Record.shown == "y" * 5_000_000


def test_a_large_exception_text_comes_whole(large: Companion) -> None:
    with pytest.raises(ValueError) as caught:
        large.run("raise ValueError('z' * 500_000)")
    assert str(caught.value) == "z" * 500_000
