"""The scene of the attacks, and the companions in which they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from boundary.attacks import Place
from boundary.scene import Scene

from isolate_magic import Companion, ConfinementError, Policy

TIERS = ("N", "L")


def lacking(tier: str) -> str:
    """Return why a tier cannot be had in this process, or ""."""
    if tier != "L" or os.geteuid():
        return ""
    library = Path(os.__file__).resolve().parent
    closed = [path for path in (library, *library.parents) if not path.stat().st_mode & 0o001]
    return (
        f"others than root may not enter {closed[-1]}; test_everywhere runs this where they may"
        if closed
        else ""
    )


def shared(folder: Path) -> Path:
    """Make a folder that a companion, who may be another user, gets at."""
    folder.mkdir()
    folder.chmod(0o777)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(0o711)
    return folder


def start(name: str, tier: str, policy: Policy) -> Companion:
    """Start a companion in a tier; skips where the tier cannot be had."""
    reason = lacking(tier)
    if reason:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        if tier:
            patch.setenv("ISOLATE_MAGIC_TIER", tier)
        made = Companion(f"{name}-{tier or 'off'}-{os.getpid()}", policy=policy)
        try:
            made.start()
        except ConfinementError as error:
            made.close()
            pytest.skip(str(error))
        except BaseException:
            made.close()
            raise
    return made


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest) -> str:
    """Give each tier."""
    reason = lacking(str(request.param))
    if reason:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session")
def scene() -> Iterator[Scene]:
    """Give the canaries."""
    made = Scene()
    yield made
    made.close()


def caged(scene: Scene) -> Policy:
    """Return the policy of the attacker: folders to read and to write, some hidden."""
    folder = scene.folder
    return Policy(
        extends="untrusted", name="cage", read=[f"{folder}/shown", f"{folder}/packages"], write=[f"{folder}/out", f"{folder}/spare"],
        hidden=[f"{folder}/shown/.env", f"{folder}/shown/hidden"], cpu="30min",
    )  # fmt: skip


@pytest.fixture(scope="session")
def places(scene: Scene) -> Iterator[dict[str, Place]]:
    """Give the companions: `off`, and one in each tier; secrets lie in the host's environment and arguments."""
    made: dict[str, Place] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, text in scene.environment.items():
            patch.setenv(name, text)
        patch.setattr(sys, "argv", [*sys.argv, scene.argument])
        patch.chdir(scene.folder / "work")
        for tier in ("", *TIERS):
            policy = caged(scene) if tier else Policy.of("trusted")
            try:
                made[tier or "off"] = Place(tier or "off", start("attacker", tier, policy))
            except pytest.skip.Exception as skipped:
                made[tier] = Place(tier, None, str(skipped))
    yield made
    for place in made.values():
        if place.companion is not None:
            place.companion.close()
    assert scene.harms() == []
