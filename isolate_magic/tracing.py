"""The trace: what code in a companion has opened, imported, started and connected to, and what not (host).

The supervisor sees the system calls, also those of C libraries. It sees what is tried and not how it ends,
and reads names from the companion's memory, which may change them: a trace informs, it decides nothing.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from isolate_magic.errors import NotSupported
from isolate_magic.verdicts import Judge, Refusal, harmless

if TYPE_CHECKING:
    from isolate_magic.companion import Companion
    from isolate_magic.lane import Tape
    from isolate_magic.process import Process

_SHOWN = 40  # targets of a kind that are shown; the attributes have all
_MODULES = 20_000


class _Row(NamedTuple):
    """One line of a trace as it is shown."""

    kind: str
    target: str
    line: str = ""


@dataclass(frozen=True)
class Trace:
    """What a companion has tried during a trace; filled in when that ends.

    What its policy refuses stands in `refused` only. What is allowed may have failed for another reason.

    Attributes:
        companion: its name.
        read: files and folders, and how often each was opened; without those of Python and its packages.
        write: the same for writing.
        started: programs.
        connected: addresses.
        imported: modules that it has and had not before, as it says itself.
        refused: kind (`read`, `write`, `start`, `connect`, `import`), target, and the line of the policy that
            refuses it, with what would allow it.
        runtime: how many files of Python, its packages and the system it has opened.
        dropped: how many records were not kept.
        died: whether it died meanwhile, so that it could not be asked for its modules.
    """

    companion: str
    read: Mapping[str, int] = field(default_factory=dict)
    write: Mapping[str, int] = field(default_factory=dict)
    started: Mapping[str, int] = field(default_factory=dict)
    connected: Mapping[str, int] = field(default_factory=dict)
    imported: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    runtime: int = 0
    dropped: int = 0
    died: bool = False

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max((len(row.kind) for row in rows), default=0)
        lines, before = [f"trace of companion {self.companion!r}"], ""
        for row in rows:
            lines.append(f"  {row.kind if row.kind != before else '':{width}}  {row.target}")
            if row.line:
                lines.append(f"  {'':{width}}    {row.line}")
            before = row.kind
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts, before = [], ""
        for row in self._rows():
            kind, before = ("" if row.kind == before else row.kind), row.kind
            line = f"<br><code>{html.escape(row.line)}</code>" if row.line else ""
            parts.append(
                f'<tr><td style="{_CELL}">{kind}</td>'
                f'<td style="{_CELL}">{html.escape(row.target)}{line}</td></tr>'
            )
        title = html.escape(f"trace of companion {self.companion!r}")
        return f"<div>{title}</div><table><tbody>{''.join(parts)}</tbody></table>"

    def _rows(self) -> Iterator[_Row]:
        yield from _listed("read", self.read)
        if self.runtime:
            files = "1 file" if self.runtime == 1 else f"{self.runtime:,} files"
            yield _Row("read", f"{files} of Python, its packages and the system")
        yield from _listed("written", self.write)
        yield from _listed("started", self.started)
        yield from _listed("connected", self.connected)
        yield from _listed("imported", _packages(self.imported))
        for refusal in self.refused[:_SHOWN]:
            yield _Row("refused", f"{refusal.kind} {refusal.target}", refusal.line)
        yield from _more("refused", len(self.refused))
        if self.died:
            yield _Row("imported", "not known, for it died")
        if self.dropped:
            yield _Row("not kept", f"{self.dropped:,} more tries")

    def _fill(self, **found: Any) -> None:
        for name, value in found.items():
            object.__setattr__(self, name, value)


_CELL = "text-align:left;vertical-align:top;white-space:pre-wrap"


def _listed(kind: str, tried: Mapping[str, int]) -> Iterator[_Row]:
    for target, times in list(tried.items())[:_SHOWN]:
        yield _Row(kind, target if times == 1 else f"{target} ({times:,} times)")
    yield from _more(kind, len(tried))


def _more(kind: str, count: int) -> Iterator[_Row]:
    if count > _SHOWN:
        yield _Row(kind, f"... and {count - _SHOWN:,} more")


def _packages(modules: tuple[str, ...]) -> dict[str, int]:
    """Return one line for the modules of all packages together, with their numbers."""
    found: dict[str, int] = {}
    for name in modules:
        top = name.partition(".")[0]
        found[top] = found.get(top, 0) + 1
    said = [name if count == 1 else f"{name} ({count:,} modules)" for name, count in found.items()]
    more = f", and {len(said) - _SHOWN:,} more packages" if len(said) > _SHOWN else ""
    return {", ".join(said[:_SHOWN]) + more: 1} if said else {}


@contextmanager
def tracing(companion: Companion) -> Iterator[Trace]:
    """Record what a companion tries: cells, calls through proxies, and threads in the background.

    A companion without a process is started so that it can be traced.

    Args:
        companion: the companion. One that dies meanwhile is traced until then, and not the next process.

    Yields:
        the trace, which is filled in at the end, also when an error ends the block.

    Raises:
        NotSupported: it runs without a wall and was not started with `traced=True`.
    """
    process = traceable(companion)
    assert process.lane is not None
    before = _modules(process)
    trace = Trace(companion.name)
    tape = process.lane.start()
    raised: BaseException | None = None
    try:
        yield trace
    except BaseException as error:
        raised = error
        raise
    finally:
        process.lane.stop(tape)
        _conclude(trace, process, tape, before, raised)


def traceable(companion: Companion) -> Process:
    """Return the process of a companion, started so that it can be traced if it has none.

    Raises:
        NotSupported: it runs and cannot be traced; the text tells the cure.
    """
    if companion.pid is None:
        companion.traced = True
    process = companion._living()
    if not process.traceable:
        name = companion.name
        raise NotSupported(
            f"companion {name!r} runs without a trace, since its policy needs no supervisor; "
            f"`%isolate restart {name} --trace`, or Companion({name!r}, traced=True), starts it with one; "
            "its variables are lost then"
        )
    if not process.protection.details.get("asks", True):
        raise NotSupported(
            "this kernel does not ask about system calls (seccomp_unotify(2)), so nothing is seen"
        )
    return process


def _conclude(
    trace: Trace, process: Process, tape: Tape, before: set[str] | None, raised: BaseException | None
) -> None:
    judge = Judge(process, tape, lambda paths: _there(process, paths))
    refused = list(judge.refused)
    if isinstance(raised, ImportError) and isinstance(raised.name, str):
        line = process.policy.refusal("import", raised.name)
        if line:
            refused.append(Refusal("import", harmless(raised.name), line))
    after = _modules(process) if before is not None else None
    trace._fill(
        read=judge.allowed["read"],
        write=judge.allowed["write"],
        started=judge.allowed["start"],
        connected=judge.allowed["connect"],
        imported=tuple(map(harmless, sorted((after or set()) - (before or set())))),
        refused=tuple(refused),
        runtime=judge.runtime,
        dropped=tape.dropped,
        died=process.talk.closed,
    )


def _modules(process: Process) -> set[str] | None:
    """Ask a companion for the names of its modules; None if there is no such answer."""
    said = _asked(process, "'\\n'.join([name for name in __import__('sys').modules if type(name) is str])")
    return set(said.split("\n")[:_MODULES]) if said else None


def _there(process: Process, paths: list[str]) -> list[bool]:
    """Ask a companion which paths exist for it; where it gives no answer, all of them."""
    said = _asked(process, f"''.join(['01'[__import__('os').path.lexists(path)] for path in {paths!r}])")
    return [bit == "1" for bit in said] if said and len(said) == len(paths) else [True] * len(paths)


def _asked(process: Process, source: str) -> str | None:
    if process.talk.closed:
        return None
    try:
        said = process.talk.run(eval, (source, {}), {})
    except Exception:  # border: whatever it raises instead, it is no answer
        return None
    return said if type(said) is str else None
