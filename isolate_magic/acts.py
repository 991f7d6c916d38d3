"""Forbidden acts: what the doctor lets a companion try, layer by layer (host)."""

from __future__ import annotations

from collections.abc import Callable

from isolate_magic.act import Act, Scene, user_namespace
from isolate_magic.canaries import Canaries, status
from isolate_magic.excesses import LIMITS
from isolate_magic.policy import PRESETS, Policy


def _brought_back(scene: Scene) -> bool:
    return scene.canaries.token in scene.told


def _knocked(name: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.canaries.knocked(name)


def _superuser(scene: Scene) -> bool:
    found = status(scene.pid)
    if not found:
        return False
    rights = int(found["CapEff"], 16) or int(found["CapPrm"], 16) or found.get("NoNewPrivs") != "1"
    return bool(rights) or found["Uid"].split()[1] == "0"


def _unfiltered(scene: Scene) -> bool:
    live = any(
        "<script" in str(data.get("text/html", "")) or "application/javascript" in data
        for data in scene.shown
    )
    return live or "\x1b]" in scene.text


def _address(policy: Policy, canaries: Canaries) -> Policy:
    return policy.but(network=(f"127.0.0.1:{canaries.listeners['tcp'].getsockname()[1]}",))


def _offline(_policy: Policy, _canaries: Canaries) -> Policy:
    return PRESETS["offline"]


_CONNECT_TCP = "tell(knock, socket.AF_INET, socket.SOCK_STREAM, tuple(tcp))"

FILES = (
    Act("files", "read a file of yours", "tell(read, file)", _brought_back, "read"),
    Act(
        "files",
        "create, change and delete files of yours",
        "tell(os.mkdir, folder + '/written'), tell(lambda: open(file, 'a').write('!')), "
        "tell(os.remove, file)",
        lambda scene: scene.canaries.touched(),
        "write",
    ),
    Act(
        "files",
        "change rights and times of a file of yours",
        "tell(os.chmod, file, 0o600), tell(os.utime, file, (2, 2))",
        lambda scene: scene.canaries.altered(),
        "write",
    ),
)
PROCESSES = (
    Act(
        "processes",
        "find a program of yours in /proc",
        "tell(lambda: [tell(read, f'/proc/{one}/cmdline') for one in os.listdir('/proc') if one.isdigit()])",
        _brought_back,
        "processes seen",
    ),
    Act(
        "processes",
        "read the environment of a program of yours",
        "tell(read, f'/proc/{pid}/environ')",
        _brought_back,
        "processes seen",
    ),
    Act(
        "processes",
        "read the memory of your session",
        """
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
def look():
    mine = ctypes.create_string_buffer(length)
    ours, theirs = Part(ctypes.addressof(mine), length), Part(address, length)
    libc.process_vm_readv(host, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return mine.raw
def peek():
    with open(f"/proc/{host}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(length)
tell(look), tell(peek)
""",
        _brought_back,
        "system calls",
    ),
    Act(
        "signals",
        "send a signal to a program of yours",
        """
import signal as numbers
tell(os.kill, pid, signal), tell(lambda: numbers.pidfd_send_signal(os.pidfd_open(pid), signal))
""",
        lambda scene: scene.canaries.signalled(),
        "signals",
    ),
    Act(
        "signals",
        "attach to a program of yours as a debugger",
        "libc.ptrace(0x4206, pid, None, None)",
        lambda scene: scene.canaries.traced(),
        "system calls",
        alone=True,  # as long as the tracer lives, nobody else can collect the process (ptrace(2))
    ),
    Act(
        "signals",
        "slow down a program of yours",
        "tell(os.setpriority, os.PRIO_PROCESS, pid, 15)",
        lambda scene: scene.canaries.worsened(),
        "system calls",
    ),
)
NETWORK = (
    Act("network", "connect over TCP to a server of yours", _CONNECT_TCP, _knocked("tcp"), "network"),
    Act(
        "network",
        "send a UDP packet to a server of yours",
        "tell(knock, socket.AF_INET, socket.SOCK_DGRAM, tuple(udp))",
        _knocked("udp"),
        "network",
    ),
    Act(
        "network",
        "connect to a UNIX socket with a path",
        "tell(knock, socket.AF_UNIX, socket.SOCK_STREAM, path)",
        _knocked("path"),
        "network",
    ),
    Act(
        "network",
        "connect to an abstract UNIX socket",
        "tell(knock, socket.AF_UNIX, socket.SOCK_STREAM, abstract)",
        _knocked("abstract"),
        "network",
    ),
    Act(
        "allowed address", "reach an address that the policy allows", _CONNECT_TCP, _knocked("tcp"),
        "network", alone=True, wanted=True, policy=_address, bare=False,
    ),
    Act(
        "allowed address", "reach another port beside it",
        "tell(knock, socket.AF_INET, socket.SOCK_STREAM, tuple(other))", _knocked("other"), "network",
        alone=True, policy=_address, bare=False,
    ),
    Act(
        "preset offline", "connect over TCP to a server of yours", _CONNECT_TCP,
        _knocked("tcp"), "network",
        alone=True, policy=_offline, bare=False,
    ),
)  # fmt: skip
CALLS = (
    "bpf", "perf_event_open", "io_uring_setup", "userfaultfd", "keyctl", "add_key", "mount", "umount2",
    "pivot_root", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",
    "open_by_handle_at", "init_module", "kexec_load", "fsopen", "shmget",
)  # fmt: skip
"""System calls that no notebook needs. They are made with arguments with which they do nothing."""

RIGHTS = (
    Act(
        "rights",
        "become root, or gain rights by a set-uid program",
        "tell(os.setgid, 0), tell(os.setuid, 0)",
        _superuser,
        "user",
        alone=True,
    ),
    Act(
        "rights",
        "make a user namespace, in which it would be root",
        "libc.unshare(0x10000000)",
        lambda scene: bool(scene.before) and user_namespace(scene.pid) not in ("", scene.before),
        "system calls",
        alone=True,
    ),
    Act(
        "system calls",
        f"make {len(CALLS)} that no notebook needs (bpf, io_uring, keyctl, mount ...)",
        f"""
import errno
from isolate_magic.child import syscalls
def passed(name):
    try:
        number = syscalls.number(name, os.uname().machine)
    except ValueError:
        return False
    if number is None:
        return False
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
    return ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM, errno.EACCES)
"got through: " + ", ".join(filter(passed, {CALLS!r}))
""",
        lambda scene: scene.told.removeprefix("got through: ") != "",
        "system calls",
        alone=True,
    ),
)
CHANNEL = (
    Act(
        "environment",
        "see a secret in your environment variables",
        "str(dict(os.environ)), tell(read, '/proc/self/environ')",
        _brought_back,
        "environment",
    ),
    Act(
        "output",
        "show a script, and write to your terminal's clipboard",
        r"""
from IPython.display import HTML, Javascript, display
display(HTML("<script>void 0</script>"), Javascript("void 0"))
print("\x1b]52;c;aXNvbGF0ZQ==\x07")
""",
        _unfiltered,
        "output filter",
    ),
    Act(
        "values",
        "have code run in your session when its object is copied",
        """
class Trap:
    def __reduce__(self):
        return os.mkdir, (folder + "/written",)
Trap()
""",
        lambda scene: scene.canaries.touched(),
        "pickles",
        copies=True,
    ),
)
ACTS = (*FILES, *PROCESSES, *NETWORK, *RIGHTS, *CHANNEL, *LIMITS)
