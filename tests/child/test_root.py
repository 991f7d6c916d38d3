"""What a companion with a root of its own finds in it: its own folders, and nothing of how they were made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boundary.conftest import start

from isolate_magic import Policy, fence


@pytest.mark.parametrize("here", ["/tmp", "/", "/usr"])
def test_it_may_write_its_own_folders_wherever_the_session_is(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    companion = start("own", "N", Policy(extends="untrusted"))
    try:
        for folder in ("/tmp", "/dev/shm", "/tmp/home"):
            assert (
                companion.run(f"with open('{folder}/new', 'w') as file: file.write('x')\n'written'")
                == "written"
            )
    finally:
        companion.close()


def test_the_working_directory_is_its_own_and_empty(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    companion = start("empty", "N", Policy(extends="untrusted"))
    try:
        assert companion.run("import os\nos.getcwd()") == os.getcwd()
        assert companion.run("with open('new', 'w') as file: file.write('x')\nos.listdir()") == ["new"]
        assert os.listdir() == []
    finally:
        companion.close()


def test_nothing_is_left_of_the_making_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    companion = start("bare", "N", Policy(extends="untrusted"))
    try:
        runtime = {Path(path).parts[2] for path in fence.runtime() if path.startswith("/tmp/")}
        assert set(companion.run("import os\nos.listdir('/tmp')")) == {"home"} | runtime
        assert not {"old", "space"} & set(companion.run("os.listdir('/')"))
    finally:
        companion.close()
