"""The commands of `%isolate` for going back: config, snapshot, snapshots, rewind (face)."""

from __future__ import annotations

import time

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.errors import SnapshotError
from isolate_magic.face.options import Option
from isolate_magic.face.orders import Command, Order
from isolate_magic.snapshots import MODES, MOST, SHARE
from isolate_magic.sparkline import size

_SETTINGS = {
    "snapshots": "one before each cell and before the first call after it",
    "rewind": "back to the newest snapshot after a crash",
}
DROP = Option(("--drop",), "drop the snapshot of that name instead", "NAME", "the name of a snapshot")


def said_of(companion: Companion) -> str:
    """Say in one line to which moment a death would lead back, or why to none."""
    snapshots = companion.snapshots
    found = snapshots.all()
    if not found:
        if snapshots.mode == "off":
            return "no snapshots: they are off"
        gone = "; it was given up for its memory" if snapshots.latest is not None else ""
        return f"no snapshot: {snapshots.why_not}" if snapshots.why_not else f"no snapshot yet{gone}"
    newest = found[-1]
    names = f"; kept: {', '.join(snapshots.named)}" if snapshots.named else ""
    older = f"; none since: {snapshots.why_not}" if snapshots.why_not else ""
    return f"snapshot {_moment(newest.moment)}, took {newest.cost * 1000:.1f} ms{older}{names}"


def _moment(moment: str) -> str:
    return moment.removeprefix("snapshot ")


def _config(order: Order) -> None:
    companion = order.existing()
    for word in order.words:
        name, equals, value = word.partition("=")
        if name not in _SETTINGS or not equals or value not in MODES:
            known = ", ".join(f"{name}=auto|off" for name in _SETTINGS)
            raise UsageError(f"%isolate config takes {known}, not {word!r}; nothing was changed")
    for word in order.words:
        name, _, value = word.partition("=")
        if name == "snapshots":
            companion.snapshots.mode = value
        else:
            companion.snapshots.returns = value == "auto"
    snapshots = companion.snapshots
    values = {"snapshots": snapshots.mode, "rewind": "auto" if snapshots.returns else "off"}
    for name, value in values.items():
        print(f"{companion.name}: {name}={value}  # {_SETTINGS[name]}")


def _snapshot(order: Order) -> None:
    companion = order.existing()
    if len(order.words) != 1:
        raise UsageError("%isolate snapshot SNAPSHOT wants one name for what is in the companion now")
    try:
        taken = companion.snapshot(order.words[0])
    except (SnapshotError, ValueError) as error:
        raise UsageError(f"no snapshot: {error}") from None
    print(f"{companion.name}: snapshot {taken.name!r} taken in {taken.cost * 1000:.1f} ms")


def _snapshots(order: Order) -> None:
    companion = order.existing()
    try:
        if order.options.drop is not None:
            companion.drop_snapshot(order.options.drop)
    except SnapshotError as error:
        raise UsageError(str(error)) from None
    found = companion.snapshots.all()
    if not found:
        print(f"{companion.name}: {said_of(companion)}")
    for one in found:
        when = time.strftime("%H:%M:%S", time.localtime(one.taken))
        memory = one.memory
        own = "" if memory is None else f"  {size(memory)} of its own"
        print(f"{one.name or '(automatic)':<12} {when}  {one.moment}, took {one.cost * 1000:.1f} ms{own}")


def _rewind(order: Order) -> None:
    companion = order.existing()
    if len(order.words) > 1:
        raise UsageError("%isolate rewind takes at most one name, that of a snapshot")
    try:
        moment = companion.rewind(*order.words)
    except SnapshotError as error:
        raise UsageError(str(error)) from None
    print(f"{companion.name}: rewound to {moment}; proxies of what is younger are stale")


COMMANDS = (
    Command("config", "show or change what it does by itself: snapshots, rewind after a crash", _config,
            "[SETTING=VALUE]",
            more="settings: snapshots=auto|off, rewind=auto|off\n"
            f"Snapshots that are taken by themselves cost at most {SHARE:.0%} of the time;\n"
            "`%isolate status` says when one was left out, and why."),
    Command("snapshot", "keep what is in it now under a name, to go back to", _snapshot, "SNAPSHOT",
            more=f"There can be {MOST}. Files, sockets and other processes are not kept."),
    Command("snapshots", "list its snapshots, oldest first", _snapshots, options=(DROP,)),
    Command("rewind", "go back to a snapshot, the newest by default", _rewind, "[SNAPSHOT]"),
)  # fmt: skip
