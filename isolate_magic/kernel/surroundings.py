"""What a kernel's companion is given: its policy, and the environment of a whole kernel (host)."""

from __future__ import annotations

import os

from isolate_magic import spawner
from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy

_JUPYTERS = ("JPY_PARENT_PID", "JPY_INTERRUPT_EVENT")  # about the front, and meaningless in another process


def environment(policy: Policy) -> dict[str, str]:
    """Return the variables that the companion sees beside those that its policy names.

    A notebook expects those of its kernel. A policy that confines it, or names variables, keeps some back.
    """
    if not policy.trusted or policy.environment is not None:
        return {}
    return {name: text for name, text in os.environ.items() if name not in _JUPYTERS}


def begin(policy: str) -> None:
    """Start the zygote, so that it imports while others do; a cell will tell what is wrong with a policy."""
    try:
        chosen = Policy.of(policy)
    except PolicyError:
        return
    spawner.zygote((), environment(chosen), chosen.environment, chosen.trusted)
