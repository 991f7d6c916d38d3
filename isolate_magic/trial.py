"""A trial: acts tried in throwaway companions of one tier and one policy, and what came of each (host)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from isolate_magic.act import PRELUDE, Act, Scene, user_namespace
from isolate_magic.canaries import Canaries
from isolate_magic.companion import Companion
from isolate_magic.policy import Policy
from isolate_magic.protection import Protection
from isolate_magic.session import byvalue

_TIER = "ISOLATE_MAGIC_TIER"
_SECONDS = 20.0  # for an act; each ends by itself before, but on a very busy host
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Outcome:
    """What came of one act.

    Attributes:
        happened: whether it got through.
        enforced_by: what stops it, as the companion's report names it; "" if the policy leaves it open.
    """

    happened: bool
    enforced_by: str


@contextmanager
def forced(tier: str) -> Iterator[None]:
    """Let companions start in one tier only; "" leaves it as it is."""
    before = os.environ.get(_TIER)
    if tier:
        os.environ[_TIER] = tier
    try:
        yield
    finally:
        if before is not None:
            os.environ[_TIER] = before
        else:
            os.environ.pop(_TIER, None)


class Trial:
    """Try acts in companions of one tier; use it in a `with`, which ends the companions.

    Args:
        tier: `N` or `L`; "" takes what the policy gets.
        policy: theirs.
        canaries: what the acts go for.

    Attributes:
        details: what the last companion's supervisor has reported.
    """

    def __init__(self, tier: str, policy: Policy, canaries: Canaries) -> None:
        self._tier = tier
        self._policy = policy
        self._canaries = canaries
        self._companion: Companion | None = None
        self.details: dict[str, Any] = {}

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def attempt(self, act: Act) -> Outcome:
        """Try one act.

        Raises:
            ConfinementError: the companion cannot be confined in this tier.
            PolicyError: the policy cannot be enforced in this tier, or an administrator's lock forbids it.
        """
        if self._companion is not None and (not act.shared or self._companion.state != "idle"):
            self._close()
        if self._companion is None:
            self._companion = self._start(act.under(self._policy, self._canaries))
        scene, report = self._run(self._companion, act)
        outcome = Outcome(act.happened(scene), _enforcer(report, act.enforced))
        if not act.shared:
            self._close()
        self._canaries.renew()
        return outcome

    def _close(self) -> None:
        if self._companion is not None:
            self._companion.close()
            self._companion = None

    def _start(self, policy: Policy) -> Companion:
        companion = Companion(f"doctor-{os.getpid()}-{next(_numbers)}", policy=policy)
        try:
            with forced(self._tier):
                companion.start()
        except BaseException:
            companion.close()
            raise
        return companion

    def _run(self, companion: Companion, act: Act) -> tuple[Scene, Protection]:
        report, pid, heard = companion.report, companion.pid, _Heard()
        assert report is not None
        self.details = report.details
        assert pid is not None
        scene = Scene(self._canaries, pid, before=user_namespace(pid))
        try:
            value = companion.run(
                PRELUDE + act.code, push=self._canaries.told(), timeout=_SECONDS, sink=heard
            )
            scene.told = str(byvalue(value) if act.copies else value)
        except Exception:  # border: whatever the act raises there, it counts by what it has done
            pass
        scene.text, scene.shown = heard.text, heard.shown
        if companion.crash is not None:
            scene.peak = companion.crash.peak_memory or 0
        return scene, report


class _Heard:
    """Keep what a companion shows."""

    def __init__(self) -> None:
        self.text = ""
        self.shown: list[dict[str, Any]] = []

    def stream(self, _name: str, text: str) -> None:
        """Keep text."""
        self.text += text

    def message(self, _kind: str, content: dict[str, Any]) -> None:
        """Keep a display."""
        self.shown.append(content.get("data") or {})


_MAIN_SESSION = {"output filter": "filter of the main session", "pickles": "main session takes data only"}


def _enforcer(report: Protection, line: str) -> str:
    if line == "processes seen":
        if "pid" in report.details.get("namespaces", ()):
            return "pid namespace"
        return f"Landlock ABI {report.details['landlock']}" if report.details.get("landlock") else ""
    if line in _MAIN_SESSION:
        return _MAIN_SESSION[line] if any(layer.field == "trusted" for layer in report.layers) else ""
    return next((layer.enforced_by for layer in report.layers if layer.field == line), "")
