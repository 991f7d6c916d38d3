"""Output in an area of a widget: put together, bounded, and said when something is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from waiting import until

from isolate_magic.face.area import AreaSink


def outputs(area: Any) -> list[dict[str, Any]]:
    return [one for one in area.outputs if one["output_type"] == "stream"]


def test_pieces_of_one_stream_are_one_output() -> None:
    area = SimpleNamespace(outputs=())
    sink = AreaSink(area)
    for _ in range(100):
        sink.stream("stdout", "x")
    until(lambda: [one["text"] for one in outputs(area)] == ["x" * 100])


def test_turns_from_stdout_to_stderr_without_end_become_few_outputs() -> None:
    area = SimpleNamespace(outputs=())
    sink = AreaSink(area)
    for _ in range(20_000):
        sink.stream("stdout", "o")
        sink.stream("stderr", "e")
    until(lambda: len(outputs(area)) > 1000)
    assert len(outputs(area)) < 6000
