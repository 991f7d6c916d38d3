"""The companions of this session as Prometheus sees them; needs the extra `metrics` (host).

Everything is measured when it is asked for. What counts up belongs to the process that runs now and begins
again with the next, as `rate()` expects; restarts and deaths are counted over the life of the companion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from isolate_magic.session import companions

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "isolate_magic.metrics needs prometheus_client: pip install isolate_magic[metrics]"
    ) from error


class _Number(NamedTuple):
    """A number of `Companion.stats`, and how Prometheus calls it."""

    stat: str
    name: str
    says: str
    counts: bool = False


_NUMBERS = (
    _Number("memory", "isolate_memory_bytes", "Memory as the limit counts it."),
    _Number("limit", "isolate_memory_limit_bytes", "The limit of the memory, if there is one."),
    _Number("rss", "isolate_resident_memory_bytes", "Resident memory, what is shared included."),
    _Number("peak", "isolate_peak_memory_bytes", "The most resident memory that is known of."),
    _Number("cpu", "isolate_cpu_seconds", "Processor time of the running process and its children.", True),
    _Number("processes", "isolate_processes", "Processes."),
    _Number("threads", "isolate_threads", "Threads."),
    _Number("open_files", "isolate_open_files", "Open descriptors."),
    _Number("calls", "isolate_calls", "Requests made of the running process.", True),
)


class CompanionCollector(Collector):
    """Measure all companions whenever they are collected; made by `collector`."""

    def collect(self) -> Iterator[Metric]:
        """Give each number of each companion, under the label `companion`."""
        found = companions()
        up = GaugeMetricFamily("isolate_up", "Whether there is a process.", labels=["companion"])
        restarts = CounterMetricFamily("isolate_restarts", "Processes after the first.", labels=["companion"])
        rewinds = CounterMetricFamily("isolate_rewinds", "Snapshots that went on.", labels=["companion"])
        crashes = CounterMetricFamily("isolate_crashes", "Deaths, by kind.", labels=["companion", "kind"])
        families: dict[str, Any] = {
            number.stat: (CounterMetricFamily if number.counts else GaugeMetricFamily)(
                number.name, number.says, labels=["companion"]
            )
            for number in _NUMBERS
        }
        for companion in found:
            process = companion._alive()
            up.add_metric([companion.name], float(process is not None))
            restarts.add_metric([companion.name], max(companion.restarts, 0))
            rewinds.add_metric([companion.name], companion.snapshots.rewinds)
            for kind, times in sorted(companion.deaths.items()):
                crashes.add_metric([companion.name, kind], times)
            for name, value in (process.meter.look() if process is not None else {}).items():
                if name in families and value is not None:
                    families[name].add_metric([companion.name], value)
        yield from (up, restarts, rewinds, crashes, *families.values())

    def describe(self) -> Iterable[Metric]:
        """Tell the registry nothing beforehand: companions come and go."""
        return []


_collector = CompanionCollector()


def collector() -> CompanionCollector:
    """Return what a registry of prometheus_client registers, always the same.

    >>> from prometheus_client import CollectorRegistry
    >>> CollectorRegistry().register(collector())
    """
    return _collector


def text() -> str:
    """Return all numbers of all companions now, in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_collector)
    return generate_latest(registry).decode()
