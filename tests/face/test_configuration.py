"""What an administrator writes into ipython_config.py, in real kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Cell, Kernel

LOCKED = 'c = get_config()\nc.Isolate.policy = "untrusted"\nc.Isolate.policy_locked = True\n'
OPEN = 'c = get_config()\nc.Isolate.policy = "offline"\n'
WEAK = 'extends = "untrusted"\nmemory = "4GiB"\n'


def kernel_with(folder: Path, config: str) -> Kernel:
    """Start a kernel whose IPython reads a configuration."""
    profile = folder / "profile_default"
    profile.mkdir()
    (profile / "ipython_config.py").write_text(config)
    (folder / "weak.toml").write_text(WEAK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        made = Kernel()
    made.run(f"from isolate_magic import *\nWEAK = {str(folder / 'weak.toml')!r}")
    return made


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = kernel_with(tmp_path_factory.mktemp("locked"), LOCKED)
    yield made
    made.close()


def said(cell: Cell) -> str:
    """Return all that a cell has answered."""
    return cell.stream() + cell.stream("stderr") + cell.error


def test_the_lock_holds_before_the_extension_is_loaded(tmp_path: Path) -> None:
    kernel = kernel_with(tmp_path, LOCKED)
    try:
        assert "the administrator has locked" in said(kernel.run("Companion('a', policy='trusted')"))
        assert kernel.run("default_companion().policy.name").result["text/plain"] == "'untrusted'"
        assert kernel.run("%load_ext isolate_magic").status == "ok"
        assert "weakened" in said(kernel.run("%config Isolate.policy_locked = False"))
    finally:
        kernel.close()


@pytest.fixture
def kernel(locked: Kernel) -> Kernel:
    """Give the kernel with the lock and the extension."""
    assert locked.run("%reload_ext isolate_magic").status == "ok"
    return locked


@pytest.mark.parametrize(
    "code",
    [
        "Companion('a', policy='trusted')",
        "Companion('a', policy=Policy(extends='untrusted', memory='4GiB'))",
        "Companion('a', policy=WEAK)",
        "Companion('a', env={'SECRET': 'x'})",
        "get_companion('b').change_policy('offline')",
        "get_companion('b').follow_policy(WEAK)",
        "%isolate start c --policy trusted",
        "%isolate start c --policy {WEAK}",
        "%isolate start c --policy-file {WEAK}",
        "get_companion('b')\n%isolate policy b --policy trusted",
        "get_companion('b')\n%isolate policy b --policy-file {WEAK}",
    ],
)
def test_no_way_leads_to_a_weaker_policy(kernel: Kernel, code: str) -> None:
    assert "the administrator has locked" in said(kernel.run(code))


@pytest.mark.parametrize(
    "setting", ["policy = 'trusted'", "policy = 'offline'", "policy = '{WEAK}'", "policy_locked = False"]
)
def test_the_configuration_cannot_be_weakened(kernel: Kernel, setting: str) -> None:
    assert "it cannot be weakened from a notebook" in said(kernel.run(f"%config Isolate.{setting}"))


def test_it_survives_that_the_extension_is_unloaded_and_the_configuration_changed(kernel: Kernel) -> None:
    kernel.run("get_ipython().config.Isolate.policy_locked = False")
    kernel.run("get_ipython().config.Isolate.policy = 'trusted'")
    for code in ("%reload_ext isolate_magic", "%unload_ext isolate_magic", "%load_ext isolate_magic"):
        assert kernel.run(code).status == "ok"
        assert "has locked" in said(kernel.run("Companion('z', policy='trusted')"))
    assert "weakened" in said(kernel.run("%config Isolate.policy = 'trusted'"))


def test_what_is_stricter_can_be_had(kernel: Kernel) -> None:
    cell = kernel.run("with Companion('s', policy=Policy(extends='untrusted', memory='300MiB')) as s: pass")
    assert cell.status == "ok"


def test_config_shows_help(kernel: Kernel) -> None:
    text = said(kernel.run("%config Isolate"))
    assert "Isolate.policy=<Unicode>" in text
    assert "Current: 'untrusted'" in text
    assert "Isolate.policy_locked=<Bool>" in text


def test_cells_run_under_it(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\nopen('/etc/shadow')")
    assert "PermissionError" in cell.error
    assert "policy 'untrusted', read = []: allow_read(\"/etc/shadow\") would allow it" in cell.error


def test_without_a_lock_it_is_a_default(tmp_path: Path) -> None:
    kernel = kernel_with(tmp_path, OPEN + "c.InteractiveShellApp.extensions = ['isolate_magic']\n")
    try:
        assert kernel.run("default_companion().policy.name").result["text/plain"] == "'offline'"
        assert kernel.run("Companion('t', policy='trusted').policy.name").result["text/plain"] == "'trusted'"
        kernel.run("%config Isolate.policy = 'untrusted'")
        assert kernel.run("Companion('u').policy.name").result["text/plain"] == "'untrusted'"
        assert "did you mean 'untrusted'" in said(kernel.run("%config Isolate.policy = 'untrustd'"))
        kernel.run("%config Isolate.policy_locked = True")
        assert "has locked" in said(kernel.run("Companion('v', policy='trusted')"))
    finally:
        kernel.close()


def test_a_policy_that_cannot_be_lets_nothing_start(tmp_path: Path) -> None:
    kernel = kernel_with(tmp_path, "c = get_config()\nc.Isolate.policy = 'nonsense'\n")
    try:
        assert "nonsense" in said(kernel.run("%load_ext isolate_magic"))
        assert "c.Isolate.policy" in said(kernel.run("Companion('a')"))
    finally:
        kernel.close()


# ---------------------------------------------------------------- defaults


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    text = "c = get_config()\nc.Isolate.preload = ['json', 'wave']\nc.Isolate.timeout = 1.5\n"
    made = kernel_with(tmp_path_factory.mktemp("configured"), text)
    made.run("%load_ext isolate_magic")
    yield made
    made.close()


def test_modules_are_imported_before_the_fork_where_no_others_are_named(configured: Kernel) -> None:
    cell = configured.run(
        "import sys\nCompanion('pre').preload, 'wave' in Companion('q').run('import sys; sys').modules"
    )
    assert cell.result["text/plain"] == "(('json', 'wave'), True)"
    assert configured.run("Companion('r', preload=[]).preload").result["text/plain"] == "()"


def test_a_cell_has_the_time_that_is_configured_unless_it_says_another(configured: Kernel) -> None:
    configured.run("%config Isolate.timeout = 1.5")
    assert "CellTimeout" in configured.run("%%isolated\nwhile True: pass", 20).error
    assert configured.run("%%isolated -t 30\nimport time\ntime.sleep(2)").status == "ok"
    configured.run("%config Isolate.timeout = 0")
    assert configured.run("%%isolated\nimport time\ntime.sleep(2)").status == "ok"
    configured.run("%config Isolate.timeout = 1.5")


def test_a_default_that_cannot_be_is_refused(configured: Kernel) -> None:
    assert "timeout" in said(configured.run("%config Isolate.timeout = -1"))
    assert "top_interval" in said(configured.run("%config Isolate.top_interval = 0"))


def test_unloading_forgets_what_was_configured(configured: Kernel) -> None:
    configured.run("%config Isolate.top_interval = 5\n%unload_ext isolate_magic")
    cell = configured.run("from isolate_magic.defaults import Defaults, defaults\ndefaults == Defaults()")
    assert cell.result["text/plain"] == "True"
    assert configured.run("%load_ext isolate_magic").status == "ok"
    cell = configured.run("defaults.preload, defaults.top_interval")
    assert cell.result["text/plain"] == "(('json', 'wave'), 5.0)"  # IPython itself remembers %config


def test_a_refused_value_does_not_keep_the_extension_from_loading(configured: Kernel) -> None:
    configured.run("%config Isolate.timeout = -1")
    assert "timeout does not count" in said(configured.run("%reload_ext isolate_magic"))
    assert configured.run("%config Isolate.timeout").result["text/plain"] == "0.0"
    configured.run("%config Isolate.timeout = 1.5")


def test_every_default_is_an_option_of_the_same_value() -> None:
    from dataclasses import asdict

    from isolate_magic.defaults import Defaults
    from isolate_magic.face.configuration import Isolate

    ours = Isolate()
    names = set(Isolate.class_own_traits(config=True)) - {"policy", "policy_locked"}
    assert names == set(asdict(Defaults()))
    assert (Defaults().snapshots, ours.snapshots) == ("off", "auto")  # the latter in notebooks alone
    for name in names - {"snapshots"}:
        value = getattr(ours, name)
        assert (tuple(value) if isinstance(value, list) else value) == getattr(Defaults(), name)
