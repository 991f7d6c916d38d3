"""The end of a companion in good order: it is asked to leave before it is made to (host)."""

from __future__ import annotations

from typing import Any

from isolate_magic.watch import watch

SECONDS = 2.0
"""How long a companion may take to leave by itself."""

REASON = "it was stopped"


def bid(process: Any, seconds: float = SECONDS) -> None:
    """Let an idle companion run its exit handlers, close its files and end; one at work is not waited for.

    Whether or not it has done so, `process.end` is to follow.

    Args:
        process: the `Process`.
        seconds: after which it is killed.
    """
    talk = process.talk
    if talk.closed or talk.slots or talk.ahead is not None:
        return
    process.dismiss("stop", REASON)
    alarm = watch().later(seconds, lambda: process.kill("stop", REASON))
    try:
        talk.ask("leave")
    except Exception:  # border: its death is what was asked for, and whatever else it says, it is killed now
        return
    finally:
        alarm.cancel()
