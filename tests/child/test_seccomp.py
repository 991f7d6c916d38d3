"""The programs decide as promised: run by a small interpreter for both machines, and by the kernel for this one."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from isolate_magic.child import seccomp, syscalls
from isolate_magic.child.linux import prctl
from isolate_magic.child.seccomp import Profile

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, NOTIFY, KILL = "allow", "notify", "kill"
IOCTLS = {
    "TIOCSTI": 0x5412,
    "TIOCLINUX": 0x541C,
    "TIOCSETD": 0x5423,
    "TIOCGWINSZ": 0x5413,
    "FIONREAD": 0x541B,
}
both_machines = pytest.mark.parametrize("machine", syscalls.MACHINES)
here = pytest.mark.skipif(not seccomp.available(), reason="this kernel has no seccomp filters")


# --- an interpreter of the programs ---


def run(program: bytes, number: int, arguments: tuple[int, ...], architecture: int) -> int:
    """Run a program as the kernel does, and return its answer."""
    words = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *words)
    lines = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    while True:
        code, true, false, k = lines[at]
        at += 1
        if code == 0x20:
            assert k % 4 == 0
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code in (0x15, 0x35, 0x45):
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += true if holds else false
        else:
            assert code == 0x06, hex(code)
            return k


def meaning(answer: int) -> str:
    if answer >> 16 == 0x0005:
        return errno.errorcode[answer & 0xFFFF]
    return {0x80000000: KILL, 0x7FC00000: NOTIFY, 0x7FFF0000: ALLOW}[answer]


def verdict(program: bytes, machine: str, name: str, *arguments: int) -> str | None:
    """Return what a program says of a call, None where the machine has no such call."""
    number = syscalls.number(name, machine)
    return None if number is None else meaning(run(program, number, arguments, ARCHITECTURE[machine]))


def verdicts(program: bytes, machine: str, name: str, *arguments: int) -> set[str]:
    said = verdict(program, machine, name, *arguments)
    return set() if said is None else {said}


# --- in a child ---


def forked(profile: Profile | bytes | None, act: Callable[[], object]) -> object:
    """Return what a function returns in a child under a profile, or the name of its errno, or of the signal."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            enter(profile)
            try:
                answer: object = act()
            except OSError as error:
                answer = errno.errorcode.get(error.errno or 0, repr(error))
            os.write(theirs, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        answered = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return json.loads(answered) if answered else "nothing"


def enter(profile: Profile | bytes | None) -> None:
    if profile is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
        seccomp.install(seccomp.program(profile) if isinstance(profile, Profile) else profile)


def call(name: str, *arguments: object) -> int:
    """Make a system call by its name."""
    number = syscalls.number(name, syscalls.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        ctypes.c_long(number or -1), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def script(profile: Profile, code: str) -> str:
    """Return what a fresh interpreter prints that enters a profile and then runs the code."""
    prefix = f"""
        import sys
        from isolate_magic.child import seccomp
        from isolate_magic.child.linux import prctl
        from isolate_magic.child.seccomp import Profile
        prctl(38, 1)
        seccomp.install(seccomp.program({profile!r}))
    """
    text = textwrap.dedent(prefix) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the table ---


def header(path: str, pattern: str) -> dict[str, int]:
    if not Path(path).exists():
        pytest.skip(f"no {path}")
    return {name: int(number) for name, number in re.findall(pattern, Path(path).read_text(), re.MULTILINE)}


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"^#define __NR_(\w+)\s+(\d+)$"),
    "aarch64": ("/usr/include/asm-generic/unistd.h", r"^#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$"),
}


@both_machines
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    known = header(*HEADERS[machine])
    known["newfstatat"] = known.pop("fstatat", known.get("newfstatat", 0))
    for name in syscalls.SYSCALLS:
        number = syscalls.number(name, machine)
        if name in known or (number or 0) < 451:  # what is newer, the header may lack
            assert number == known.get(name), name


def test_each_number_has_one_name() -> None:
    for machine in syscalls.MACHINES:
        for name in syscalls.SYSCALLS:
            number = syscalls.number(name, machine)
            assert number is None or syscalls.name(number, machine) == name


def test_an_unknown_call_is_an_error() -> None:
    with pytest.raises(ValueError, match="no 'frobnicate'"):
        seccomp.program(Profile(notify=frozenset({"frobnicate"})))


# --- the allow-list, on both machines ---

SET_IDS = (0o4755, 0o2755, 0o6000)
CLONE_THREAD, CLONE_NEWUSER, CLONE_NEWNET, CLONE_PARENT, SIGCHLD = 0x10000, 0x10000000, 0x40000000, 0x8000, 17
MISSING = """
    process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise keyctl bpf perf_event_open userfaultfd
    io_uring_setup mount umount2 pivot_root fsopen open_tree move_mount mount_setattr open_tree_attr swapon acct
    open_by_handle_at name_to_handle_at init_module kexec_load reboot sethostname syslog quotactl fanotify_init
    shmget shmat semget msgget mq_open memfd_create memfd_secret flock clone3 modify_ldt iopl clock_adjtime vmsplice
    openat2 landlock_create_ruleset landlock_add_rule landlock_restrict_self
"""
ALLOWED = """
    read write openat close mmap mprotect munmap mremap brk madvise mlock futex sched_yield getrandom rseq membarrier
    set_robust_list statx copy_file_range sendfile epoll_create1 eventfd2 timerfd_create signalfd4 inotify_init1
    pidfd_open pidfd_send_signal waitid wait4 sysinfo getcpu mbind set_mempolicy get_mempolicy sched_getaffinity
    linkat unlinkat ftruncate exit_group rt_sigreturn restart_syscall kill tgkill execve newfstatat clock_nanosleep
    arch_prctl fork vfork open stat rename poll select sendmsg recvmsg
"""


@both_machines
def test_what_numerical_work_needs_is_allowed(machine: str) -> None:
    program = seccomp.program(Profile(), machine)
    for name in ALLOWED.split():
        assert verdicts(program, machine, name) <= {ALLOW}, name


@both_machines
@pytest.mark.parametrize("sockets", ["none", "pairs", "tcp", "inside"])
def test_what_only_attacks_need_is_not_implemented(machine: str, sockets: seccomp.Sockets) -> None:
    profile = Profile(sockets, notify=frozenset(["bpf", "flock"]), own_pids=True, own_files=True)
    program = seccomp.program(profile, machine)
    for name in MISSING.split():
        assert verdicts(program, machine, name) <= {"ENOSYS"}, name


@both_machines
def test_every_number_that_the_table_does_not_know_is_not_implemented(machine: str) -> None:
    program = seccomp.program(Profile("inside", own_pids=True, own_files=True), machine)
    for number in [*range(600), 0x40000000, 0x40000001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]:
        if syscalls.name(number, machine) is None:
            assert meaning(run(program, number, (), ARCHITECTURE[machine])) == "ENOSYS", number


@both_machines
def test_a_foreign_architecture_kills(machine: str) -> None:
    for program in (seccomp.program(Profile(), machine), seccomp.offline(machine)):
        for architecture in (0x40000003, 0x40000028, *ARCHITECTURE.values()):
            answer = meaning(run(program, 0, (), architecture))
            assert (answer == KILL) == (architecture != ARCHITECTURE[machine])


TABLE: list[tuple[Profile, str, tuple[int, ...], str]] = [
    (Profile(), "clone", (SIGCHLD,), ALLOW),
    (Profile(), "clone", (CLONE_NEWUSER | SIGCHLD,), "EPERM"),
    (Profile(), "clone", (CLONE_NEWNET | CLONE_THREAD,), "EPERM"),
    (Profile(), "clone", (CLONE_PARENT | SIGCHLD,), "EPERM"),
    (Profile(forks=False), "clone", (SIGCHLD,), "EAGAIN"),
    (Profile(forks=False), "clone", (CLONE_THREAD,), ALLOW),
    (Profile(forks=False), "fork", (), "EAGAIN"),
    (Profile(forks=False), "vfork", (), "EAGAIN"),
    (Profile(execs=False), "execve", (), "EPERM"),
    (Profile(execs=False), "execveat", (), "EPERM"),
    (Profile(execs=False, notify=frozenset({"execve"})), "execve", (), "EPERM"),
    (Profile(notify=frozenset({"execve", "open"})), "execve", (), NOTIFY),
    (Profile(notify=frozenset({"execve", "open"})), "open", (), NOTIFY),
    (Profile(notify=frozenset({"execve", "open"})), "openat", (), ALLOW),
    (Profile(), "ioctl", (0, IOCTLS["TIOCSTI"]), "EPERM"),
    (Profile(), "ioctl", (0, 1 << 32 | IOCTLS["TIOCSTI"]), "EPERM"),
    (Profile(), "ioctl", (0, IOCTLS["TIOCLINUX"]), "EPERM"),
    (Profile(), "ioctl", (0, IOCTLS["TIOCSETD"]), "EPERM"),
    (Profile(), "ioctl", (0, 0x8901), "EPERM"),
    (Profile(), "ioctl", (0, IOCTLS["TIOCGWINSZ"]), ALLOW),
    (Profile(), "ioctl", (0, IOCTLS["FIONREAD"]), ALLOW),
    *((Profile(), "ioctl", (0, request), ALLOW) for request in (0x80086601, 0xC020660B, 0x40049409)),
    *(
        (Profile(own_files=True), "ioctl", (0, request), "EPERM")
        for request in (0x40086602, 0x40086604, 0x40087602, 0x401C5820, 0x40806685, 0x5000940E)
    ),
    *((Profile(own_uid=True), name, (0, 0o755), ALLOW) for name in ("chmod", "fchmod")),
    *((Profile(own_uid=True), name, (0, mode), "EPERM") for name in ("chmod", "fchmod") for mode in SET_IDS),
    *((Profile(own_files=True), "fchmodat", (0, 0, mode), "EPERM") for mode in SET_IDS),
    *((Profile(own_files=True), "fchmodat2", (0, 0, mode), "EPERM") for mode in SET_IDS),
    *((Profile(), "open", (0, flags, 0o4755), "EPERM") for flags in (os.O_CREAT, os.O_TMPFILE)),
    *((Profile(), "openat", (0, 0, flags, 0o2755), "EPERM") for flags in (os.O_CREAT, os.O_TMPFILE)),
    (Profile(), "open", (0, os.O_RDWR, 0xFFFFFFFF), ALLOW),
    (Profile(), "openat", (0, 0, os.O_RDWR, 0xFFFFFFFF), ALLOW),
    (Profile(), "openat", (0, 0, os.O_CREAT, 0o1777), ALLOW),
    (Profile(), "creat", (0, 0o4755), "EPERM"),
    (Profile(notify=frozenset({"openat"})), "openat", (0, 0, os.O_CREAT, 0o4755), "EPERM"),
    (Profile(notify=frozenset({"openat"})), "openat", (0, 0, os.O_CREAT, 0o755), NOTIFY),
    *(
        (Profile(sockets), "setsockopt", (0, *option), "EPERM")
        for sockets in ("none", "pairs", "tcp", "inside", "loopback")
        for option in ((0, 4), (41, 57), (41, 6), (6, 31), (1, 7), (1, 8))
    ),
    *((Profile("tcp"), "setsockopt", (0, *option), ALLOW) for option in ((1, 4), (6, 1), (41, 26), (0, 1))),
    *((Profile(), "fcntl", (0, command), ALLOW) for command in (0, 1, 2, 3, 4, 6, 1030, 1033)),
    *((Profile(), "fcntl", (0, command), "EPERM") for command in (8, 10, 15, 37, 38, 1024, 1026)),
    *((Profile(), "prctl", (option,), ALLOW) for option in (15, 16, 38, 39, 0x53564D41)),
    *((Profile(), "prctl", (option,), "EPERM") for option in (1, 4, 22, 26, 35, 36, 0x59616D61, 9999)),
    (Profile(), "personality", (0xFFFFFFFF,), ALLOW),
    (Profile(), "personality", (0x0040000,), "EPERM"),
    (Profile(), "seccomp", (1, 0), ALLOW),
    (Profile(), "seccomp", (1, 8), "EPERM"),
    (Profile(), "mknodat", (0, 0, 0o010644), ALLOW),
    (Profile(), "mknodat", (0, 0, 0o104755), "EPERM"),
    (Profile(), "mknod", (0, 0o102755), "EPERM"),
    (Profile(), "mknodat", (0, 0, 0o020644), "EPERM"),
    (Profile(), "mknodat", (0, 0, 0o060644), "EPERM"),
    (Profile(), "ptrace", (16,), "EPERM"),
    (Profile(), "unshare", (CLONE_NEWUSER,), "EPERM"),
    (Profile(), "setns", (3,), "EPERM"),
    *((Profile(), name, (0,), ALLOW) for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler")),
    *((Profile(), name, (1,), "EPERM") for name in ("prlimit64", "sched_setaffinity", "sched_setattr")),
    *((Profile(own_pids=True), name, (7,), ALLOW) for name in ("prlimit64", "sched_setaffinity")),
    (Profile(), "setpriority", (0, 0, 5), ALLOW),
    (Profile(), "setpriority", (0, 4711, 5), "EPERM"),
    (Profile(), "setpriority", (2, 0, 5), "EPERM"),
    (Profile(), "ioprio_set", (1, 0), ALLOW),
    (Profile(), "ioprio_set", (1, 4711), "EPERM"),
    (Profile(), "ioprio_set", (3, 0), "EPERM"),
    *((Profile(), name, (), "EPERM") for name in ("chmod", "fchmod", "fchownat", "utimensat", "fsetxattr")),
    *((Profile(own_files=True), name, (), ALLOW) for name in ("chmod", "fchmod", "utimensat", "fsetxattr")),
    (Profile(), "inotify_add_watch", (), "EPERM"),
    *((Profile(own_uid=True), name, (), ALLOW) for name in ("chmod", "fchmod", "fchownat", "fchmodat2")),
    *((Profile(own_uid=True), name, (), "EPERM") for name in ("utimensat", "fsetxattr", "inotify_add_watch")),
    *((Profile(own_pids=pids, pinned=True), "sched_setaffinity", (0,), "EPERM") for pids in (False, True)),
    (Profile("loopback"), "socket", (1, 1), "EPERM"),
    (Profile("loopback"), "socketpair", (1, 2), "EPERM"),
    (Profile("loopback"), "socketpair", (1, 1), ALLOW),
    *((Profile("loopback"), "socket", (2, kind), ALLOW) for kind in (1, 2)),
    (Profile(notify=frozenset({"fchmod"})), "fchmod", (), NOTIFY),
    (Profile(own_pids=True), "prctl", (1, 9), ALLOW),
    (Profile(own_pids=True), "prctl", (4, 0), "EPERM"),
    *((Profile("none"), name, (1, 1), "EPERM") for name in ("socket", "socketpair", "connect", "bind")),
    (Profile(), "socketpair", (1, 1), ALLOW),
    (Profile(), "socketpair", (1, 1 | 0o2000000 | 0o4000), ALLOW),
    (Profile(), "socketpair", (1, 2), "EPERM"),
    (Profile(), "socketpair", (1, 2 | 0o2000000), "EPERM"),
    (Profile(), "socketpair", (1, 5), "EPERM"),
    (Profile(), "socketpair", (30, 1), "EAFNOSUPPORT"),
    *(
        (Profile(), name, (1, 1), "EPERM")
        for name in ("socket", "connect", "bind", "listen", "accept", "accept4")
    ),
    *((Profile("tcp"), name, (1, 1), "EPERM") for name in ("socket", "bind", "listen", "accept", "accept4")),
    (Profile("tcp"), "socketpair", (1, 2), "EPERM"),
    (Profile("tcp"), "socket", (2, 1), ALLOW),
    (Profile("tcp"), "socket", (10, 1 | 0o2000000, 6), ALLOW),
    (Profile("tcp"), "socket", (2, 1, 262), "EPERM"),
    (Profile("tcp"), "socket", (2, 2), "EPERM"),
    (Profile("tcp"), "socket", (2, 3), "EPERM"),
    (Profile("tcp"), "socket", (16, 3), "EAFNOSUPPORT"),
    (Profile("tcp"), "connect", (), NOTIFY),
    (Profile("tcp"), "sendto", (0, 0, 0, 0x20000000), "EPERM"),
    (Profile("tcp"), "sendto", (0, 0, 0, 0x4000), ALLOW),
    (Profile("inside"), "sendto", (0, 0, 0, 0x20000000), "EPERM"),
    (Profile("inside"), "sendmsg", (0, 0, 0x20000000), "EPERM"),
    (Profile("tcp"), "sendmsg", (0, 0, 0x20004000), "EPERM"),
    (Profile("tcp"), "sendmsg", (0, 0, 0x4000), ALLOW),
    (Profile("tcp"), "sendmmsg", (0, 0, 1, 0x20000000), "EPERM"),
    *((Profile("inside"), "socket", (family, kind), ALLOW) for family in (1, 2, 10) for kind in (1, 2)),
    (Profile("inside"), "socket", (2, 2, 17), ALLOW),
    (Profile("inside"), "socket", (2, 2, 1), "EPERM"),
    (Profile("inside"), "socket", (2, 3, 1), "EPERM"),
    (Profile("inside"), "socket", (2, 5), "EPERM"),
    (Profile("inside"), "socket", (1, 5), ALLOW),
    *((Profile("inside"), "socket", (family, 3), "EAFNOSUPPORT") for family in (15, 16, 17, 31, 38, 40, 44)),
    *((Profile("inside"), name, (), ALLOW) for name in ("connect", "bind", "listen", "accept4")),
    (Profile("inside", notify=frozenset({"connect"})), "connect", (), NOTIFY),
    (Profile("inside"), "socketpair", (1, 2), ALLOW),
]


@both_machines
@pytest.mark.parametrize(("profile", "name", "arguments", "expected"), TABLE)
def test_the_allow_list_looks_at_arguments(
    machine: str, profile: Profile, name: str, arguments: tuple[int, ...], expected: str
) -> None:
    assert verdicts(seccomp.program(profile, machine), machine, name, *arguments) <= {expected}


@both_machines
def test_the_offline_program_denies_the_network_and_nothing_else(machine: str) -> None:
    program = seccomp.offline(machine)
    for name in syscalls.SYSCALLS:
        if name not in ("socket", "io_uring_setup"):
            assert verdicts(program, machine, name, 1) <= {ALLOW}, name
    assert verdict(program, machine, "socket", 1, 2) == ALLOW
    assert verdict(program, machine, "socket", 2, 1) == "EACCES"
    assert verdict(program, machine, "socket", 16, 3) == "EACCES"
    assert verdict(program, machine, "io_uring_setup") == "ENOSYS"
    assert meaning(run(program, 0x40000000 | 41, (2, 1), ARCHITECTURE[machine])) == "ENOSYS"


@both_machines
def test_the_tracing_program_asks_for_the_named_calls_only(machine: str) -> None:
    program = seccomp.tracing(["openat", "connect"], machine)
    for name in syscalls.SYSCALLS:
        expected = NOTIFY if name in ("openat", "connect") else ALLOW
        assert verdicts(program, machine, name) <= {expected}, name


# --- the kernel's word ---


@here
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("memfd_create", (b"x", 0), "ENOSYS"),
        ("flock", (0, 2), "ENOSYS"),
        ("io_uring_setup", (1, None), "ENOSYS"),
        ("clone3", (None, 0), "ENOSYS"),
        ("unshare", (CLONE_NEWUSER,), "EPERM"),
        ("prctl", (1, 0), "EPERM"),
        ("ptrace", (16, 1, 0, 0), "EPERM"),
        ("ioctl", (0, 1 << 32 | 0x5412, b"x"), "EPERM"),
        ("prlimit64", (os.getpid(), 7, None, None), "EPERM"),
        ("setpriority", (0, os.getpid(), 1), "EPERM"),
        ("clone", (CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "EPERM"),
    ],
)
def test_the_kernel_refuses(name: str, arguments: tuple[object, ...], expected: str) -> None:
    assert forked(Profile(), lambda: call(name, *arguments)) == expected


def socket_of(family: int, kind: int) -> Callable[[], str]:
    def act() -> str:
        socket.socket(family, kind).close()
        return "made"

    return act


@here
def test_sockets_are_limited_to_what_the_profile_says() -> None:
    pair = lambda kind: lambda: len(socket.socketpair(socket.AF_UNIX, kind))  # noqa: E731
    assert forked(None, pair(socket.SOCK_DGRAM)) == 2
    assert forked(Profile(), pair(socket.SOCK_DGRAM)) == "EPERM"
    assert forked(Profile(), pair(socket.SOCK_STREAM)) == 2
    assert forked(Profile("none"), pair(socket.SOCK_STREAM)) == "EPERM"
    assert forked(Profile(), socket_of(socket.AF_UNIX, socket.SOCK_STREAM)) == "EPERM"
    assert forked(Profile("tcp"), socket_of(socket.AF_INET, socket.SOCK_STREAM)) == "made"
    assert forked(Profile("inside"), socket_of(socket.AF_INET, socket.SOCK_DGRAM)) == "made"
    assert forked(Profile("inside"), socket_of(socket.AF_NETLINK, socket.SOCK_RAW)) == "EAFNOSUPPORT"
    assert forked(seccomp.offline(), socket_of(socket.AF_INET, socket.SOCK_STREAM)) == "EACCES"
    assert forked(seccomp.offline(), socket_of(socket.AF_UNIX, socket.SOCK_DGRAM)) == "made"


@here
def test_numeric_addresses_resolve_without_netlink() -> None:
    resolve = lambda: socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4]  # noqa: E731
    assert forked(Profile("inside"), resolve) == ["127.0.0.1", 80]
    assert forked(Profile("tcp"), resolve) == ["127.0.0.1", 80]
    assert forked(Profile(), resolve) == ["127.0.0.1", 80]


@here
def test_a_server_and_its_client_work_inside() -> None:
    def act() -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            client.sendall(b"hello")
            return server.accept()[0].recv(5).decode()

    assert forked(Profile("inside"), act) == "hello"


@here
def test_without_forks_threads_still_start() -> None:
    def act() -> list[str]:
        done: list[str] = []
        thread = threading.Thread(target=done.append, args=("thread",))
        thread.start()
        thread.join()
        try:
            os.fork()
        except BlockingIOError:
            done.append("no process")
        return done

    assert forked(Profile(forks=False), act) == ["thread", "no process"]


@here
def test_without_execs_no_program_runs() -> None:
    run_true = lambda: subprocess.run(["/bin/true"]).returncode  # noqa: E731
    assert forked(Profile(), run_true) == 0
    assert forked(Profile(execs=False), run_true) == "EPERM"


@here
@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 is x86's")
def test_the_32_bit_entry_kills() -> None:
    def act() -> int:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        return int(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())

    assert isinstance(forked(None, act), int)
    assert forked(Profile(), act) == "SIGSYS"


@here
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is x86's")
def test_the_x32_entry_is_not_implemented() -> None:
    def act() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall(ctypes.c_long(0x40000000 | 39))
        return result if result >= 0 else ctypes.get_errno()

    assert forked(Profile(), act) == errno.ENOSYS


@here
@pytest.mark.skipif(platform.machine() != "aarch64", reason="programs of 32-bit ARM run beside aarch64 only")
def test_a_program_of_32_bits_is_killed(tmp_path: Path) -> None:
    code = bytes.fromhex("0700a0e30170a0e3000000ef")  # mov r0, #7; mov r7, #1 (exit); svc 0
    size = 52 + 32 + len(code)
    head = struct.pack("<2H5I6H", 2, 40, 1, 0x10054, 52, 0, 0x5000000, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<8I", 1, 0, 0x10000, 0x10000, size, size, 5, 0x10000)
    program = tmp_path / "exit7"
    program.write_bytes(b"\x7fELF\1\1\1" + bytes(9) + head + segment + code)
    program.chmod(0o755)
    run = lambda: subprocess.run([str(program)]).returncode  # noqa: E731
    if forked(None, run) != 7:
        pytest.skip("this processor or kernel runs no programs of 32 bits")
    assert forked(Profile(), run) == -signal.SIGSYS


@here
def test_a_program_needs_no_new_privs_or_says_so() -> None:
    def act() -> None:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        seccomp.install(seccomp.program(Profile()))

    assert forked(None, act) == "EACCES"


@here
def test_programs_add_up() -> None:
    def act() -> list[int]:
        enter(Profile(execs=False, forks=False))
        try:
            os.fork()
        except OSError as error:
            return [error.errno or 0]
        return []

    assert forked(Profile(), act) == [errno.EAGAIN]


@pytest.mark.skipif(not seccomp.available(listener=True), reason="this kernel cannot ask a listener")
def test_the_listener_hears_of_the_named_calls() -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            prctl(38, 1)
            listener = seccomp.install(seccomp.tracing(["chdir"]), listener=True)
            assert listener is not None
            socket.send_fds(theirs, [b"l"], [listener])
            try:
                os.chdir("/")
            except OSError as error:
                theirs.send(errno.errorcode[error.errno or 0].encode())
        finally:
            os._exit(0)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    heard = ctypes.create_string_buffer(80)  # struct seccomp_notif
    assert libc.ioctl(fds[0], ctypes.c_ulong(0xC0502100), heard) == 0
    identity, caller, _, number = struct.unpack_from("=QIIi", heard)
    assert caller == pid
    assert syscalls.name(number, syscalls.machine()) == "chdir"
    answer = ctypes.create_string_buffer(struct.pack("=QqiI", identity, 0, -errno.EXDEV, 0), 24)
    assert libc.ioctl(fds[0], ctypes.c_ulong(0xC0182101), answer) == 0
    assert ours.recv(100) == b"EXDEV"
    os.waitpid(pid, 0)
    os.close(fds[0])
    ours.close()
    theirs.close()


# --- real work ---


@here
def test_numpy_and_sqlite_work(tmp_path: Path) -> None:
    code = f"""
        import os
        os.chdir({str(tmp_path)!r})
        import numpy, sqlite3
        a = numpy.random.default_rng(0).random((300, 300))
        print(numpy.allclose(numpy.linalg.solve(a, a @ a), a))
        with sqlite3.connect("db") as db:
            db.execute("create table t (x)")
            db.execute("insert into t values (7)")
        print(*sqlite3.connect("db").execute("select x from t").fetchone())
    """
    assert script(Profile(forks=False), code).split() == ["True", "7"]


@here
def test_processes_of_multiprocessing_work() -> None:
    code = """
        import asyncio, multiprocessing, subprocess
        from multiprocessing import shared_memory
        memory = shared_memory.SharedMemory(create=True, size=100)
        memory.buf[0] = 7
        lock = multiprocessing.Lock()
        def work(n):
            with lock:
                return n * memory.buf[0]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(sum(pool.map(work, range(10))))
        memory.close()
        memory.unlink()
        print(subprocess.run(["echo", "out"], capture_output=True, text=True).stdout.strip())
        print(asyncio.run(asyncio.sleep(0, "slept")))
    """
    assert script(Profile(), code).split() == ["315", "out", "slept"]
