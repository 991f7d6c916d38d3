"""Code as users write it runs under the preset `untrusted`, in each tier, but for what is listed here."""

from __future__ import annotations

import ast
import os
import pwd
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from isolate_magic import Companion, ConfinementError, CrashReport

SCRIPTS = Path(__file__).with_name("workloads")
PATHS = {path.stem: path for path in sorted(SCRIPTS.glob("*.*py"))}  # .ipy: what only IPython runs
USER = "" if os.geteuid() == 0 else " as an ordinary user"
TIERS = ("N", "L")


class Lack(NamedTuple):
    """What does not run, and why.

    Attributes:
        where: the tiers; `L as an ordinary user` is where the companion has the user's own uid.
        error: the class of what is raised, or two with `|` between.
        reason: for the page of limits in the documentation.
    """

    where: tuple[str, ...]
    error: str
    reason: str


_BOTH, _L, _L_USER = ("N", "L"), ("L",), ("L as an ordinary user",)
_SHM = (
    "named semaphores and shared memory are files in /dev/shm, which tier L cannot make the companion's own: "
    "to open it would open what all other programs keep there"
)
_SOCKETS = (
    "sockets that can be bound or connected are not to be had in tier L, which has no network of its own: "
    "localhost is the host's, and abstract and named UNIX sockets reach the host's services"
)
_PTY = "terminals would be the host's in tier L, and much kernel code to attack in tier N; /dev/ptmx is not there"
_MODES = (
    "Landlock does not look at chmod, which could change every file of the user's whose uid the companion has; "
    "so `shutil.copy` fails, and `shutil.copyfile` does not"
)
_TIMES = (
    "Landlock does not look at utime, which could change files that others let everybody write; so "
    "`shutil.copy2` and `copytree` fail, and `shutil.copyfile` does not"
)
LACKS = {
    "file_locks": Lack(
        _BOTH, "OSError", "flock could block others on files that may only be read; use fcntl.lockf"
    ),
    "memfd": Lack(_BOTH, "OSError", "memory in a memfd counts for no process, so no limit would see it"),
    "terminals": Lack(_BOTH, "OSError", _PTY),
    "file_modes": Lack(_L_USER, "PermissionError", _MODES),
    "copies": Lack(_L_USER, "PermissionError", _MODES),
    "file_times": Lack(_L, "PermissionError", _TIMES),
    "copies_with_times": Lack(_L, "PermissionError|Error", _TIMES),
    "processes_pool": Lack(_L, "PermissionError", _SHM),
    "processes_value": Lack(_L, "PermissionError", _SHM),
    "processes_shared_memory": Lack(_L, "PermissionError", _SHM),
    "futures_processes": Lack(_L, "PermissionError", _SHM),
    "torch_workers": Lack(_L, "PermissionError", _SHM),
    "processes_forkserver": Lack(_L, "PermissionError", _SOCKETS),
    "processes_manager": Lack(_L, "EOFError", _SOCKETS),
    "asyncio_server": Lack(_L, "gaierror", _SOCKETS),
    "sockets": Lack(_L, "PermissionError", _SOCKETS),
    "user_names": Lack(_L, "KeyError", "/etc/passwd names the host's users, so it is not shown"),
}
"""What does not run in a tier; docs/limits.md tells the same."""


class Sink:
    """Take the output of a cell."""

    def __init__(self) -> None:
        self.said = ""

    def stream(self, _name: str, text: str) -> None:
        """Keep what is printed."""
        self.said += text

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Keep what kind of media came."""
        self.said += f"<{kind}: {', '.join(content.get('data', ()))}>"


@pytest.fixture(scope="module", params=TIERS)
def confined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Companion]:
    """Give a companion in one tier, with its tier as the fixture's parameter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOLATE_MAGIC_TIER", request.param)
        patch.chdir(tmp_path_factory.mktemp("work"))
        made = Companion(f"workloads-{request.param}", policy="untrusted")
        try:
            made.start()
        except ConfinementError as error:
            made.close()
            pytest.skip(str(error))
        yield made
        made.close()


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Companion]:
    """Give a companion that nothing confines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("free"))
        with Companion("workloads-free") as made:
            yield made


def need(name: str) -> str:
    """Return the source of a script; skip the test if a package of it is not installed."""
    source = PATHS[name].read_text("utf-8")
    plain = "".join(line for line in source.splitlines(True) if not line.lstrip().startswith(("%", "!")))
    for node in ast.walk(ast.parse(plain.replace("= !", "= 0 # "))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            top = module.partition(".")[0]
            if top not in MADE and top not in sys.stdlib_module_names and find_spec(top) is None:
                pytest.skip(f"{top} is not installed")
    return source


MADE = {"spawned_task", "served_task", "made"}  # modules that the scripts write themselves


def known(uid: int) -> bool:
    """Return whether a user has an entry in the list of users."""
    return any(entry.pw_uid == uid for entry in pwd.getpwall())


def lacking(name: str, tier: str) -> Lack | None:
    """Return why a script cannot run in a tier, or None if it has to."""
    lack = LACKS.get(name)
    return lack if lack and {tier, tier + USER} & set(lack.where) else None


@pytest.mark.parametrize("name", PATHS)
def test_a_workload_runs_in_a_tier_or_fails_as_listed(
    name: str, confined: Companion, request: pytest.FixtureRequest
) -> None:
    source = need(name)
    lack = lacking(name, request.node.callspec.params["confined"])
    confined.restart()
    before: CrashReport | None = confined.crash
    if lack is None:
        confined.run(source, sink=Sink(), timeout=90)
    else:
        with pytest.raises(Exception) as caught:
            confined.run(source, sink=Sink(), timeout=90)
        assert type(caught.value).__name__ in lack.error.split("|"), (
            f"{name} does not fail as listed: {caught.value!r}"
        )
    assert confined.crash is before
    assert confined.run("1 + 1") == 2


@pytest.mark.parametrize("name", LACKS)
def test_what_a_tier_lacks_runs_without_it(name: str, free: Companion) -> None:
    source = need(name)
    if name == "user_names" and not known(os.getuid()):
        pytest.skip("who runs this has no name either")
    free.restart()
    free.run("import sys; sys.path.insert(0, '')")
    free.run(source, sink=Sink(), timeout=90)


def test_a_figure_in_a_confined_notebook_is_shown(confined: Companion) -> None:
    pytest.importorskip("matplotlib")
    confined.restart()
    sink = Sink()
    confined.run("import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); plt.show()", sink=sink)
    assert "image/png" in sink.said


def test_every_listed_workload_is_there() -> None:
    assert set(LACKS) <= set(PATHS)


def test_the_page_of_limits_lists_what_does_not_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    for name, lack in LACKS.items():
        tiers = "N, L" if lack.where == _BOTH else "L" if lack.where == _L else "L, as an ordinary user"
        row = f"| {name.replace('_', ' ')} | {tiers} | {lack.reason} |"
        assert row in page, f"docs/limits.md wants this row: {row}"
