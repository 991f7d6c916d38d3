"""One server and one browser for all tests of this folder; each test has a notebook and a kernel of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.lab import CHROMIUM, Chromium, Desk, Notebook, Server


@pytest.fixture(scope="module")
def _chromium() -> Iterator[Chromium]:
    """While there is one, asyncio takes Playwright's loop for a running one."""
    _need_chromium()
    made = Chromium()
    yield made
    made.close()


@pytest.fixture
def browser(_chromium: Chromium) -> Any:
    """Give a headless Chromium."""
    return _chromium.get()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a JupyterLab."""
    _need_chromium()
    made = Server(tmp_path_factory.mktemp("notebooks"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def _desk(_chromium: Chromium, server: Server) -> Iterator[Desk]:
    made = Desk(server)
    yield made
    made.close()


@pytest.fixture
def notebook(browser: Any, server: Server, _desk: Desk, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """Give a new notebook that has loaded the extension; it is the only one in a page that tests share."""
    made = Notebook(browser, server, f"{_plain(request)}.ipynb", _desk)
    try:
        assert made.run("%load_ext isolate_magic") == "", made.console
        yield made
    finally:
        made.close()


@pytest.fixture
def lonely(browser: Any, server: Server, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """Give the same in a page of its own, which may be loaded again or closed."""
    made = Notebook(browser, server, f"{_plain(request)}.ipynb")
    try:
        assert made.run("%load_ext isolate_magic") == "", made.console
        yield made
    finally:
        made.close()


@pytest.fixture
def opened(browser: Any, server: Server) -> Iterator[Callable[[str], Notebook]]:
    """Give a function that opens a notebook by its name."""
    made: list[Notebook] = []

    def open_(name: str) -> Notebook:
        made.append(Notebook(browser, server, name))
        return made[-1]

    yield open_
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for screenshots."""
    return tmp_path_factory.mktemp("pictures")


def _plain(request: pytest.FixtureRequest) -> str:
    """Return the name of a test as a path of JupyterLab's may have it, without brackets."""
    return re.sub(r"\W", "-", str(request.node.name))


def _need_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium): JupyterLab itself is not tested")
