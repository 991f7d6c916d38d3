"""The doctor: tries every layer of the sandbox on this host by doing what is forbidden (host).

Each act is done in a throwaway companion, once without a sandbox, to see whether it works at all, and once in
every tier that can be had. `python -m isolate_magic doctor` shows what came of it.
"""

from __future__ import annotations

import html
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from isolate_magic import circumstances, fence
from isolate_magic._version import __version__
from isolate_magic.act import Act
from isolate_magic.acts import ACTS
from isolate_magic.canaries import Canaries
from isolate_magic.circumstances import Fact
from isolate_magic.companion import Companion
from isolate_magic.errors import ConfinementError, PolicyError
from isolate_magic.policy import PRESETS, Policy
from isolate_magic.trial import Trial, forced

Held = Literal["yes", "no", "not available"]

_TIERS = {"N": "tier N: namespaces, Landlock and seccomp", "L": "tier L: Landlock and seccomp"}
_WIDTHS = (4, 15, 43, 32)  # with two blanks between them 100 columns
_MARKS: dict[Held, str] = {"yes": "yes", "no": "NO", "not available": "-"}
_HELD: dict[bool, Held] = {True: "yes", False: "no"}
_FAULT = "nothing on this host should let this through: please report it to the authors of isolate_magic"


@dataclass(frozen=True)
class Finding:
    """What came of one forbidden act.

    Attributes:
        tier: where it was tried, `N` or `L`.
        layer: what it is about: `files`, `processes`, `signals`, `network`, ...
        tried: what was done, in plain words; acts that are allowed begin with "allowed: ".
        held: `yes`: it was stopped (what is allowed works); `no`: it got through; `not available`: not tried,
            because the layer cannot be had here.
        enforced_by: what stops it.
        cure: what to do, if it did not hold or is not available.
        bare: whether it works without a sandbox; if not, something else stops it here anyway. None if it was
            not tried.
    """

    tier: str
    layer: str
    tried: str
    held: Held
    enforced_by: str = ""
    cure: str = ""
    bare: bool | None = None


@dataclass(frozen=True)
class Preset:
    """What a preset gets on this host.

    Attributes:
        name: the preset.
        tier: `N`, `L`, or "" if it is not confined by a tier.
        note: what that means, or why it cannot be enforced.
        enforced: whether a companion starts under it.
    """

    name: str
    tier: str
    note: str
    enforced: bool


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor has found.

    Attributes:
        facts: about this host.
        presets: what each preset gets.
        findings: what came of each act.
    """

    facts: tuple[Fact, ...]
    presets: tuple[Preset, ...]
    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """Tell the exit status: 0 all held, 1 something got through, 2 `untrusted` cannot be enforced."""
        if any(finding.held == "no" for finding in self.findings):
            return 1
        enforced = any(preset.enforced for preset in self.presets if preset.name == "untrusted")
        return 0 if enforced else 2

    @property
    def summary(self) -> str:
        """Say it in one sentence."""
        through = [finding for finding in self.findings if finding.held == "no"]
        if through:
            return f"Not safe: {len(through)} of {_tried(self.findings)} checks failed, marked NO above."
        if self.status == 2:
            return "The policy `untrusted` cannot be enforced here, so companions under it do not start."
        return f"All {_tried(self.findings)} checks passed: the policy `untrusted` can be enforced here."

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; see docs/doctor.md for the keys."""
        return {
            "version": __version__, "status": self.status, "summary": self.summary,
            "facts": {fact.name: fact.value for fact in self.facts},
            "presets": [asdict(preset) for preset in self.presets],
            "findings": [asdict(finding) for finding in self.findings],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Diagnosis:
        """Make it again from what `to_dict` gave."""
        return cls(
            tuple(Fact(*pair) for pair in content["facts"].items()),
            tuple(Preset(**preset) for preset in content["presets"]),
            tuple(Finding(**finding) for finding in content["findings"]),
        )

    def __str__(self) -> str:
        lines = ["This host"]
        lines += [line for fact in self.facts for line in _cells((fact.name, fact.value), (22, 74))]
        lines += ["", "What each policy gets"]
        lines += [line for preset in self.presets for line in _cells((preset.name, preset.note), (22, 74))]
        return "\n".join([*lines, "", table(self.findings), "", self.summary])

    def _repr_html_(self) -> str:
        facts = [(fact.name, fact.value) for fact in self.facts]
        heads = _titled("This host", facts)
        heads += _titled("What each policy gets", [(preset.name, preset.note) for preset in self.presets])
        columns = "".join(f"<th>{name}</th>" for name in ("tier", "held", "layer", "tried", "stopped by"))
        rows = "".join(
            _row((one.tier, _MARKS[one.held], one.layer, one.tried, one.cure or _by(one)))
            for one in self.findings
        )
        return (
            f"<table>{heads}</table><table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>"
            f"<div>{html.escape(self.summary)}</div>"
        )


def diagnose(tier: str = "", policy: Policy | None = None) -> Diagnosis:
    """Look at this host and try every layer.

    Args:
        tier: `N` or `L`; both if empty.
        policy: as for `examine`.
    """
    return Diagnosis(tuple(circumstances.facts()), tuple(_presets(tier)), tuple(examine(tier, policy)))


def consult() -> Diagnosis:
    """Diagnose in a Python process of its own, so that this session's companions and rules do not meddle."""
    command = [sys.executable, "-m", "isolate_magic", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return Diagnosis.from_dict(json.loads(done.stdout))
    except ValueError:
        raise RuntimeError(f"the doctor did not come to an end: {done.stderr.strip()[-2000:]}") from None


def examine(tier: str = "", policy: Policy | None = None) -> list[Finding]:
    """Try every layer by doing what is forbidden, in throwaway companions.

    Args:
        tier: `N` or `L`; both if empty.
        policy: what the companions get instead of `untrusted`; what it leaves open is found to get through.
    """
    findings = []
    with Canaries() as canaries:
        bare = _without_sandbox(canaries)
        for one in [tier] if tier else fence.tiers():
            findings += list(_tier(one, policy or PRESETS["untrusted"], canaries, bare))
    return findings


def _without_sandbox(canaries: Canaries) -> dict[Act, bool]:
    with Trial("", PRESETS["trusted"], canaries) as trial:
        try:
            return {one: trial.attempt(one).happened for one in ACTS if one.bare and not one.limit}
        except PolicyError:  # an administrator has locked a stricter one: then nothing is known
            return {}


def _tier(tier: str, policy: Policy, canaries: Canaries, bare: dict[Act, bool]) -> Iterator[Finding]:
    with Trial(tier, policy, canaries) as trial:
        for act in ACTS:
            words = f"allowed: {act.tried}" if act.wanted else act.tried
            try:
                outcome = trial.attempt(act)
            except ConfinementError as error:
                if act.shared:  # the policy itself cannot be had in this tier, so neither can the rest
                    start = "start a companion under this policy"
                    yield Finding(tier, error.layer or "start", start, "not available", "", _cure(error))
                    return
                yield Finding(tier, act.layer, words, "not available", "", _cure(error))
                continue
            except PolicyError as error:
                yield Finding(tier, act.layer, words, "not available", "", str(error))
                continue
            held = outcome.happened == act.wanted
            cure = "" if held else _FAULT if outcome.enforced_by else "the policy leaves this open"
            by, verdict = outcome.enforced_by, _HELD[held]
            yield Finding(tier, act.layer, words, verdict, by, cure, bare.get(act))
        if trial.details.get("proc", "own") != "own":
            words = "allowed: see its own processes in /proc"
            yield Finding(tier, "processes", words, "not available", "", circumstances.cure("root"))


def _cure(error: ConfinementError) -> str:
    return circumstances.cure(error.layer) or str(error)


def _presets(tier: str) -> Iterator[Preset]:
    for name in PRESETS:
        companion = Companion(f"doctor-preset-{name}", policy=name)
        try:
            with forced(tier):
                report = companion.start().report
            found = report.tier if report else ""
            note = _TIERS.get(found, "not confined: crash isolation only")
            yield Preset(name, found, note, True)
        except (ConfinementError, PolicyError) as error:
            yield Preset(name, "", str(error), False)
        finally:
            companion.close()


# ------------------------------------------------------------ the table


def table(findings: Sequence[Finding]) -> str:
    """Return findings as a table of at most 100 columns."""
    lines: list[str] = []
    for tier, title in _TIERS.items():
        mine = [finding for finding in findings if finding.tier == tier]
        if mine:
            lines += ["", title[0].upper() + title[1:]] if lines else [title[0].upper() + title[1:]]
            lines += _cells(("held", "layer", "tried", "stopped by"), _WIDTHS)
            lines += [line for finding in mine for line in _lines(finding)]
    return "\n".join(lines)


def _lines(finding: Finding) -> list[str]:
    mark = _MARKS[finding.held]
    lines = _cells((mark, finding.layer, finding.tried, _by(finding)), _WIDTHS)
    if finding.cure:
        text = f"{'not available; to get it' if mark == '-' else 'it got through'}: {finding.cure}"
        if finding.tried.startswith("allowed: "):
            text = text.replace("it got through", "it does not work")
        lines += textwrap.wrap(text, 93, initial_indent=" " * 6, subsequent_indent=" " * 8)
    return lines


def _by(finding: Finding) -> str:
    if finding.bare is False and finding.held == "yes":
        return f"{finding.enforced_by} (here it fails without a sandbox too)"
    return finding.enforced_by


def _cells(texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Lay texts side by side, each in a column of its own width."""
    columns = [textwrap.wrap(text, width) or [""] for text, width in zip(texts, widths, strict=True)]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*padded, strict=True)
    ]


def _titled(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    head = f"<tr><th colspan=2 style='text-align:left'>{html.escape(title)}</th></tr>"
    return head + "".join(map(_row, pairs))


def _row(texts: Sequence[str]) -> str:
    cells = "".join(f"<td style='text-align:left'>{html.escape(text)}</td>" for text in texts)
    return f"<tr>{cells}</tr>"


def _tried(findings: Sequence[Finding]) -> int:
    return sum(finding.held != "not available" for finding in findings)
