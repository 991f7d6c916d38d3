"""Attacks: a small Python text that runs in a companion, and what the host sees of it.

An attack has got through if its `sign` shows:

- `token`: a secret of the scene is in what it brings back,
- `harm`: the host finds a canary changed, killed, called or contacted,
- `won`: it says itself that the kernel let it (`won` is true at its end); secrets and harm count too.

Each is first run with the sandbox off, where it must get through; the reason is given where that cannot be shown.
In a tier it must then be the kernel that refuses it, so that an attack with a mistake in it is not taken for one that
is contained. The rules are those of the list of escapes: canaries made by the tests only, loopback only, signals to
the canary only.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from boundary.scene import Scene

from isolate_magic import Companion

# Runs in the companion. `attempt` forks, so that each attack has a process of its own to ruin.
PRELUDE = '''
import ctypes, errno, fcntl, gc, json, mmap, os, re, resource, select, shutil, signal, socket, stat, struct, subprocess
import sys, tempfile, threading, time, types
from isolate_magic.child import syscalls

libc = ctypes.CDLL(None, use_errno=True)
_MORE = {
    "add_key": (248, 217), "request_key": (249, 218), "vhangup": (153, 58), "swapoff": (168, 225),
    "setdomainname": (171, 162), "ioperm": (173, None), "delete_module": (176, 106), "lookup_dcookie": (212, 18),
    "io_setup": (206, 0), "msgget_": (68, 186), "migrate_pages": (256, 238), "finit_module": (313, 273),
    "kexec_file_load": (320, 294), "fsconfig": (431, 431), "fspick": (433, 433), "fsmount": (432, 432),
    "quotactl_fd": (443, 443), "process_mrelease": (448, 448), "io_uring_enter": (426, 426),
    "fanotify_mark": (301, 263), "syncfs": (306, 267), "map_shadow_stack": (453, 453), "mq_unlink": (241, 181),
}


def nr(name):
    row = _MORE.get(name)
    found = row[syscalls.MACHINES.index(os.uname().machine)] if row else syscalls.number(name, os.uname().machine)
    if found is None:
        raise OSError(errno.ENOSYS, "there is no such call on this machine")
    return found


def call(name, *arguments):
    """A system call; raises its OSError."""
    number = name if isinstance(name, int) else nr(name)
    result = libc.syscall(ctypes.c_long(number), *[
        ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reaches(name, *arguments):
    """Tell whether a system call gets as far as to look at its arguments, which are wrong on purpose."""
    try:
        return f"returned {call(name, *arguments)}"
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            raise
        return f"reached: {errno.errorcode[error.errno]}"


def made(family, kind, protocol):
    """A socket; where there is no such, whether the kernel gets as far as to look at flags that are wrong on purpose."""
    try:
        return socket.socket(family, kind, protocol)
    except OSError as refusal:
        try:
            call("socket", family, kind | 1 << 28, protocol)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return "reached: EINVAL"
        raise refusal


def read(path, most=1 << 16):
    with open(path, "rb") as file:
        return file.read(most).decode("latin-1")


def judged(source, names):
    try:
        exec(compile(source, "<attack>", "exec"), names)
        return json.dumps({"won": repr(names.get("won"))[:20000] if names.get("won") else ""})
    except BaseException as error:
        return json.dumps({"lost": f"{type(error).__name__}: {error}"[:2000]})


def attempt(source, facts, seconds=10, forked=True):
    names = dict(globals(), S=types.SimpleNamespace(**facts), won=None)
    if not forked:
        return judged(source, names)
    while True:
        here, there = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                if os.getpid() in facts["pids"]:
                    os._exit(99)  # the same number, in a pid namespace of its own, is no canary
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(seconds)
                os.write(there, judged(source, names).encode()[:60000])
            finally:
                os._exit(0)
        os.close(there)
        _, status = os.waitpid(pid, 0)
        os.set_blocking(here, False)
        try:
            text = os.read(here, 1 << 16).decode()
        except BlockingIOError:
            text = ""
        os.close(here)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 99:
            continue
        return text or json.dumps({"lost": f"died: {status}"})
'''


@dataclass(frozen=True)
class Attack:
    """One attempt.

    Attributes:
        name: its row in the list of escapes, and what it tries.
        source: Python; `S` holds the facts of the scene, and the names of `PRELUDE` are there.
        sign: what shows that it got through.
        needs: "root" where only root can prove it with the sandbox off.
        unproved: why it cannot be proved with the sandbox off at all.
        maybe: why the proof may not be had on some machines, after what is then met: "ENOENT ENXIO: no such device".
        plain: no companion is given what it looks for, so it is proved in an ordinary child of the main session.
        refused: what it meets in a tier (see `met`); "" for any refusal of the kernel's.
        forked: whether it runs in a process of its own.
    """

    name: str
    source: str
    sign: str = "won"
    needs: str = ""
    unproved: str = ""
    maybe: str = ""
    plain: bool = False
    refused: str = ""
    forked: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass
class Place:
    """A companion that attacks run in: `off`, or confined in tier `N` or `L`.

    Attributes:
        name: which.
        companion: the companion, or None if it cannot be had here.
        lacking: why it cannot.
    """

    name: str
    companion: Companion | None
    lacking: str = ""
    prepared: int | None = field(default=None, repr=False)

    def ready(self) -> Companion:
        """Return the companion, with the prelude in it; skips the test if there is none."""
        if self.companion is None:
            pytest.skip(self.lacking)
        self.companion.start()
        if self.companion.pid != self.prepared:
            self.companion.run(PRELUDE)
            self.prepared = self.companion.pid
        return self.companion

    def attempt(self, attack: Attack, scene: Scene) -> dict[str, str]:
        """Run an attack; return what it brings back: `won` or `lost`."""
        companion = self.ready()
        supervisor = psutil.Process(companion.pid).parent()
        zygote = companion._process.zygote.pid if companion._process else 0
        facts = scene.facts() | {"supervisor": supervisor.pid if supervisor else 0, "zygote": zygote}
        facts["pids"] += [facts["supervisor"], zygote]
        text = companion.run(f"attempt({attack.source!r}, {facts!r}, forked={attack.forked})")
        assert isinstance(text, str)
        return dict(json.loads(text))


def signs(attack: Attack, brought: dict[str, str], scene: Scene) -> list[str]:
    """Return how an attack has got through."""
    found = [f"brought back {token}" for token in scene.stolen(json.dumps(brought))]
    found += scene.harms()
    if attack.sign == "won" and brought.get("won"):
        found.append(f"won: {brought['won'][:300]}")
    return found


_REFUSALS = "EPERM ENOENT ESRCH EACCES EXDEV EROFS ENOSYS EAFNOSUPPORT ECONNREFUSED nothing"


def met(brought: dict[str, str]) -> str:
    """Return what an attack has met: the name of an errno or of an exception, or "nothing" if it came to its end."""
    lost = brought.get("lost")
    if lost is None:
        return "nothing"
    number = re.search(r"\[Errno (\d+)\]", lost)
    return errno.errorcode[int(number[1])] if number else lost.split(":")[0]


def plainly(attack: Attack, scene: Scene) -> dict[str, str]:
    """Run an attack in a child of the main session as anybody would start one: no zygote, no sandbox."""
    code = (
        f"{PRELUDE}\nsource, facts, forked = json.loads(sys.stdin.read())\n"
        "print(attempt(source, facts | {'supervisor': os.getpid(), 'zygote': os.getpid()}, forked=forked))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, scene.argument], input=json.dumps([attack.source, scene.facts(), attack.forked]),
        env=os.environ | scene.environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def prove(attack: Attack, place: Place, scene: Scene) -> None:
    """Make sure that an attack gets through with the sandbox off."""
    if attack.unproved:
        pytest.skip(f"cannot be proved with the sandbox off: {attack.unproved}")
    if attack.needs == "root" and os.geteuid():
        pytest.skip("only root can prove it with the sandbox off")
    try:
        brought = plainly(attack, scene) if attack.plain else place.attempt(attack, scene)
        found = signs(attack, brought, scene)
        wanted = [sign for sign in found if attack.sign != "token" or "brought back" in sign]
    finally:
        scene.heal()
    names, _, reason = attack.maybe.partition(": ")
    if not wanted and met(brought) in names.split():
        pytest.skip(f"cannot be proved here, {met(brought)}: {reason}")
    assert wanted, f"with the sandbox off nothing happened: {brought}"


def withstand(attack: Attack, place: Place, scene: Scene) -> dict[str, str]:
    """Make sure that an attack does not get through a tier; return what it brought back."""
    companion = place.ready()
    pid = companion.pid
    try:
        brought = place.attempt(attack, scene)
        found = signs(attack, brought, scene)
    finally:
        scene.heal()
    assert not found, f"{attack.name} got through tier {place.name}: {found}, {brought}"
    assert companion.pid == pid, companion.crash
    expected = (attack.refused or f"{_REFUSALS} {attack.maybe.partition(': ')[0]}").split()
    assert met(brought) in expected, f"it was not the kernel that stopped {attack.name}: {brought}"
    return brought


def suite(attacks: list[Attack]) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the two tests of a table of attacks: that they work with the sandbox off, and fail in each tier."""
    assert len({attack.name for attack in attacks}) == len(attacks)
    assert all(attack.refused for attack in attacks if attack.unproved)

    @pytest.mark.parametrize("attack", attacks, ids=str)
    def test_with_the_sandbox_off_it_gets_through(
        attack: Attack, places: dict[str, Any], scene: Scene
    ) -> None:
        prove(attack, places["off"], scene)

    @pytest.mark.parametrize("attack", attacks, ids=str)
    def test_it_is_contained(attack: Attack, tier: str, places: dict[str, Any], scene: Scene) -> None:
        withstand(attack, places[tier], scene)

    return test_with_the_sandbox_off_it_gets_through, test_it_is_contained
