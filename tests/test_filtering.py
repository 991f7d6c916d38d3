"""The filter in front of the notebook: what it lets through, what it says about the rest."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_pictures import png

from isolate_magic.escapes import GUTTER, RESET
from isolate_magic.filtering import Filtered, filter_bundle

PNG = base64.b64encode(png()).decode()
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script><rect width='9' height='9'/></svg>"


class Recorder:
    """A sink that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Any]] = []

    def stream(self, name: str, text: str) -> None:
        self.shown.append((name, text))

    def message(self, kind: str, content: dict[str, Any]) -> None:
        self.shown.append((kind, content))

    def text(self, name: str = "stdout") -> str:
        return "".join(text for kind, text in self.shown if kind == name)


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def filtered(recorder: Recorder) -> Filtered:
    made = Filtered(recorder, "student", None, None)
    made.begin()
    return made


def shown(kind: str, recorder: Recorder) -> list[Any]:
    return [content for name, content in recorder.shown if name == kind]


# ---------------------------------------------------------------- text


def test_text_is_framed_and_its_colour_ends_with_each_piece(filtered: Filtered, recorder: Recorder) -> None:
    filtered.stream("stdout", "\x1b[31mred")
    filtered.stream("stdout", " still\n")
    assert recorder.text() == f"{GUTTER}\x1b[31mred{RESET}\x1b[31m still{RESET}\n"


def test_an_escape_sequence_in_two_pieces_is_dropped(filtered: Filtered, recorder: Recorder) -> None:
    for piece in ("a\x1b", "]52;c;", "AAAA", "\x1b", "\\b", "\x1b[2", "Jc"):
        filtered.stream("stdout", piece)
    assert recorder.text() == f"{GUTTER}abc"


def test_text_after_a_display_or_the_other_stream_has_the_gutter_again(
    filtered: Filtered, recorder: Recorder
) -> None:
    filtered.stream("stdout", "a")
    filtered.stream("stderr", "b")
    filtered.stream("stdout", "c")
    filtered.message("display_data", {"data": {"text/plain": "d"}})
    filtered.stream("stdout", "e")
    texts = [text for name, text in recorder.shown if name in ("stdout", "stderr")]
    assert texts == [f"{GUTTER}{letter}" for letter in "abce"]


def test_the_end_of_a_cell_ends_its_line_and_says_what_was_dropped(
    filtered: Filtered, recorder: Recorder
) -> None:
    filtered.stream("stdout", "\x1b[7mhost: all is well\x1b]0;t\x07")
    filtered.message("display_data", {"data": {"application/javascript": "x", "text/plain": "y"}})
    filtered.finish()
    assert recorder.text().endswith(f"{RESET}\n") or recorder.text().endswith("\n")
    said = recorder.shown[-1]
    assert said == ("stderr", "companion 'student': dropped 1 escape sequence, 1 application/javascript\n")
    filtered.begin()
    filtered.stream("stdout", "fine\n")
    filtered.finish()
    assert recorder.shown[-1] == ("stdout", f"{GUTTER}fine\n")


# ---------------------------------------------------------------- limits


def test_over_the_limit_of_a_cell_nothing_is_shown_and_the_next_cell_begins_anew(recorder: Recorder) -> None:
    filtered = Filtered(recorder, "student", 10_000, None)
    filtered.begin()
    for _ in range(100):
        filtered.stream("stdout", "x" * 1000)
    filtered.message("display_data", {"data": {"text/plain": "late"}})
    filtered.finish()
    assert 9000 < len(recorder.text()) < 10_200
    assert not shown("display_data", recorder)
    assert "over the limit of 9.77 KiB per cell" in recorder.text("stderr")
    filtered.begin()
    filtered.stream("stdout", "again")
    assert recorder.shown[-1] == ("stdout", f"{GUTTER}again")


def test_lines_that_grow_by_their_colours_count_as_they_are_shown(recorder: Recorder) -> None:
    filtered = Filtered(recorder, "student", 20_000, None)
    filtered.begin()
    filtered.stream("stdout", "\x1b[38;2;1;2;3;48;2;1;2;3m" + "a\n" * 9_000)
    assert len(recorder.text()) < 20_000 + 300_000


def test_the_rate_fills_up_again(recorder: Recorder) -> None:
    clock = Clock()
    filtered = Filtered(recorder, "student", None, 1000, clock)
    filtered.begin()
    filtered.stream("stdout", "a" * 5000)
    assert recorder.text().count("a") == 1000
    clock.now += 2
    filtered.stream("stdout", "b" * 5000)
    assert 990 <= recorder.text().count("b") <= 1000
    filtered.finish()
    assert "over the rate of 1000 bytes per second" in recorder.text("stderr")


def test_many_small_displays_are_limited_too(recorder: Recorder) -> None:
    filtered = Filtered(recorder, "student", 10_000, None)
    filtered.begin()
    for _ in range(1000):
        filtered.message("display_data", {"data": {"text/plain": ""}, "metadata": {}})
        filtered.message("display_data", {"data": {"text/plain": "x"}, "metadata": {}})
        filtered.message("clear_output", {})
    assert len(recorder.shown) < 100


# ---------------------------------------------------------------- displays


def test_only_keys_of_the_protocol_pass(filtered: Filtered, recorder: Recorder) -> None:
    filtered.message(
        "execute_result",
        {
            "data": {"text/plain": "1"},
            "metadata": {"isolated": True, "text/html": {"isolated": True}},
            "transient": {"display_id": "mine", "other": 1},
            "execution_count": 7,
            "payload": [{"source": "set_next_input", "text": "x"}],
        },
    )
    (content,) = shown("execute_result", recorder)
    assert content["data"] == {"text/plain": f"{GUTTER}1"}
    assert content["metadata"] == {}
    assert list(content["transient"]) == ["display_id"]
    assert content["execution_count"] == 7
    assert set(content) == {"data", "metadata", "transient", "execution_count"}


def test_display_ids_are_the_hosts_and_only_own_displays_are_updated(recorder: Recorder) -> None:
    one, other = Filtered(recorder, "one", None, None), Filtered(recorder, "two", None, None)
    display = {"data": {"text/plain": "x"}, "transient": {"display_id": "same"}}
    for filtered in (one, other):
        filtered.begin()
        filtered.message("display_data", display)
    one.message("update_display_data", display)
    first, second = (content["transient"]["display_id"] for content in shown("display_data", recorder))
    (update,) = shown("update_display_data", recorder)
    assert first != second
    assert update["transient"]["display_id"] == first
    assert "same" not in first + second
    one.message("update_display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": second}})
    one.message("update_display_data", {"data": {"text/plain": "x"}})
    assert len(shown("update_display_data", recorder)) == 1
    one.finish()
    assert "2 update of a display not its own" in recorder.text("stderr")


def test_display_ids_are_bounded(filtered: Filtered, recorder: Recorder) -> None:
    for number in range(1010):
        filtered.message(
            "display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": f"{number}"}}
        )
    assert sum(bool(content["transient"]) for content in shown("display_data", recorder)) == 1000


def test_only_a_running_cell_is_cleared(filtered: Filtered, recorder: Recorder) -> None:
    filtered.message("clear_output", {"wait": 1, "x": 2})
    filtered.finish()
    filtered.message("clear_output", {"wait": True})
    assert shown("clear_output", recorder) == [{"wait": False}]


@pytest.mark.parametrize(
    "kind",
    [
        "comm_open",
        "comm_msg",
        "comm_close",
        "input_request",
        "execute_reply",
        "error",
        "status",
        "stream",
        "\x1b]0;",
        None,
        [],
    ],
)
def test_other_messages_are_dropped(kind: Any, filtered: Filtered, recorder: Recorder) -> None:
    filtered.message(kind, {"data": {"text/plain": "x"}, "target_name": "host"})
    assert recorder.shown == []
    filtered.finish()
    assert "message" in recorder.text("stderr")
    assert "\x1b" not in recorder.text("stderr")


@pytest.mark.parametrize(
    "mime",
    [
        "application/javascript",
        "application/json",
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.plotly.v1+json",
        "application/vnd.vegalite.v5+json",
        "application/vdom.v1+json",
        "application/geo+json",
        "application/pdf",
        "text/vnd.mermaid",
        "image/gif",
        "*/*",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "\x1b[2J",
        "",
    ],
)
def test_other_types_are_dropped(mime: str) -> None:
    assert filter_bundle({mime: "<script>"}, {}) == ({}, {})
    assert filter_bundle({mime: {"a": 1}, "text/plain": "x"}, {}) == ({"text/plain": f"{GUTTER}x"}, {})


def test_markdown_and_latex_are_shown_as_their_source() -> None:
    data = {"text/plain": "<IPython.core.display.Markdown object>", "text/markdown": "# <b onclick=x>hi</b>"}
    assert filter_bundle(data, {})[0] == {"text/plain": f"{GUTTER}# <b onclick=x>hi</b>"}
    latex = filter_bundle({"text/latex": r"\href{javascript:alert(1)}{x}"}, {})[0]
    assert list(latex) == ["text/plain"]


def test_html_stands_framed_beside_plain_text() -> None:
    data, metadata = filter_bundle({"text/html": "<b>x</b><script>y</script>"}, {}, "student")
    assert data["text/plain"] == f"{GUTTER}<HTML output>"
    assert "<b>x</b></div>" in data["text/html"]
    assert "script" not in data["text/html"]
    assert "student" in data["text/html"]
    assert metadata == {}


def test_html_of_which_nothing_is_left_gives_way_to_the_picture() -> None:
    data, _ = filter_bundle({"text/html": "<script>y</script><div></div>", "image/png": PNG}, {})
    assert "<img" in data["text/html"]
    assert filter_bundle({"text/html": "<script>y</script>", "text/plain": "p"}, {})[0] == {
        "text/plain": f"{GUTTER}p"
    }


def test_a_picture_keeps_its_size_and_nothing_else() -> None:
    given_size = {"width": 30, "height": 20, "unconfined": True, "style": "x", "needs_background": "<"}
    data, metadata = filter_bundle({"image/png": PNG}, {"image/png": given_size, "isolated": True})
    assert data["image/png"] == PNG
    assert metadata == {"image/png": {"width": 30, "height": 20}}
    assert 'width="30" height="20"' in data["text/html"]
    for wrong in ("30", 1.5, math.nan, True, -1, 10**30, None, [1]):
        assert filter_bundle({"image/png": PNG}, {"image/png": {"width": wrong}})[1] == {}


def test_svg_is_shown_by_img_alone() -> None:
    data, _ = filter_bundle({"image/svg+xml": SVG}, {})
    assert "image/svg+xml" not in data
    assert f"data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}" in data["text/html"]
    assert "<script" not in data["text/html"]


def test_a_false_picture_is_dropped_and_its_plain_text_stays(filtered: Filtered, recorder: Recorder) -> None:
    fake = base64.b64encode(b"<html><script>").decode()
    filtered.message("display_data", {"data": {"image/png": fake, "text/plain": "<Figure>"}})
    filtered.finish()
    assert shown("display_data", recorder)[0]["data"] == {"text/plain": f"{GUTTER}<Figure>"}
    assert "1 image/png (no PNG)" in recorder.text("stderr")


# ---------------------------------------------------------------- anything

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("\ud800")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
MIMES = st.sampled_from(
    ["text/plain", "text/html", "image/png", "image/jpeg", "image/svg+xml", "text/markdown", "text/x"]
)
BUNDLES = st.dictionaries(
    MIMES, JSON | st.sampled_from([PNG, SVG, "<b>x", "\x1b[31mred", "<img src=x onerror=y>"]), max_size=4
)
CONTENTS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "data": BUNDLES | JSON,
        "metadata": st.dictionaries(MIMES, JSON) | JSON,
        "transient": JSON,
        "wait": JSON,
    },
)
KINDS = (
    st.sampled_from(["display_data", "execute_result", "update_display_data", "clear_output", "comm_open"])
    | JSON
)


@given(st.lists(st.tuples(KINDS, CONTENTS) | st.text(max_size=30), max_size=6))
def test_nothing_a_companion_sends_makes_the_filter_raise(messages: list[Any]) -> None:
    recorder = Recorder()
    filtered = Filtered(recorder, "student", 100_000, 100_000)
    filtered.begin()
    for message in messages:
        if isinstance(message, str):
            filtered.stream("stdout", message)
        else:
            filtered.message(*message)
    filtered.finish()
    for kind, content in recorder.shown:
        assert kind in (
            "stdout",
            "stderr",
            "display_data",
            "execute_result",
            "update_display_data",
            "clear_output",
        )
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
        if isinstance(content, dict) and "data" in content:
            assert set(content["data"]) <= {"text/plain", "text/html", "image/png", "image/jpeg"}
            assert "text/plain" in content["data"]


def test_deep_nesting_does_not_matter() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert filter_bundle({"text/plain": deep, "text/html": deep}, {"image/png": deep}) == ({}, {})
    assert filter_bundle(deep, deep) == ({}, {})
    while isinstance(deep, list):
        deep = deep[0]
