"""The little curve: numbers on its axes, nothing of what it is given taken for markup or for granted."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from isolate_magic.sparkline import blocks, seconds, size, svg

CURVE = [(0.1, 30 << 20), (1.0, 200 << 20), (12.3, 412 << 20)]


def texts(drawn: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]


def test_the_axes_have_numbers() -> None:
    assert texts(svg(CURVE)) == ["412 MiB", "0", "100 ms", "12.3 s"]


def test_a_limit_is_drawn_where_it_is_near() -> None:
    assert "limit 600 MiB" in texts(svg(CURVE, 600 << 20))
    assert "limit 64 GiB" not in texts(svg(CURVE, 64 << 30))  # it would press the curve flat


def test_too_little_draws_nothing() -> None:
    for curve in ([], [(1.0, 5)], [(1.0, 5), (1.0, 6)], [(1.0, 5), (float("nan"), 6)]):
        assert svg(curve) == ""
    assert blocks([(1.0, 5)]) == ""


def test_points_stay_inside() -> None:
    drawn = ET.fromstring(svg([(0.0, 0), (5.0, 1 << 62), (9.0, 0)], 1 << 61))
    line = drawn.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for point in line.attrib["points"].split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_a_terminal_gets_blocks() -> None:
    line = blocks([(0.0, 0), (1.0, 50), (2.0, 100)], 9)
    assert len(line) == 9
    assert line[0] == "\u2581"
    assert line[-1] == "\u2588"
    assert blocks([(0.0, 0), (1.0, 0)], 4) == "\u2581" * 4


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (2048, "2 KiB"),
        (3 << 20, "3 MiB"),
        (1536 << 20, "1.5 GiB"),
        (12 << 30, "12 GiB"),
    ],
)
def test_sizes_are_said_as_people_do(count: int, text: str) -> None:
    assert size(count) == text


def test_times_are_said_as_people_do() -> None:
    assert [seconds(value) for value in (0.25, 12.34, 300)] == ["250 ms", "12.3 s", "5 min"]
