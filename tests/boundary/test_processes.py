"""Attacks on other processes and on the kernel: signals, tracing, namespaces, mounts, rare system calls."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from boundary.attacks import PRELUDE, Attack, Place, suite
from boundary.conftest import caged, start
from boundary.scene import _LIMITS, Scene
from waiting import until

from isolate_magic import Companion, ProcessTerminationError

_RLIMIT = "resource.prlimit(S.pid, resource.RLIMIT_{0}, ({1}, {1}))"
_WRONG = {
    # Calls with wrong arguments: with the sandbox off the kernel looks at them.
    "process_madvise": "-1, 0, 0, 0, 0", "memfd_secret": "0x7fffffff", "io_uring_setup": "1, 0", "io_uring_enter": "-1, 0, 0, 0, 0",
    "process_mrelease": "-1, 0", "userfaultfd": "0x7fffffff", "modify_ldt": "0, 0, 0", "keyctl": "999", "add_key": "0, 0, 0, 0, 0",
    "request_key": "0, 0, 0, 0", "fsopen": "b'nothing', 0x7fff", "fspick": "-1, b'', 0x7fff", "fsmount": "-1, 0x7fff, 0",
    "fsconfig": "-1, 99, 0, 0, 0", "kcmp": "S.host, S.host, 99, 0, 0", "lookup_dcookie": "0, 0, 0",
    "process_vm_readv": "-1, 0, 0, 0, 0, 0", "process_vm_writev": "-1, 0, 0, 0, 0, 0", "pidfd_getfd": "-1, 0, 0",
    "shmget": "0, 0, 0", "semget": "0, -1, 0", "msgget": "0x77777777, 0", "mq_open": "b'nothing-here', 0, 0, 0",
    "memfd_create": "b'x', 0x7fffffff", "bpf": "999, 0, 0", "perf_event_open": "0, 0, -1, -1, 0", "name_to_handle_at": "-1, 0, 0, 0, 0",
    "fanotify_mark": "-1, 0, 0, 0, 0", "vmsplice": "-1, 0, 1, 0", "statmount": "0, 0, 0, 0", "listmount": "0, 0, 0, 0",
    "migrate_pages": "0, 0, 0, 0", "map_shadow_stack": "0, 0, 99", "io_setup": "0, 0",
}  # fmt: skip
_MOUNTS = {
    "mount": "b'none', b'/nothing-here', b'tmpfs', 0, 0", "umount2": "b'/nothing-here', 0", "pivot_root": "b'/nothing-here', b'/nothing-here'",
    "open_tree": "-100, b'/nothing-here', 1", "move_mount": "-1, b'', -1, b'', 0", "mount_setattr": "-100, b'/nothing-here', 0, b'x' * 32, 32",
    "chroot": "b'/nothing-here'", "setns": "-1, 0", "open_by_handle_at": "-1, 0, 0",
}  # fmt: skip
_OF_ROOT = {
    "reboot": "0, 0, 0, 0", "kexec_load": "0, 99, 0, 77", "kexec_file_load": "-1, -1, 0, 0, 77", "swapon": "b'/nothing-here', 0",
    "swapoff": "b'/nothing-here'", "acct": "b'/nothing-here'", "quotactl": "0x7fffffff, b'/nothing-here', 0, 0", "iopl": "9",
    "ioperm": "1 << 20, 1, 1", "settimeofday": "-1, 0", "clock_settime": "99, 0", "clock_adjtime": "99, 0", "syslog": "99, 0, 0",
    "fanotify_init": "0x7fffffff, 0", "init_module": "0, 0, 0", "finit_module": "-1, 0, 0", "delete_module": "b'nothing-here', 0",
    "sethostname": "0, -1", "setdomainname": "0, -1",
}  # fmt: skip
_NEW = {
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "time": 0x80,
}

_NO_32 = "OSError died: there are no such calls on this machine"

_ATTACKS = [
    # Tracing, and memory of others
    Attack("B20 attach by ptrace", "won = call('ptrace', 16, S.pid, 0, 0) == 0; os.waitpid(S.pid, 0x40000000)"),
    Attack("B20 seize", "won = call('ptrace', 0x4206, S.pid, 0, 0) == 0"),
    Attack("B20 seize the parent", "won = call('ptrace', 0x4206, os.getppid(), 0, 0) == 0"),
    Attack("B20 be traced by the parent", "won = call('ptrace', 0, 0, 0, 0) == 0"),
    Attack("B22 environ", "won = read(f'/proc/{S.pid}/environ')", "token"),
    Attack("B22 cmdline", "won = read(f'/proc/{S.pid}/cmdline')", "token"),
    Attack("B22 environ of the main session", "won = read(f'/proc/{S.host}/environ')"),
    Attack("B22 maps", "won = read(f'/proc/{S.pid}/maps')"),
    Attack("B22 status of the main session", "won = read(f'/proc/{S.host}/status')"),
    Attack("B22 all processes", "found = ''\nfor n in os.listdir('/proc'):\n for f in ('environ', 'cmdline'):\n  try: found += read(f'/proc/{n}/{f}') if n.isdigit() else ''\n  except OSError: pass\nwon = ' '.join(re.findall('canary-[0-9a-f]{32}', found))", "token"),
    Attack("B22 memory by /proc", "f = open(f'/proc/{S.pid}/mem', 'r+b', buffering=0); f.seek(S.address); f.write(b'hit')", "harm"),
    Attack("B22 write another's memory", "class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\nt = ctypes.create_string_buffer(b'hit')\n"
           "call('process_vm_writev', S.pid, ctypes.byref(V(ctypes.addressof(t), 3)), 1, ctypes.byref(V(S.address, 3)), 1, 0)", "harm"),
    Attack("B22 read another's memory", "class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\nt = ctypes.create_string_buffer(9)\n"
           "call('process_vm_readv', S.pid, ctypes.byref(V(ctypes.addressof(t), 9)), 1, ctypes.byref(V(S.address, 9)), 1, 0); won = t.raw == b'untouched'"),
    Attack("B22 memory of init", "won = open('/proc/1/mem', 'r+b', buffering=0)", needs="root", maybe="EACCES: the machine's init is closed to root"),
    Attack("B23 take a descriptor", "p = os.pidfd_open(S.pid); won = os.pread(call('pidfd_getfd', p, S.held, 0), 99, 0)", "token"),
    Attack("B23 take a descriptor of the supervisor or zygote",
           "p = os.pidfd_open(os.getppid()); won = call('pidfd_getfd', p, 0, 0)"),
    # Signals
    *[Attack(f"B24 {name}", code, "harm") for name, code in {
        "kill": "os.kill(S.pid, signal.SIGUSR1)", "SIGKILL": "os.kill(S.pid, signal.SIGKILL)", "SIGSTOP": "os.kill(S.pid, signal.SIGSTOP)",
        "killpg": "os.killpg(S.pid, signal.SIGUSR1)",
        "tgkill": "call('tgkill', S.pid, S.pid, signal.SIGUSR1)", "tkill": "call('tkill', S.pid, signal.SIGUSR1)",
        "sigqueue": "i = ctypes.create_string_buffer(struct.pack('iii', signal.SIGUSR1, 0, -1), 128); call('rt_sigqueueinfo', S.pid, signal.SIGUSR1, i)",
        "tgsigqueue": "i = ctypes.create_string_buffer(struct.pack('iii', signal.SIGUSR1, 0, -1), 128); call('rt_tgsigqueueinfo', S.pid, S.pid, signal.SIGUSR1, i)",
        "pidfd": "signal.pidfd_send_signal(os.pidfd_open(S.pid), signal.SIGUSR1)",
        "the owner of a pipe": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, S.pid); fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(w, b'x'); time.sleep(0.02)",
        "the owner of a pipe, as a structure": "r, w = os.pipe(); fcntl.fcntl(r, 15, struct.pack('ii', 1, S.pid)); fcntl.fcntl(r, 10, signal.SIGUSR1)\nfcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(w, b'x'); time.sleep(0.02)",
        "the owner of a socket": "a, b = socket.socketpair(); fcntl.ioctl(a, 0x8901, struct.pack('i', S.pid)); fcntl.ioctl(a, 0x5452, struct.pack('i', 1)); b.send(b'x'); time.sleep(0.02)",
    }.items()],
    Attack("B24 every process", "os.kill(-1, signal.SIGURG)", "harm", unproved="it would reach processes that are no canaries", refused="nothing"),
    Attack("B24 a child of the supervisor", "won = call('clone', 0x8000 | 17, 0, 0, 0, 0) or os._exit(0)"),
    Attack("B24 may the main session be signalled", "os.kill(S.host, 0); won = True"),
    Attack("B24 may the supervisor be signalled", "won = [os.kill(S.supervisor, 0)]"),
    Attack("B24 may the zygote be signalled", "won = [os.kill(S.zygote, 0)]"),
    Attack("B24 the supervisor's status", "won = read(f'/proc/{S.supervisor}/status')"),
    Attack("B24 the supervisor's memory", "won = open(f'/proc/{S.supervisor}/mem', 'r+b')"),
    Attack("B24 the zygote's files", "won = os.listdir(f'/proc/{S.zygote}/fd')"),
    Attack("B24 may init be signalled", "os.kill(1, 0); won = True", needs="root"),
    # Limits and priorities of others
    Attack("B25 processor time", _RLIMIT.format("CPU", "3000"), "harm"),
    Attack("B25 open files", _RLIMIT.format("NOFILE", "99"), "harm"),
    Attack("B25 core files", _RLIMIT.format("CORE", "0"), "harm", maybe="nothing: there are no core files anyway"),
    Attack("B26 nice", "os.setpriority(os.PRIO_PROCESS, S.pid, 11)", "harm"),
    Attack("B26 nice of a group", "os.setpriority(os.PRIO_PGRP, S.pid, 11)", "harm"),
    Attack("B26 nice of a user", "pid = os.fork()\nif not pid:\n try: os.setuid(54321)\n finally: time.sleep(0.3); os._exit(0)\ntime.sleep(0.1); os.setpriority(os.PRIO_USER, 54321, 11); won = os.getpriority(0, pid) == 11", needs="root"),
    Attack("B26 input and output", "call('ioprio_set', 1, S.pid, (2 << 13) | 7)", "harm"),
    Attack("B26 processors", "os.sched_setaffinity(S.pid, [min(os.sched_getaffinity(S.pid))])", "harm", maybe="nothing: there is one processor"),
    Attack("B26 scheduler", "os.sched_setscheduler(S.pid, os.SCHED_BATCH, os.sched_param(0))", "harm"),
    Attack("B26 scheduler, the newer call", "call('sched_setattr', S.pid, struct.pack('IIQiIQQQ', 48, 3, 0, 12, 0, 0, 0, 0), 0)", "harm"),
    Attack("B26 the score of the killer of processes", "open(f'/proc/{S.pid}/oom_score_adj', 'w').write('777')", "harm"),
    Attack("B26 real time for itself", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5)); won = True", needs="root"),
    Attack("B26 a better priority for itself", "os.setpriority(os.PRIO_PROCESS, 0, -5); won = True", needs="root"),
    Attack("B26 back to a normal priority", "os.setpriority(os.PRIO_PROCESS, 0, 0); won = True"),
    # Namespaces and rights
    *[Attack(f"B28 {name} namespace by path", f"won = call('setns', os.open(f'/proc/{{S.pid}}/ns/{name}', os.O_RDONLY), 0) == 0", needs="root")
      for name in ("mnt", "net", "ipc", "uts", "pid", "cgroup")],
    Attack("B28 namespaces by pidfd", "won = call('setns', os.pidfd_open(S.pid), 0x40000000) == 0", needs="root"),
    Attack("B28 the namespace of init", "won = os.open('/proc/1/ns/mnt', os.O_RDONLY)", needs="root", maybe="EACCES: the machine's init is closed to root"),
    Attack("B28 the owner of a namespace", "fd = fcntl.ioctl(os.open('/proc/self/ns/net', os.O_RDONLY), 0xb701); won = reaches('setns', fd, 0)"),
    *[Attack(f"B30 unshare {name}", f"won = call('unshare', {flag}) == 0", needs="root") for name, flag in _NEW.items()],
    *[Attack(f"B30 clone into {name}", f"pid = call('clone', {flag} | 17, 0, 0, 0, 0)\nif not pid: os._exit(0)\nwon = True", needs="root")
      for name, flag in _NEW.items() if name != "time"],
    Attack("B30 unshare user", "won = call('unshare', 0x10000000) == 0"),
    Attack("B30 clone into user", "pid = call('clone', 0x10000000 | 17, 0, 0, 0, 0)\nif not pid: os._exit(0)\nwon = True"),
    Attack("B30 clone3 into user", "a = struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)\npid = call('clone3', a, 88)\nif not pid: os._exit(0)\nwon = True"),
    Attack("B30 user and mount", "call('unshare', 0x10020000); won = libc.mount(b'none', b'/', None, 0x44000, None) == 0"),
    Attack("B31 uid_map", "won = os.open('/proc/self/uid_map', os.O_WRONLY)"),
    Attack("B31 setgroups", "won = os.open('/proc/self/setgroups', os.O_WRONLY)", needs="root"),
    *[Attack(f"{row} {name}", f"won = reaches('{name}', {arguments})", needs="root", maybe="" if row == "B29" else "ENOSYS: this kernel is built without it")
      for row, names in (("B29", _MOUNTS), ("B40", _OF_ROOT)) for name, arguments in names.items()],
    Attack("B40 vhangup", "os.setsid(); won = reaches('vhangup')", needs="root"),
    *[Attack(f"B41 {name}", f"won = reaches('{name}', {arguments})", needs="root" if name in ("fsopen", "fspick", "fsmount") else "",
             maybe="ENOSYS: this kernel has it no more, or not yet") for name, arguments in _WRONG.items()],
    Attack("B29 a new file system", "won = call('fsopen', b'tmpfs', 0)", needs="root"),
    Attack("B29 a copy of the tree", "won = call('open_tree', -100, b'/', 1)", needs="root"),
    Attack("B32 setuid", "os.seteuid(0) if os.geteuid() else os.setuid(1); won = True", needs="root", refused="EPERM EINVAL"),
    Attack("B32 setresuid", "os.setresuid(0, 0, 0); won = True", needs="root", refused="EPERM EINVAL"),
    Attack("B32 setgroups", "os.setgroups([0, 4, 6]); won = True", needs="root"),
    Attack("B32 capset", "won = call('capset', struct.pack('IiII', 0x20080522, 0, 0, 0)[:8], struct.pack('6I', 1 << 21, 1 << 21, 0, 0, 0, 0)) == 0", needs="root"),
    Attack("B32 new privileges again", "won = call('prctl', 38, 0, 0, 0, 0) == 0", unproved="EINVAL: no kernel takes it back", refused="EINVAL"),
    Attack("B32 privileges by exec", "won = [l for l in subprocess.run(['/bin/cat', '/proc/self/status'], capture_output=True, text=True).stdout.splitlines() if l.startswith('NoNewPrivs') and l.endswith('0')]"),
    Attack("B32 a program that runs as root",
           "if not os.getuid(): os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)\n"
           "won = subprocess.run([S.suid, '-u'], capture_output=True, text=True).stdout.strip() == '0'", needs="root"),
    *[Attack(f"B32 raise the limit of {name} to the host's", f"resource.setrlimit(resource.RLIMIT_{name}, (S.limits['{name}'],) * 2); won = True", refused="ValueError")
      for name in _LIMITS],
    Attack("B32 a securebit", "won = call('prctl', 28, 1, 0, 0, 0) == 0", needs="root"),
    Attack("B32 a seccomp program with a listener", "prog = struct.pack('HBBI', 6, 0, 0, 0x7fff0000); b = ctypes.create_string_buffer(prog)\n"
           "class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]\nlibc.prctl(38, 1, 0, 0, 0)\n"
           "won = call('seccomp', 1, 8, ctypes.byref(P(1, ctypes.addressof(b))))"),
    Attack("B33 become what collects orphans", "won = call('prctl', 36, 1, 0, 0, 0) == 0"),
    Attack("B33 not be traced or seen", "won = call('prctl', 4, 0, 0, 0, 0) == 0"),
    Attack("B33 let anybody trace", "won = reaches('prctl', 0x59616D61, -1, 0, 0, 0)"),
    Attack("B33 move the memory map", "won = reaches('prctl', 35, 15, ctypes.byref(ctypes.c_uint()), 0, 0)"),
    # Other doors into the kernel
    Attack("B35 a call of 32 bits",
           "if os.uname().machine != 'x86_64': raise OSError\nm = mmap.mmap(-1, 4096, prot=7); m.write(bytes.fromhex('b814000000cd80c3'))  # getpid\n"
           "won = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))() == os.getpid()", maybe=_NO_32, refused="died OSError"),
    Attack("B35 a call of 32 bits opens a file",
           "if os.uname().machine != 'x86_64': raise OSError\nm = mmap.mmap(-1, 4096, prot=7, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)\na = ctypes.addressof(ctypes.c_char.from_buffer(m))\np = (S.folder + '/secret.txt').encode() + b'\\0'\n"
           "m[256:256 + len(p)] = p; m.seek(0); m.write(bytes.fromhex('53bb') + struct.pack('I', a + 256) + bytes.fromhex('31c931d2b805000000cd805bc3'))\n"
           "won = os.read(ctypes.CFUNCTYPE(ctypes.c_int)(a)(), 99)", "token", maybe=_NO_32, refused="died OSError"),
    Attack("B35 a program of 32 bits opens a file",  # of ARM: open, read, write and exit by svc 0
           "c = bytes.fromhex('40008fe20010a0e30020a0e30570a0e3000000ef01dc4de20d10a0e16320a0e30370a0e3000000ef"
           "0020a0e10100a0e30d10a0e10470a0e3000000ef0700a0e30170a0e3000000ef') + (S.folder + '/secret.txt').encode() + b'\\0'\n"
           "n = 84 + len(c); p = tempfile.mkdtemp() + '/program'; f = open(p, 'wb'); os.chmod(p, 0o700)\n"
           "f.write(b'\\x7fELF\\1\\1\\1' + bytes(9) + struct.pack('<2H5I6H', 2, 40, 1, 0x10054, 52, 0, 0x5000000, 52, 32, 1, 0, 0, 0)\n"
           "        + struct.pack('<8I', 1, 0, 0x10000, 0x10000, n, n, 5, 0x10000) + c); f.close()\n"
           "won = subprocess.run([p], capture_output=True, text=True).stdout", "token", maybe="ENOEXEC: this machine runs no programs of 32-bit ARM"),
    Attack("B35 a call of x32", "won = reaches(0x40000000 + 39)", maybe="ENOSYS: this kernel is built without x32"),
    Attack("B35 a number with high bits, which the kernel cuts off", "won = reaches(1 << 32 | nr('keyctl'), 999)"),
    *[Attack(f"B37 {name}", f"won = reaches('ioctl', 0, {request}, b'x')") for name, request in {
        "push into a terminal": "0x5412", "push into a terminal, with high bits": "0x5412 | 1 << 32", "the console's selection": "0x541c",
        "take the console's output": "0x541d", "a line discipline": "0x5423"}.items()],
    Attack("B38 a ring", "p = ctypes.create_string_buffer(120); won = call('io_uring_setup', 4, p)", maybe="ENOSYS EPERM: io_uring is switched off"),
    Attack("B41 no randomness of addresses", "call('personality', 0x0040000); won = libc.personality(-1) & 0x40000"),
    Attack("B41 the kernel's log", "won = call('syslog', 10, 0, 0) > 0", needs="root"),
    Attack("B41 keys of the session", "won = call('keyctl', 0, -3, 1) != 0"),
    Attack("B41 a key", "won = call('add_key', b'user', b'name', b'text', 4, -2) != 0"),
    Attack("B42 System V memory of the host", "n = call('shmget', S.key, 4096, 0); libc.shmat.restype = ctypes.c_void_p; a = libc.shmat(n, None, 0o10000); won = ctypes.string_at(a, 39)", "token"),
    Attack("B42 a semaphore of the host", "won = call('semget', S.key, 1, 0) >= 0"),
    Attack("B42 a queue of the host", "won = call('msgget', S.key, 0) >= 0"),
    Attack("B42 a queue of messages", "won = call('mq_open', S.stray.encode(), 0o102, 0o600, 0); call('mq_unlink', S.stray.encode())"),
    Attack("B42 POSIX memory of the host", "won = read(S.shared)", "token"),
    Attack("B42 POSIX memory by its library", "from multiprocessing import resource_tracker as t; t.register = lambda *a: None\n"
           "from multiprocessing.shared_memory import SharedMemory; m = SharedMemory(os.path.basename(S.shared)); won = bytes(m.buf[:39]); m.close()", "token"),
    Attack("B43 a core file", "resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); won = True", maybe="ValueError: this process may have no core files", refused="ValueError"),
]  # fmt: skip

test_with_the_sandbox_off_it_gets_through, test_it_is_contained = suite(_ATTACKS)


def test_no_thread_is_older_than_the_wall(tier: str, places: dict[str, Place]) -> None:
    companion = places[tier].ready()
    pid = companion.pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        assert "\nNoNewPrivs:\t1\n" in status
        assert "\nSeccomp:\t2\n" in status
        assert "\nCapEff:\t0000000000000000\n" in status


def test_it_sees_no_process_but_its_own(places: dict[str, Place]) -> None:
    companion = places["N"].ready()
    numbers = "sorted(int(n) for n in os.listdir('/proc') if n.isdigit())"
    until(lambda: list(companion.run(numbers)) == [1, 2])  # what earlier attacks have started ends first


def test_it_cannot_end_the_init_of_its_namespace(places: dict[str, Place], scene: Scene) -> None:
    place = places["N"]
    pid = place.ready().pid
    for number in ("SIGTERM", "SIGKILL"):
        place.attempt(Attack("B24 init", f"os.kill(1, signal.{number}); time.sleep(0.05)"), scene)
    assert place.ready().pid == pid


_TERMINAL = {
    "open it": "won = os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY)",
    "open it by name": "won = os.open(S.terminal, os.O_RDWR | os.O_NOCTTY)",
    "write to it": "os.write(os.open(S.terminal, os.O_WRONLY | os.O_NOCTTY), b'harm'); won = True",
    "be given it": "won = [fd for fd in range(64) if os.isatty(fd)]",
    "push into it": "fds = [0, 1, 2]\ntry: fds.append(os.open(S.terminal, os.O_RDWR | os.O_NOCTTY))\nexcept OSError: pass\n"
                    "for fd in fds:\n try: won = fcntl.ioctl(fd, 0x5412, b'!') is not None or won\n except OSError: pass",
}  # fmt: skip
# A main session that has a terminal, as IPython in a console; it tells which attacks get through.
_CONSOLE = r"""
import json, os, subprocess, sys
terminal = os.ttyname(0)
os.open(terminal, os.O_RDWR)  # which makes it the terminal of this session
prelude, attacks, tier = json.loads(sys.argv[1])
facts = {"terminal": terminal, "pids": []}
code = f"{prelude}\nprint([attempt(a, {facts!r}) for a in {attacks!r}])"
child = eval(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout)
os.environ["ISOLATE_MAGIC_TIER"] = tier
from isolate_magic import Companion, Policy
with Companion("console", policy=Policy(extends="untrusted")) as companion:
    companion.run(prelude)
    inside = [companion.run(f"attempt({a!r}, {facts!r})") for a in attacks]
print(json.dumps([[json.loads(text) for text in texts] for texts in (child, inside)]), flush=True)
sys.stdin.readline()  # with its end goes what the terminal shows
"""


def test_the_terminal_of_the_main_session_is_out_of_reach(tier: str) -> None:
    master, slave = pty.openpty()
    arguments = json.dumps([PRELUDE, list(_TERMINAL.values()), tier])
    with subprocess.Popen(
        [sys.executable, "-c", _CONSOLE, arguments],
        stdin=slave,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as console:
        assert console.stdout
        child, inside = json.loads(console.stdout.readline())
        shown = os.read(master, 1 << 16)
        os.write(master, b"\n")
    os.close(slave)
    os.close(master)
    assert all(found.get("won") for found in child[:4]), child  # pushing may be off: dev.tty.legacy_tiocsti
    assert not any(found.get("won") for found in inside), inside
    assert shown.count(b"harm") == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("ctypes.CFUNCTYPE(None)(1)()", "SIGSEGV"),
        (("resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20)); sys.setrecursionlimit(10**8)\n"
         "class A:\n def __repr__(self): return repr([self])\nf = lambda o: repr(o)\nl = []\n"
         "for i in range(10**6): l = [l]\ntry: repr(l)\nfinally: ctypes.string_at(0)"), "SIGSEGV"),
        ("os._exit(3)", ""),
        ("os.execv('/bin/true', ['true'])", ""),
    ],
    ids=["segv", "abort", "kill", "null", "jump", "stack", "exit", "exec"],
)  # fmt: skip
def test_death_is_reported_and_nobody_else_is_harmed(
    code: str, reason: str, tier: str, scene: Scene, places: dict[str, Place]
) -> None:
    sibling = places[tier].ready()
    before = sibling.pid
    companion = start("fault", tier, caged(scene))
    process = companion._process
    assert process is not None
    zygote = process.zygote.pid
    with pytest.raises(ProcessTerminationError):
        companion.run("import os, signal, ctypes, resource, sys\nlibc = ctypes.CDLL(None)\n" + code)
    assert companion.crash is not None
    assert companion.crash.signal == reason
    assert companion.run("6 * 7", sink=_Silent()) == 42
    assert companion._process is not None
    assert companion._process.zygote.pid == zygote
    assert sibling.pid == before
    assert sibling.run("1 + 1") == 2
    assert scene.harms() == []
    assert not list(scene.folder.rglob("core*"))
    companion.close()


class _Silent:
    def stream(self, name: str, text: str) -> None: ...

    def display(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "flee",
    [
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), {stay})",
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', marker], start_new_session=True)",
        "os.fork() or (os.setsid(), [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15, 17)], {stay})",
        "os.fork() or chain()",
        "[os.fork() or {stay} for _ in range(8)]",
        "threading.Thread(target=lambda: os.fork() or {stay}).start()",
    ],
    ids=["double fork", "a program", "ignores signals", "forks and exits", "many", "a thread's child"],
)
def test_nothing_outlives_it(flee: str, tier: str, scene: Scene) -> None:
    marker = f"flee{os.getpid() % 10000}-{scene.stray[-6:]}"
    companion = start("flight", tier, caged(scene))
    companion.run(
        "import os, sys, time, subprocess, signal, ctypes, threading\nmarker = " + repr(marker) + "\n"
        "ctypes.CDLL(None).prctl(15, marker.encode())\n"
        "def chain():\n os.setsid()\n while True:\n  try:\n   if os.fork(): os._exit(0)\n  except OSError: pass\n"
        + flee.format(stay="[time.sleep(1) for _ in range(60)]")
        + "\nNone"
    )
    pid = companion.pid
    if "chain" not in flee:  # which is hard to get a glimpse of
        until(lambda: len(_marked(marker)) > 1)
    assert pid in _marked(marker)
    companion.close()
    until(lambda: not _marked(marker), 5)


def test_nothing_outlives_its_death(tier: str, scene: Scene) -> None:
    marker = f"dead{os.getpid() % 10000}-{scene.stray[-6:]}"
    companion = start("flight", tier, caged(scene))
    companion.run(
        f"import os, time, ctypes\nctypes.CDLL(None).prctl(15, {marker.encode()!r})\n"
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(60))"
    )
    until(lambda: len(_marked(marker)) > 1)
    with pytest.raises(ProcessTerminationError):
        companion.run("os._exit(1)")
    until(lambda: not _marked(marker), 5)
    companion.close()


def test_nothing_outlives_its_supervisor(tier: str, scene: Scene) -> None:
    marker = f"orph{os.getpid() % 10000}-{scene.stray[-6:]}"
    companion = start("flight", tier, caged(scene))
    companion.run(
        f"import os, time, ctypes\nctypes.CDLL(None).prctl(15, {marker.encode()!r})\n"
        "os.fork() or (os.setsid(), time.sleep(60))"
    )
    until(lambda: len(_marked(marker)) > 1)
    os.kill(supervisor(companion), signal.SIGKILL)
    if tier == "N":
        until(lambda: not _marked(marker), 5)
    until(lambda: companion.pid is None)  # the worker dies with it
    for pid in _marked(marker):  # tier L: the supervisor was the one who would have done it
        os.kill(pid, signal.SIGKILL)
    companion.close()


def supervisor(companion: Companion) -> int:
    """Return the pid of a companion's supervisor."""
    return psutil.Process(companion.pid).ppid()


def _marked(marker: str) -> list[int]:
    """Return the processes of the host that bear a marker in their name or arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                text = (folder / "comm").read_text() + (folder / "cmdline").read_text()
                dead = "\nState:\tZ" in (folder / "status").read_text()
            except OSError:
                continue
            if marker in text and not dead:
                found.append(int(folder.name))
    return found
