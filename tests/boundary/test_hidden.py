"""What a policy hides stays hidden in a folder that is shown, also when the host replaces it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from boundary.conftest import start

from isolate_magic import Companion, Policy


@pytest.fixture(params=["/tmp", "/var/tmp"])
def base(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a folder that all may write: below the companion's own /tmp, or elsewhere."""
    with tempfile.TemporaryDirectory(dir=request.param) as made:
        Path(made).chmod(0o777)
        yield Path(made)


def denied(companion: Companion, code: str) -> OSError:
    """Return the error that code of a companion must end with."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        companion.run(code)
    return caught.value


def test_a_hidden_file_and_folder_stay_hidden_when_they_are_replaced(tier: str, base: Path) -> None:
    data = base / "data"
    secrets = data / "secrets"
    secrets.mkdir(parents=True)
    (data / "shown").write_text("shown")
    for path in (data / "hidden", secrets / "key"):
        path.write_text("canary")
    policy = Policy(extends="untrusted", read=[str(data)], hidden=[str(data / "hidden"), str(secrets)])
    companion = start("hiding", tier, policy)
    read = "open({!r}).read()".format
    assert companion.run(read(str(data / "shown"))) == "shown"

    def try_all() -> None:
        for path in (data / "hidden", secrets / "key"):
            with pytest.raises(OSError):
                companion.run(read(str(path)))
        with pytest.raises(OSError):
            companion.run(f"import os; assert os.listdir({str(secrets)!r}) == [], 'seen'; raise OSError")

    try_all()
    new = data / "new"
    new.write_text("canary")
    new.rename(data / "hidden")
    secrets.rename(data / "moved")
    secrets.mkdir()
    (secrets / "key").write_text("canary")
    try_all()
    with pytest.raises(OSError):
        companion.run(read(str(data / "moved" / "key")))
    companion.close()


@pytest.mark.parametrize("here", ["above", "inside", "elsewhere"])
def test_what_is_hidden_in_a_folder_that_may_be_written_stays_hidden_when_it_is_replaced(
    here: str, tier: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, inner = base / "work", base / "work" / "inner"
    inner.mkdir(parents=True)
    for folder in (work, inner):
        folder.chmod(0o777)
    (inner / "key").write_text("canary")
    (inner / "other").write_text("other")
    monkeypatch.chdir({"above": base, "inside": work, "elsewhere": "/usr"}[here])
    policy = Policy(extends="untrusted", write=[str(work)], hidden=[str(inner / "key")])
    companion = start("writing", tier, policy)
    try:
        assert companion.run(f"with open('{inner}/other') as file: text = file.read()\ntext") == "other"
        denied(companion, f"open('{inner}/key')")
        (inner / "new").write_text("canary")
        (inner / "new").rename(inner / "key")  # as editors save
        denied(companion, f"open('{inner}/key')")
        inner.rename(work / "moved")
        inner.mkdir()
        (inner / "key").write_text("canary")
        for path in (inner / "key", work / "moved" / "key"):
            denied(companion, f"open('{path}')")
    finally:
        companion.close()


def test_why_nothing_new_can_be_made_beside_what_is_hidden_is_said(tier: str, base: Path) -> None:
    (base / "key").write_text("canary")
    policy = Policy(extends="untrusted", name="beside", write=[str(base)], hidden=[str(base / "key")])
    companion = start("beside", tier, policy)
    try:
        (note,) = [
            text for text in denied(companion, f"open('{base}/new', 'w')").__notes__ if "policy" in text
        ]
        assert note == (
            f'policy \'beside\', hidden = ["{base}/key"]: nothing can be made, renamed or removed in "{base}", '
            f'because "{base}/key" lies in it; put what is hidden, or what is written, into a folder of its own'
        )
    finally:
        companion.close()


def test_temporary_files_can_be_made_whatever_is_hidden(tier: str, base: Path) -> None:
    (base / "key").write_text("canary")
    companion = start(
        "temporary", tier, Policy(extends="untrusted", read=[str(base)], hidden=[str(base / "key")])
    )
    try:
        made = "import tempfile\nwith tempfile.TemporaryFile() as file: size = file.write(b'x')\nsize"
        assert companion.run(made) == 1
    finally:
        companion.close()


_WITHOUT_LANDLOCK = """
import errno, sys
from isolate_magic import Companion, Policy
from isolate_magic.child import bpf, linux, seccomp
linux.no_new_privileges()
rules = {"landlock_create_ruleset": bpf.fail(errno.ENOSYS)}
seccomp.install(bpf.assemble(rules, bpf.answer(bpf.ALLOW), bpf.answer(bpf.ALLOW), None))
folder = sys.argv[2]
with Companion("bare", policy=Policy(extends="untrusted", hidden=[folder + "/key"], **{sys.argv[1]: [folder]})) as made:
    made.run("1")
    try:
        made.run(f"open('{folder}/key')")
    except OSError:
        print("hidden")
"""


def test_without_landlock_nothing_can_be_hidden_in_a_folder_that_may_be_written(base: Path) -> None:
    (base / "key").write_text("canary")

    def tried(field: str) -> str:
        command = [sys.executable, "-c", _WITHOUT_LANDLOCK, field, str(base)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    assert f"without Landlock {base}/key, `hidden` in a folder that may be written" in tried("write")
    shown = tried("read")
    if "namespaces" in shown:
        pytest.skip(shown)
    assert shown.splitlines()[0] == "hidden"
