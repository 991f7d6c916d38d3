"""A JupyterLab with headless Chromium, driven as a person drives it: by typing and clicking."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from playwright import sync_api
from waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SETTINGS: dict[str, dict[str, Any]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
_RAN = """at => {
  const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[at];
  return /\\[\\d+\\]/.test(cell.querySelector('.jp-InputPrompt').innerText);
}"""
_IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status == 'idle'"
_TAKEN = """at => {
  const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[at];
  return !/\\[ *\\]/.test(cell.querySelector('.jp-InputPrompt').innerText);
}"""
_PATIENCE = 60.0


class Server:
    """Run a Jupyter server on the loopback, without a token, with settings of its own.

    Args:
        folder: where its notebooks lie.
        app: `jupyterlab` or `notebook`.
        theme: `JupyterLab Light` or `JupyterLab Dark`.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        folder: Path,
        app: str = "jupyterlab",
        theme: str = "JupyterLab Light",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.app = folder, app
        self.home = Path(tempfile.mkdtemp(prefix="lab-"))
        settings = {**_SETTINGS, "apputils-extension/themes": {"theme": theme}}
        for plugin, values in settings.items():
            file = self.home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {
            "JUPYTERLAB_SETTINGS_DIR": str(self.home / "settings"), "JUPYTER_RUNTIME_DIR": str(self.home / "run"),
            "JUPYTER_CONFIG_DIR": str(self.home / "config"), "IPYTHONDIR": str(self.home / "ipython"),
        }  # fmt: skip
        options = [
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--IdentityProvider.token=",
        ]
        self._log = (self.home / "log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", app, *options],
            cwd=folder, env={**os.environ, **own, **(environment or {})}, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        until(self._answers, _PATIENCE)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.home / "log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/api/status"):
                return True
        except OSError:
            return False

    def write(self, name: str, *sources: str) -> None:
        """Write a notebook with these cells, or with an empty one."""
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        cells = [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": source, "outputs": [],
             "execution_count": None}
            for number, source in enumerate(sources or ("",))
        ]  # fmt: skip
        whole = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(whole))

    def close(self) -> None:
        """End the server, with its kernels."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Notebook:
    """One notebook in a tab.

    Args:
        browser: Playwright's.
        server: the server.
        name: the notebook's file; written with an empty cell if it is not there.
    """

    def __init__(self, browser: Any, server: Server, name: str) -> None:
        if not (server.folder / name).exists():
            server.write(name)
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.console: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self._greeting: Any = self.page.locator(".jp-Dialog")  # what it may ask until the first cell has run
        self.page.add_locator_handler(self._greeting, self._answer)
        # A workspace of its own, or else the notebooks of other tests would open beside it.
        place = f"lab/workspaces/{Path(name).stem}/tree" if server.app == "jupyterlab" else "notebooks"
        self.page.goto(f"{server.url}/{place}/{name}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=_PATIENCE * 1000)
        self.page.wait_for_function(_IDLE, timeout=_PATIENCE * 1000)

    def _answer(self, dialog: Any) -> None:
        """Agree to what JupyterLab asks in between, such as which kernel to use, and keep what it was."""
        self.console.append(f"dialog: {dialog.inner_text()}")
        dialog.locator(".jp-mod-accept").click()

    def cell(self, number: int) -> Any:
        """Return a code cell, counted from 0; -1 is the last."""
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        return cells.nth(number if number >= 0 else cells.count() + number)

    def type(self, source: str) -> int:
        """Type into the last cell without running it; return its number."""
        number: int = self.page.locator(".jp-Notebook .jp-CodeCell").count() - 1
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.insert_text(source)
        return number

    def start(self, source: str) -> int:
        """Type into the last cell and run it, without waiting for its end; return its number."""
        number = self.type(source)
        self.page.keyboard.press("Shift+Enter")
        try:
            self.page.wait_for_function(_TAKEN, arg=number, timeout=3000)
        except sync_api.TimeoutError:  # the kernel was not connected yet, though the page says so
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
        if self._greeting is not None:
            self.page.remove_locator_handler(self._greeting)
            self._greeting = None
        return number

    def wait(self, number: int, seconds: float = _PATIENCE) -> None:
        """Wait until a cell has run."""
        self.page.wait_for_function(_RAN, arg=number, timeout=seconds * 1000)

    def run(self, source: str, seconds: float = _PATIENCE) -> str:
        """Type a cell, run it to its end, and return the text that stands below it."""
        number = self.start(source)
        self.wait(number, seconds)
        self.page.wait_for_function(_IDLE, timeout=seconds * 1000)
        return self.text(number)

    def output(self, number: int) -> Any:
        """Return what stands below a cell."""
        return self.cell(number).locator(".jp-OutputArea").first

    def text(self, number: int) -> str:
        """Return the text below a cell as it can be read, or ""."""
        output = self.output(number)
        return str(output.inner_text()) if output.count() else ""

    def wait_for(self, number: int, text: str, seconds: float = _PATIENCE) -> None:
        """Wait until a text stands below a cell."""
        self.output(number).get_by_text(text).first.wait_for(timeout=seconds * 1000)

    def save(self) -> None:
        """Save the notebook, and wait until the server has it."""
        with self.page.expect_response(lambda answer: answer.request.method == "PUT"):
            self.page.keyboard.press("Control+s")

    def reload(self) -> None:
        """Load the page again, as F5 does, and wait until the kernel is there."""
        self.page.reload()
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=_PATIENCE * 1000)
        self.page.wait_for_function(_IDLE, timeout=_PATIENCE * 1000)

    def picture(self, path: Path, number: int | None = None) -> None:
        """Take a screenshot of the window, or of one cell."""
        (self.page if number is None else self.cell(number)).screenshot(path=path)

    def close(self) -> None:
        """Close the tab; the kernel ends with the server."""
        self.page.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
