"""Checkpoints: names that come back, in another process too; and files that do not, because they were touched."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from there import copying
from waiting import until

from isolate_magic import (
    Checkpoint,
    CheckpointError,
    Companion,
    NotSupported,
    ProcessTerminationError,
    ProtocolError,
    companions,
    new_key,
    progress,
)
from isolate_magic.vault import CHUNK, Reader, Writer

KEY = new_key()
HEAD = 84


def back(path: Path, name: str = "back", **options: object) -> Companion:
    """Restore a checkpoint in a new companion; it is closed after the test."""
    return Companion.restore(path, key=KEY, name=name, **options)


def round_trip(companion: Companion, path: Path, source: str) -> Companion:
    """Run a cell, save, and restore in a new companion."""
    companion.run(source)
    companion.checkpoint(path, key=KEY)
    companion.stop()
    return back(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analysis.checkpoint"


# ---------------------------------------------------------------- what comes back


def test_names_come_back_in_a_new_process_of_the_main_session(companion: Companion, path: Path) -> None:
    companion.run(
        "x, text = 41, 'abc'\ndef more(): return x + 1\nclass Point:\n    def __init__(self, x): self.x = x\np = Point(3)"
    )
    told = companion.checkpoint(path, key=KEY)
    assert set(told.names) == {"x", "text", "more", "Point", "p"}
    code = (
        "import sys\nfrom isolate_magic import Companion\n"
        f"with Companion.restore({str(path)!r}, key=bytes.fromhex({KEY.hex()!r})) as c:\n"
        "    print(c.run('(x, text, more(), p.x, type(p) is Point)'), c.restored.companion)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"(41, 'abc', 42, 3, True) {companion.name}"


def test_two_names_for_one_object_come_back_as_one(companion: Companion, path: Path) -> None:
    new = round_trip(
        companion, path,
        "import numpy\na = numpy.arange(300_000.0)\nb = a\nsmall = [1]\nheld = {'a': a, 'small': small}\nring = []\nring.append(ring)",
    )  # fmt: skip
    assert new.run("(a is b, held['a'] is a, held['small'] is small, ring[0] is ring)") == (True,) * 4
    new.run("a[7] = -1")
    assert new.run("float(b[7])") == -1.0


@pytest.mark.parametrize("size", [100, 300_000], ids=["small", "large"])
def test_views_lie_in_the_memory_of_their_array_again(companion: Companion, path: Path, size: int) -> None:
    new = round_trip(
        companion, path,
        f"import numpy\na = numpy.arange({size}.0)\npart = a[10:20]\nback = a[::-2]\ntable = a.reshape(-1, 10).T\n"
        "days = numpy.arange('2020-01', '2020-03', dtype='M8[D]')\nsome = days[3:5]\n"
        "whole = numpy.asfortranarray(numpy.ones((30, 20)))\ncolumn = whole[:, 3]\ncolumn[2] = 5\nlocked = a[:5]\nlocked.flags.writeable = False",
    )  # fmt: skip
    assert new.run("[numpy.shares_memory(a, v) for v in (part, back, table, locked)]") == [True] * 4
    assert new.run("(numpy.shares_memory(days, some), str(some[0]), numpy.shares_memory(whole, column), float(whole[2, 3]))") == (
        True, "2020-01-04", True, 5.0,
    )  # fmt: skip
    assert new.run(
        f"bool((part == numpy.arange(10.0, 20.0)).all() and (back == numpy.arange({size}.0)[::-2]).all())"
    )
    assert new.run("(part.flags.writeable, locked.flags.writeable, table.shape)")[:2] == (True, False)
    new.run("a[12] = -7")
    assert new.run("float(part[2])") == -7.0


def test_a_small_view_of_an_array_that_nobody_else_has_takes_no_more_room_than_it_needs(
    companion: Companion, path: Path
) -> None:
    companion.run("import numpy\nfew = numpy.zeros(1_000_000)[:10]")
    assert companion.checkpoint(path, key=KEY).size < 10_000


def test_functions_see_the_namespace_and_not_a_copy_of_it(companion: Companion, path: Path) -> None:
    new = round_trip(
        companion, path,
        "n = 1\ndef get(): return n\ndef put(v):\n    global n\n    n = v\nadd = lambda v: v + n\n"
        "def maker():\n    count = 0\n    def step():\n        nonlocal count\n        count += 1\n        return count + n\n    return step\nstep = maker()\nstep()",
    )  # fmt: skip
    new.run("n = 10")
    assert new.run("(get(), add(1), step())") == (10, 11, 12)
    new.run("put(20)")
    assert new.run("(n, get())") == (20, 20)


def test_modules_come_back_by_name_and_what_is_ipythons_does_not(companion: Companion, path: Path) -> None:
    companion.run_cell("import math, os.path as p\n_own = 5\n1 + 1")
    told = companion.checkpoint(path, key=KEY)
    assert set(told.names) == {"math", "p", "_own"}
    assert not told.left_out
    new = back(path)
    assert new.run("(math.pi > 3, p.basename('a/b'), _own)") == (True, "b", 5)


def test_a_restored_companion_is_saved_again_and_memory_is_given_back(
    companion: Companion, path: Path
) -> None:
    new = round_trip(companion, path, "import numpy\na = numpy.ones(4_000_000)\nb = a[5:]")
    new.checkpoint(path, key=KEY)
    new.close()
    again = back(path, "again")
    assert again.run("(numpy.shares_memory(a, b), float(b.sum()))") == (True, 3_999_995.0)
    before = again.stats["uss"]
    again.run("del a, b")
    until(lambda: again.run("1") and again.stats["uss"] < before - 25e6)


def test_names_are_bound_beside_those_that_are_there(companion: Companion, path: Path) -> None:
    companion.run("x, y = 1, 2")
    companion.checkpoint(path, key=KEY)
    companion.run("x, z = 10, 30")
    assert companion.resume(path, key=KEY).names == ("x", "y")
    assert companion.run("(x, y, z)") == (1, 2, 30)


@pytest.mark.parametrize("way", ["direct", "memfd"])
def test_both_ways_of_large_bodies_serve(way: str, path: Path) -> None:
    with copying(
        way, "kept", "import numpy\na = numpy.arange(1_000_000.0)\nb = b'x' * 3_000_000\nc = [a]", "numpy"
    ) as made:
        made.checkpoint(path, key=KEY)
        new = back(path)
        assert new.run("(float(a.sum()), len(b), c[0] is a, a.ctypes.data % 64)") == (
            499999500000.0,
            3_000_000,
            True,
            0,
        )
        new.run("a[0] = 5")


def test_many_names_and_many_buffers(companion: Companion, path: Path) -> None:
    new = round_trip(
        companion, path,
        "import numpy\nfor n in range(3000): globals()[f'v{n}'] = [n]\nlarge = [numpy.full(150_000, float(n)) for n in range(50)]",
    )  # fmt: skip
    assert new.run("(v2999, [float(a[-1]) for a in large] == list(range(50)), len(large[0]))") == (
        [2999],
        True,
        150_000,
    )


def test_an_empty_namespace_is_saved(companion: Companion, path: Path) -> None:
    companion.start()
    assert companion.checkpoint(path, key=KEY).names == ()
    assert back(path).restored.names == ()  # type: ignore[union-attr]


# ---------------------------------------------------------------- libraries


def test_tensors_share_their_storage_again(companion: Companion, path: Path) -> None:
    pytest.importorskip("torch")
    new = round_trip(
        companion, path,
        "import torch\nt = torch.arange(300_000.0)\nrow = t.view(3, -1)[1]\nw = torch.ones(3, requires_grad=True)\n"
        "model = torch.nn.Linear(4, 2)\nweights = model.weight\nhalf = torch.ones(3, dtype=torch.bfloat16)\nempty = torch.ones(0)\n"
        "sparse = torch.eye(3).to_sparse()\nfar = torch.ones(3, device='meta')\nexpected = model(torch.ones(4)).tolist()",
    )  # fmt: skip
    assert "the device meta" in new.restored.left_out["far"]  # type: ignore[union-attr]
    new.run("t[100_000] = -1")
    assert new.run("(float(row[0]), w.requires_grad, model.weight is weights, float(half.sum()), empty.shape[0])") == (
        -1.0, True, True, 3.0, 0,
    )  # fmt: skip
    assert new.run(
        "model(torch.ones(4)).tolist() == expected and bool((sparse.to_dense() == torch.eye(3)).all())"
    )


def test_tables_models_and_figures_come_back(companion: Companion, path: Path) -> None:
    new = round_trip(
        companion, path,
        "import pandas as pd, numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
        "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
        "frame = pd.DataFrame({'a': np.arange(5.0), 'b': list('vwxyz'), 'c': pd.date_range('2020', periods=5)})\n"
        "copy = frame.copy()\nmodel = LinearRegression().fit(frame[['a']], frame.a * 2 + 1)\n"
        "figure, axes = plt.subplots()\nline, = axes.plot([1, 3, 2])\nrng = np.random.default_rng(3)\nahead = rng.bit_generator.state",
    )  # fmt: skip
    assert new.run("frame.equals(copy) and str(frame.dtypes.c).startswith('datetime64')")
    assert new.run("round(float(model.predict(frame[['a']])[-1]), 6)") == 9.0
    assert (
        new.run("(axes is figure.axes[0], line in axes.lines, rng.bit_generator.state == ahead)")
        == (True,) * 3
    )
    assert new.run("import io\nfile = io.BytesIO(); figure.savefig(file); file.getvalue()[1:4]") == b"PNG"


# ---------------------------------------------------------------- what does not come back


UNSAVED = """
import threading, socket, asyncio, weakref, sqlite3
lock = threading.Lock()
thread = threading.Thread(target=print)
file = open('/dev/null')
written = open('/dev/null', 'wb')
server = socket.socket()
generator = (i for i in 'ab')
view = memoryview(b'abc')
inside = {'deep': [1, (lock,)]}
database = sqlite3.connect(':memory:')
deep = []
for _ in range(100_000): deep = [deep]
class Bad:
    def __reduce__(self): raise RuntimeError('not me')
bad = Bad()
"""


def test_what_cannot_be_saved_is_listed_with_the_reason_and_spoils_nothing(
    companion: Companion, path: Path
) -> None:
    companion.run(f"first = [1]\n{UNSAVED}\nlast = first\nimport io\nbuffer = io.BytesIO(b'kept')")
    results: list[int] = []
    with open(__file__) as opened:
        companion.push({"callback": results.append, "opened": opened})
        told = companion.checkpoint(path, key=KEY)
    companion.run("server.close(); file.close(); written.close()")
    left = told.left_out
    assert set(left) == {
        "lock", "thread", "file", "written", "server", "generator", "view", "inside", "database", "deep", "bad",
        "callback", "opened",
    }  # fmt: skip
    assert left["lock"] == "TypeError: cannot pickle '_thread.lock' object"
    assert left["file"] == "an open file (/dev/null); open it again"
    assert left["bad"] == "RuntimeError: not me"
    assert "main session" in left["callback"]
    assert "main session" in left["opened"]
    assert "lock is left out: TypeError" in str(told)
    assert repr(told) == str(told)
    new = back(path)
    assert new.run("(first is last, buffer.getvalue(), Bad.__name__)") == (True, b"kept", "Bad")
    with pytest.raises(NameError):
        new.run("lock")


def test_what_cannot_be_loaded_is_listed_and_spoils_nothing(
    companion: Companion, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone_tomorrow.py").write_text(
        "class Thing:\n    def __init__(self, *held): self.held = held\n"
    )
    companion.run(
        f"import sys, numpy\nsys.path.insert(0, {str(tmp_path)!r})\nfrom gone_tomorrow import Thing\nsys.path.pop(0)\n"
        "before = numpy.full(200_000, 1.0)\ninner = [1]\nthing = Thing(inner, numpy.full(200_000, 2.0), [5])\ndel Thing\n"
        "after = numpy.full(200_000, 3.0)\nsame, text, both = before, ['x'], [inner]\ndef get(): return text"
    )
    told = companion.checkpoint(path, key=KEY)
    assert not told.left_out
    (tmp_path / "gone_tomorrow.py").unlink()
    companion.stop()
    new = back(path)
    lost = new.restored.left_out  # type: ignore[union-attr]
    assert lost["thing"] == "ModuleNotFoundError: No module named 'gone_tomorrow'"
    assert set(lost) == {"thing"}
    assert "thing was not restored: ModuleNotFoundError" in capfd.readouterr().err
    assert new.run("(float(before[-1]), float(after[-1]), same is before, get() is text)") == (
        1.0,
        3.0,
        True,
        True,
    )
    assert new.run("both[0] is inner")
    assert set(lost) | set(new.restored.names) == set(told.names)  # type: ignore[union-attr]
    assert not set(lost) & set(new.restored.names)  # type: ignore[union-attr]


def test_code_of_the_cells_that_runs_when_they_are_loaded_finds_its_names(
    companion: Companion, path: Path
) -> None:
    new = round_trip(
        companion,
        path,
        "class Key:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return hash(mix(self.n))\n"
        "    def __eq__(self, other): return self.n == other.n\n    def __setstate__(self, state): self.n = state['n'] + math.floor(0.5)\n"
        "def mix(n): return n * 7\nkeys = {}\nkeys[Key(1)] = 'one'\nimport math",
    )
    assert new.run("(keys[Key(1)], Key(2) in keys)") == ("one", False)
    assert not new.restored.left_out  # type: ignore[union-attr]


def test_what_belongs_to_something_lost_is_lost_too(companion: Companion, path: Path) -> None:
    companion.run(
        "import os\nclass Late:\n    def __init__(self): self.held = held\n"
        "    def __setstate__(self, state):\n        if not os.environ.get('THERE'): raise ValueError('only there')\n"
        "os.environ['THERE'] = '1'\nheld = ['shared']\nlate = Late()\ndel held\nalso = [late]\nfree = ['free']"
    )
    companion.checkpoint(path, key=KEY)
    companion.stop()
    new = back(path)
    assert new.restored.left_out == {  # type: ignore[union-attr]
        "late": "ValueError: only there",
        "also": "UnpicklingError: a part of it belongs to 'late', which is lost",
    }
    assert new.run("free") == ["free"]


# ---------------------------------------------------------------- keys


def test_a_passphrase_serves_as_a_key_in_whatever_form_it_is_typed(companion: Companion, path: Path) -> None:
    companion.run("x = 5")
    companion.checkpoint(path, key="cafe\u0301 with three seats")
    assert companion.resume(path, key="caf\u00e9 with three seats").names == ("x",)
    with pytest.raises(CheckpointError, match="another key"):
        companion.resume(path, key="cafe with three seats")
    with pytest.raises(CheckpointError, match="saved with a passphrase as its key, and this is 32 bytes"):
        companion.resume(path, key=KEY)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (None, "needs a key: isolate_magic.new_key()"),
        (b"short", "has 32 bytes, this one 5"),
        ("short", "5 characters is guessed"),
        (12345678, "not int"),
    ],
)
def test_what_is_no_key_is_refused_before_anything_happens(
    companion: Companion, path: Path, key: object, says: str
) -> None:
    for act in (companion.checkpoint, companion.resume, Companion.restore):
        with pytest.raises(CheckpointError) as caught:
            act(path, key=key)
        assert says in str(caught.value)
    assert not path.exists()


def test_each_file_is_encrypted_under_a_key_of_its_own_and_shows_no_names(
    companion: Companion, path: Path
) -> None:
    companion.run("secret_name = 'secret value'")
    companion.checkpoint(path, key=KEY)
    first = path.read_bytes()
    companion.checkpoint(path, key=KEY)
    assert first[HEAD:] != path.read_bytes()[HEAD:]
    for text in (b"secret_name", b"secret value", companion.name.encode(), KEY):
        assert text not in first


def test_the_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['cryptography'] = None\nfrom isolate_magic import Companion, NotSupported, new_key\n"
        "with Companion('poor') as c:\n    c.run('x = 1')\n"
        f"    for act in (c.checkpoint, c.resume, Companion.restore):\n        try: act({str(tmp_path / 'f')!r}, key=new_key())\n"
        "        except NotSupported as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()
        == ["checkpoints need the package cryptography: pip install 'isolate_magic[checkpoint]'"] * 3
    )
    assert issubclass(NotSupported, Exception)


# ---------------------------------------------------------------- attacks on the file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, Path]:
    """Give two checkpoints with one key, whose loading leaves a mark, and the place of the mark."""
    folder = tmp_path_factory.mktemp("attacked")
    mark = folder / "loaded"
    with Companion("attacked") as made:
        made.run(
            f"import numpy\nclass Mark:\n    def __reduce__(self): return open, ({str(mark)!r}, 'w')\n"
            "mark = Mark()\nnoise = numpy.random.default_rng(1).random(300_000)\ntail = b'z' * 2_000_000"
        )
        found = []
        for number in range(2):
            made.checkpoint(folder / str(number), key=KEY)
            found.append((folder / str(number)).read_bytes())
    assert not mark.exists()
    return found[0], found[1], mark


def refused(data: bytes, tmp_path: Path) -> str:
    """Return why a file is refused; read in full, if it is not refused at once."""
    place = tmp_path / "forged"
    place.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        reader = Reader(str(place))
        try:
            length = sum(msgspec.json.decode(reader.open(KEY))["sizes"])
            for _ in reader.body(length):
                pass
        finally:
            reader.close()
    assert str(caught.value).startswith(str(place))
    assert str(caught.value).endswith("nothing was loaded")
    return str(caught.value)


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(
    place=st.integers(0, 2**40),
    bit=st.integers(0, 7),
    near=st.sampled_from(["head", "check", "contents", "any", "end"]),
)
def test_no_bit_can_be_flipped_anywhere(
    files: tuple[bytes, bytes, Path], tmp_path: Path, place: int, bit: int, near: str
) -> None:
    data = bytearray(files[0])
    place = {
        "head": place % 52, "check": 52 + place % 32, "contents": HEAD + place % 500, "any": place % len(data),
        "end": len(data) - 1 - place % 100,
    }[near]  # fmt: skip
    data[place] ^= 1 << bit
    refused(bytes(data), tmp_path)


@QUICK
@given(
    begin=st.integers(0, 2**40),
    length=st.integers(0, 2**22) | st.integers(0, 2**40),
    what=st.sampled_from(["nothing", "zero", "beginning", "turned round", "other"]),
)
def test_nothing_can_be_cut_out_put_in_or_moved(
    files: tuple[bytes, bytes, Path], tmp_path: Path, begin: int, length: int, what: str
) -> None:
    whole = files[0]
    begin %= len(whole)
    end = min(len(whole), begin + length)
    piece = {
        "nothing": b"", "zero": b"\0", "beginning": whole[:100], "turned round": whole[begin:end][::-1],
        "other": files[1][begin:end],
    }[what]  # fmt: skip
    forged = whole[:begin] + piece + whole[end:]
    if forged != whole:
        refused(forged, tmp_path)


def chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    """Part a file into its beginning and the chunks of its body."""
    begin = HEAD + struct.unpack_from(">I", data, 16)[0] + 16
    size = CHUNK + 16
    return data[:begin], [data[at : at + size] for at in range(begin, len(data), size)]


def test_chunks_keep_their_order_their_number_and_their_file(
    files: tuple[bytes, bytes, Path], tmp_path: Path
) -> None:
    head, body = chunks(files[0])
    other_head, other = chunks(files[1])
    assert len(body) >= 4
    whole = "the key is right, and bytes from"
    assert whole in refused(head + b"".join([body[1], body[0], *body[2:]]), tmp_path)
    assert whole in refused(head + b"".join([body[0], body[0], *body[2:]]), tmp_path)
    assert whole in refused(head + b"".join([body[0], other[1], *body[2:]]), tmp_path)
    assert whole in refused(head + b"".join([*body[:-1], other[-1]]), tmp_path)
    assert "are missing" in refused(head + b"".join(body[:-1]), tmp_path)
    assert "too many" in refused(head + b"".join([*body, body[-1]]), tmp_path)
    assert "too many" in refused(files[0] + b"\0", tmp_path)
    if len(head) == len(other_head):
        assert whole in refused(head + b"".join(other), tmp_path)
    assert "the key is right" in refused(head[:HEAD] + other_head[HEAD:] + b"".join(body), tmp_path)
    assert "another key" in refused(other_head[:52] + head[52:] + b"".join(body), tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"", "is no checkpoint"),
        (lambda data: data[:40], "is no checkpoint"),
        (lambda data: b"PK\x03\x04" + data, "is no checkpoint"),
        (
            lambda data: data[:8] + struct.pack(">H", 2) + data[10:],
            "of format 2, and this isolate_magic reads 1",
        ),
        (lambda data: data[:10] + b"\1\x11\x08\1" + data[14:], "with a passphrase as its key"),
        (lambda data: data[:10] + b"\0\0\0\1" + data[14:], "nothing that isolate_magic writes"),
        (lambda data: data[:16] + b"\xff\xff\xff\xff" + data[20:], "another key, or its first bytes"),
    ],
)
def test_other_files_are_told_apart(
    files: tuple[bytes, bytes, Path], tmp_path: Path, change: Callable[[bytes], bytes], says: str
) -> None:
    assert says in refused(change(files[0]), tmp_path)


@pytest.mark.parametrize(
    "asks", [b"\1\x1e\x08\1", b"\1\x11\xff\1", b"\1\x11\x08\xff", b"\1\x01\x08\1", b"\2\x11\x08\1"]
)
def test_a_file_cannot_ask_for_much_memory_or_time(
    files: tuple[bytes, bytes, Path], companion: Companion, path: Path, asks: bytes
) -> None:
    path.write_bytes(files[0][:10] + asks + files[0][14:])
    with pytest.raises(CheckpointError, match="nothing that isolate_magic writes|with 32 bytes"):
        companion.resume(path, key="a long passphrase")


@pytest.mark.parametrize("what", ["folder", "pipe", "nothing"])
def test_what_is_no_file_is_refused_at_once(companion: Companion, path: Path, what: str) -> None:
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "nothing": lambda: None}[what]()
    with pytest.raises(CheckpointError, match="no checkpoint|Is a directory|No such file"):
        companion.resume(path, key=KEY)


@pytest.mark.parametrize("way", ["bit", "cut", "last"])
def test_nothing_of_a_forged_file_is_loaded(files: tuple[bytes, bytes, Path], path: Path, way: str) -> None:
    data = bytearray(files[0])
    if way == "bit":
        data[-3_000_000] ^= 1
    elif way == "last":
        data[-1] ^= 1
    else:
        del data[-5:]
    path.write_bytes(data)
    with Companion("whole") as made:
        made.run("mark = 'mine'")
        with pytest.raises(CheckpointError):
            made.resume(path, key=KEY)
        assert made.run("(mark, 'tail' in globals())") == ("mine", False)
    with pytest.raises(CheckpointError):
        back(path, "never")
    assert "never" not in [one.name for one in companions()]
    assert not files[2].exists()


def test_the_whole_file_is_loaded_and_leaves_its_mark(files: tuple[bytes, bytes, Path], path: Path) -> None:
    path.write_bytes(files[0])
    back(path)
    assert files[2].exists()
    files[2].unlink()


# ---------------------------------------------------------------- another Python


def rewritten(path: Path, **changes: object) -> None:
    """Write a checkpoint anew, under its key, with other contents."""
    reader = Reader(str(path))
    contents = msgspec.json.decode(reader.open(KEY))
    body = b"".join(reader.body(sum(contents["sizes"])))
    reader.close()
    writer = Writer(str(path), KEY, msgspec.json.encode(contents | changes))
    writer.write(body, True)
    writer.finish()


def test_code_of_another_python_is_refused_and_data_is_not(companion: Companion, path: Path) -> None:
    companion.run("x = [1]")
    companion.checkpoint(path, key=KEY)
    rewritten(path, python="3.9.1")
    assert companion.resume(path, key=KEY).python == "3.9.1"
    companion.run("def f(): pass")
    companion.checkpoint(path, key=KEY)
    rewritten(path, python="3.9.1")
    with pytest.raises(CheckpointError, match="compiled by cpython 3.9.1, and this is cpython 3"):
        back(path)
    rewritten(path, implementation="pypy", python="3.11.2")
    with pytest.raises(CheckpointError, match="compiled by pypy"):
        back(path)


@pytest.mark.parametrize("changes", [{"sizes": [-64, 128]}, {"sizes": []}, {"names": 5}, {"trusted": "yes"}])
def test_contents_that_make_no_sense_are_refused(
    companion: Companion, path: Path, changes: dict[str, object]
) -> None:
    companion.run("x = [1]")
    companion.checkpoint(path, key=KEY)
    reader = Reader(str(path))
    contents = msgspec.json.decode(reader.open(KEY))
    reader.close()
    writer = Writer(str(path), KEY, msgspec.json.encode(contents | changes))
    writer.finish()
    with pytest.raises(CheckpointError, match="nothing was loaded"):
        companion.resume(path, key=KEY)


# ---------------------------------------------------------------- companions that are not trusted


def test_what_an_untrusted_companion_has_saved_is_loaded_by_an_untrusted_one_only(path: Path) -> None:
    with Companion("student", policy="untrusted") as student:
        student.run("import numpy\nx = numpy.arange(200_000.0)\ny = x[:5]\ndef f(): return float(x[3])")
        assert not student.checkpoint(path, key=KEY).trusted
    with pytest.raises(CheckpointError, match="'student', which was not trusted.*policy='untrusted'"):
        back(path)
    teacher = Companion("teacher")
    with pytest.raises(CheckpointError, match="with the rights of 'teacher'"):
        teacher.resume(path, key=KEY)
    assert teacher.pid is None  # it was not even started
    with pytest.raises(CheckpointError, match="with the rights of 'teacher'"):
        teacher.start().resume(path, key=KEY)
    with back(path, policy="untrusted") as new:
        assert new.run("(f(), numpy.shares_memory(x, y))") == (3.0, True)
        new.checkpoint(path, key=KEY)
    with pytest.raises(CheckpointError):
        back(path)


def test_what_a_trusted_companion_has_saved_is_loaded_behind_a_wall_too(
    companion: Companion, path: Path
) -> None:
    companion.run("x = 5")
    companion.checkpoint(path, key=KEY)
    with back(path, policy="untrusted") as new:
        assert new.run("x") == 5


LIES = {
    "no tuple": "Service.told = lambda self, target: 'text'",
    "negative": "Service.told = lambda self, target: ((), (), (-64, 128), False)",
    "no multiple": "Service.told = lambda self, target: ((), (), (64, 65), False)",
    "names": "Service.told = lambda self, target: ((1,), (), (64, 64), False)",
    "reasons": "Service.told = lambda self, target: ((), (('a',),), (64, 64), False)",
    "shorter": "Service.piece = lambda self, target, offset, length: b'x'",
    "longer": "Service.piece = lambda self, target, offset, length: b'x' * (length + 1)",
    "other": "Service.piece = lambda self, target, offset, length: []",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_is_ended_and_nothing_is_written(path: Path, lie: str) -> None:
    path.write_text("before")
    with Companion("liar", policy="untrusted") as liar:
        liar.run(f"from isolate_magic.child.service import Service\n{LIES[lie]}")
        with pytest.raises(ProtocolError):
            liar.checkpoint(path, key=KEY)
    assert path.read_text() == "before"
    assert os.listdir(path.parent) == [path.name]


def test_a_liar_cannot_fill_the_disk_and_its_words_move_no_cursor(path: Path) -> None:
    with Companion("liar", policy="untrusted") as liar:
        liar.run(
            "from isolate_magic.child.service import Service\n"
            "told = Service.told\nService.told = lambda self, target: ((), (), (64, 1 << 49), False)"
        )
        with pytest.raises(CheckpointError, match="do not fit|more than its memory"):
            liar.checkpoint(path, key=KEY)
        assert not path.exists()
        liar.run(
            r"def said(self, target):"
            "\n"
            r"    return ('n\x1b]52;c;eA==\x07',), (('l\x1b[2J', 'r\x1b[2J' + 'x' * 10**5),), *told(self, target)[2:]"
            "\nService.told = said"
        )
        shown = str(liar.checkpoint(path, key=KEY))
        assert "\x1b" not in shown
        assert len(shown) < 2000


def test_a_liar_about_what_it_has_loaded_is_ended(companion: Companion, path: Path) -> None:
    companion.run("x = 5")
    companion.checkpoint(path, key=KEY)
    for answer in ("5", "((1,), ())", "(('a',), ((1, 2),))"):
        with Companion("liar", policy="untrusted") as liar:
            liar.run(
                f"from isolate_magic.child.service import Service\nService.regain = lambda self, owner: {answer}"
            )
            with pytest.raises(ProtocolError):
                liar.resume(path, key=KEY)


# ---------------------------------------------------------------- half-way


def alone(path: Path) -> bool:
    """Tell whether the old file is as it was, and nothing else lies beside it."""
    return path.read_text() == "before" and os.listdir(path.parent) == [path.name]


def test_a_file_is_the_users_alone(companion: Companion, path: Path) -> None:
    companion.run("x = 5")
    path.write_text("before")
    path.chmod(0o644)
    companion.checkpoint(path, key=KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_write_leaves_the_old_file(companion: Companion, path: Path) -> None:
    path.write_text("before")
    companion.run("import os\nx = os.urandom(40_000_000)")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, before[1]))
    try:
        with pytest.raises(
            CheckpointError, match="cannot be written; what stood there before is as it was: File too large"
        ):
            companion.checkpoint(path, key=KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert alone(path)
    assert companion.run("len(x)") == 40_000_000


def test_a_place_that_cannot_be_is_refused(companion: Companion, tmp_path: Path) -> None:
    companion.run("x = 5")
    for place in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(CheckpointError, match="cannot be written"):
            companion.checkpoint(place, key=KEY)


def test_a_companion_that_dies_meanwhile_leaves_the_old_file(companion: Companion, path: Path) -> None:
    path.write_text("before")
    companion.run("import os\nclass Deadly:\n    def __reduce__(self): os.abort()\nx = Deadly()")
    with pytest.raises(ProcessTerminationError):
        companion.checkpoint(path, key=KEY)
    assert alone(path)


def test_a_dead_companion_does_not_take_the_place_of_what_it_has_saved(
    companion: Companion, path: Path
) -> None:
    companion.run("x = 5")
    companion.checkpoint(path, key=KEY)
    with pytest.raises(ProcessTerminationError):
        companion.run("import os; os.abort()")
    with pytest.raises(CheckpointError, match="does not run, so it holds nothing"):
        companion.checkpoint(path, key=KEY)
    assert companion.resume(path, key=KEY).names == ("x",)


def interrupted(when: Path, act: Callable[[], object]) -> None:
    """Do something that writes a file in the middle, and interrupt it there."""

    def press() -> None:
        until(when.exists, 30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        act()
    presser.join()
    when.unlink()


def test_an_interrupt_leaves_nothing_half_done(companion: Companion, path: Path, tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    slow = (
        f"def wait():\n    open({str(reached)!r}, 'w').close()\n    for _ in range(3000): time.sleep(0.01)\n"
        "class Slow:\n    def __reduce__(self): return (wait, ()) if late else wait()"
    )
    path.write_text("before")
    companion.run(f"import time\nlate, x = False, 1\n{slow}\nslow = Slow()")
    interrupted(reached, lambda: companion.checkpoint(path, key=KEY))
    assert alone(path)
    companion.run("late = True")
    companion.checkpoint(path, key=KEY)
    companion.run("x = 2; del slow")
    interrupted(reached, lambda: companion.resume(path, key=KEY))
    assert companion.run("(x, 'slow' in globals())") == (2, False)
    interrupted(reached, lambda: back(path))
    assert "back" not in [one.name for one in companions()]


def test_gigabytes_pass_through_this_session_in_pieces(tmp_path: Path) -> None:
    code = (
        "import resource\nfrom isolate_magic import Companion, new_key\nkey = new_key()\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with Companion('large') as c:\n"
        "    c.run('import numpy; a = numpy.ones(50_000_000)'); before = peak()\n"
        f"    c.checkpoint({str(tmp_path / 'f')!r}, key=key)\n"
        f"with Companion.restore({str(tmp_path / 'f')!r}, key=key) as c:\n"
        "    assert c.run('float(a.sum())') == 50_000_000.0\nprint((peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150  # MiB, of 400


def test_an_event_loop_awaits_both(companion: Companion, path: Path) -> None:
    async def both() -> Checkpoint:
        await companion.aio.run("x = 5")
        await companion.aio.checkpoint(path, key=KEY)
        return await companion.aio.resume(path, key=KEY)

    assert asyncio.run(both()).names == ("x",)


def test_a_long_save_and_a_long_restore_say_how_far_they_are(
    companion: Companion, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, float | None]] = []

    class Seen:
        def show(self, text: str, part: float | None) -> None:
            shown.append((text.partition(":")[0], part))

        def hide(self) -> None:
            shown.append(("", None))

    companion.run("x = b'x' * 40_000_000")
    monkeypatch.setattr(progress, "LATE", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    before = progress.use(Seen)
    try:
        companion.checkpoint(path, key=KEY)
        companion.resume(path, key=KEY)
    finally:
        progress.use(before)
    titles = [title for title, _ in shown]
    assert titles[0] == f"saving companion {companion.name!r}"
    assert titles[-2] == f"restoring companion {companion.name!r}"
    assert titles.count("") == 2
    assert shown[-2][1] == 1.0
