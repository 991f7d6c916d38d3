"""An ipykernel driven by jupyter_client: the peer in which every notebook's cells run today."""

from __future__ import annotations

import time
from typing import Any

import psutil
from jupyter_client.manager import KernelManager

from benchmarks.driver import Contestant
from benchmarks.peers import KILOBYTE
from benchmarks.things import USE_BOTH

_SECONDS = 60


class Kernel:
    """Start a kernel, wait for nothing but the replies that are needed, end it.

    Args:
        name: the name of its kernelspec.
    """

    def __init__(self, name: str = "python3") -> None:
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel()
        self.client = self._connect()

    def _connect(self) -> Any:
        # Requests wait in the client's socket until the kernel listens. So the first reply comes as soon as
        # it can; `wait_for_ready` would poll, and drain iopub for 0.2 s.
        client = self.manager.client()
        client.start_channels(hb=False)
        return client

    def run(self, code: str, **options: Any) -> Any:
        """Run a cell, and return the reply's content once it is there."""
        reply = self.client.execute(code, reply=True, timeout=_SECONDS, **options)["content"]
        if reply["status"] != "ok":
            raise RuntimeError(f"{reply['ename']}: {reply['evalue']}")
        return reply

    def restart(self) -> None:
        """Kill the kernel and start it again."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.client = self._connect()

    @property
    def uss(self) -> int:
        """Return the memory that nobody shares with it, in bytes."""
        return int(psutil.Process(self.manager.provisioner.pid).memory_full_info().uss)  # type: ignore[union-attr]

    def end(self) -> None:
        """End it without ceremony."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Calls(Contestant):
    """Call by executing an expression; the value comes back as text in the shell reply."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        # Outputs before the subscription has reached the kernel are lost, and `cell` would wait for them.
        self.kernel.client.wait_for_ready(timeout=_SECONDS)
        self.kernel.run("from benchmarks.things import add_one, echo, thing")

    def _evaluate(self, expression: str) -> None:
        reply = self.kernel.run("", store_history=False, user_expressions={"value": expression})
        if reply["user_expressions"]["value"]["status"] != "ok":
            raise RuntimeError(expression)

    def call(self, number: int) -> None:
        """Call a function."""
        self._evaluate(f"add_one({number})")

    def attribute(self, _number: int) -> None:
        """Read an attribute."""
        self._evaluate("thing.x")

    def echo(self, _number: int) -> None:
        """Send a kilobyte there and back."""
        self._evaluate(f"echo({KILOBYTE!r})")

    def cell(self, _number: int) -> None:
        """Run a cell and see its output."""
        self.kernel.client.execute_interactive("1+1", timeout=_SECONDS, output_hook=_look_away)

    def stop(self) -> None:
        """End the kernel."""
        self.kernel.end()


def _look_away(_message: Any) -> None:
    """Take an output; showing it is the front end's business."""


class Starts(Contestant):
    """Start and restart kernels, from the request to the first result.

    Args:
        loaded: whether the first result needs numpy and pandas.
    """

    measures_itself = True

    def __init__(self, loaded: bool) -> None:
        self.code = USE_BOTH if loaded else "1+1"
        self.kernel = Kernel()
        self.kernel.run(self.code)

    def start(self, _number: int) -> float:
        """Start one more kernel."""
        begin = time.perf_counter()
        kernel = Kernel()
        try:
            kernel.run(self.code)
            return time.perf_counter() - begin
        finally:
            kernel.end()

    def restart(self, _number: int) -> float:
        """Restart a kernel that has been used."""
        begin = time.perf_counter()
        self.kernel.restart()
        self.kernel.run(self.code)
        return time.perf_counter() - begin

    def stop(self) -> None:
        """End the kernel."""
        self.kernel.end()


class Memory(Contestant):
    """Weigh one more kernel, while another one is there."""

    measures_itself = True

    def __init__(self) -> None:
        self.first = Kernel()
        self.first.run(USE_BOTH)

    def idle(self, _number: int) -> float:
        """Weigh a kernel that has imported numpy and pandas."""
        return self._weigh("import numpy, pandas")

    def used(self, _number: int) -> float:
        """Weigh a kernel that has worked with them."""
        return self._weigh("from benchmarks.things import work_a_little as work; work()")

    def _weigh(self, code: str) -> float:
        kernel = Kernel()
        try:
            kernel.run(code)
            time.sleep(0.5)
            return kernel.uss
        finally:
            kernel.end()

    def stop(self) -> None:
        """End the kernel."""
        self.first.end()
