"""What an administrator has ruled: the default policy, and whether companions may have a weaker one (host).

It is a rule for notebooks, set by `c.Isolate.policy` and `c.Isolate.policy_locked`; code that runs in the
main session has the user's own rights, with or without it.
"""

from __future__ import annotations

from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy

_default: Policy | None = None
_locked = False


def default() -> Policy:
    """Return the policy of companions for which none is given."""
    return _default or Policy.of(None)


def locked() -> bool:
    """Return whether the default is also the least that every policy must forbid."""
    return _locked


def rule(policy: Policy, lock: bool) -> None:
    """Set the default policy, and whether it is locked.

    Raises:
        PolicyError: there is a locked one, which this would weaken.
    """
    global _default, _locked
    if _locked and (not lock or policy.weaker_than(default())):
        raise PolicyError(
            f"the administrator has locked policy {default().name!r} (c.Isolate.policy_locked); it cannot be "
            "weakened from a notebook"
        )
    _default, _locked = policy, lock


def admit(policy: Policy) -> Policy:
    """Return a policy that may be used here.

    Raises:
        PolicyError: it allows more than the locked policy does; the text names the fields.
    """
    if _locked:
        weaker = policy.weaker_than(default())
        if weaker:
            raise PolicyError(
                f"policy {policy.name or 'of this companion'!r} allows more than the locked policy "
                f"{default().name!r} in: {', '.join(weaker)}. Extend that one, and only tighten it"
            )
    return policy
