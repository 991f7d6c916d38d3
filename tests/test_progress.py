"""What takes over a second says how far it is, and nothing else does."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kernels import Kernel

from isolate_magic import Companion, Policy, byvalue, progress, share
from isolate_magic.defaults import defaults


class Screen:
    """Keep what is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, float | None]] = []
        self.hidden = 0

    def show(self, text: str, part: float | None) -> None:
        self.shown.append((text, part))

    def hide(self) -> None:
        self.hidden += 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """Show steps on a screen of the test's, and at once: this machine is too fast for a second."""
    made = Screen()
    monkeypatch.setattr(progress, "LATE", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    before = progress.use(lambda: made)
    yield made
    progress.use(before)


LARGE = 70_000_000  # float64: 560 MB, three chunks
PARTS = pytest.approx(1.0)


def parts(screen: Screen) -> list[float | None]:
    return [part for _, part in screen.shown]


def test_arguments_and_names_that_are_pushed_are_counted(companion: Companion, screen: Screen) -> None:
    companion.push({"table": np.zeros(LARGE)})
    assert screen.shown[0][0].startswith(f"copying to companion '{companion.name}': 0.25 of 0.52 GiB, ")
    assert parts(screen) == sorted(parts(screen))  # type: ignore[type-var]
    assert parts(screen)[-1] == PARTS
    assert screen.hidden == 1


def test_copies_are_counted_the_other_way_too(companion: Companion, screen: Screen) -> None:
    proxy = companion.run(f"import numpy\nnumpy.zeros({LARGE})")
    assert byvalue(proxy).nbytes == 8 * LARGE
    assert screen.shown[0][0].startswith(f"copying from companion '{companion.name}': 0.25 of 0.52 GiB, ")
    assert parts(screen)[-1] == PARTS
    assert screen.hidden == 1


def test_many_pieces_are_one_step(companion: Companion, screen: Screen) -> None:
    proxy = companion.run("import numpy\n{n: numpy.full(20_000_000, n) for n in range(5)}")
    assert byvalue(proxy)[4][0] == 4
    assert parts(screen)[-1] == PARTS
    assert screen.hidden == 1
    assert parts(screen) == sorted(parts(screen))  # type: ignore[type-var]


def test_sharing_is_counted(screen: Screen) -> None:
    share(np.zeros(LARGE))
    assert screen.shown[0][0].startswith("sharing: 0.25 of 0.52 GiB")
    assert (parts(screen)[-1], screen.hidden) == (PARTS, 1)


def test_copies_through_a_memfd_are_counted(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    with Companion("indirect") as companion:
        companion.start()
        assert companion._process is not None
        companion._process.talk.arguments.direct = False
        companion.push({"table": np.zeros(LARGE)})
    assert (parts(screen)[-1], screen.hidden) == (PARTS, 1)


def test_a_start_with_many_imports_says_which(screen: Screen, tmp_path: Any) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1.2)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with Companion("importing", preload=["json", "slow_to_import"]) as companion:
            assert companion.pid
    words, part = screen.shown[0]
    assert words.startswith("starting companion 'importing': importing json, slow_to_import (")
    assert part is None
    assert screen.hidden == 1


def test_what_is_quick_or_small_shows_nothing(companion: Companion, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Screen()
    before = progress.use(lambda: made)
    try:
        companion.push({"table": np.zeros(20_000_000)})
        monkeypatch.setattr(progress, "LATE", 0.0)
        companion.push({"small": np.zeros(1_000_000)})
    finally:
        progress.use(before)
    assert made.shown == []
    assert made.hidden == 0


def test_it_can_be_switched_off(
    companion: Companion, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "progress", False)
    companion.push({"table": np.zeros(LARGE)})
    assert screen.shown == []


def test_a_copy_that_fails_hides_it(companion: Companion, screen: Screen) -> None:
    with pytest.raises(KeyError), progress.outgoing(companion.start()._process.talk, LARGE):  # type: ignore[union-attr]
        progress.moved(LARGE // 2)
        raise KeyError
    assert screen.hidden == 1
    with progress.moving("again", LARGE):
        progress.moved(1)
    assert screen.hidden == 2


def test_an_untrusted_companion_makes_nothing_appear(screen: Screen) -> None:
    """It calls back with large arguments, again and again; the user has asked for none of them."""
    heard: list[int] = []

    def take(body: bytes) -> int:
        heard.append(len(body))
        return len(heard)

    policy = Policy(extends="untrusted", memory="2GiB")
    with Companion("noisy", policy=policy) as companion:
        companion.run("def shout(take):\n    for _ in range(3):\n        take(bytes(200 << 20))")
        screen.shown.clear()  # its start
        companion.pull("shout")(take)
        assert heard == [200 << 20] * 3
        assert screen.shown == []
        companion.push({"asked": np.zeros(LARGE // 2)})  # what the user does is shown
        assert screen.shown


def test_a_terminal_has_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = progress.Line()
    line.show("copying", 0.5)
    assert terminal.getvalue() == "\r\x1b[Kcopying (50%)"
    line.hide()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_file_as_stderr_stays_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    line = progress.Line()
    line.show("copying", None)
    line.hide()
    assert file.getvalue() == ""


def test_in_a_notebook_it_appears_below_the_cell_after_a_second_and_leaves_nothing(tmp_path: Any) -> None:
    (tmp_path / "slow_in_kernel.py").write_text("import time\ntime.sleep(2.5)\n")
    kernel = Kernel()
    try:
        kernel.run(f"%load_ext isolate_magic\nimport sys\nsys.path.insert(0, {str(tmp_path)!r})")
        cell = kernel.run("%isolate start slow --preload slow_in_kernel")
        (first,) = cell.of("display_data")
        assert first["data"]["text/plain"].startswith("starting companion 'slow': importing slow_in_kernel (")
        assert "isolate-progress" in first["data"]["text/html"]
        updates = cell.of("update_display_data")
        assert {update["transient"]["display_id"] for update in updates} == {first["transient"]["display_id"]}
        assert updates[-1]["data"] == {"text/plain": "", "text/html": ""}
        assert "slow: idle" in cell.stream()
        kernel.run("%config Isolate.progress = False")
        (tmp_path / "slow_too.py").write_text("import time\ntime.sleep(1.5)\n")
        assert kernel.run("%isolate start other --preload slow_too").of("display_data") == []
    finally:
        kernel.close()
