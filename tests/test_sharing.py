"""`share`: an array is put into sealed memory once, and companions map it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
from there import copying
from waiting import until

from isolate_magic import Companion, TransferError, byvalue, isproxy, share

SOURCE = """
import ctypes, fcntl, mmap, os
import numpy as np
def same(x): return x
def told(x): return repr(x), x.strides, x.flags.writeable
kept = []
def maps():
    return sum('isolate-bulk' in line for line in open('/proc/self/maps'))
"""


@pytest.fixture(scope="module", params=["direct", "memfd"])
def near(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion for each of the two ways that bodies travel."""
    with copying(request.param, "near", SOURCE, "numpy") as made:
        yield made


def maps(pid: int | None) -> int:
    """Count the maps of shared memory that a process has."""
    with open(f"/proc/{pid}/maps") as lines:
        return sum("isolate-bulk" in line for line in lines)


def maps_there(companion: Companion) -> int:
    """Count as `maps`, once both have let go of all that is gone; pandas' frames, for one, are in cycles."""
    gc.collect()
    companion.run("import gc; gc.collect()")
    companion.run("1")  # what is gone is unmapped when the reply before is out
    return maps(companion.pid)


def descriptors() -> int:
    """Count the memfds that this process has open."""
    gc.collect()
    return sum("isolate-bulk" in link(fd) for fd in os.listdir("/proc/self/fd"))


def link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # the one of the folder itself
        return ""


ARRAYS = [
    np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((3, 4))), np.arange(20)[::3], np.array(5),
    np.empty((0, 3)), np.array(["a", "bcd"]), np.array(["2020-01-01"], dtype="M8[D]"), np.ones(3, ">i2"),
    np.zeros(2, dtype=[("a", "i4"), ("b", "f8", (2,))]), np.arange(300_000.0), np.arange(10)[::-1],
    np.broadcast_to(np.arange(3), (4, 3)), np.ones((2, 3, 4)).transpose(1, 2, 0), np.array([True, False]),
    np.arange(1_200_000).reshape(1000, 1200)[:, ::2],
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}-{a.shape}-{a.strides}"[:40])
def test_a_shared_array_is_an_ordinary_one_here_and_there(near: Companion, array: Any) -> None:
    shared = share(array)
    assert type(shared) is np.ndarray
    assert (repr(shared), shared.dtype, shared.shape) == (repr(array), array.dtype, array.shape)
    assert shared.flags.forc or not array.flags.forc
    assert not shared.flags.writeable
    assert near.pull("told")(shared) == (repr(array), shared.strides, False)
    back = byvalue(near.pull("same")(shared))
    assert repr(back) == repr(array)
    assert back.flags.writeable


def test_nobody_can_make_a_shared_array_writable() -> None:
    shared = share(np.arange(5))
    for view in (shared, shared[1:], shared.base):
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 9


def test_views_are_mapped_as_they_are(near: Companion) -> None:
    shared = share(np.arange(60_000.0).reshape(200, 300))
    views = [
        shared[::-1], shared[5:9, ::-3], shared.T, shared.reshape(-1)[7::11], shared[3], shared[3:3, :3], shared[2, 5, None],
        shared.view("i8"), shared.astype("f8", copy=False), np.broadcast_to(shared[0], (3, 300)), shared[..., None],
        shared.view([("a", "f8"), ("b", "f8")])["b"],
    ]  # fmt: skip
    before = maps_there(near)
    for view in views:
        assert near.pull("told")(view) == (repr(view), view.strides if view.size else (24, 8), False)
    near.pull("kept").extend(views)
    assert maps_there(near) == before + 1
    near.pull("kept").clear()


def test_it_is_found_in_lists_keywords_cells_and_results_of_callbacks(near: Companion) -> None:
    shared = share(np.arange(500_000.0))
    before = maps_there(near)
    total = near.run("lambda items, **named: sum(a.sum() for a in [*items, *named['d'].values()])")
    assert total([shared, shared[::2]], d={"x": shared[:10]}) == pytest.approx(
        shared.sum() + shared[::2].sum() + 45
    )
    near.push({"pushed": shared})
    assert near.run("float(pushed[-1]), pushed.flags.writeable") == (499_999.0, False)
    calls: list[int] = []
    assert near.run("float(f(9)[9])", push={"f": lambda n: (calls.append(n), shared)[1]}) == 9.0
    assert calls == [9]
    assert maps_there(near) == before + 1
    near.run("del pushed, f")


def test_a_frame_over_a_shared_array_takes_no_copy(near: Companion) -> None:
    pd = pytest.importorskip("pandas")
    table = share(
        pd.DataFrame({"a": np.arange(300_000.0), "b": np.arange(300_000.0) + 1, "c": ["x"] * 300_000})
    )
    assert type(table) is pd.DataFrame
    assert near.run("lambda t: (float(t['b'].iloc[-1]), t['c'].iloc[0])")(table[["b", "c"]]) == (
        300_000.0,
        "x",
    )
    numbers = share(pd.DataFrame(np.zeros((1_000_000, 10)), columns=list("abcdefghij")))
    assert share(numbers) is numbers
    assert share(numbers.iloc[5:]).shape == (999_995, 10)
    before = psutil.Process(near.pid).memory_info().rss
    near.pull("kept").append(numbers)
    assert near.run("kept[0].shape") == (1_000_000, 10)
    assert psutil.Process(near.pid).memory_info().rss - before < 40 << 20
    near.pull("kept").clear()
    series = share(pd.Series([1.5, 2.5], index=["a", "b"], name="s"))
    assert near.run("lambda s: (s.name, list(s.index), s.sum())")(series)[0] == "s"
    with pytest.raises(TransferError, match="no columns of numbers"):
        share(pd.DataFrame(index=pd.RangeIndex(3)))


def test_sharing_twice_gives_the_same_array() -> None:
    shared = share(np.arange(5))
    assert share(shared) is shared
    view = shared[2:]
    assert share(view) is view


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (np.array([None, "a"]), "objects of this process"),
        ([1, 2], r"builtins\.list cannot be shared.*numpy\.asarray"),
        (np.ma.array([1, 2], mask=[0, 1]), "MaskedArray cannot be shared"),
        (5, "cannot be shared"),
    ],
)
def test_what_cannot_be_shared_is_refused_and_says_what_to_do(thing: Any, says: str) -> None:
    before = descriptors()
    with pytest.raises(TransferError, match=says):
        share(thing)
    assert descriptors() == before


def test_a_file_that_numpy_maps_can_be_shared(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", np.arange(1000))
    shared = share(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert type(shared) is np.ndarray
    assert shared[-1] == 999


THERE = [
    "np.arange(3)", "np.arange(400_000.0).reshape(4, -1).T", "np.array(7)", "np.empty((0, 2))",
    "np.ones((20, 30, 40)).transpose(1, 2, 0)", "np.arange(9000)[::3]", "np.array([True, False])",
]  # fmt: skip


@pytest.mark.parametrize("source", THERE)
def test_an_array_of_a_companion_comes_straight_into_shared_memory(near: Companion, source: str) -> None:
    maps_there(near)
    before = descriptors()
    shared = share(near.run(source))
    expected = eval(source)
    assert type(shared) is np.ndarray
    assert np.array_equal(shared, expected)
    assert (shared.dtype, shared.flags.writeable) == (expected.dtype, False)
    assert descriptors() == before + 1
    assert share(shared) is shared
    assert near.pull("told")(shared)[0] == repr(expected)
    assert not near._process.talk.poured  # type: ignore[union-attr]


def test_a_proxy_of_something_else_is_refused_like_the_thing_itself(near: Companion) -> None:
    with pytest.raises(TransferError, match="cannot be shared"):
        share(near.run("[1, 2]"))


def test_several_companions_map_it_and_a_restarted_one_maps_it_again(near: Companion) -> None:
    shared = share(np.arange(1_000_000.0))
    with Companion("second", preload=["numpy"]) as second, Companion("third") as third:
        for companion in (near, second, third):
            assert companion.call(lambda a: float(a[-1]), shared) == 999_999.0
            assert maps(companion.pid) >= 1
        kept = second.call(lambda a: a[5:], shared)
        assert isproxy(kept)
        second.restart()
        assert second.call(lambda a: float(a[-1]), shared) == 999_999.0


def test_threads_may_hand_one_over_at_the_same_time(near: Companion) -> None:
    total = near.run("lambda a: float(a.sum())")
    before = maps_there(near)
    for _ in range(5):
        shared = share(np.ones(100_000))
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(total, [shared] * 8)) == [100_000.0] * 8
    assert maps_there(near) == before + 1


def test_a_callback_may_share_what_it_returns_and_nothing_else_holds(near: Companion) -> None:
    calls: list[int] = []
    before = maps_there(near)
    assert near.run(
        "sum(float(f(n).sum()) for n in range(20))",
        push={"f": lambda n: (calls.append(n), share(np.full(9, n)))[1]},
    ) == 9 * sum(range(20))
    near.run("del f")
    until(lambda: maps_there(near) == before)


def test_a_hand_over_after_the_first_copies_nothing_and_sends_no_descriptor(near: Companion) -> None:
    shared = share(np.zeros(12_500_000))
    size = near.run("lambda a: a.nbytes")
    read = near.run("lambda a: float(a.sum())")
    meter = psutil.Process(near.pid)
    assert size(shared) == 100_000_000
    before = maps_there(near), meter.num_fds()
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        assert size(shared) == 100_000_000
        times.append(time.perf_counter() - begin)
    assert read(shared) == 0.0
    assert (maps_there(near), meter.num_fds()) == before
    assert min(times) < 0.02  # a copy of 100 MB takes longer on any machine


def test_memory_is_given_back_on_both_sides_when_the_last_array_is_gone(near: Companion) -> None:
    there, files, here = maps_there(near), descriptors(), maps(os.getpid())
    shared = share(np.arange(100_000.0))
    near.pull("kept").append(shared[3:])
    assert maps_there(near) == there + 1
    view = shared[10:]
    del shared
    gc.collect()
    assert (maps(os.getpid()), descriptors()) == (here + 1, files + 1)
    assert near.run("float(kept[0][0])") == 3.0
    del view
    gc.collect()
    assert (maps(os.getpid()), descriptors()) == (here, files)
    assert near.run("float(kept[0][0])") == 3.0  # an array lives there, and so does its memory
    assert maps_there(near) == there + 1
    near.run("kept.clear()")
    until(lambda: maps_there(near) == there)


ATTACKS = {
    "a shared map": "mmap.mmap(fd, 8, mmap.MAP_SHARED, mmap.PROT_WRITE)[:8] = b'x' * 8",
    "pwrite": "os.pwrite(fd, b'x' * 8, 0)",
    "ftruncate": "os.ftruncate(fd, 4)",
    "growing": "os.ftruncate(fd, 1 << 20)",
    "fallocate": "assert libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)) == 0, 'EPERM'",
    "more seals": "assert fcntl.fcntl(fd, 1033, 0) == -1, 'no more seals'; os.pwrite(fd, b'x', 0)",
    "its file again": "open(f'/proc/self/fd/{fd}', 'r+b', buffering=0).write(b'x' * 8)",
    "mprotect": "assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 3) == 0; ctypes.memset(at, 120, 8)",
    "its own memory": "f = open('/proc/self/mem', 'r+b', buffering=0); f.seek(at); f.write(b'x' * 8)",
    "the flag": "a.flags.writeable = True; a[0] = 9",
}


@pytest.mark.parametrize("code", ATTACKS.values(), ids=ATTACKS)
def test_a_companion_cannot_change_what_it_has_mapped(companion: Companion, code: str) -> None:
    companion.run(SOURCE)
    shared = share(np.zeros(1000))
    companion.push({"a": shared})
    companion.run(
        "from isolate_magic.link import shared as s\nlibc = ctypes.CDLL(None)\nat = a.ctypes.data\nfd = s.at(at).fd"
    )
    try:
        companion.run(code)
    except (OSError, ValueError, AssertionError):
        pass
    assert not shared.any()
    with Companion("other") as other:
        assert other.call(lambda a: float(abs(a).sum() + a.size), shared) == 1000.0


def test_a_write_in_spite_of_the_flag_ends_a_companion_but_never_this_session(companion: Companion) -> None:
    import ctypes

    shared = share(np.zeros(1000))
    with pytest.raises(Exception, match="SIGSEGV"):
        companion.call(lambda a: __import__("ctypes").memset(a.ctypes.data, 1, 8), shared)
    ctypes.memset(shared.ctypes.data, 1, 8)  # what careless compiled code does
    assert not companion.call(lambda a: bool(a.any()), shared)


def test_a_companion_that_will_not_map_is_ended(companion: Companion) -> None:
    companion.run("from isolate_magic.child.service import Service\nService.attach = lambda *a: 'mine'")
    with pytest.raises(Exception, match="cannot map shared memory"):
        companion.call(len, share(np.arange(3)))
    assert companion.call(len, share(np.arange(3))) == 3


def test_a_companion_that_takes_no_descriptors_cannot_hold_the_session_up(companion: Companion) -> None:
    companion.run(
        "from isolate_magic.child.service import Service\n"
        "Service.attach = lambda self, *a: self.talk.lent.lend(object())"
    )
    with pytest.raises(Exception, match="takes no memory"):
        for _ in range(5000):
            try:
                companion.call(len, share(np.arange(3)))
            except TransferError:  # what it lends instead is no memory
                pass


def test_a_poured_array_that_is_not_what_it_was_said_to_be_ends_the_companion(companion: Companion) -> None:
    thing = companion.run("import numpy as np\nfrom isolate_magic.child.conversation import Conversation as C\n"
                          "from isolate_magic.link import frames as f\nimport os\nnp.zeros(5, bool)")  # fmt: skip
    lies = (
        "lambda self, b: f.Poured(self.ask_host('memfd', 5), 5_000_000)",
        "lambda self, b: f.Poured(12345, 5)",
        "lambda self, b: f.Poured(pour(self, b).token, 4)",
        "lambda self, b: pour(self, b'\\x07' * 5)",
        "lambda self, b: cut(self)",
    )
    for lie in lies:
        companion.run(
            "import numpy as np, os\nfrom isolate_magic.child.conversation import Conversation as C\n"
            "from isolate_magic.link import frames as f\npour = C.pour\n"
            "def cut(self):\n    token = self.ask_host('memfd', 5); fd = self.door_fd(token); os.ftruncate(fd, 0)\n"
            f"    return f.Poured(token, 5)\nC.pour = {lie}"
        )
        thing = companion.run("np.zeros(5, bool)")
        before = descriptors()
        with pytest.raises(Exception, match="makes no sense"):
            share(thing)
        assert descriptors() <= before


def test_a_forked_copy_of_the_session_shares_with_companions_of_its_own() -> None:
    shared = share(np.arange(1000.0))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with Companion("of-the-copy") as own:
                answers = [own.call(lambda a: float(a.sum()), s) for s in (shared, share(np.ones(10)))]
            os.write(write, repr(answers).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "[499500.0, 10.0]"
    os.waitpid(pid, 0)
    assert shared[-1] == 999.0
