"""What Landlock denies, and that the same act works without it, each tried in a child."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isolate_magic.child import landlock
from isolate_magic.child.linux import prctl

pytestmark = pytest.mark.skipif(not landlock.supports(1), reason="this kernel has no Landlock")
Act = Callable[[], object]
SYSTEM = [
    path
    for path in ("/usr", "/lib", "/lib64", "/bin", "/etc", sys.prefix, sys.base_prefix)
    if Path(path).exists()
]


def since(version: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not landlock.supports(version), reason=f"Landlock here is older than {version}")


def forked(confine: Act | None, act: Act) -> object:
    """Return what a function returns in a child that was confined first, or the name of its errno."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
            try:
                if confine is not None:
                    confine()
                answer = act()
            except OSError as error:
                answer = errno.errorcode.get(error.errno or 0, repr(error))
            os.write(theirs, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        answered = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answered) if answered else "nothing"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with `data` to read, `work` to write and `secret` that is neither."""
    for name in ("data", "data/deep", "work", "work/deep", "secret"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text("text")
    tool = tmp_path / "data" / "tool"
    tool.write_bytes(Path("/bin/true").resolve().read_bytes())
    tool.chmod(0o755)
    return tmp_path


def confined(place: Path, **options: bool) -> Act:
    data, work = str(place / "data"), str(place / "work")
    return lambda: landlock.restrict([data, *SYSTEM], [work], **options)


def both(place: Path, act: Act, **options: bool) -> tuple[object, object]:
    """Return what comes of an act when it is free, and when it is confined."""
    return forked(None, act), forked(confined(place, **options), act)


def reading(path: Path) -> Act:
    return lambda: path.read_text()


def test_only_what_is_allowed_can_be_read(place: Path) -> None:
    assert both(place, reading(place / "data" / "deep" / "file")) == ("text", "text")
    assert both(place, reading(place / "work" / "file")) == ("text", "text")
    assert both(place, reading(place / "secret" / "file")) == ("text", "EACCES")


def test_only_what_is_allowed_can_be_listed(place: Path) -> None:
    assert both(place, lambda: os.listdir(place / "data" / "deep")) == (["file"], ["file"])
    assert both(place, lambda: os.listdir(place / "secret")) == (["file"], "EACCES")
    assert forked(confined(place), lambda: os.listdir(place)) == "EACCES"


def test_a_link_leads_nowhere_new(place: Path) -> None:
    (place / "work" / "link").symlink_to(place / "secret" / "file")
    assert both(place, reading(place / "work" / "link")) == ("text", "EACCES")


@pytest.mark.parametrize("folder", ["data", "secret"])
def test_only_the_work_folder_can_be_written(place: Path, folder: str) -> None:
    assert both(place, lambda: (place / "work" / "new").write_text("1")) == (1, 1)
    assert both(place, lambda: (place / folder / "file").write_text("1")) == (1, "EACCES")
    assert (place / folder / "file").read_text() == "1"  # by the free child
    assert forked(confined(place), lambda: (place / folder / "made").write_text("1")) == "EACCES"
    assert not (place / folder / "made").exists()


@pytest.mark.parametrize("folder", ["data", "secret"])
def test_elsewhere_nothing_is_removed_or_made(place: Path, folder: str) -> None:
    acts: list[Act] = [
        lambda: os.unlink(place / folder / "file"),
        lambda: os.rename(place / folder / "file", place / folder / "moved"),
        lambda: os.mkdir(place / folder / "sub"),
        lambda: os.symlink("file", place / folder / "symlink"),
        lambda: os.link(place / folder / "file", place / folder / "hard"),
        lambda: os.mkfifo(place / folder / "fifo"),
    ]
    assert [forked(confined(place), act) for act in acts] == ["EACCES"] * len(acts)
    assert [forked(None, act) for act in reversed(acts[1:])] == [None] * (len(acts) - 1)


def test_a_file_cannot_be_brought_into_the_work_folder(place: Path) -> None:
    for act in (os.link, os.rename):
        move: Act = lambda act=act: act(place / "secret" / "file", place / "work" / "stolen")  # type: ignore[misc]  # noqa: E731
        assert forked(confined(place), move) in ("EACCES", "EXDEV")
        assert not (place / "work" / "stolen").exists()
    assert forked(None, move) is None


@since(2)
def test_within_the_work_folder_files_move_freely(place: Path) -> None:
    move: Act = lambda: os.rename(place / "work" / "file", place / "work" / "deep" / "moved")  # noqa: E731
    assert forked(confined(place), move) is None


@since(3)
def test_elsewhere_nothing_is_truncated(place: Path) -> None:
    assert forked(confined(place), lambda: os.truncate(place / "data" / "file", 0)) == "EACCES"
    assert (place / "data" / "file").read_text() == "text"
    assert forked(confined(place), lambda: os.truncate(place / "work" / "file", 0)) is None
    assert forked(None, lambda: os.truncate(place / "data" / "file", 0)) is None


def executing(path: Path) -> Act:
    return lambda: subprocess.run([path]).returncode


def test_programs_are_executed_only_where_that_is_allowed(place: Path) -> None:
    tool = place / "data" / "tool"
    assert both(place, executing(tool)) == (0, 0)
    assert both(place, executing(tool), execute=False) == (0, "EACCES")
    assert both(place, executing(Path("/bin/true")), execute=False) == (0, "EACCES")
    (place / "secret" / "tool").write_bytes(tool.read_bytes())
    (place / "secret" / "tool").chmod(0o755)
    assert both(place, executing(place / "secret" / "tool")) == (0, "EACCES")


def test_reading_can_be_left_free(place: Path) -> None:
    assert forked(confined(place, handle_read=False), reading(place / "secret" / "file")) == "text"
    assert forked(confined(place, handle_read=False), executing(Path("/bin/true"))) == 0
    write: Act = lambda: (place / "secret" / "file").write_text("1")  # noqa: E731
    assert forked(confined(place, handle_read=False), write) == "EACCES"
    options = {"handle_read": False, "execute": False}
    assert forked(confined(place, **options), executing(Path("/bin/true"))) == "EACCES"


def test_a_single_file_can_be_allowed(place: Path) -> None:
    one = str(place / "secret" / "file")
    confine: Act = lambda: landlock.restrict([], [one])  # noqa: E731
    assert forked(confine, lambda: Path(one).write_text("new")) == 3
    assert forked(confine, lambda: os.unlink(one)) == "EACCES"
    assert forked(lambda: landlock.restrict([one], []), lambda: Path(one).write_text("new")) == "EACCES"
    assert forked(lambda: landlock.restrict([one], []), reading(Path(one))) == "new"


@since(5)
def test_devices_are_configured_only_where_writing_is_allowed() -> None:
    blocks: Act = lambda: landlock.restrict([], ["/dev/null"])  # noqa: E731
    act: Act = lambda: ioctl_of("/dev/null")  # noqa: E731
    assert forked(None, act) == "ENOTTY"
    assert forked(blocks, act) == "ENOTTY"
    assert forked(lambda: landlock.restrict(["/dev/null"], []), act) == "EACCES"


def ioctl_of(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ioctl(fd, ctypes.c_ulong(0x5401), ctypes.create_string_buffer(100)) < 0:  # TCGETS
        raise OSError(ctypes.get_errno(), "ioctl")


def test_devices_cannot_be_made_even_in_the_work_folder(place: Path) -> None:
    make: Act = lambda: os.mknod(place / "work" / "null", 0o020666, os.makedev(1, 3))  # noqa: E731
    assert forked(confined(place), make) in ("EACCES", "EPERM")


def test_the_children_of_the_confined_are_confined(place: Path) -> None:
    cat: Act = lambda: subprocess.run(["/bin/cat", place / "secret" / "file"], capture_output=True).returncode  # noqa: E731
    assert both(place, cat) == (0, 1)


def test_a_path_that_is_not_there_is_an_error_that_names_it(place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        landlock.restrict([str(place / "nowhere")], [])
    fleeting = [str(place / "nowhere")]
    assert (
        forked(lambda: landlock.restrict(fleeting, [], fleeting=fleeting), lambda: "confined") == "confined"
    )


def test_the_answer_says_what_is_denied(place: Path) -> None:
    def said(**options: bool) -> object:
        return forked(None, lambda: confined(place, **options)())

    paths = ["path sockets"] if landlock.supports(9) else []
    tcp = ["tcp"] if landlock.supports(4) else []
    scope = ["abstract sockets", "signals"] if landlock.supports(6) else []
    assert said(scope=False) == ["files", *paths]
    assert said(tcp=True) == ["files", *paths, *tcp, *scope]
    assert forked(None, landlock.scope_only) == scope
    assert forked(None, lambda: landlock.scope_only(signals=False)) == scope[:1]


@since(4)
def test_tcp_is_denied_when_asked_for(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dial: Act = lambda: socket.create_connection(server.getsockname()[:2]).close()  # noqa: E731
        assert both(place, dial, tcp=True) == (None, "EACCES")
        assert forked(confined(place), dial) is None
        listen: Act = lambda: socket.create_server(("127.0.0.1", 0)).close()  # noqa: E731
        assert both(place, listen, tcp=True) == (None, "EACCES")


@pytest.fixture
def canary() -> Iterator[int]:
    process = subprocess.Popen(["/bin/sleep", "60"])
    yield process.pid
    assert process.poll() is None
    process.kill()
    process.wait()


@since(6)
def test_signals_reach_only_processes_inside(place: Path, canary: int) -> None:
    ping: Act = lambda: os.kill(canary, 0)  # noqa: E731
    assert both(place, ping) == (None, "EPERM")
    assert forked(landlock.scope_only, ping) == "EPERM"
    assert forked(lambda: landlock.scope_only(signals=False), ping) is None
    assert forked(confined(place, scope=False), ping) is None

    def own_child() -> int:
        child = subprocess.Popen(["/bin/sleep", "60"])
        child.terminate()
        return child.wait()

    assert both(place, own_child) == (-15, -15)


@since(6)
def test_abstract_sockets_of_others_are_out_of_reach(place: Path) -> None:
    name = f"\0isolate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        dial: Act = lambda: socket.socket(socket.AF_UNIX).connect(name)  # noqa: E731
        assert both(place, dial) == (None, "EPERM")
        assert forked(landlock.scope_only, dial) == "EPERM"


def test_the_environment_of_processes_outside_is_out_of_reach() -> None:
    nobody = 65534
    root = os.geteuid() == 0  # who has CAP_PERFMON reads it in spite of Landlock
    canary = subprocess.Popen(["/bin/sleep", "60"], env={"A": "b"}, user=nobody if root else None)

    def look() -> str:
        if root:
            os.setresuid(nobody, nobody, nobody)
        return Path(f"/proc/{canary.pid}/environ").read_text()

    assert forked(None, look) == "A=b\0"
    assert forked(lambda: landlock.restrict(["/proc"], []), look) in ("EACCES", "EPERM")
    canary.kill()
    canary.wait()


# --- carving ---


def test_a_tree_without_anything_hidden_stays_whole(place: Path) -> None:
    assert landlock.carve([str(place)], [str(place) + "-other", "/elsewhere"]) == [str(place)]


def test_a_hidden_folder_gives_its_place_to_its_siblings(place: Path) -> None:
    carved = landlock.carve([str(place), str(place / "work")], [str(place / "data" / "deep")])
    names = [os.path.relpath(path, place) for path in carved]
    assert names == ["data/file", "data/tool", "secret", "work"]


def test_what_lies_in_the_hidden_is_not_allowed(place: Path) -> None:
    assert landlock.carve([str(place / "data" / "deep")], [str(place / "data")]) == []
    assert landlock.carve([str(place / "data")], [str(place / "data")]) == []


def test_what_is_not_there_yet_is_hidden_all_the_same(place: Path) -> None:
    allowed = landlock.carve([str(place / "data")], [str(place / "data" / "later")])
    (place / "data" / "later").write_text("x")
    assert forked(lambda: landlock.restrict(allowed, []), reading(place / "data" / "later")) == "EACCES"
    assert forked(lambda: landlock.restrict(allowed, []), reading(place / "data" / "file")) == "text"


def test_a_link_to_the_hidden_does_not_allow_it(place: Path) -> None:
    (place / "way").symlink_to(place / "secret")
    (place / "named").symlink_to(place / "work")
    allowed = landlock.carve([str(place)], [str(place / "secret"), str(place / "named")])
    confine: Act = lambda: landlock.restrict(allowed, [])  # noqa: E731
    assert forked(confine, reading(place / "way" / "file")) == "EACCES"
    assert forked(confine, reading(place / "secret" / "file")) == "EACCES"
    assert forked(confine, reading(place / "work" / "file")) == "EACCES"
    assert forked(confine, reading(place / "data" / "file")) == "text"


def test_a_folder_on_the_way_to_the_hidden_cannot_be_listed(place: Path) -> None:
    allowed = landlock.carve([str(place)], [str(place / "secret")])
    confine: Act = lambda: landlock.restrict(allowed, [])  # noqa: E731
    assert forked(confine, lambda: os.listdir(place)) == "EACCES"
    assert sorted(os.listdir(place / "data")) == forked(confine, lambda: sorted(os.listdir(place / "data")))
