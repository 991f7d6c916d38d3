"""Which companion a cell runs in, and under which policy: found, made, changed or refused (face)."""

from __future__ import annotations

from argparse import Namespace
from itertools import count

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy
from isolate_magic.quantities import spelled
from isolate_magic.registry import registered

_fresh = count(1)
_LONGEST = 40  # of a name that gets something behind it


def companion(options: Namespace) -> Companion:
    """Return the companion that a `%%isolated` line means, with what the line says of it in force.

    Args:
        options: `companion`, `policy`, `memory` and `fresh` of the line.

    Raises:
        UsageError: the companion or its policy cannot be; the text says what can.
    """
    name = options.companion or "default"
    found = registered().get(name)
    try:
        if options.fresh:
            return _made(f"{name[:_LONGEST]}-fresh-{next(_fresh)}", found, options)
        if found is None:
            return _made(name, None, options)
        if options.policy is not None or options.memory is not None:
            _fit(found, options)
    except (PolicyError, ValueError) as error:
        raise UsageError(f"{error}; nothing was run") from None
    return found


def _made(name: str, like: Companion | None, options: Namespace) -> Companion:
    """Make a companion, where nothing else is said like another one."""
    policy = Policy.of(options.policy) if options.policy is not None else like.policy if like else None
    made = Companion(
        name,
        preload=like.preload if like else None,
        env=like.env if like else None,
        policy=policy,
        traced=like.traced if like else False,
    )
    try:
        if options.memory is not None:
            made.change_policy(made.policy.but(memory=options.memory))
    except BaseException:
        made.close()
        raise
    return made


def _fit(found: Companion, options: Namespace) -> None:
    """Let a policy and a memory limit hold for a companion that is there."""
    policy = Policy.of(options.policy) if options.policy is not None else found.policy
    wanted = policy.but(memory=options.memory) if options.memory not in (None, policy.memory) else policy
    if wanted == found.policy:
        return
    if not found.pid:
        found.change_policy(wanted)
        return
    if options.policy is not None and (options.memory is None or policy != found.policy):
        name = found.name
        raise UsageError(
            f"companion {name!r} runs under policy {found.policy.name or '(unnamed)'!r}, "
            f"not {policy.name!r}; `%isolate policy {name} --policy {options.policy}` changes it, "
            f"`%isolate stop {name}` ends it, --fresh takes a new companion; nothing was run"
        )
    _limit(found, options.memory)


def _limit(found: Companion, memory: int) -> None:
    """Change the memory limit of a running companion; it is as it was if that does not hold at once."""
    before = found.policy
    amendment = found.change_policy(before.but(memory=memory))
    if "memory" in amendment.took:
        return
    found.change_policy(before)
    reason = dict(amendment.restart).get("memory", "it is in force already")
    raise UsageError(
        f"-m {spelled(memory)}: companion {found.name!r} runs, and its limit cannot be changed now "
        f"({reason}); `%isolate stop {found.name}` first, or --fresh for a new companion; nothing was run"
    )
