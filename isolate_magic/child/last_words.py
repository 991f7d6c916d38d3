"""What a companion leaves behind when it dies: Python stacks in a memfd that the host holds (companion)."""

from __future__ import annotations

import faulthandler
import resource

from isolate_magic.link.layout import DUMP_SIGNAL


def arrange(fd: int) -> None:
    """Write the stacks of all threads to `fd` at a fatal signal, and leave no core file behind."""
    faulthandler.enable(fd, all_threads=True)
    faulthandler.register(DUMP_SIGNAL, fd, all_threads=True, chain=False)
    # A core file of some gigabytes would delay the restart by seconds; `ulimit -c` brings it back.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
