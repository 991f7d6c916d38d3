"""What a policy hides stays hidden in a folder that is shown, also when the host replaces it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isolate_magic import Companion, ConfinementError, Policy


@pytest.mark.parametrize("tier", ["N", "L"])
def test_a_hidden_file_and_folder_stay_hidden_when_they_are_replaced(
    tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", tier)
    tmp_path.chmod(0o755)
    data = tmp_path / "data"
    secrets = data / "secrets"
    secrets.mkdir(parents=True)
    (data / "shown").write_text("shown")
    for path in (data / "hidden", secrets / "key"):
        path.write_text("canary")
    policy = Policy(extends="untrusted", read=[str(data)], hidden=[str(data / "hidden"), str(secrets)])
    companion = Companion("hiding", policy=policy)
    try:
        companion.start()
    except ConfinementError as error:
        pytest.skip(str(error))
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
