"""What can be configured in `ipython_config.py` or on the command line of a kernel: `c.Isolate` (face)."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, TraitError, Unicode, validate
from traitlets.config import Configurable

from isolate_magic import rules
from isolate_magic.errors import PolicyError
from isolate_magic.policy import Policy


class Isolate(Configurable):
    """Configure isolate_magic.

    An administrator sets `c.Isolate.policy` and `c.Isolate.policy_locked` in a file that users cannot write,
    such as /etc/ipython/ipython_config.py: then no companion of a notebook may have a weaker policy.
    """

    policy = Unicode(
        "trusted",
        help="The policy of companions for which none is given: a preset (trusted, offline, untrusted) or "
        "the path of a TOML file.",
    ).tag(config=True)

    policy_locked = Bool(
        False, help="Whether no companion may have a policy that allows more; cannot be taken back."
    ).tag(config=True)

    _ready = False

    @validate("policy")
    def _known(self, proposal: Any) -> str:
        text: str = proposal["value"]
        try:
            self._rule(Policy.of(text), self.policy_locked)
        except PolicyError as error:
            raise TraitError(f"Isolate.policy = {text!r}: {error}") from None
        return text

    @validate("policy_locked")
    def _for_good(self, proposal: Any) -> bool:
        lock: bool = proposal["value"]
        try:
            self._rule(rules.default() if self._ready else None, lock)
        except PolicyError as error:
            raise TraitError(f"Isolate.policy_locked = {lock}: {error}") from None
        return lock

    def _rule(self, policy: Policy | None, lock: bool) -> None:
        """Let it hold at once, once everything has been read from the configuration."""
        if self._ready and policy is not None:
            rules.rule(policy, lock)

    def establish(self) -> None:
        """Let what has been read hold.

        Raises:
            PolicyError: the policy cannot be, or a stricter one is locked already.
        """
        rules.rule(Policy.of(self.policy), self.policy_locked)
        self._ready = True


def configure(shell: Any) -> None:
    """Read the configuration of a shell, and let it be changed by `%config Isolate`.

    Raises:
        PolicyError: the policy that it names cannot be.
    """
    shell.configurables[:] = [part for part in shell.configurables if not _is_ours(part)]
    made = _locked[0] if _locked else Isolate(parent=shell)
    if not _locked:
        made.establish()
    if rules.locked() and not _locked:
        _locked.append(made)
    shell.configurables.append(made)


_locked: list[Isolate] = []  # the one that holds for good


def _is_ours(part: object) -> bool:
    """Tell an `Isolate`, also one of this module as it was before it was imported again."""
    return type(part).__name__ == "Isolate" and type(part).__module__ == __name__
