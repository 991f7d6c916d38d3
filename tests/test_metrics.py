"""The companions as Prometheus sees them."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

import isolate_magic
from isolate_magic import Companion, Policy, ProcessTerminationError, metrics


@pytest.fixture
def measured() -> Iterator[Companion]:
    with Companion("measured", policy=Policy(memory="300MiB")) as made:
        yield made


def numbers(text: str) -> dict[tuple[str, ...], float]:
    """Read what Prometheus would: the name and the labels of each number, and the number."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_numbers_are_those_of_stats(measured: Companion) -> None:
    measured.run("body = bytearray(b'1') * (50 << 20)")
    found, stats = numbers(metrics.text()), measured.stats
    for name, stat in {
        "isolate_memory_bytes": "memory", "isolate_resident_memory_bytes": "rss", "isolate_peak_memory_bytes": "peak",
        "isolate_memory_limit_bytes": "limit", "isolate_cpu_seconds_total": "cpu", "isolate_processes": "processes",
        "isolate_threads": "threads", "isolate_open_files": "open_files", "isolate_calls_total": "calls",
    }.items():  # fmt: skip
        assert found[name, "measured"] == pytest.approx(stats[stat], rel=0.05), name
    assert found["isolate_up", "measured"] == 1
    assert found["isolate_restarts_total", "measured"] == 0


def test_deaths_are_counted_by_kind_and_outlive_the_process(measured: Companion) -> None:
    for code in ("import os; os.abort()", "import os; os._exit(3)", "import os; os._exit(4)"):
        with pytest.raises(ProcessTerminationError):
            measured.run(code)
    found = numbers(metrics.text())
    assert found["isolate_crashes_total", "measured", "signal"] == 1
    assert found["isolate_crashes_total", "measured", "exit"] == 2
    assert found["isolate_restarts_total", "measured"] == 2
    assert found["isolate_rewinds_total", "measured"] == 0
    assert found["isolate_up", "measured"] == 0
    assert ("isolate_memory_bytes", "measured") not in found


def test_calls_count_up(measured: Companion) -> None:
    before = numbers(metrics.text())["isolate_calls_total", "measured"]
    for _ in range(5):
        measured.call(os.getpid)
    assert numbers(metrics.text())["isolate_calls_total", "measured"] == before + 5


def test_a_registry_serves_them_on_the_loopback(measured: Companion) -> None:
    registry = CollectorRegistry()
    registry.register(metrics.collector())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            assert numbers(answer.read().decode())["isolate_up", "measured"] == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_closed_companion_is_not_there() -> None:
    Companion("brief").start().close()
    assert "brief" not in metrics.text()


def test_it_can_be_had_from_the_package() -> None:
    assert isolate_magic.metrics is metrics


def test_without_prometheus_client_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None\nimport isolate_magic.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError" in done.stderr
    assert "pip install isolate_magic[metrics]" in done.stderr.splitlines()[-1]


def test_rewinds_are_counted_apart_from_restarts() -> None:
    with Companion("back", snapshots="auto") as companion:
        companion.run("x = 1")
        with pytest.raises(ProcessTerminationError):
            companion.run("import os; os.abort()")
        found = numbers(metrics.text())
    assert found["isolate_rewinds_total", "back"] == 1
    assert found["isolate_restarts_total", "back"] == 0
    assert found["isolate_up", "back"] == 1
