"""numpy in a companion, used from here; and numpy here, meeting proxies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from there import There, there_with

from isolate_magic import byvalue, isproxy


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("arrays", "import numpy as np\ndef identity(x): return x\nkept = []") as made:
        yield made


@pytest.fixture(scope="module")
def rnp(there: There) -> Any:
    return there.companion.load_module("numpy")


def test_svd_gives_its_own_result_class_with_proxies(rnp: Any) -> None:
    matrix = np.random.default_rng(0).random((6, 4))
    result = rnp.linalg.svd(matrix)
    u, s, vh = result
    assert isproxy(u)
    assert (result.S is s, type(result).__name__) == (True, "SVDResult")
    assert np.allclose(byvalue(s), np.linalg.svd(matrix).S)
    copied = byvalue(result)
    assert type(copied.U) is np.ndarray
    assert np.allclose(copied.U[:, :4] * copied.S @ copied.Vh, matrix)
    assert np.allclose(np.asarray(vh), byvalue(vh))


def test_arithmetic_mixes_arrays_here_and_there(rnp: Any) -> None:
    remote, local = rnp.arange(3), np.arange(3)
    for result in (remote + local, local + remote, remote * 2, 2 * remote, local - remote + remote, remote @ local,
                   local @ remote, 2.0**remote, np.float64(2) * remote, remote < local, local == remote):  # fmt: skip
        assert isproxy(result) or isinstance(result, np.generic)
    assert byvalue(local + remote).tolist() == [0, 2, 4]
    assert byvalue(local - 2 * remote).tolist() == [0, -1, -2]
    remote += local
    assert byvalue(remote).tolist() == [0, 2, 4]
    assert local @ remote == 10


def test_indexing_with_slices_masks_and_arrays(rnp: Any) -> None:
    remote = rnp.arange(10)
    assert byvalue(remote[2:8:2]).tolist() == [2, 4, 6]
    assert byvalue(remote[remote > 6]).tolist() == [7, 8, 9]
    assert byvalue(remote[np.array([1, 3])]).tolist() == [1, 3]
    assert byvalue(remote.reshape(2, 5)[1, ..., None]).shape == (5, 1)
    remote[:3] = np.array([9, 9, 9])
    remote[rnp.array([8, 9])] = 0
    assert byvalue(remote).tolist() == [9, 9, 9, 3, 4, 5, 6, 7, 0, 0]


def test_numpy_here_takes_a_copy_of_a_remote_array(rnp: Any) -> None:
    remote = rnp.arange(6).reshape(2, 3)
    copy = np.asarray(remote)
    assert type(copy) is np.ndarray
    assert copy.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.asarray(remote, dtype=np.float32).dtype == np.float32
    assert np.linalg.norm(remote) == pytest.approx(np.linalg.norm(copy))
    assert np.array([remote, remote]).shape == (2, 2, 3)
    with pytest.raises(ValueError):
        np.array(remote, copy=False)


def test_numpy_here_never_reads_an_address_from_there(there: There) -> None:
    there(
        "class Evil:\n"
        "    __array_interface__ = {'shape': (2**20,), 'typestr': '<i8', 'data': (4096, False), 'version': 3}\n"
        "    __array_struct__ = 5\n"
        "    def __getattr__(self, name): return {'shape': (9,), 'typestr': '<i8', 'data': (4096, False), 'version': 3}\n"
    )
    evil = there("Evil()")
    for name in ("__array_interface__", "__array_struct__", "__cuda_array_interface__", "__dlpack__"):
        assert not hasattr(evil, name)
        assert not hasattr(type(evil), name)
        assert not hasattr(there("np.arange(3)"), name)
    assert np.array(evil, dtype=object).shape == ()
    assert np.array([evil, 1], dtype=object)[0] is evil
    with pytest.raises(TypeError):
        memoryview(there("np.arange(3)"))


def test_other_objects_with_array_are_copied_too(there: There) -> None:
    there("class Holder:\n    def __array__(self, dtype=None, copy=None): return np.arange(3, dtype=dtype)")
    assert np.asarray(there("Holder()")).tolist() == [0, 1, 2]
    assert np.asarray(there("np.ma.array([1, 2], mask=[0, 1])")).tolist() == [1, 2]
    assert np.asarray(there("[1, [2, 3][0]]")).tolist() == [1, 2]


def test_dtypes_travel_both_ways(rnp: Any) -> None:
    assert rnp.float32 is np.float32
    assert rnp.zeros(2, dtype=rnp.float32).dtype == np.float32
    assert rnp.zeros(2, dtype=np.int16).dtype == rnp.dtype("int16")
    assert rnp.zeros(2, dtype=np.dtype([("a", "i4")])).dtype.names == ("a",)
    assert np.zeros(2, dtype=rnp.float32).dtype == np.float32


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5), np.float32(1.5), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1 + 2j),
        np.str_("é"), np.bytes_(b"a\0b"), np.datetime64("2020-01-01T00:00", "ns"), np.timedelta64(3, "D"),
        np.float16(0.5), np.longdouble(1) / 3, np.datetime64("NaT"), np.str_(""),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_scalars_come_by_value_with_their_exact_type(there: There, value: Any) -> None:
    back = there.identity(value)
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    assert back.dtype == value.dtype


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((3, 4))), np.arange(20)[::3], np.array(5),
        np.empty((0, 3)), np.array(["a", "bcd"]), np.array(["2020-01-01"], dtype="M8[D]"), np.ones(3, ">i2"),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f8", (2,))]), np.arange(300_000.0), np.broadcast_to(np.arange(3), (4, 3)),
        np.array([None, [1], "a"], dtype=object), np.ma.array([1, 2], mask=[0, 1]), np.array([""], dtype="U0"),
        np.arange(10)[::-1], np.ones((2, 3, 4)).transpose(1, 2, 0), np.zeros(2, np.dtype("i4", metadata={"a": 1})),
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype}-{array.shape}"[:40],
)  # fmt: skip
def test_arrays_arrive_there_exactly(there: There, array: Any) -> None:
    remote = there.identity(array)
    assert isproxy(remote)
    assert there("lambda a, text: repr(a) == text")(array, repr(array))
    back = byvalue(remote)
    assert (type(back), back.dtype, back.shape) == (type(array), array.dtype, array.shape)
    assert repr(back) == repr(array)


def test_an_array_arrives_read_only_so_that_no_change_is_lost(there: There) -> None:
    for array in (np.arange(3), np.arange(100_000)):
        with pytest.raises(ValueError, match="read-only"):
            there("def put(a): a[0] = 9\nput")(array)
        assert array[0] == 0
        assert there("lambda a: a.copy().flags.writeable")(array)


def test_an_array_that_is_pushed_belongs_to_the_companion(there: There) -> None:
    for size in (3, 100_000):
        mine = np.zeros(size)
        there.companion.push({"pushed": mine})
        there("pushed[0] = 9")
        assert there("float(pushed[0])") == 9
        assert mine[0] == 0


def test_large_arguments_are_kept_as_long_as_they_are_needed(there: There) -> None:
    arrays = [np.full(50_000, n) for n in range(8)]
    for array in arrays:
        there.kept.append(array)
    assert [int(there("lambda n: kept[n].sum()")(n)) for n in range(8)] == [50_000 * n for n in range(8)]
    there.kept.clear()


def test_a_remote_array_passes_for_none_of_ours_but_behaves(rnp: Any) -> None:
    remote = rnp.arange(4.0)
    assert not isinstance(remote, np.ndarray)
    assert isinstance(remote, rnp.ndarray)
    assert (len(remote), remote.shape, float(remote[1]), list(remote)) == (4, (4,), 1.0, [0.0, 1.0, 2.0, 3.0])
    assert (remote.T @ remote, remote.sum(), bool(remote.any())) == (14.0, 6.0, True)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(remote)
    with pytest.raises(TypeError, match="unhashable"):
        hash(remote)


def test_writing_to_an_array_argument_is_an_error_that_says_how_to_copy(there: There) -> None:
    write = there("def write(a): a[0] = 1\nwrite")
    with pytest.raises(ValueError, match="read-only") as caught:
        write(np.zeros(3))
    assert any("x = x.copy()" in note for note in caught.value.__notes__)
