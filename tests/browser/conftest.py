"""One server and one browser for all tests of this folder; each test has a notebook of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.lab import CHROMIUM, FLAGS, Notebook, Server
from playwright import sync_api


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a headless Chromium; while there is one, asyncio takes Playwright's loop for a running one."""
    _need_chromium()
    with sync_api.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a JupyterLab."""
    _need_chromium()
    made = Server(tmp_path_factory.mktemp("notebooks"))
    yield made
    made.close()


@pytest.fixture
def notebook(browser: Any, server: Server, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """Give a new notebook that has loaded the extension."""
    made = Notebook(browser, server, f"{request.node.name}.ipynb")
    made.run("%load_ext isolate_magic")
    yield made
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


def _need_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium): JupyterLab itself is not tested")
