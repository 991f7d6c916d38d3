"""The application of the isolated kernel: ipykernel's own, without a shell of IPython (host)."""

from __future__ import annotations

import gc
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from IPython.core.profiledir import ProfileDir
from jupyter_client.session import Session
from traitlets import Type, Unicode, default

from isolate_magic.kernel.front import Front


class IsolatedApplication(IPKernelApp):
    """Open the channels, and let the front serve them.

    Attributes:
        policy: what the cells may do.
        snapshots: whether a crash leads back to the moment before its cell: `auto` or `off`.
    """

    kernel_class = Type(Front, klass="ipykernel.kernelbase.Kernel")
    classes = [Front, ProfileDir, Session]
    policy = Unicode("trusted")
    snapshots = Unicode("auto")

    @default("capture_fd_output")
    def _leave_descriptors(self) -> bool:
        return False  # nothing of the user's writes to them in this process

    def init_pdb(self) -> None:
        """Leave pdb alone: nothing is debugged in this process."""

    def init_path(self) -> None:
        """Leave `sys.path` alone: a file beside the notebook must not be imported in this process."""

    def start(self) -> None:
        """Serve until the end, and let the control channel's thread end before the one for output.

        It flushes the output last, and would wait ten seconds for a thread that has ended.
        """
        super().start()
        control = self.control_thread
        if control is not None and control.is_alive():
            control.stop()
            control.join()

    def init_kernel(self) -> None:
        """Make the front, and give it its companion."""
        super().init_kernel()
        front: Any = self.kernel
        front.employ(self.policy, self.snapshots)
        gc.freeze()
        gc.enable()
