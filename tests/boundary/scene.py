"""The scene of the attacks: canary files, processes and sockets of the host, and whether they are unharmed."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import secrets
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import psutil
from waiting import until

import isolate_magic

_TOKEN = re.compile(r"canary-[0-9a-f]{32}")
_HOME = (
    ".ssh/id_rsa", ".netrc", ".git-credentials", ".config/gh/hosts.yml", ".aws/credentials", ".kube/config",
    ".jupyter/jupyter_server_config.py", ".local/share/jupyter/runtime/kernel-1.json",
)  # fmt: skip

_LIMITS = ("CORE", "NOFILE", "NPROC", "FSIZE")

# Counts signals on its stdout. Everybody with the right user may trace it (prctl(2), PR_SET_PTRACER_ANY).
_CANARY = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
os.setsid() if os.getpid() != os.getsid(0) else None
held = os.open(sys.argv[1], os.O_RDONLY)
buffer = ctypes.create_string_buffer(b"untouched", 64)
heap = sys.argv[2]
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG, signal.SIGIO, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda n, f: os.write(1, b"!"))
os.write(1, f"{held} {ctypes.addressof(buffer)}\\n".encode())
while os.read(0, 1):
    os.write(1, b".")
"""


def token() -> str:
    """Return a new secret."""
    return f"canary-{secrets.token_hex(16)}"


class Scene:
    """Canaries, each of which can be harmed or stolen, and can be seen to be.

    Attributes:
        folder: all files are below it; others than their owner may get at them as far as Unix is asked.
        stray: a name for files that attacks leave outside; none may be there afterwards.
    """

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.folder = Path(tempfile.mkdtemp(prefix="scene-"))
        self.folder.chmod(0o755)
        self.stray = f"stray-{secrets.token_hex(8)}"
        self.home = Path.home() / f".home-{secrets.token_hex(8)}"
        self._texts = {
            name: self._secret() for name in ("secret", "named", "env", "rights", "shown", "shm", "fifo")
        }
        self._home_texts = {name: self._secret() for name in _HOME}
        self.environment = {"AWS_SECRET_ACCESS_KEY": self._secret(), "JPY_SESSION_KEY": self._secret()}
        self.argument = self._secret()
        descriptor, self._beside = tempfile.mkstemp(prefix="beside-")
        os.close(descriptor)
        self._fill()
        self._sockets = self._listen()
        self._ipc = self._share()
        self._start()
        self._before = self._look()
        self._numbers = self._number()

    def _secret(self) -> str:
        made = token()
        self.secrets.add(made)
        return made

    # ------------------------------------------------------------ files

    def _fill(self) -> None:
        folder = self.folder
        for name, mode in (("open", 0o777), ("shown", 0o755), ("shown/deep", 0o755), ("shown/hidden", 0o755),
                           ("out", 0o777), ("spare", 0o777), ("work", 0o777), ("packages", 0o755), ("startup", 0o777)):  # fmt: skip
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(mode)
        texts = {
            "secret.txt": (self._texts["secret"], 0o644), "open/kept": ("untouched", 0o666), "shown/data": ("data", 0o644),
            "shown/loose": ("untouched", 0o666), "shown/.env": (self._texts["env"], 0o644),
            "shown/hidden/key": (self._texts["named"], 0o644), "shown/deep/more": ("more", 0o644),
            "work/secret.txt": (self._texts["rights"], 0o644), "packages/module.py": ("value = 1\n", 0o644),
            "startup/00-first.py": ("", 0o666),
        }  # fmt: skip
        for name, (text, mode) in texts.items():
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # what was moved over it
            elif path.is_symlink() or (path.exists() and not path.is_file()):
                path.unlink()
            if not path.exists() or path.read_text() != text:
                path.write_text(text)  # in place: running companions have these very files
            path.chmod(mode)
            os.utime(path, (10**9, 10**9))
            for attribute in os.listxattr(path):
                os.removexattr(path, attribute)
        if not os.geteuid():
            if not (folder / "shown/suid").exists():
                shutil.copy("/usr/bin/id", folder / "shown/suid")
            (folder / "shown/suid").chmod(0o4755)  # chown(2) takes that away
        program, sleep = folder / "shown/program", Path("/bin/sleep").read_bytes()
        if not program.exists() or program.read_bytes() != sleep:
            program.write_bytes(sleep)  # in place, too
        program.chmod(0o777)  # anybody may write it
        if not (folder / "pipe").exists():
            os.mkfifo(folder / "pipe")
            (folder / "pipe").chmod(0o666)
        (folder / "out").mkdir(exist_ok=True)
        link = folder / "out/link-before"
        if not link.is_symlink():
            if link.is_dir():
                shutil.rmtree(link)  # an attack has put something else there
            link.unlink(missing_ok=True)
            link.symlink_to(folder / "secret.txt")
        for name, text in self._home_texts.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (10**9, 10**9))

    def strays(self) -> list[str]:
        """Return where files of attacks may have got to."""
        purelib, stdlib = sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")
        ours = os.path.dirname(isolate_magic.__file__)
        folders = ["/", "/usr", "/usr/lib", "/usr/bin", "/usr/local/bin", "/etc", "/etc/ld.so.conf.d", "/tmp", "/var/tmp",
                   "/dev", "/dev/shm", "/run", "/opt", "/root", "/home", "/sys/fs/cgroup/unified", purelib, stdlib, ours,
                   f"{ours}/__pycache__", f"{ours}/child", str(self.home), str(self.folder),
                   str(self.folder / "open"), str(self.folder / "shown"), str(self.folder / "startup"), os.getcwd()]  # fmt: skip
        return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for top in (self.folder, self.home):
            for path in sorted(top.rglob("*")):
                if (self.folder / "out") in path.parents and path.name != "key":
                    continue  # which may be written
                facts = path.lstat()
                seen: list[Any] = [stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid]
                if stat.S_ISREG(facts.st_mode):
                    seen += [
                        facts.st_mtime_ns,
                        path.read_text(errors="replace"),
                        os.listxattr(path),
                        facts.st_nlink,
                    ]
                found[str(path)] = seen
        for folder in self.strays():
            for name in (self.stray, f"{self.stray}.pth"):
                if os.path.lexists(f"{folder}/{name}"):
                    found[f"{folder}/{name}"] = "a stray"
        return found

    # ------------------------------------------------------------ the canary process

    def _start(self) -> None:
        arguments = [str(self.folder / "secret.txt"), self._secret()]
        environment = {"SECRET": self._secret(), "PATH": os.environ.get("PATH", "")}
        self.canary = subprocess.Popen(
            [sys.executable, "-c", _CANARY, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment, bufsize=0,
        )  # fmt: skip
        assert self.canary.stdout
        self.held, self.address = map(int, self.canary.stdout.readline().split())
        os.set_blocking(self.canary.stdout.fileno(), False)
        self._state = self._canary_state()

    def _canary_state(self) -> dict[str, Any]:
        pid = self.canary.pid
        process = psutil.Process(pid)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.address)
            text = memory.read(9)
        limits = {
            name: resource.prlimit(pid, getattr(resource, f"RLIMIT_{name}"))
            for name in ("CPU", "NOFILE", "CORE")
        }
        return {
            "memory": text, "limits": limits, "nice": process.nice(), "affinity": sorted(process.cpu_affinity()),
            "io": tuple(process.ionice()), "policy": os.sched_getscheduler(pid),
            "score": Path(f"/proc/{pid}/oom_score_adj").read_text(),
            "files": len(os.listdir(f"/proc/{pid}/fd")),
            "stopped": process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP),
        }  # fmt: skip

    def _signalled(self) -> int:
        """Count the signals that it got until it has answered; a stopped one does not answer."""
        assert self.canary.stdout
        assert self.canary.stdin
        answer, seen = select.poll(), b""
        answer.register(self.canary.stdout, select.POLLIN)
        try:
            self.canary.stdin.write(b"?")
        except BrokenPipeError:  # it is dead
            return 0
        while b"." not in seen and answer.poll(500):
            part = self.canary.stdout.read()
            if part == b"":
                self.canary.wait()
                break
            seen += part or b""
        return seen.count(b"!")

    # ------------------------------------------------------------ sockets and System V

    def _listen(self) -> dict[str, socket.socket]:
        made: dict[str, socket.socket] = {}

        def bind(name: str, family: int, kind: int, address: Any) -> None:
            made[name] = bound = socket.socket(family, kind)
            bound.bind(address)
            bound.setblocking(False)
            if kind == socket.SOCK_STREAM:
                bound.listen(8)

        stream, packets = socket.SOCK_STREAM, socket.SOCK_DGRAM
        for kind, name in ((stream, "tcp"), (packets, "udp")):
            bind(f"{name}4", socket.AF_INET, kind, ("127.0.0.1", 0))
            if (
                socket.has_ipv6
                and os.path.exists("/proc/net/if_inet6")
                and Path("/proc/net/if_inet6").read_text()
            ):
                bind(f"{name}6", socket.AF_INET6, kind, ("::1", 0))
        self.abstract = f"\0/tmp/.X11-unix/X-{self.stray}"
        bind("abstract", socket.AF_UNIX, stream, self.abstract)
        bind("abstract packets", socket.AF_UNIX, packets, f"{self.abstract}-packets")
        bind("path", socket.AF_UNIX, stream, str(self.folder / "bus"))
        bind("shown", socket.AF_UNIX, stream, str(self.folder / "shown/bus"))
        bind("path packets", socket.AF_UNIX, packets, str(self.folder / "bus-packets"))
        for name in ("bus", "bus-packets", "shown/bus"):
            (self.folder / name).chmod(0o777)
        return made

    def _heard(self) -> list[str]:
        heard = []
        for name, bound in self._sockets.items():
            try:
                if bound.type == socket.SOCK_STREAM:
                    bound.accept()[0].close()
                else:
                    bound.recv(100)
                heard.append(f"the host's socket {name!r} was reached")
            except BlockingIOError:
                continue
        return heard

    def _share(self) -> list[tuple[str, int]]:
        """Make System V and POSIX shared memory with a secret in it."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        self.key = secrets.randbits(30) | 1
        made = [("shm", libc.shmget(self.key, 4096, 0o1666)), ("sem", libc.semget(self.key, 1, 0o1666)),
                ("msg", libc.msgget(self.key, 0o1666))]  # fmt: skip
        address = libc.shmat(made[0][1], None, 0)
        ctypes.memmove(address, self._texts["shm"].encode(), 39)
        libc.shmdt(ctypes.c_void_p(address))
        self.shared = f"/dev/shm/shared-{self.stray}"
        Path(self.shared).write_text(self._secret())
        os.chmod(self.shared, 0o644)
        return [(kind, number) for kind, number in made if number >= 0]

    # ------------------------------------------------------------ what the tests ask

    def facts(self) -> dict[str, Any]:
        """Return what an attacker may know; no secret is in it."""
        ports = {
            name: bound.getsockname()[1]
            for name, bound in self._sockets.items()
            if name[:3] in ("tcp", "udp")
        }
        return {
            "folder": str(self.folder), "home": str(self.home), "stray": self.stray, "strays": self.strays(),
            "suid": str(self.folder / "shown/suid"), "pid": self.canary.pid, "held": self.held, "address": self.address, "host": os.getpid(),
            "pids": [self.canary.pid, os.getpid()], "ports": ports, "abstract": self.abstract, "key": self.key,
            "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] for name in _LIMITS},
            "beside": os.path.basename(self._beside), "shared": self.shared, "python": os.path.realpath(sys.executable), "prefix": sys.prefix,
        }  # fmt: skip

    def stolen(self, text: str) -> list[str]:
        """Return the secrets in a text, and make sure that no attack has them from us."""
        return sorted(set(_TOKEN.findall(text)) & self.secrets)

    def harms(self) -> list[str]:
        """Return what has happened to the canaries."""
        found = self._heard()
        after = self._look()
        for path in sorted({*self._before, *after}):
            if self._before.get(path) != after.get(path):
                found.append(f"{path} was changed: {self._before.get(path)} -> {after.get(path)}")
        if self.canary.poll() is not None:
            return [*found, f"the canary process has ended: {self.canary.returncode}"]
        count = self._signalled()
        if self.canary.poll() is not None:
            return [*found, f"the canary process was killed: {self.canary.returncode}"]
        state = self._canary_state()
        found += [
            f"the canary's {name}: {self._state[name]} -> {state[name]}"
            for name in state
            if state[name] != self._state[name]
        ]
        if count:
            found.append(f"the canary process got {count} signals")
        return found

    def heal(self) -> None:
        """Make everything as it was, if it is not."""
        self._heard()
        if self._signalled() or self.canary.poll() is not None or self._canary_state() != self._state:
            self._end_canary()
            self._start()
        after = self._look()
        if after == self._before:
            return
        self._move_back()
        for path in sorted(set(self._look()) - set(self._before)):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                Path(path).unlink(missing_ok=True)
        self._fill()
        for path, seen in self._before.items():
            os.lchown(path, seen[1], seen[2])
        self._fill()
        self._before, self._numbers = self._look(), self._number()

    def _number(self) -> dict[int, str]:
        return {path.lstat().st_ino: str(path) for path in self.folder.rglob("*")}

    def _move_back(self) -> None:
        """Undo renames; running companions have these very files and folders."""
        homes = {number: path for number, path in self._numbers.items() if not os.path.lexists(path)}
        for path in sorted(self.folder.rglob("*"), key=lambda path: len(path.parts)):
            home = homes.pop(path.lstat().st_ino, None) if path.exists() else None
            if home:
                os.rename(path, home)
                return self._move_back()
        return None

    def _end_canary(self) -> None:
        try:
            self.canary.send_signal(signal.SIGCONT)
            self.canary.kill()
        except ProcessLookupError:
            pass
        self.canary.wait()
        assert self.canary.stdout
        assert self.canary.stdin
        self.canary.stdout.close()
        self.canary.stdin.close()

    def close(self) -> None:
        """Take everything away."""
        self._end_canary()
        for bound in self._sockets.values():
            bound.close()
        libc = ctypes.CDLL(None)
        for kind, number in self._ipc:
            getattr(libc, f"{kind}ctl")(number, 0, 0, 0)  # IPC_RMID
        os.unlink(self.shared)
        os.unlink(self._beside)
        until(lambda: shutil.rmtree(self.folder, ignore_errors=True) or not self.folder.exists())
        shutil.rmtree(self.home, ignore_errors=True)
