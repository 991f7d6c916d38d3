"""`python -m isolate_magic install`: the kernelspec that it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import Kernel

ROOT = Path(__file__).parent.parent.parent


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isolate_magic", "install", *arguments], capture_output=True, text=True
    )


def spec(prefix: Path, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(
        (prefix / "share/jupyter/kernels" / name / "kernel.json").read_text()
    )
    return content


def test_it_registers_a_kernel_whose_argv_is_the_isolation(tmp_path: Path) -> None:
    done = install("--prefix", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    found = spec(tmp_path, "isolated")
    assert found["display_name"] == "Python 3 (isolated)"
    assert found["language"] == "python"
    assert found["argv"] == [
        *(
            sys.executable,
            "-P",
            "-m",
            "isolate_magic.kernel",
            "-f",
            "{connection_file}",
            "--policy",
            "trusted",
        ),
    ]
    assert (tmp_path / "share/jupyter/kernels/isolated/logo-svg.svg").exists()


def test_name_policy_and_title_can_be_chosen_and_it_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("extends = 'untrusted'\nread = ['data']\n")
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "isolate_magic", "install", "--prefix", ".", "--name", "student", "--policy", "mine.toml",
         "--display-name", "Homework"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = spec(tmp_path, "student")
    assert found["display_name"] == "Homework"
    assert found["argv"][-1] == str(tmp_path / "mine.toml")  # type: ignore[index]
    removed = subprocess.run(
        [sys.executable, "-m", "jupyter", "kernelspec", "remove", "-y", "student"],
        capture_output=True, text=True, env=os.environ | {"JUPYTER_PATH": str(tmp_path / "share/jupyter")},
    )  # fmt: skip
    assert removed.returncode == 0, removed.stderr
    assert not (tmp_path / "share/jupyter/kernels/student").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "a b"), "'a b' is no name for a kernel"),
        (("--policy", "untrustd"), "did you mean 'untrusted'?"),
        (("--policy", "nowhere.toml"), "cannot be read"),
        (("--user", "--sys-prefix"), "not allowed with"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments: tuple[str, ...], said: str) -> None:
    done = install(*arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_of_the_page_are_accepted(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kernel.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("python -m isolate_magic install")]
    assert len(commands) == 2
    for line in commands:
        words = [word for word in shlex.split(line)[4:] if word != "--user"]
        done = install("--prefix", str(tmp_path), *words)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "share/jupyter/kernels").iterdir()} == {"isolated", "student"}


def test_where_a_policy_cannot_be_enforced_every_cell_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", "X")
    kernel = Kernel(name="student")
    try:
        for _ in range(2):
            assert "the tiers are N (namespaces) and L (Landlock)" in kernel.run("1").error
    finally:
        kernel.close()


def test_a_policy_that_has_gone_is_told_by_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text("extends = 'untrusted'\n")
    install("--prefix", str(tmp_path), "--name", "gone", "--policy", str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").unlink()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    kernel = Kernel(name="gone")
    try:
        for _ in range(2):
            cell = kernel.run("1")
            assert cell.reply["ename"] == "PolicyError"
            assert "mine.toml cannot be read" in cell.error
    finally:
        kernel.close()


def test_the_front_loads_neither_a_shell_nor_jedi_nor_libraries() -> None:
    code = (
        "import sys, isolate_magic.kernel.application; from IPython import get_ipython; "
        "print(get_ipython(), {'jedi', 'matplotlib', 'numpy', 'ipywidgets', 'debugpy.server'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None set()"
