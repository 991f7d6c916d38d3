"""A companion that is not trusted and knows the channel: the host takes no harm, and can go on at once."""

from __future__ import annotations

import copy
import dataclasses
import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from waiting import until

from isolate_magic import (
    Companion,
    ProcessTerminationError,
    ProtocolError,
    TransferError,
    byref,
    byvalue,
    conversation,
    deadlines,
    import_isolated,
    isproxy,
    ration,
    share,
)

np = pytest.importorskip("numpy")

# `say` sends a frame, `n` is the request that is being served, `answer` puts a lie in the place of a service.
PRELUDE = """
import array, mmap, os, signal, socket, struct, sys, threading, time
import numpy as np
from isolate_magic.child.service import Service, Raw
from isolate_magic.link import packing, frames as f, bulk
talk = packing.here
def raw(packet): talk.sock.send(packet)
def say(frame): raw(f.encode(frame))
def n(): return talk.active[-1]
def answer(name, value): setattr(Service, name, lambda *given, **more: value() if callable(value) else value)
def spill(body):
    global kept
    kept = body
    say(f.Spilled(f.Remote(bulk.address(kept), len(kept), 0)))
def reply(value): return b"\\x94\\x03" + f.encode(n()) + value + b"\\xc0"
class New: pass
"""
MIB = 1 << 20


@pytest.fixture
def guest() -> Iterator[Companion]:
    with Companion("guest", preload=["numpy"]) as companion:
        distrusted(companion)
        yield companion


def distrusted(companion: Companion) -> Companion:
    companion.run(PRELUDE)
    assert companion._process is not None
    companion._process.trusted = companion._process.box._trusted = False
    return companion


def harmless(companion: Companion, pid: int | None = None) -> None:
    """Fail unless the companion, or a new one in its place, answers; with a `pid`, that one must be gone."""
    if pid is not None:
        until(lambda: companion.pid != pid)
        assert companion.crash is not None
        assert companion.crash.kind == "protocol"
    assert companion.run("6 * 7", timeout=20) == 42
    assert pid is None or companion.pid != pid


class Growth:
    """Measure by how many MiB this process grows, at its largest."""

    def __enter__(self) -> Growth:
        gc.collect()
        self._me, self._over, self.most = psutil.Process(), threading.Event(), 0.0
        self._before = self._me.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, (self._me.memory_info().rss - self._before) / MIB)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


# ---------------------------------------------------------------- no pickle


@dataclasses.dataclass
class Cleaner:
    """A dataclass of the main session that acts when it is thrown away."""

    path: str

    def __del__(self) -> None:
        CLEANED.append(self.path)


CLEANED: list[str] = []


def test_what_is_no_data_is_refused_with_what_to_do(guest: Companion) -> None:
    thing = guest.run("New()")
    for way in (byvalue, share):
        with pytest.raises(TransferError) as caught:
            way(thing)
    with pytest.raises(TransferError, match=r"never a pickle: make plain data.*Policy\(trusted=True\)"):
        byvalue(thing)
    with pytest.raises(TypeError, match=r"Policy\(trusted=True\)"):
        pickle.dumps(thing)
    assert "is not" in str(caught.value)
    assert isproxy(copy.copy(thing))
    assert isproxy(copy.deepcopy(thing))
    harmless(guest)


def test_plain_data_is_still_copied(guest: Companion) -> None:
    assert byvalue(guest.run("{'a': [1, {2}], 'b': np.arange(3)}"))["a"] == [1, {2}]
    assert pickle.loads(pickle.dumps(guest.run("[1, 2]"))) == [1, 2]
    assert np.asarray(guest.run("np.arange(100_000)")).sum() == 4999950000
    assert share(guest.run("np.ones(100_000)")).sum() == 100_000


def test_an_arrow_table_is_refused_and_its_data_is_not(guest: Companion) -> None:
    pytest.importorskip("pyarrow")
    table = guest.run("import pyarrow as pa\npa.table({'a': [1, 2]})")
    with pytest.raises(TransferError, match="DataFrame"):
        byvalue(table)
    assert byvalue(table.to_pydict()) == {"a": [1, 2]}


@pytest.mark.parametrize("way", [byvalue, pickle.dumps, share, np.asarray], ids=lambda way: way.__name__)
def test_a_pickle_that_comes_all_the_same_is_not_read(
    guest: Companion, way: Callable[[Any], Any], tmp_path: Any
) -> None:
    pid, mark, thing = guest.pid, tmp_path / "mark", guest.run("np.ones(3)")
    guest.run(f"answer('copy', lambda: Raw(f.Pickled(f.Inline(b'cos\\nsystem\\n(S\"touch {mark}\"\\ntR.'))))")
    with pytest.raises(ProtocolError):
        way(thing)
    assert not mark.exists()
    harmless(guest, pid)


def test_a_dataclass_that_acts_by_itself_is_not_made(guest: Companion) -> None:
    thing = guest.run("[]")
    told = f"f.Data({Cleaner.__module__!r}, 'Cleaner', (('path', '/etc/passwd'),))"
    guest.run(f"answer('copy', lambda: Raw({told}))")
    with pytest.raises((TransferError, ProtocolError)):
        byvalue(thing)
    gc.collect()
    assert not CLEANED
    assert guest.run("6 * 7") == 42


# ---------------------------------------------------------------- much from little


HEAVY = {
    "lists": "spill(reply(b'\\x92\\x18\\xdd' + struct.pack('>I', 2_600_000) + b'\\x92\\x28\\x90' * 2_600_000))",
    "deques": "spill(reply(b'\\x92\\x18\\xdd' + struct.pack('>I', 2_000_000) + b'\\x93\\x2c\\x90\\xc0' * 2_000_000))",
    "maps in exceptions": "spill(reply(b'\\x92\\x18\\xdd' + struct.pack('>I', 10**6) + b'\\x97\\x23\\x00\\x90\\xc0\\x90\\x80\\xc0' * 10**6))",
    "maps": "spill(b'\\x97\\x01\\x01\\x00\\x00\\xa0\\x90\\xdf' + struct.pack('>I', 1 << 20) + b'\\xa1a\\x80' * (8 << 20))",
    "nothing": "spill(b'\\xc0' * (200 << 20))",
    "one text": "spill(b'\\xdb' + struct.pack('>I', 150 << 20) + b'x' * (150 << 20))",
    "a nest": "spill(reply(b'\\x92\\x18\\x91' * 200_000 + b'\\xc0'))",
    "maps in maps": "spill(b'\\x97\\x01\\x01\\x00\\x00\\xa0\\x90' + b'\\x81\\xa1a' * 200_000 + b'\\xc0')",
    "an array of everything": "raw(b'\\xdd\\xff\\xff\\xff\\xff' * 100)",
    "a number": "spill(reply(b'\\x92\\x15\\xda\\xff\\xff' + b'f' * 65535 + b'\\xc0' * 100_000))",
}


@pytest.mark.parametrize("code", HEAVY.values(), ids=HEAVY)
def test_small_parts_without_end_end_the_companion(guest: Companion, code: str) -> None:
    pid = guest.pid
    with Growth() as growth, pytest.raises(ProtocolError):
        guest.run(code + "; time.sleep(60)", timeout=50)
    assert growth.most < 900
    harmless(guest, pid)


def test_a_million_numbers_in_a_list_are_not_too_many(guest: Companion) -> None:
    assert len(byvalue(guest.run("[x * 0.1 for x in range(1_000_000)]"))) == 1_000_000


def test_one_body_many_times_counts_many_times(guest: Companion) -> None:
    pid = guest.pid
    guest.run("big = mmap.mmap(-1, 60 << 20)\nbig[0] = 1")
    for shape in ("f.Tuple", "f.List"):
        code = f"one = f.ByteArray(f.Remote(bulk.address(big), 60 << 20, 0), True); say(f.Reply(n(), {shape}((one,) * 2000))); time.sleep(0.2)"
        with Growth() as growth, pytest.raises((TransferError, ProtocolError)):
            guest.run(code, timeout=30)
        assert growth.most < 200
        guest.restart()
        distrusted(guest).run("big = mmap.mmap(-1, 60 << 20)")
    harmless(guest)
    assert guest.pid != pid


def test_a_body_of_holes_is_not_fetched_into_all_of_our_memory(guest: Companion) -> None:
    size = int(psutil.virtual_memory().available * 0.7)
    guest.run(f"holes = mmap.mmap(-1, {size}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)")
    lie = f"f.ByteArray(f.Remote(bulk.address(holes), {size}, 0), True)"
    with Growth() as growth, pytest.raises(TransferError, match="may take 50%"):
        guest.run(f"say(f.Reply(n(), {lie})); time.sleep(0.2)", timeout=30)
    assert growth.most < 100


KEYS = {
    "a dict": "f.Dict(tuple((key, None) for key in keys))",
    "a set": "f.Set(tuple(keys))",
    "a frozenset": "f.FrozenSet(tuple(keys))",
    "a counter": "f.Dict(tuple((key, 1) for key in keys), 'Counter')",
}


@pytest.mark.parametrize("made", KEYS.values(), ids=KEYS)
def test_keys_of_one_hash_do_not_hold_the_session_up(guest: Companion, made: str) -> None:
    pid, start = guest.pid, time.monotonic()
    # hash(complex) is hash(real) + 1000003 * hash(imag) modulo 2**64 (docs.python.org, "Hashing of numeric types").
    code = f"""
keys = [f.Complex(float(-1000003 * k), float(k)) for k in range(1, 400_000)]
assert len(set(hash(complex(k.real, k.imag)) for k in keys[:100])) == 1
spill(f.encode(f.Reply(n(), {made}))); time.sleep(60)
"""
    with pytest.raises(ProtocolError, match="same hash"):
        guest.run(code, timeout=50)
    assert time.monotonic() - start < 30
    harmless(guest, pid)


# ---------------------------------------------------------------- headers that lie


LIES = [
    "f.Array('<f8', (1 << 62, 1 << 62), 'C', f.Inline(b''))", "f.Array('<f8', (0, 1 << 62), 'C', f.Inline(b''))",
    "f.Array('<f8', (-1,), 'C', f.Inline(b'x' * 8))", "f.Array('<f8', (-1, -1), 'C', f.Inline(b'x' * 8))",
    "f.Array('|O', (1,), 'C', f.Inline(b'x' * 8))", "f.Array('<f8', (1,) * 65, 'C', f.Inline(b'x' * 8))",
    "f.Array('<f8', (1,) * 64, '0,0', f.Inline(b'x' * 8))", "f.Array('<M8[0s]', (1,), 'C', f.Inline(b'x' * 8))",
    "f.Array('<M8[xx]', (1,), 'C', f.Inline(b'x' * 8))", "f.Array('|S0', (9,), 'C', f.Inline(b''))",
    "f.Array('|b1', (1,), 'C', f.Inline(b'\\xff'))", "f.Array('|S4,', (1,), 'C', f.Inline(b'x' * 8))",
    "f.Array(f.Tuple((8, f.Tuple(('a', '|O', 0, f.Tuple(()))))), (1,), 'C', f.Inline(b'x' * 8))",
    "f.Array(f.Tuple((1, f.Tuple(('a', '<f8', 0, f.Tuple(()))))), (1,), 'C', f.Inline(b'x'))",
    "f.Array(f.Tuple((8, f.Tuple(('a', '<f8', -8, f.Tuple(()))))), (1,), 'C', f.Inline(b'x' * 8))",
    "f.Array(f.Tuple((8, f.Tuple(('a', '|i1', 0, f.Tuple((1 << 40,)))))), (1,), 'C', f.Inline(b'x' * 8))",
    "f.Array('<f8', (1,), 'C', f.Remote(0x10, 8, 3))", "f.Array('<f8', (1,), 'C', f.Reserved(1, 0))",
    "f.Array('<f8', (1,), 'C', f.Poured(1, 8))", "f.Array('<f8', (10**6,), 'C', f.Remote(1 << 63, 8 * 10**6, 3))",
    "f.Array('<f8', (4 << 40,), 'C', f.Remote(0x1000, 32 << 40, 3))",
    "f.Scalar('|O', b'x' * 8)", "f.Scalar('<U3', b'x' * 8)", "f.Dtype('|O')", "f.Dtype(f.Tuple((0,)))",
    "f.ByteArray(f.Reserved(3, 0))", "f.ByteArray(f.Remote(2**64 - 1, 2**62, 3))", "f.ByteArray(f.Poured(-1, 5))",
    "f.Table('DataFrame', (1, 2, 3))", "f.Table('Series', (f.Tuple(('category',)), 1, 1))",
    "f.Tensor(1, 'float32', True, True)", "f.Big('0x' + 'f' * 5 + 'z')", "f.Number('1e')", "f.Deque((), -1)",
    "f.Moment('datetime', (99999, 1, 1, 0, 0, 0, 0, 0))", "f.Moment('timedelta', (10**12, 0, 0))",
    "f.Moment('timezone', (), f.Moment('timedelta', (9, 0, 0)))", "f.Slice(1, 2, f.Record(10**9, ()))",
    "f.Range(0, 1, 0)", "f.Range(0.5, 1, 1)", "f.Set((f.List(()),))", "f.Dict(((f.List(()), 1),))",
    "f.Dict((), 'type')", "f.Dict((), 'ChainMap', 5)", "f.Data('os', '__dict__', ())", "f.Constant('__loader__')",
    "f.Place(0, 0)", "f.Text(b'\\xff\\xfe')", "f.Fault('ValueError', (), 5, (), {})",
]  # fmt: skip


def test_headers_that_lie_end_the_companion_or_are_refused(guest: Companion) -> None:
    with Growth() as growth:
        for lie in LIES:
            # Some name an object to be freed that it does not have, which is the end of it, too.
            with pytest.raises((ProtocolError, ProcessTerminationError, TransferError)):
                guest.run(f"say(f.Reply(n(), {lie})); time.sleep(0.1)", timeout=20)
            guest.restart()
            distrusted(guest)
    assert growth.most < 200


ODD = {
    "a text that is no UTF-8": "raw(reply(b'\\xa3\\xed\\xa0\\x80'))",
    "an extension": "raw(reply(b'\\xc7\\x08\\x05' + b'x' * 8))",
    "a timestamp": "raw(reply(b'\\xd7\\xff' + b'\\xff' * 8))",
    "a list as a key": "raw(b'\\x97\\x01\\x01\\x00\\x00\\xa0\\x90\\x81\\x90\\xc0')",
    "bytes that are none": "raw(reply(b'\\xc4\\xff'))",
    "two frames": "raw(reply(b'\\x01') + reply(b'\\x02'))",
    "half a frame": "raw(reply(b'\\x01')[:-1])",
}


@pytest.mark.parametrize("code", ODD.values(), ids=ODD)
def test_odd_bytes_end_the_companion(guest: Companion, code: str) -> None:
    pid = guest.pid
    with pytest.raises(ProtocolError):
        guest.run(code + "; time.sleep(30)", timeout=20)
    harmless(guest, pid)


@pytest.mark.parametrize("packed", ["zlib.compress(bytes(1 << 28))", "gzip.compress(bytes(1 << 28))"])
def test_nothing_is_unpacked(guest: Companion, packed: str) -> None:
    guest.run("import gzip, zlib")
    with Growth() as growth:
        assert len(guest.run(packed)) < MIB
    assert growth.most < 100


@pytest.mark.parametrize("code", ["input('Password: ')", "import getpass\ngetpass.getpass()"])
def test_it_asks_the_user_for_nothing(
    guest: Companion, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((EOFError, OSError, RuntimeError, NotImplementedError)):
        guest.run(code, timeout=20)
    assert capsys.readouterr().out.replace("Password: ", "").strip() == ""


def test_a_number_of_five_million_digits_is_a_number(guest: Companion) -> None:
    with Growth() as growth:
        assert guest.run("1 << 20_000_000").bit_length() == 20_000_001
    assert growth.most < 100


def test_a_class_that_passes_for_an_array_gives_no_pointer_away(guest: Companion) -> None:
    guest.run("""
class Wild:
    __class__ = np.ndarray
    __array_interface__ = {"data": (0x10, False), "shape": (10**6,), "typestr": "<f8", "version": 3}
    __array_struct__ = 5
    def __dlpack__(self, **given): return 5
    def __dlpack_device__(self): return (1, 0)
""")
    wild = guest.run("Wild()")
    for way in (np.asarray, byvalue, share, np.from_dlpack, memoryview):
        try:
            assert way(wild).dtype == object  # of the proxy itself
        except (TypeError, AttributeError, ValueError, RuntimeError, BufferError):
            pass
    harmless(guest)


# ---------------------------------------------------------------- descriptors


def test_descriptors_do_not_come_in(guest: Companion) -> None:
    before = len(os.listdir("/proc/self/fd"))
    guest.run(
        """
def flood(end):
    kinds = [os.pipe()[0], os.open("/", os.O_PATH), os.open("/dev/zero", 0), socket.socketpair()[0].fileno()]
    for i in range(50):
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", kinds * 60))]
        try: end.sendmsg([f.encode(f.Release(()))], beside, socket.MSG_DONTWAIT)
        except OSError: pass
flood(talk.sock)
flood(talk.door)
""",
        timeout=20,
    )
    assert len(os.listdir("/proc/self/fd")) <= before
    harmless(guest)


def test_a_memfd_is_made_only_where_one_is_needed(guest: Companion) -> None:
    with pytest.raises(TransferError, match="no memfd is needed"):
        guest.run("talk.ask_host('memfd', 1 << 30)")
    for size in ("-1", "1 << 60", "'x'", "None"):
        with pytest.raises((TransferError, ProtocolError, ValueError)):
            guest.run(f"talk.ask_host('memfd', {size})")
        distrusted(guest)
    harmless(guest)


def test_memfds_that_are_cut_kept_open_or_empty_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_COPIES", "memfd")
    tricks = (
        "os.ftruncate(fd, 10)", "kept = mmap.mmap(fd, 1_000_000)", "token += 1", "size <<= 20", "size = -1",
    )  # fmt: skip
    with Companion("pourer", preload=["numpy"], env={"COPIES": "poured"}) as companion:
        for trick in tricks:
            distrusted(companion)
            code = "size = 1_000_000; token = talk.ask_host('memfd', size); fd = talk.door_fd(token)\n"
            code += f"{trick}\nsay(f.Reply(n(), f.ByteArray(f.Poured(token, size)))); time.sleep(30)"
            with pytest.raises((ProtocolError, TransferError)):
                companion.run(code, timeout=20)
            companion.restart()
        distrusted(companion)
        for code in (
            "for i in range(40): talk.ask_host('memfd', 100 << 20)",
            "talk.ask_host('memfd', 1 << 39)",
        ):
            with pytest.raises(TransferError, match="large buffers"):
                companion.run(code)


# ---------------------------------------------------------------- texts


def test_the_text_of_an_exception_is_bounded_and_moves_no_cursor(guest: Companion) -> None:
    code = """
class Loud(Exception):
    def __str__(self): return "\\x1b]52;c;eA==\\x07" + "x" * 5_000_000
{}
"""
    for raised in ("raise Loud()", "raise ValueError(str(Loud()))", "raise KeyError(str(Loud()))",
                   "e = ValueError(1); e.__notes__ = ['\\x1b[2J' + 'n' * 10**6] * 500; raise e"):  # fmt: skip
        with pytest.raises(Exception, match=r".*") as caught:
            guest.run(code.format(raised))
        shown = "".join(traceback.format_exception(caught.value))
        assert len(shown) < 5_000_000
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
    harmless(guest)


def test_a_traceback_of_a_hundred_thousand_frames_is_bounded(guest: Companion) -> None:
    lines = "tuple(f'  File \"x{i}\", line 1, in g\\n' for i in range(100_000))"
    with pytest.raises(ValueError) as caught:
        guest.run(f"spill(f.encode(f.Failure(n(), f.Fault('ValueError', ('x',), 'x', {lines}, {{}}))))")
    shown = "".join(traceback.format_exception(caught.value))
    assert len(shown) < 400_000
    assert "left out" in shown


def test_an_exception_with_itself_as_its_cause_arrives(guest: Companion) -> None:
    with pytest.raises(ValueError, match="mine"):
        guest.run(
            "one, two = ValueError('mine'), KeyError()\none.__cause__ = two\ntwo.__cause__ = one\nraise one"
        )
    for name in ("__class__ = property(lambda self: 5)", "def __getattribute__(self, name): raise KeyError"):
        with pytest.raises(Exception, match=r".*"):
            guest.run(f"class Odd(Exception):\n    {name}\nraise Odd(1)")
    harmless(guest)


@pytest.mark.parametrize("numbers", ["-(1 << 40), 1 - (1 << 40)", "1 << 62, 1 << 62", "5, 1", "-1, 0"])
def test_positions_outside_the_bytes_of_a_unicode_error_are_not_read(guest: Companion, numbers: str) -> None:
    arguments = f"('utf-8', f.Bytes(b'abc'), {numbers}, 'x')"
    with pytest.raises(UnicodeDecodeError) as caught:
        guest.run(
            f"say(f.Failure(n(), f.Fault('UnicodeDecodeError', {arguments}, '', (), {{}}))); time.sleep(0.05)"
        )
    assert len(str(caught.value) + repr(caught.value)) < 1000


def test_a_syntax_error_neither_fills_memory_nor_opens_files(guest: Companion, tmp_path: Any) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    for place in (f"({str(tmp_path / 'fifo.py')!r}, 1, 1, 'x', 1, 1 << 40)", "('x', 1, 1 << 50, 'x', 1, 1 << 60)",
                  f"({str(tmp_path / 'fifo.py')!r}, 1, 1, 'x', 1, 2)", "(5, 'x', None, 7)"):  # fmt: skip
        error = f"f.Fault('SyntaxError', ('bad', f.Tuple({place})), '', (), {{}})"
        with pytest.raises(SyntaxError) as caught:
            guest.run(f"say(f.Failure(n(), {error})); time.sleep(0.05)")
        assert len("".join(traceback.format_exception(caught.value))) < 10_000
        assert not os.path.exists(str(caught.value.filename))
        guest.restart()
        distrusted(guest)


def test_names_are_shown_without_what_a_terminal_acts_on(guest: Companion) -> None:
    thing = guest.run("type('C\\x1b]0;title\\x07', (), {'__module__': 'm\\x1b[2J' * 1000})()")
    claim = type(thing)
    assert "\x1b" not in claim.__name__ + claim.__module__ + claim.__qualname__ + thing._isolate_.label
    assert len(claim.__module__) < 2000


def test_warnings_without_end_end_and_call_no_class_of_its_own(guest: Companion) -> None:
    code = """
class Own(UserWarning):
    def __new__(cls, *given): os._exit(1)
for i in range(3000): talk.ask_host("warn", "\\x1b]0;x\\x07%d" % i, Own, "/etc/passwd", 1)
"""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        guest.run(code, timeout=60)
    assert len(caught) == 1000
    assert "\x1b" not in str(caught[0].message)
    harmless(guest)


def test_names_without_end_are_not_all_listed(guest: Companion) -> None:
    endless = "def __dir__(self):\n        import itertools\n        return map(str, itertools.count())"
    guest.run(f"class Endless:\n    {endless}\nanswer('keys', lambda: map(str, range(10**9)))")
    assert guest.pull("Endless")()._ipython_key_completions_() == []
    harmless(guest)


# ---------------------------------------------------------------- what it may ask for


def test_callbacks_inside_one_another_end_somewhere(guest: Companion) -> None:
    heard: list[int] = []
    code = """
import itertools
depth = itertools.count()
def describe(self, cls):
    next(depth)
    try: hear(type("C", (), {})())
    except RecursionError: pass
    return old(self, cls)
old, Service.describe = Service.describe, describe
hear(New())
"""
    try:
        guest.run(code, push={"hear": lambda thing: heard.append(1)}, timeout=30)
    except (RecursionError, ProtocolError):
        pass
    assert len(heard) < 200
    harmless(guest)


def test_a_function_that_goes_back_and_forth_without_end_is_a_recursion(guest: Companion) -> None:
    def forth(function: Any) -> Any:
        KEPT.append(1)
        return function(forth)

    with pytest.raises(RecursionError):
        guest.run("def back(function): return function(back)\nback(forth)", push={"forth": forth}, timeout=60)
    harmless(guest)


KEPT: list[Any] = []


def test_calls_back_while_it_is_stopped_are_not_waited_for(guest: Companion) -> None:
    guest.run(
        "def flood():\n    while True:\n        try: hear(1)\n        except BaseException: pass\n"
        "for _ in range(4): threading.Thread(target=flood, daemon=True).start()",
        push={"hear": lambda _: KEPT.append(1)},
    )
    start = time.monotonic()
    guest.stop()
    assert time.monotonic() - start < 5
    harmless(guest)


def test_objects_lent_without_end_end_the_companion(
    guest: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ration, "PROXIES", 1000)
    pid = guest.pid
    kept = guest.run("New()")
    many = "f.Tuple(tuple(f.Ref(100 + i, talk.lent.pin(New)) for i in range(5000)))"
    with pytest.raises(ProtocolError, match="more than 1000 objects"):
        guest.run(f"say(f.Reply(n(), {many})); time.sleep(30)", timeout=20)
    assert isproxy(kept)
    harmless(guest, pid)


def test_a_million_objects_that_were_never_lent_take_bounded_memory(guest: Companion) -> None:
    many = "f.Tuple(tuple(f.Ref(i, 5) for i in range(2, 10**6)))"
    with Growth() as growth, pytest.raises(ProtocolError):
        guest.run(f"spill(f.encode(f.Reply(n(), {many}))); time.sleep(0.5)", timeout=60)
    assert growth.most < 600
    harmless(guest)


def test_classes_above_one_another_without_end_end_the_companion(guest: Companion) -> None:
    pid = guest.pid
    with Growth() as growth, pytest.raises((ProtocolError, RecursionError)):
        guest.run("last = object\nfor i in range(5000):\n    last = type(f'C{i}', (last,), {})\n    hear(last)",
                  push={"hear": KEPT.append}, timeout=60)  # fmt: skip
    KEPT.clear()
    assert growth.most < 300
    harmless(guest, pid)


def test_an_object_of_ours_is_not_made_large(guest: Companion) -> None:
    mine = [1]
    with pytest.raises(TransferError, match="can make it large"):
        guest.run("mine * 10**9", push={"mine": byref(mine)})
    assert guest.run("mine.append(2)\nlen(mine)") == 2
    assert mine == [1, 2]


def test_large_requests_that_wait_are_not_too_many(guest: Companion) -> None:
    pid = guest.pid
    code = """
body = f.encode(f.Call(10**6, n(), hear._isolate_.number, "", ("x" * (20 << 20),), {}))
for i in range(50): say(f.Spilled(f.Remote(bulk.address(body), len(body), 0)))
time.sleep(60)
"""

    calls = []

    def slow(text: str) -> None:
        calls.append(len(text))
        other.start()
        process = guest._process
        assert process is not None
        until(lambda: process.talk.closed)  # the other thread reads now

    other = threading.Thread(target=quiet, args=(lambda: guest.run("time.sleep(60)", timeout=40),))
    with Growth() as growth, pytest.raises(ProtocolError, match="nobody has served"):
        guest.run(code, push={"hear": slow}, timeout=40)
    other.join(60)
    assert growth.most < 500
    assert len(calls) == 1  # the others wait in vain: it is dead
    harmless(guest, pid)


def quiet(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception:
        pass


# ---------------------------------------------------------------- silence


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Companion]:
    """Give a companion with deadlines of a second."""
    monkeypatch.setattr(conversation, "SEND", 1.0)
    monkeypatch.setattr(deadlines, "SEND", 1.0)
    monkeypatch.setattr(deadlines, "_FETCH", 1.0)
    for name in deadlines.ANSWER:
        monkeypatch.setitem(deadlines.ANSWER, name, 1.0)
    with Companion("silent", preload=["numpy"]) as companion:
        yield distrusted(companion)


DEAF = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
for i in range(900): say(f.Call(10**6 + i, n(), hear._isolate_.number, '', (), {}))
time.sleep(60)
"""


def test_a_companion_that_stops_reading_is_ended(impatient: Companion) -> None:
    pid, start = impatient.pid, time.monotonic()
    with pytest.raises(ProtocolError, match="not read its channel"):
        impatient.run(DEAF, push={"hear": lambda: KEPT and "x" * 50_000 or "x" * 50_000})
    assert time.monotonic() - start < 10
    harmless(impatient, pid)


def stuck_in_a_send() -> bool:
    """Return whether the main thread is in a send that does not end."""
    seen = []
    for _ in range(5):
        frame = sys._current_frames()[threading.main_thread().ident or 0]
        seen.append((id(frame), frame.f_lasti, frame.f_code.co_name))
        time.sleep(0.02)  # apart, as a send that goes well takes microseconds
    return len(set(seen)) == 1 and seen[0][2] in ("deliver", "blocked")


def test_interrupts_end_a_companion_that_stops_reading_at_once(guest: Companion) -> None:
    def interrupt() -> None:
        for _ in range(2):
            until(stuck_in_a_send)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pid, thread, start = guest.pid, threading.Thread(target=interrupt), time.monotonic()
    with pytest.raises((KeyboardInterrupt, ProcessTerminationError)):
        try:
            thread.start()
            guest.run(DEAF, push={"hear": lambda: KEPT and "x" * 50_000 or "x" * 50_000})
        finally:
            thread.join()
    assert time.monotonic() - start < 5
    assert guest.run("6 * 7") == 42
    assert guest.pid != pid


QUESTIONS: dict[str, Callable[[Companion], Any]] = {
    "describe": lambda companion: companion.run("New()"),
    "show": lambda companion: companion.pull("np").ones(3)._repr_mimebundle_(),
    "copy": lambda companion: byvalue(companion.run("[]")),
    "keys": lambda companion: companion.run("{}")._ipython_key_completions_(),
    "ahead": lambda companion: next(iter(companion.run("[1]"))),
    "reserve": lambda companion: companion.call(len, b"x" * 1_000_000),
    "attach": lambda companion: companion.call(len, share(np.ones(100_000))),
    "after_cell": lambda companion: companion.after_cell(),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("lie", ["sleep", "chatter"])
def test_a_question_of_ours_that_is_not_answered_ends_the_companion(
    impatient: Companion, question: str, lie: str
) -> None:
    pid = impatient.pid
    chatter = "lambda: [say(f.Event(0, 'clear_output', b'{}')) for _ in iter(int, 1)]"
    impatient.run(f"answer({question!r}, {chatter if lie == 'chatter' else 'lambda: time.sleep(60)'})")
    start = time.monotonic()
    if question == "after_cell":  # a face asks it, which must not raise
        QUESTIONS[question](impatient)
    else:
        with pytest.raises(ProtocolError, match="has not answered"):
            QUESTIONS[question](impatient)
    assert time.monotonic() - start < 10
    harmless(impatient, pid)


def test_a_question_may_wait_for_a_cell_of_another_thread(impatient: Companion) -> None:
    pid, found = impatient.pid, list[Any]()
    thread = threading.Thread(target=lambda: found.append(impatient.run("time.sleep(2.5)\n5")))
    value = impatient.run("[1, 2]")
    thread.start()
    until(lambda: impatient.state == "busy")
    assert byvalue(value) == [1, 2]
    thread.join()
    assert found == [5]
    assert impatient.pid == pid


def test_memory_that_waits_for_ever_is_not_waited_for(impatient: Companion) -> None:
    pid = impatient.pid
    # userfaultfd(2): who reads a missing page waits until somebody fills it in.
    code = """
import ctypes, fcntl
libc = ctypes.CDLL(None, use_errno=True)
number = 323 if os.uname().machine == "x86_64" else 282
trap = libc.syscall(number, os.O_CLOEXEC)
area = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if trap >= 0:
    api = bytearray(struct.pack("QQQ", 0xAA, 0, 0))
    fcntl.ioctl(trap, 0xC018AA3F, api)
    fcntl.ioctl(trap, 0xC020AA00, bytearray(struct.pack("QQQQ", bulk.address(area), 1 << 20, 1, 0)))
trap
"""
    if impatient.run(code) < 0:
        pytest.skip("userfaultfd is not to be had here")
    start = time.monotonic()
    # The end of the companion ends the wait; the page may count as filled then.
    lie = "say(f.Reply(n(), f.ByteArray(f.Remote(bulk.address(area), 1 << 20, 0)))); time.sleep(60)"
    quiet(lambda: impatient.run(lie))
    assert time.monotonic() - start < 10
    harmless(impatient, pid)


def test_a_door_that_nobody_opens_ends_the_companion(guest: Companion) -> None:
    pid = guest.pid
    guest.run("answer('attach', lambda: 5)")
    shared = [share(np.ones(10)) for _ in range(2000)]
    with pytest.raises(ProtocolError, match="takes no memory"):
        for array in shared:
            try:
                guest.call(len, array)
            except TransferError:
                pass
    harmless(guest, pid)


def test_a_module_is_used_as_before(guest: Companion) -> None:
    assert import_isolated("math", companion=guest).sqrt(4) == 2.0
