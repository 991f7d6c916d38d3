"""Methods of the shell and the kernel that the extension stands in for, and gives back (face)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Override:
    """Stand in for a method of one object.

    Args:
        owner: the object.
        name: the method's name.
        make: is given the method that was there, and returns the one to use instead.

    Attributes:
        before: the method that was there.
        active: whether it still stands in; what somebody else has put around it lives on, and asks this.
    """

    def __init__(self, owner: Any, name: str, make: Callable[[Override], Callable[..., Any]]) -> None:
        self.owner = owner
        self.name = name
        self.active = True
        self.before: Any = getattr(owner, name)
        self._own = name in vars(owner)  # else the class has it
        self._function = make(self)
        setattr(owner, name, self._function)

    def take_back(self) -> None:
        """Put the method back that was there, unless somebody else stands in by now."""
        self.active = False
        if vars(self.owner).get(self.name) is not self._function:
            return
        if self._own:
            setattr(self.owner, self.name, self.before)
        else:
            delattr(self.owner, self.name)
