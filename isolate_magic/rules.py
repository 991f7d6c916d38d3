"""What an administrator has ruled: the default policy, and whether companions may have a weaker one (host).

It is a rule for notebooks, set by `c.Isolate.policy` and `c.Isolate.policy_locked`; code that runs in the
main session has the user's own rights, with or without it. Whoever makes a companion in a notebook is ruled,
whether the extension has been loaded or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from isolate_magic import spawner
from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy

_SHOWN = 6
_default: Policy | None = None
_locked = False
_consulted = False


def default() -> Policy:
    """Return the policy of companions for which none is given."""
    _consult()
    return _default or Policy.of(None)


def locked() -> bool:
    """Return whether the default is also the least that every policy must forbid."""
    _consult()
    return _locked


def rule(policy: Policy, lock: bool) -> None:
    """Set the default policy, and whether it is locked.

    Raises:
        PolicyError: there is a locked one, which this would weaken.
    """
    global _default, _locked, _consulted
    if _locked and (not lock or policy.weaker_than(default())):
        raise PolicyError(
            f"the administrator has locked policy {default().name!r} (c.Isolate.policy_locked); it cannot be "
            "weakened from a notebook"
        )
    _default, _locked, _consulted = policy, lock, True


def admit(policy: Policy | str | os.PathLike[str] | None, env: Iterable[str] = ()) -> Policy:
    """Return a policy that may be used here.

    Args:
        policy: a policy, what stands for one, or None for the default.
        env: the names of variables that a companion is given beside those that the policy lets through.

    Raises:
        PolicyError: it cannot be, or it allows more than the locked policy does; the text names the fields.
    """
    least = default()
    chosen = least if policy is None else Policy.of(policy)
    if not _locked:
        return chosen
    weaker = chosen.weaker_than(least)
    if weaker:
        more = [f"{len(weaker) - _SHOWN} more fields"] if len(weaker) > _SHOWN else []
        name = f"policy {chosen.name!r}" if chosen.name else "the policy of this companion"
        raise PolicyError(
            f"{name} allows more than policy {least.name!r}, which the administrator has locked, in: "
            f"{', '.join([*weaker[:_SHOWN], *more])}. Extend that one, and only tighten it"
        )
    passed = spawner.allowed(dict.fromkeys(env, ""), least.environment)
    strange = sorted(set(env) - set(passed))
    if strange:
        raise PolicyError(
            f"env: the `environment` of policy {least.name!r}, which the administrator has locked, does not "
            f"let {', '.join(strange)} through"
        )
    return chosen


def _consult() -> None:
    """Read what the configuration of the notebook rules, once, if this is one."""
    global _consulted
    ipython = sys.modules.get("IPython")
    shell: Any = None if _consulted or ipython is None else ipython.get_ipython()
    found = None if shell is None else shell.config.get("Isolate")
    if found is None:
        return
    try:
        policy = Policy.of(found.get("policy", "trusted"))
    except PolicyError as error:
        raise PolicyError(f"c.Isolate.policy: {error}") from None
    rule(policy, bool(found.get("policy_locked", False)))
