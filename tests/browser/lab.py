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
_OPEN = "name => jupyterapp.commands.execute('docmanager:open', {path: name, factory: 'Notebook'}).then(() => null)"
_CLEAR = """() => {
  for (const widget of [...jupyterapp.shell.widgets('main')]) {
    if (widget.context) widget.context.model.dirty = false;
    widget.dispose();
  }
  return !document.querySelector('.jp-Notebook, .jp-Dialog');
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
            "--ServerApp.disable_check_xsrf=True",  # so that tests may ask it to end a kernel
        ]
        options += ["--LabApp.expose_app_in_browser=True"] if app == "jupyterlab" else []
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

    def write(self, name: str, *sources: str, kernel: str = "python3") -> None:
        """Write a notebook with these cells, or with an empty one."""
        spec = {"name": kernel, "display_name": "Python 3", "language": "python"}
        cells = [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": source, "outputs": [],
             "execution_count": None}
            for number, source in enumerate(sources or ("",))
        ]  # fmt: skip
        whole = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(whole))

    def end(self, name: str) -> None:
        """End the kernel of a notebook."""
        with urllib.request.urlopen(f"{self.url}/api/sessions", timeout=_PATIENCE) as answer:
            sessions = json.load(answer)
        for session in sessions:
            if session["path"] == name:
                asked = urllib.request.Request(f"{self.url}/api/sessions/{session['id']}", method="DELETE")
                urllib.request.urlopen(asked, timeout=_PATIENCE).close()

    def close(self) -> None:
        """End the server, with its kernels."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Chromium:
    """A headless Chromium that is started anew when a test has broken it, so that only that test pays for it."""

    def __init__(self) -> None:
        self._playwright: Any = None
        self._browser: Any = None

    def get(self) -> Any:
        """Return Playwright's browser."""
        try:
            if self._browser is not None:
                self._browser.new_context().close()
                return self._browser
        except Exception:
            self.close()
        self._playwright = sync_api.sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        return self._browser

    def close(self) -> None:
        """End it, as far as it still hears."""
        for end in (self._browser and self._browser.close, self._playwright and self._playwright.stop):
            try:
                if end is not None:
                    end()
            except Exception:
                pass
        self._playwright = self._browser = None


class Desk:
    """A page with JupyterLab, in which one notebook after the other is opened: loading it takes seconds.

    Args:
        server: the server.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._page: Any = None
        self._browser: Any = None

    def open(self, browser: Any, name: str) -> Any:
        """Return the page, with this notebook in it and nothing else."""
        if self._page is None or self._browser is not browser:
            self._browser = browser
            self._page = browser.new_page(viewport=_VIEWPORT)
            self._page.goto(f"{self.server.url}/lab/workspaces/{Path(name).stem}/tree/{name}")
        else:
            self._page.evaluate(_OPEN, name)
        return self._page

    def clear(self) -> None:
        """Close the notebook; a page that cannot do so any more is thrown away."""
        try:
            self._page.wait_for_function(_CLEAR, timeout=5000)  # `evaluate` would wait for ever
        except sync_api.Error:
            self.close()

    def close(self) -> None:
        """Close the page."""
        page, self._page = self._page, None
        try:
            if page is not None:
                page.close()
        except sync_api.Error:  # it is gone with its browser
            pass


_VIEWPORT: Any = {"width": 1280, "height": 900}


class Notebook:
    """One notebook in a tab of its own, or on a desk.

    Args:
        browser: Playwright's.
        server: the server.
        name: the notebook's file; written with an empty cell if it is not there.
        desk: where it is opened; without one, in a page of its own.
    """

    def __init__(self, browser: Any, server: Server, name: str, desk: Desk | None = None) -> None:
        if not (server.folder / name).exists():
            server.write(name)
        self.server, self.name, self._desk = server, name, desk
        self.page = desk.open(browser, name) if desk else browser.new_page(viewport=_VIEWPORT)
        self.console: list[str] = []
        self.page.on("console", self._note)
        self._greeting: Any = self.page.locator(".jp-Dialog")  # what it may ask until the first cell has run
        self.page.add_locator_handler(self._greeting, self._answer)
        if desk is None:
            # A workspace of its own, or else the notebooks of other tests would open beside it.
            place = f"lab/workspaces/{Path(name).stem}/tree" if server.app == "jupyterlab" else "notebooks"
            self.page.goto(f"{server.url}/{place}/{name}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=_PATIENCE * 1000)
        self.page.wait_for_function(_IDLE, timeout=_PATIENCE * 1000)

    def _note(self, message: Any) -> None:
        self.console.append(message.text)

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
        self._greeted()
        return number

    def _greeted(self) -> None:
        if self._greeting is not None:
            self.page.remove_locator_handler(self._greeting)
            self._greeting = None

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
        """Close it, and end its kernel."""
        try:
            self._greeted()
            self.page.remove_listener("console", self._note)
            if self._desk is None:
                self.page.close()
            else:
                self._desk.clear()
        except sync_api.Error:  # the page is gone
            pass
        finally:
            self.server.end(self.name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
