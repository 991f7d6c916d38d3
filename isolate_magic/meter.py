"""The numbers of one companion's process (host)."""

from __future__ import annotations

import time
from typing import Any

import psutil


def measure(process: Any) -> dict[str, Any]:
    """Return uptime, `rss` and `uss` in bytes, `cpu` in seconds, objects lent to us; else None for each.

    Args:
        process: the `isolate_magic.process.Process`, or None.
    """
    found: dict[str, Any] = dict.fromkeys(("uptime", "rss", "uss", "cpu", "proxies"))
    if process is None:
        return found
    try:
        meter = psutil.Process(process.pid)
        memory, times = meter.memory_full_info(), meter.cpu_times()
        found |= {"rss": memory.rss, "uss": memory.uss, "cpu": times.user + times.system}
    except psutil.Error:  # it died this very moment; the next use tells
        pass
    found["uptime"] = time.monotonic() - process.started
    found["proxies"] = len(process.talk.revival.proxies)
    return found
