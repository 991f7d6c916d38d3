"""The init of a companion's pid namespace (supervisor)."""

from __future__ import annotations

import os
import signal

from isolate_magic.child.confinement import Refused


def start() -> tuple[int, int]:
    """Start the init of the new pid namespace: it ends when this process does, and with it all others.

    It is `cat` on a pipe that only we hold open, so no page of the zygote is copied for it; it ignores
    SIGCHLD, so the kernel collects whatever is orphaned (wait(2), pid_namespaces(7)).

    Returns:
        its pid, and the end of the pipe.
    """
    read, write = os.pipe()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_DUP2, read, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, null, 2),
        ]
        for path in ("/usr/bin/cat", "/bin/cat"):
            if os.path.exists(path):
                pid = os.posix_spawn(path, ["cat"], {}, file_actions=actions)
                os.close(null)
                return pid, write
        raise Refused("namespaces", "no /bin/cat, which is the init of the companion's pid namespace")
    finally:
        signal.signal(signal.SIGCHLD, before)
        os.close(read)
