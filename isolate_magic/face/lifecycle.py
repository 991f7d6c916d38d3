"""The commands of `%isolate` for the life of companions: start, stop, kill, status and so on (face)."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.errors import NotSupported
from isolate_magic.face.orders import POLICY, POLICY_FILE, PRELOAD, TRACE, Command, Order, policy
from isolate_magic.face.returning import said_of
from isolate_magic.session import companions
from isolate_magic.tracing import traceable


def _status(order: Order) -> None:
    chosen = [order.existing()] if order.name else companions()
    if not chosen:
        print("no companion yet; %%isolated or import_isolated starts one")
    for companion in chosen:
        print(line_of(companion))
        if len(chosen) == 1 and companion.pid:
            print(f"  {said_of(companion)}")
        report = companion.report if len(chosen) == 1 else None
        if report is not None and report.layers:
            print("  " + str(report).replace("\n", "\n  "))
    if len(chosen) > 1 and any(companion.policy.name != "trusted" for companion in chosen):
        print("%isolate status NAME shows what confines one")


def line_of(companion: Companion) -> str:
    """Say in one line how a companion is."""
    stats = companion.stats
    parts = [f"{companion.name}: {stats['state']}"]
    if stats["pid"]:
        parts.append(f"pid {stats['pid']}")
    if stats["uptime"] is not None:
        parts.append(f"up {stats['uptime']:.1f} s")
    if stats["rss"]:
        parts.append(f"{stats['rss'] / 2**20:.0f} MiB, {stats['uss'] / 2**20:.0f} of its own")
    if stats["proxies"]:
        parts.append(_count(stats["proxies"], "object lent to this session", "objects lent to this session"))
    waiting = [handle.title for handle in companion.background.recent if not handle.done()]
    if waiting:
        parts.append(f"in the background: {', '.join(waiting)}")
    parts += _returns(companion, stats["restarts"])
    if companion.preload:
        parts.append(f"preload {','.join(companion.preload)}")
    report = companion.report
    later = " after a restart" if report is not None and report.policy != companion.policy.name else ""
    if later or companion.policy.name not in ("", "trusted"):
        parts.append(f"policy {companion.policy.name}{later}")
    if companion.crash and stats["state"] in ("dead", "new"):
        parts.append(companion.crash.headline)
    return "; ".join(parts)


def _returns(companion: Companion, restarts: int) -> list[str]:
    counts = (("rewound", companion.snapshots.rewinds), ("restarted", restarts))
    return [f"{what} {_count(number, 'time', 'times')}" for what, number in counts if number]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _start(order: Order) -> None:
    name = order.name or "default"
    options = order.options
    preload = tuple(options.preload.split(",")) if options.preload is not None else None
    _one_policy(order)
    wanted = policy(order.policy) if order.policy is not None else None
    found = next((companion for companion in companions() if companion.name == name), None)
    if found is not None:
        other = [
            what
            for what, differs in (
                ("another preload list", preload is not None and preload != found.preload),
                ("another policy", wanted is not None and wanted != found.policy),
            )
            if differs
        ]
        if other and found.pid:
            how = f"%isolate policy {name} changes the policy" if "another policy" in other else "or"
            raise UsageError(
                f"companion {name!r} is running with {' and '.join(other)}; %isolate stop {name} first; {how}"
            )
        if other:
            found.close()
            found = None
    if found is not None and found.pid and options.trace:
        _check_traceable(found)
    if found is None:
        try:
            found = Companion(name, preload=preload, policy=wanted)
        except ValueError as error:
            raise UsageError(str(error)) from None
    found.traced = found.traced or options.trace
    found.start()
    if options.policy_file is not None:
        found.follow_policy(options.policy_file)
    print(line_of(found))


def _one_policy(order: Order) -> None:
    if order.options.policy is not None and order.options.policy_file is not None:
        raise UsageError("give --policy or --policy-file, not both")


def _restart(order: Order) -> None:
    companion = order.existing()
    companion.traced = companion.traced or order.options.trace
    print(line_of(companion.restart()))


def _check_traceable(companion: Companion) -> None:
    try:
        traceable(companion)
    except NotSupported as error:
        raise UsageError(str(error)) from None


def _stop(order: Order) -> None:
    companion = order.existing()
    companion.stop()
    print(line_of(companion))


def _kill(order: Order) -> None:
    companion = order.existing()
    if not companion.pid:
        print(f"{companion.name}: there is no process to kill")
        return
    companion.kill()
    crash = companion.crash
    where = f" in {crash.during}" if crash is not None and crash.during else ""
    after = f"rewound to {crash.rewound}" if crash is not None and crash.rewound else "its variables are lost"
    print(f"{companion.name}: killed{where}; {after}")


def _interrupt(order: Order) -> None:
    companion = order.existing()
    print(f"{companion.name}: {'interrupted' if companion.interrupt() else 'was doing nothing'}")


def _list(_order: Order) -> None:
    for companion in companions():
        print(f"{companion.name}: {companion.state}")


def _logs(order: Order) -> None:
    print(order.existing().logs(), end="")


def _change_policy(order: Order) -> None:
    companion = order.existing()
    _one_policy(order)
    if order.policy is None:
        print(companion.policy.to_toml() or "# restricts nothing\n", end="")
        return
    companion.followed = ""
    print(f"{companion.name}: {companion.change_policy(policy(order.policy))}")
    if order.options.policy_file is not None:
        companion.follow_policy(order.policy)


def _doctor(_order: Order) -> Any:
    from isolate_magic import doctor

    return doctor.consult()


COMMANDS = (
    Command("status", "show the state of one companion, or of all, and what confines it", _status),
    Command("start", "start one", _start, options=(PRELOAD, POLICY, POLICY_FILE, TRACE)),
    Command("restart", "end it and start a new one; its variables are lost", _restart, options=(TRACE,)),
    Command("stop", "end it; the next use starts a new one", _stop),
    Command("interrupt", "raise KeyboardInterrupt in what it is doing", _interrupt),
    Command("kill", "end it at once, with a report that tells where it was", _kill),
    Command("list", "list the names of all companions", _list, words=""),
    Command("logs", "show its last output", _logs),
    Command(
        "policy", "show its policy, or change it while it runs", _change_policy, options=(POLICY, POLICY_FILE)
    ),
    Command("doctor", "try on this machine what keeps companions in", _doctor, words=""),
)
