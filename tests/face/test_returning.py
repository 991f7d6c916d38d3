"""`%isolate config, snapshot, snapshots, rewind` and `--dry` in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel

CRASH = "%%isolated\nimport os; os.kill(os.getpid(), 11)"


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """Give the kernel with a new companion in which `x` is a list, and a proxy of it."""
    one_kernel.run("%isolate start")
    one_kernel.run("%isolate config snapshots=auto rewind=auto")
    one_kernel.run("%isolate restart")
    assert one_kernel.run("%%isolated -o x\nx = [1]").status == "ok"
    return one_kernel


def x_of(kernel: Kernel) -> str:
    return str(kernel.run("list(x)").result["text/plain"])


def test_a_crash_undoes_its_cell_and_says_so(kernel: Kernel) -> None:
    kernel.run("%%isolated\nx.append(2)")
    cell = kernel.run("%%isolated\nx.append(3)\nimport ctypes; ctypes.string_at(0)")
    assert cell.reply["ename"] == "ProcessTerminationError"
    assert "rewound to before cell In[" in cell.error
    assert "Rewound to before cell In[" in str(cell.of("display_data"))
    assert x_of(kernel) == "[1, 2]"
    assert kernel.run("%%isolated\nx").stream("stderr") == ""


def test_status_says_where_a_crash_would_lead(kernel: Kernel) -> None:
    kernel.run("%%isolated\n1")
    assert "snapshot before cell In[" in kernel.run("%isolate status default").stream()
    kernel.run(CRASH)
    assert "; rewound " in kernel.run("%isolate status default").stream()


def test_status_says_why_there_is_no_snapshot(kernel: Kernel) -> None:
    kernel.run("%isolate restart")
    kernel.run(
        "%%isolated\nimport threading; stop = threading.Event(); threading.Thread(target=stop.wait).start()"
    )
    kernel.run("%%isolated\n1")
    assert "none since: another Python thread" in kernel.run("%isolate status default").stream()
    kernel.run("%%isolated\nstop.set()")
    kernel.run("%isolate config snapshots=off")
    kernel.run("%isolate restart")
    assert "no snapshots: they are off" in kernel.run("%isolate status default").stream()


def test_snapshots_are_kept_listed_woken_and_dropped(kernel: Kernel) -> None:
    assert "snapshot 'clean' taken in" in kernel.run("%isolate snapshot clean").stream()
    kernel.run("%%isolated\nx.append(2)")
    listed = kernel.run("%isolate snapshots").stream()
    assert "clean" in listed
    assert "(automatic)" in listed
    assert "rewound to snapshot 'clean'" in kernel.run("%isolate rewind clean").stream()
    assert x_of(kernel) == "[1]"
    kernel.run("%isolate snapshots --drop clean")
    assert "has no snapshot 'clean'" in kernel.run("%isolate rewind clean").reply["evalue"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%isolate snapshot", "wants one name"),
        ("%isolate snapshot a b", "wants one name"),
        ("%isolate snapshot ../a", "is no name for a snapshot"),
        ("%isolate rewind a b", "takes at most one name"),
        ("%isolate rewind nothing", "has no snapshot 'nothing'"),
        ("%isolate snapshots --drop nothing", "has no snapshot 'nothing'"),
        ("%isolate config snapshots=on", "takes snapshots=auto|off, rewind=auto|off, not 'snapshots=on'"),
        ("%isolate config rewind", "not 'rewind'; nothing was changed"),
        ("%%isolated --dry -o y\ny = 1", "--dry leaves nothing to bind y to"),
        ("%%isolated --dry -b\n1", "give --dry or --bg"),
        ("%%isolated --dry --fresh\n1", "give --dry or --fresh"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(kernel: Kernel, line: str, says: str) -> None:
    cell = kernel.run(line)
    assert cell.reply["ename"] == "UsageError"
    assert says in cell.reply["evalue"]


def test_what_is_configured_holds(kernel: Kernel) -> None:
    kernel.run("%isolate config rewind=off")
    assert "rewind=off" in kernel.run("%isolate config").stream()
    assert "rewound" not in kernel.run(CRASH).error
    assert "rewound to" in kernel.run("%isolate rewind").stream()
    assert x_of(kernel) == "[1]"


def test_killing_says_where_it_led(kernel: Kernel) -> None:
    kernel.run("%%isolated\n1")
    assert "killed; rewound to" in kernel.run("%isolate kill").stream()
    assert x_of(kernel) == "[1]"


def test_a_dry_cell_shows_everything_and_changes_nothing(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated --dry\nx.append(2)\nprint('seen', x)\ndisplay(len(x))\nx")
    assert "seen [1, 2]" in cell.stream()
    assert cell.result["text/plain"] == "[1, 2]"
    assert x_of(kernel) == "[1]"


def test_a_dry_cell_takes_names_along(kernel: Kernel) -> None:
    kernel.run("more = [7, 8]")
    assert "[1, 7, 8]" in kernel.run("%%isolated --dry -i more\nprint(x + more)").stream()


def test_a_dry_cell_that_crashes_is_no_loss(kernel: Kernel) -> None:
    cell = kernel.run(CRASH.replace("%%isolated", "%%isolated --dry"))
    assert "SIGSEGV" in cell.error
    assert "rewound" not in cell.error
    assert x_of(kernel) == "[1]"


def test_nothing_is_lost_for_replay_after_a_rewind(kernel: Kernel) -> None:
    kernel.run("%%isolated -c own\ny = 1")
    kernel.run(CRASH.replace("%%isolated", "%%isolated -c own"))
    assert "nothing to replay" in kernel.run("%isolate replay -c own").stream()
    kernel.run("%isolate stop own")
