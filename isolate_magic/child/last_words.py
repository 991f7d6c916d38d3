"""What a companion leaves when it dies: stacks in a memfd that the host holds (zygote and companion)."""

from __future__ import annotations

import faulthandler
import resource

from isolate_magic.child import native
from isolate_magic.link.layout import DUMP_SIGNAL

_native: native.Native | None = None


def prepare() -> None:
    """Do, in the zygote, what every companion would have to do for its native stack."""
    global _native
    _native = native.prepared()


def arrange(fd: int) -> None:
    """Write the stacks of all threads to `fd` at a fatal signal, and leave no core file behind.

    The native one of the thread that has failed comes last, so that it can cost nothing else.
    """
    faulthandler.disable()
    if _native is not None:
        _native.install(fd)
    faulthandler.enable(fd, all_threads=True)
    if _native is not None:
        _native.widen()
    faulthandler.register(DUMP_SIGNAL, fd, all_threads=True, chain=False)
    # A core file of some gigabytes would delay the restart by seconds; `ulimit -c` brings it back.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
