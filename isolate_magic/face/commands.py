"""The commands of `%isolate`: one function for each (face)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.errors import NotSupported, PolicyError
from isolate_magic.policy import Policy
from isolate_magic.session import companions
from isolate_magic.tracing import traceable


@dataclass
class Order:
    """One line of `%isolate`, taken apart.

    Attributes:
        name: the companion's name, or None.
        preload: modules to import before the fork, or None.
        policy: a preset or a file, or None.
        follow: whether the file's changes are followed.
        trace: whether it shall be traceable without a wall too.
    """

    name: str | None = None
    preload: tuple[str, ...] | None = None
    policy: str | None = None
    follow: bool = False
    trace: bool = False

    def existing(self) -> Companion:
        """Return the companion that is meant; raises UsageError if there is none."""
        for companion in companions():
            if companion.name == (self.name or "default"):
                return companion
        names = ", ".join(companion.name for companion in companions()) or "none yet"
        raise UsageError(f"there is no companion {self.name or 'default'!r}; there are: {names}")


_OPTIONS = {
    "--preload": ("start", "module names, as in --preload numpy,pandas"),
    "--policy": ("start policy", "a preset or a TOML file, as in --policy untrusted"),
    "--policy-file": ("start policy", "a TOML file, as in --policy-file student.toml"),
    "--trace": ("start restart", ""),
}


def run(line: str) -> Any:
    """Carry out one line of `%isolate`.

    Raises:
        UsageError: it says something that cannot be; the text says what can.
    """
    words, given = _split(line)
    command = words.pop(0) if words else "status"
    if command not in _DO:
        raise UsageError(f"%isolate {command}: no such command; there are {', '.join(_DO)}")
    if len(words) > 1:
        raise UsageError(f"%isolate {command} takes one companion's name, not {' '.join(words)}")
    for option in given:
        if command not in _OPTIONS[option][0].split():
            raise UsageError(f"{option} belongs to %isolate {_OPTIONS[option][0].replace(' ', ' and ')}")
    if "--policy" in given and "--policy-file" in given:
        raise UsageError("give --policy or --policy-file, not both")
    preload = tuple(given["--preload"].split(",")) if "--preload" in given else None
    policy = given.get("--policy", given.get("--policy-file"))
    order = Order(words[0] if words else None, preload, policy, "--policy-file" in given, "--trace" in given)
    return _DO[command](order)


def _split(line: str) -> tuple[list[str], dict[str, str]]:
    """Part a line into its words and its options; those that have a value want one."""
    words: list[str] = []
    given: dict[str, str] = {}
    rest = line.split()
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if not word.startswith("-"):
            words.append(word)
            continue
        if word not in _OPTIONS:
            raise UsageError(f"%isolate knows no option {word}; there are {', '.join(_OPTIONS)}")
        wanted = _OPTIONS[word][1]
        if value and not wanted:
            raise UsageError(f"{word} takes no value, and not {value}")
        if wanted and not value:
            if not rest:
                raise UsageError(f"{word} wants {wanted}")
            value = rest.pop(0)
        given[word] = value.strip("\"'")
    return words, given


def _policy(text: str) -> Policy:
    try:
        return Policy.of(text)
    except PolicyError as error:
        raise UsageError(f"{error}; nothing was changed") from None


# ---------------------------------------------------------------- the commands


def _status(order: Order) -> None:
    chosen = [order.existing()] if order.name else companions()
    if not chosen:
        print("no companion yet; %%isolated or import_isolated starts one")
    for companion in chosen:
        print(line_of(companion))
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
    if stats["restarts"]:
        parts.append(f"restarted {_count(stats['restarts'], 'time', 'times')}")
    if companion.preload:
        parts.append(f"preload {','.join(companion.preload)}")
    report = companion.report
    later = " after a restart" if report is not None and report.policy != companion.policy.name else ""
    if later or companion.policy.name not in ("", "trusted"):
        parts.append(f"policy {companion.policy.name}{later}")
    if companion.crash and stats["state"] in ("dead", "new"):
        parts.append(companion.crash.headline)
    return "; ".join(parts)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _start(order: Order) -> None:
    name = order.name or "default"
    policy = _policy(order.policy) if order.policy is not None else None
    found = next((companion for companion in companions() if companion.name == name), None)
    if found is not None:
        other = [
            what
            for what, differs in (
                ("another preload list", order.preload is not None and order.preload != found.preload),
                ("another policy", policy is not None and policy != found.policy),
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
    if found is not None and found.pid and order.trace:
        _check_traceable(found)
    if found is None:
        try:
            found = Companion(name, preload=order.preload or (), policy=policy)
        except ValueError as error:
            raise UsageError(str(error)) from None
    found.traced = found.traced or order.trace
    found.start()
    if order.follow:
        found.follow_policy(str(order.policy))
    print(line_of(found))


def _restart(order: Order) -> None:
    companion = order.existing()
    companion.traced = companion.traced or order.trace
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
    if order.policy is None:
        print(companion.policy.to_toml() or "# restricts nothing\n", end="")
        return
    companion.followed = ""
    print(f"{companion.name}: {companion.change_policy(_policy(order.policy))}")
    if order.follow:
        companion.follow_policy(order.policy)


def _doctor(_order: Order) -> Any:
    from isolate_magic import doctor

    return doctor.consult()


_DO: dict[str, Callable[[Order], Any]] = {
    "status": _status, "start": _start, "restart": _restart, "stop": _stop, "interrupt": _interrupt,
    "list": _list, "logs": _logs, "policy": _change_policy, "doctor": _doctor,
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the commands, for Tab."""
    return tuple(_DO)


def options(command: str) -> dict[str, str]:
    """Return the options of a command, for Tab, and what the value of each is, or ""."""
    return {option: wanted for option, (owners, wanted) in _OPTIONS.items() if command in owners.split()}
