"""A snapshot: a sleeping fork of a companion, which goes on in its place when it is woken (host).

The fork is made by the companion (`isolate_magic.child.snapshot`), on ends of its own that come from here.
What it says of itself is not believed: its pid is the kernel's word (SCM_CREDENTIALS, unix(7)).
"""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import time
from contextlib import ExitStack
from typing import Any

from isolate_magic import tree
from isolate_magic.birth import Ends, open_ends
from isolate_magic.errors import StartError
from isolate_magic.link.descriptors import refuse
from isolate_magic.ration import tidy
from isolate_magic.watch import readable

_PATIENCE = 5.0  # seconds for a fork to say that it is there; it takes some milliseconds
_CREDENTIALS = struct.Struct("iII")


class Snapshot:
    """Be one sleeping fork.

    Args:
        process: the process that it is a fork of.
        ends: our ends of its channel, door, pipes.
        name: what the user calls it; "" if it was made by itself.
        moment: when it was made, in words: `before cell In[5]`.

    Attributes:
        number: the request in the midst of which it sleeps.
        mark: the highest number lent to us then.
        lent: what we had lent.
        awake: whether it sleeps no longer; what is ours of it belongs to a process then.
        cost: how long the companion was held up, in seconds.
        taken: when it was made, as `time.time` counts.
        token, dialer, lane, scratch, plan, told: as of the process, which it shares them with.
    """

    number = mark = 0
    cost = 0.0
    awake = False

    def __init__(self, process: Any, ends: Ends, name: str, moment: str) -> None:
        self.process = process
        self.ends = ends
        self.name = name
        self.moment = moment
        self.taken = time.time()
        self.pid, self.pidfd = 0, -1
        self.lent: Any = None
        self.token, self.dialer, self.lane = process.token, process.dialer, process.lane
        self.scratch, self.plan, self.told = process.scratch, process.plan, process.walls

    def meet(self, undo: ExitStack) -> None:
        """Find out which process it is.

        Args:
            undo: lets go of it, should something fail.

        Raises:
            StartError: it does not come.
        """
        self.pid = self._heard()
        if self.pid == self.process.pid:
            raise StartError("the companion itself answered for it")
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            raise StartError(f"it has ended at once ({error.strerror})") from None
        undo.callback(os.close, self.pidfd)
        self.ends.sock.send(b'{"do": "say"}')
        if self._heard() != self.pid:  # so the number was its own when the descriptor was made
            raise StartError("another process answered for it")

    def _heard(self) -> int:
        """Return the pid of who has said that it is there."""
        sock = self.ends.sock
        if not readable(sock.fileno(), _PATIENCE):
            raise StartError(f"it has not come within {_PATIENCE:g} s")
        said, beside, _, _ = sock.recvmsg(200, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and said == b"here":
                return int(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
        raise StartError("it has not come")

    def alive(self) -> bool:
        """Return whether it is there to be woken."""
        return not self.awake and self.pidfd >= 0 and not readable(self.pidfd, 0)

    @property
    def memory(self) -> int | None:
        """Measure what it holds alone, in bytes: the pages that have changed since; None if hidden."""
        return tree.private(self.pid) if self.alive() else None

    def copy(self, name: str) -> Snapshot:
        """Let it fork another one like it, so that one can be woken and one stays.

        Raises:
            StartError: it cannot.
        """
        with ExitStack() as undo, ExitStack() as lent:
            ends, theirs = open_ends(undo, lent)
            made = Snapshot(self.process, ends, name, self.moment)
            listen(ends)
            made.number, made.mark, made.lent, made.taken = (
                self.number,
                self.mark,
                self.lent.copy(),
                self.taken,
            )
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))]
            self.ends.sock.sendmsg([b'{"do": "copy"}'], rights)
            if not readable(self.ends.sock.fileno(), _PATIENCE):
                raise StartError(f"the snapshot has not answered within {_PATIENCE:g} s")
            said = self.ends.sock.recv(200)
            if said:
                raise StartError(f"no copy of the snapshot: {tidy(said.decode(errors='replace'))}")
            made.meet(undo)
            undo.pop_all()
        return made

    def kill(self) -> None:
        """End it, and close what is ours of it; harmless when it is awake."""
        if self.awake:
            return
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:  # it has ended
                pass
            readable(self.pidfd, _PATIENCE)
            os.close(self.pidfd)
            self.pidfd = -1
        self.ends.close()

    def leave(self) -> None:
        """Close what is ours of it in a forked copy of the main session, whose it is not."""
        if self.awake:
            return
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self.ends.close()


def listen(ends: Ends) -> None:
    """Let the kernel say who speaks on the channel, until it is a companion's."""
    refuse(ends.sock)
    ends.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
