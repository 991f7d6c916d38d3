"""Programs that let the kernel answer system calls by rule, seccomp(2) (zygote and companion).

A program is an array of `struct sock_filter` that the kernel runs for each call over its number and
arguments. It cannot follow a pointer, so a rule never depends on a path or an address. Of an argument the
rules look at the low 32 bits, for that is what the kernel itself takes of a pid, a flag or an ioctl's
request.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from isolate_magic.child import syscalls
from isolate_magic.child.bpf import (
    ALLOW,
    KILL_PROCESS,
    USER_NOTIF,
    Block,
    answer,
    any_bit,
    asking,
    assemble,
    fail,
    one_of,
)
from isolate_magic.child.linux import _libc

_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 1 << 3, 1 << 5

Sockets = Literal["none", "pairs", "inside", "loopback", "tcp"]


@dataclass(frozen=True)
class Profile:
    """What the allow-list of a hostile companion lets through beyond the plain calls.

    Args:
        sockets: `none`; `pairs`: socketpair(2) of streams only; `tcp`: these, and TCP sockets whose
            connect(2) the listener answers; `inside`: UNIX, TCP and UDP sockets, for a network namespace of
            its own; `loopback`: the same, but of UNIX only `pairs`, where files show sockets of others.
        forks: it may start processes. Threads it always may.
        execs: it may run other programs.
        notify: names of calls that are allowed only by the listener's answer.
        own_pids: in a pid namespace of its own, where a pid means nobody else and nobody outlives its init.
            Otherwise limits and priorities can be set for the calling process only, and PR_SET_PDEATHSIG,
            which ends it with its parent, stays as it is.
        own_files: chmod, chown, utime, setxattr and inotify reach no file of others, thanks to read-only
            mounts. Otherwise, because Landlock ignores them, these calls fail, or are the listener's to carry
            out if `notify` names them.
        own_uid: nobody else has its uid, so chmod and chown, which only a file's owner may do, reach no file
            of others. A time or an attribute may be set by whoever may write (utimensat(2), xattr(7)).
        pinned: it stays on the CPUs that it was given.
    """

    sockets: Sockets = "pairs"
    forks: bool = True
    execs: bool = True
    notify: frozenset[str] = frozenset()
    own_pids: bool = False
    own_files: bool = False
    own_uid: bool = False
    pinned: bool = False


# Allowed whatever the arguments: the common container default without what numerical work does not use.
_PLAIN = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2
dup3 pipe pipe2 sendfile copy_file_range splice tee fadvise64 readahead fallocate ftruncate truncate fsync
fdatasync sync_file_range msync
stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
getdents getdents64 statfs fstatfs getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link
linkat unlink unlinkat symlink symlinkat umask getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr
flistxattr listxattrat
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd
eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime inotify_init inotify_init1
inotify_rm_watch
mmap munmap mprotect mremap brk madvise mincore mlock mlock2 munlock mlockall munlockall mseal cachestat
pkey_mprotect pkey_alloc pkey_free mbind set_mempolicy get_mempolicy set_mempolicy_home_node membarrier
futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list set_tid_address rseq restart_syscall
exit exit_group wait4 waitid kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open
pidfd_send_signal
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause
getpid getppid gettid getpgid getpgrp getsid setsid setpgid getuid geteuid getgid getegid getresuid
getresgid getgroups
setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget capset
getrlimit setrlimit getrusage times sysinfo uname getcpu getrandom arch_prctl getpriority ioprio_get
sched_yield sched_getaffinity sched_getscheduler sched_getparam sched_getattr sched_get_priority_max
sched_get_priority_min sched_rr_get_interval
time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep alarm getitimer setitimer
timer_create timer_settime timer_gettime timer_getoverrun timer_delete
sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg shutdown getsockname getpeername getsockopt
"""
_OWNERS = "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat"
_METADATA = f"""{_OWNERS} utime utimes futimesat utimensat inotify_add_watch
setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat"""
_MODES = {1: "chmod fchmod", 2: "fchmodat fchmodat2"}  # by the place of the mode
_CREATES = 0x40 | 0x400000  # O_CREAT and O_TMPFILE, without which open(2) takes no mode
_AS_OWNER = 0o6000  # the set-user-ID and set-group-ID bits
# Not allowed, and programs expect to hear that they may not, rather than that the call is missing.
_FORBIDDEN = "ptrace unshare setns chroot settimeofday clock_settime"
_ADDRESSED = "bind listen accept accept4"
_FIRST_IS_PID = """
prlimit64 sched_setaffinity sched_setscheduler sched_setparam sched_setattr move_pages get_robust_list
"""

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, and CLONE_PARENT: who looks for the
# children of a companion would not find its sister.
_CLONE_REFUSED = (
    0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00008000
)
_CLONE_THREAD = 0x00010000
# TIOCSTI, TIOCLINUX, TIOCCONS and TIOCSETD take over a terminal; FIOSETOWN, SIOCSPGRP and FIOASYNC send
# signals; FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR change files that are open for reading only.
_IOCTLS_REFUSED = (
    0x5412, 0x541C, 0x541D, 0x5423, 0x8901, 0x8902, 0x5452, 0x40086602, 0x401C5820,
)  # fmt: skip
# The types of ioctls of file systems: many change a file that is open for reading only, past Landlock. Only
# questions are allowed, and FICLONE and FICLONERANGE, whose target must be open for writing.
_OF_FILES = (0x58 << 8, 0x66 << 8, 0x76 << 8, 0x94 << 8, 0xF5 << 8)
_FILE_IOCTLS = (0x80086601, 0xC020660B, 0x80087601, 0x801C581F, 0x40049409, 0x4020940D)
# F_DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, GETOWN, GETSIG, GETOWN_EX, GETLEASE, DUPFD_QUERY,
# DUPFD_CLOEXEC, SETPIPE_SZ, GETPIPE_SZ, ADD_SEALS, GET_SEALS, four RW_HINTs: no lease, no F_NOTIFY, no
# signals. SETLK is there because sqlite needs it: a file that the companion may read it can lock against
# writers that ask for record locks.
_FCNTLS = (*range(8), 9, 11, 16, 1025, 1027, *range(1030, 1039))
# Questions: PR_GET_PDEATHSIG, DUMPABLE, KEEPCAPS, TIMING, NAME, SECCOMP, CAPBSET_READ, SECUREBITS,
# TIMERSLACK, MCE_KILL_GET, CHILD_SUBREAPER, NO_NEW_PRIVS, TID_ADDRESS, THP_DISABLE, SPECULATION_CTRL.
# Settings: NAME, TIMERSLACK, NO_NEW_PRIVS, THP_DISABLE, CAP_AMBIENT, SVE and SME vectors, pointer
# authentication and tagged addresses of aarch64, and names of memory (PR_SET_VMA).
_PRCTLS = (
    2, 3, 7, 13, 16, 21, 23, 27, 30, 34, 37, 39, 40, 42, 52,
    15, 29, 38, 41, 47, 50, 51, 63, 64, 54, 60, 61, 55, 56, 0x53564D41,
)  # fmt: skip
_SET_PDEATHSIG = 1
_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_TYPE = 0xFFFFFFFF & ~(0o2000000 | 0o4000)  # without SOCK_CLOEXEC and SOCK_NONBLOCK
_TCP, _UDP = 6, 17
_FASTOPEN = 0x20000000  # MSG_FASTOPEN connects while sending
# IP_OPTIONS, IPV6_2292PKTOPTIONS and IPV6_RTHDR can send a connection by way of any other host, and what it
# carries to that host; TCP_ULP puts other code of the kernel on it. SO_SNDBUF, SO_RCVBUF and the same with
# FORCE: what lies in a buffer is nobody's memory, so no socket holds more than the usual.
_OPTIONS_REFUSED = {0: (4,), 41: (6, 57), 6: (31,), 1: (7, 8, 32, 33)}
_FORMAT, _CHARACTER, _BLOCK_DEVICE = 0o170000, 0o020000, 0o060000


@functools.cache  # the zygote writes it once for all companions
def program(profile: Profile, machine: str | None = None) -> bytes:
    """Write the allow-list of a hostile companion: what it does not name is "not implemented" (ENOSYS).

    A call of a foreign architecture, such as `int 0x80` on x86-64, kills the process. Not implemented are the
    x32 calls too, and clone3(2), whose flags stand behind a pointer; glibc then takes clone(2).

    Args:
        profile: what to let through.
        machine: `x86_64` or `aarch64`, this machine if None.

    Raises:
        ValueError: `notify` names an unknown call.
        OSError: no numbers are known for this machine.
    """
    rules = {**_calls(profile), **_on_files(profile), **_on_others(profile), **_on_sockets(profile)}
    rules |= {"sched_setaffinity": fail(errno.EPERM)} if profile.pinned else {}
    for name in profile.notify:
        syscalls.number(name, "x86_64")
        rules[name] = asking(rules.get(name, fail(errno.ENOSYS)))
    return assemble(rules, fail(errno.ENOSYS), answer(KILL_PROCESS), machine)


@functools.cache
def offline(machine: str | None = None) -> bytes:
    """Write the program of a trusted companion without network: AF_UNIX sockets only, all else is allowed.

    For hosts where no network namespace is to be had. io_uring opens sockets past the filter, so it is off.
    """
    rules = {
        "socket": one_of(0, [_UNIX], answer(ALLOW), fail(errno.EACCES)),
        "io_uring_setup": fail(errno.ENOSYS),
    }
    return assemble(rules, answer(ALLOW), answer(KILL_PROCESS), machine)


def tracing(notify: Iterable[str], machine: str | None = None) -> bytes:
    """Write the program that asks the listener about the named calls and allows all others."""
    rules = {name: answer(USER_NOTIF) for name in notify}
    return assemble(rules, answer(ALLOW), answer(ALLOW), machine)


def available(*, listener: bool = False) -> bool:
    """Tell whether this kernel takes our programs, and with `listener` whether it can ask a listener."""
    action = ctypes.c_uint32(USER_NOTIF if listener else KILL_PROCESS)
    return _seccomp(_GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0


def install(program: bytes, listener: bool = False) -> int | None:
    """Have the kernel run a program for every further call of this thread and of all that it starts.

    It cannot be taken back. Programs add up and the strictest answer counts. Only one may have a listener.
    `no_new_privs` must have been set (prctl(2), PR_SET_NO_NEW_PRIVS).

    Args:
        program: as the functions of this module write it.
        listener: return the descriptor that reports the calls to be decided, seccomp_unotify(2).

    Raises:
        OSError: the kernel refused: EACCES without `no_new_privs`, EBUSY with a second listener.
    """
    code = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    # Only death interrupts the wait for an answer: a signal would repeat a call that is decided (Linux 5.19).
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV if listener else 0
    result = _seccomp(_SET_MODE_FILTER, flags, pointer)
    if listener and result < 0 and ctypes.get_errno() == errno.EINVAL:
        result = _seccomp(_SET_MODE_FILTER, _NEW_LISTENER, pointer)
    if result < 0:
        code_of = ctypes.get_errno()
        raise OSError(
            code_of, f"the kernel refused a seccomp program ({errno.errorcode.get(code_of, code_of)})"
        )
    return result if listener else None


def _seccomp(operation: int, flags: int, argument: object) -> int:
    number = syscalls.number("seccomp", syscalls.machine())
    result: int = _libc.syscall(
        ctypes.c_long(number or -1), ctypes.c_uint(operation), ctypes.c_uint(flags), argument
    )
    return result


# --- the rules ---


def _calls(profile: Profile) -> dict[str, Block]:
    """Return the rules of calls that concern the companion itself."""
    allow, refuse = answer(ALLOW), fail(errno.EPERM)
    started = allow if profile.forks else fail(errno.EAGAIN)
    run = allow if profile.execs else refuse
    return {
        **dict.fromkeys(_PLAIN.split(), allow),
        **dict.fromkeys(_FORBIDDEN.split(), refuse),
        "fork": started,
        "vfork": started,
        "clone": any_bit(0, _CLONE_REFUSED, refuse, any_bit(0, _CLONE_THREAD, allow, started)),
        "execve": run,
        "execveat": run,
        "prctl": one_of(0, [*_PRCTLS, *([_SET_PDEATHSIG] if profile.own_pids else [])], allow, refuse),
        "personality": one_of(0, [0xFFFFFFFF], allow, refuse),  # only the question which it is
        "seccomp": any_bit(1, _NEW_LISTENER, refuse, allow),
    }


def _on_files(profile: Profile) -> dict[str, Block]:
    allow, refuse = answer(ALLOW), fail(errno.EPERM)
    devices = [_CHARACTER, _BLOCK_DEVICE]
    alterations = _METADATA.split()
    owners = allow if profile.own_files or profile.own_uid else refuse
    return {
        **dict.fromkeys(alterations, allow if profile.own_files else refuse),
        **dict.fromkeys(_OWNERS.split(), owners),
        **{
            name: any_bit(at, _AS_OWNER, refuse, owners)
            for at, names in _MODES.items()
            for name in names.split()
        },
        **dict.fromkeys(profile.notify.intersection(alterations), answer(USER_NOTIF)),
        "open": any_bit(1, _CREATES, any_bit(2, _AS_OWNER, refuse, allow), allow),
        "openat": any_bit(2, _CREATES, any_bit(3, _AS_OWNER, refuse, allow), allow),
        "creat": any_bit(1, _AS_OWNER, refuse, allow),
        "ioctl": one_of(
            1,
            _OF_FILES,
            one_of(1, _FILE_IOCTLS, allow, refuse),
            one_of(1, _IOCTLS_REFUSED, refuse, allow),
            mask=0xFF00,
        ),
        "fcntl": one_of(1, _FCNTLS, allow, refuse),
        "mknod": one_of(1, devices, refuse, any_bit(1, _AS_OWNER, refuse, allow), mask=_FORMAT),
        "mknodat": one_of(2, devices, refuse, any_bit(2, _AS_OWNER, refuse, allow), mask=_FORMAT),
    }


def _on_others(profile: Profile) -> dict[str, Block]:
    """Return the rules of calls that Landlock would let act on processes outside."""
    allow, refuse = answer(ALLOW), fail(errno.EPERM)
    first = _FIRST_IS_PID.split()
    if profile.own_pids:
        return dict.fromkeys([*first, "setpriority", "ioprio_set"], allow)
    own = one_of(1, [0], allow, refuse)
    return {
        **dict.fromkeys(first, one_of(0, [0], allow, refuse)),
        "setpriority": one_of(0, [0], own, refuse),  # PRIO_PROCESS
        "ioprio_set": one_of(0, [1], own, refuse),  # IOPRIO_WHO_PROCESS
    }


def _on_sockets(profile: Profile) -> dict[str, Block]:
    allow, refuse = answer(ALLOW), fail(errno.EPERM)
    addressed = ["connect", *_ADDRESSED.split()]
    # A connection of the host's that has been closed must not be led elsewhere by a send.
    sends = {
        "sendmsg": any_bit(2, _FASTOPEN, refuse, allow),
        "sendto": any_bit(3, _FASTOPEN, refuse, allow),
        "sendmmsg": any_bit(3, _FASTOPEN, refuse, allow),
    }
    # A datagram pair reaches any path socket by sendmsg(2) with a name; a stream cannot.
    sends["setsockopt"] = _options(allow, refuse)
    streams = one_of(0, [_UNIX], one_of(1, [_STREAM], allow, refuse, mask=_TYPE), _no_family())
    if profile.sockets in ("inside", "loopback"):
        local = one_of(1, [_STREAM, _DGRAM, _SEQPACKET], allow, refuse, mask=_TYPE)
        inside = profile.sockets == "inside"
        internet = one_of(0, [_INET, _INET6], _internet(_DGRAM), _no_family())
        return {
            **dict.fromkeys(addressed, allow),
            **sends,
            "socket": one_of(0, [_UNIX], local if inside else refuse, internet),
            "socketpair": one_of(0, [_UNIX], local, _no_family()) if inside else streams,
        }
    rules = {
        **dict.fromkeys(addressed, refuse),
        "socket": refuse,
        "socketpair": refuse if profile.sockets == "none" else streams,
        "setsockopt": sends["setsockopt"],
    }
    if profile.sockets == "tcp":
        rules |= {
            "socket": one_of(0, [_INET, _INET6], _internet(), one_of(0, [_UNIX], refuse, _no_family())),
            "connect": answer(USER_NOTIF),
            **sends,
        }
    return rules


def _internet(*more: int) -> Block:
    """Return the rule for type and protocol of an internet socket: nothing raw, no rare protocol."""
    protocols = [0, _TCP, _UDP] if more else [0, _TCP]
    protocol = one_of(2, protocols, answer(ALLOW), fail(errno.EPERM))
    return one_of(1, [_STREAM, *more], protocol, fail(errno.EPERM), mask=_TYPE)


def _options(allow: Block, refuse: Block) -> Block:
    """Return the rule for the level and the name of a socket option."""
    rule = allow
    for level, names in _OPTIONS_REFUSED.items():
        rule = one_of(1, [level], one_of(2, names, refuse, allow), rule)
    return rule


def _no_family() -> Block:
    return fail(errno.EAFNOSUPPORT)
