"""HTML of an untrusted companion: what comes out is a short list of tags, attributes and values."""

from __future__ import annotations

import re
import time
from collections import Counter
from html.parser import HTMLParser

import pandas as pd
import pytest
from html_attacks import ATTACKS
from hypothesis import given
from hypothesis import strategies as st

from isolate_magic import markup

TAGS = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<p>",
        "</p>",
        "<table>",
        "</table>",
        "<tr>",
        "<td>",
        "</td>",
        "</tr>",
        "<i title=a>",
        "<img src=x onerror=a()>",
        "<script>",
        "</script>",
        "<svg>",
        "<style>",
        "</style>",
        "<!--",
        "-->",
        "<math>",
        "<div style='",
        "'>",
        '"',
        '<td title="',
        "&lt;",
        "&#x202e;",
        "<a href=x>",
        "<col>",
        "<h1>",
        "#T_a{color:red}",
        "<p id=T_a",
        ">",
        "<",
        "</svg>",
        "<select>",
        "<template>",
        "<noscript>",
        "</noscript>",
        "<font a=",
        "<li>",
        "<textarea>",
        "\x00",
        "<div id=x class=jp-Dialog data-a=1>",
    ]
)


class Found(HTMLParser):
    """Collect tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        self.depth += tag not in ("img", "br", "hr", "col", "wbr")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1
        assert self.depth >= 0


def clean(text: str) -> str:
    return markup.clean(text, Counter())


def check(text: str) -> None:
    """Check HTML by what it has, not by what it lacks."""
    found = Found()
    found.feed(text)
    found.close()
    assert found.depth == 0
    assert set(found.tags) <= markup._TAGS | {"style"}
    assert found.tags.count("style") <= 1
    for key, value in found.attributes:
        assert key in markup._EVERYWHERE | {name for names in markup._ATTRIBUTES.values() for name in names}
        if key in ("id", "class"):
            assert all(re.fullmatch(r"i[0-9a-f]{8}-\w+", name) for name in value.split())
        if key == "src":
            assert re.match(r"data:image/(png|jpeg|svg\+xml);base64,[A-Za-z0-9+/=]*\Z", value)
        if key == "style":
            assert not re.search(r"url|\\|position|@|/|margin|transform|height:", value)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_leaves_nothing_that_acts(attack: str) -> None:
    out = clean(attack)
    check(out)
    assert not re.search(r"[\x00-\x08]", out)
    sheet = re.match(r"<style>(.*?)</style>", out)
    assert sheet is None or re.fullmatch(r"(#i[0-9a-f]{8}-T_a \{color: red\} ?)+", sheet[1])
    assert clean(re.sub("<style>.*?</style>", "", out)).count("<") <= out.count("<")


@given(st.lists(st.one_of(TAGS, st.text(max_size=4)), max_size=40))
def test_whatever_comes_in_comes_out_balanced_and_listed(pieces: list[str]) -> None:
    text = "".join(pieces)
    out = clean(text)
    check(out)
    assert len(out) <= 200 + 40 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        "<p>" + "".join(f"<b title={i}>" for i in range(50_000)) + "</p>" + "<p>x</p>" * 50_000,
        "<div>" * 200_000,
        "<table><b>" * 100_000,
        "<table>a" * 100_000,
        "<table><p><td></td>a<p></table>" * 30_000,
        "&" * 1_000_000,
        "\xa0" * 1_000_000,
        "<" * 1_000_000,
        "<!--" * 300_000,
        "<td a='" * 100_000,
        "<style>" + "a" * 1_000_000,
        "<style>" * 100_000,
        "<svg>" * 200_000,
        "<p><b></p>" * 100_000,
    ],
    ids=lambda text: text[:24],
)
def test_a_text_that_multiplies_in_a_parser_stays_small_and_quick(text: str) -> None:
    before = time.process_time()
    out = clean(text)
    assert len(out) < 3_000_000
    assert time.process_time() - before < 10  # 0.1 to 1 s; it was minutes, or the end of the host


def test_more_than_four_megabytes_are_not_read() -> None:
    dropped: Counter[str] = Counter()
    assert markup.clean("a" * (5 << 20), dropped) == ""
    assert dropped == {"HTML over 4 MiB": 1}


def test_a_table_of_pandas_stays_a_table() -> None:
    out = clean(pd.DataFrame({"a": [1, 2], "b": ["<x>", "&"]})._repr_html_())
    check(out)
    assert out.count("<td>") == 4
    assert "&lt;x&gt;" in out


def test_the_styler_keeps_its_colours_under_another_name() -> None:
    pytest.importorskip("jinja2")
    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    styler = (
        frame.style.highlight_max(color="#ff0000").bar(subset=["a"]).set_caption("marks").set_uuid("mine")
    )
    out = clean(styler._repr_html_())
    check(out)
    prefix = re.search(r'<table id="(i[0-9a-f]{8}-)T_mine"', out)
    assert prefix is not None
    assert f"#{prefix[1]}T_mine_row1_col1 {{background-color: #ff0000}}" in out.replace(
        f", #{prefix[1]}T_mine_row1_col1", ""
    )
    assert "linear-gradient(" in out
    assert f'<td id="{prefix[1]}T_mine_row1_col1"' in out
    assert "<caption>marks</caption>" in out


def test_end_tags_may_be_left_out_as_html_allows() -> None:
    assert clean("<table><tr><td>a<td>b<tr><td>c</table>").count("<td>") == 3
    assert clean("<ul><li>a<li>b</ul>") == "<ul><li>a</li><li>b</li></ul>"


def test_a_link_keeps_its_text_alone() -> None:
    dropped: Counter[str] = Counter()
    assert markup.clean("<a href='http://example.org'>see</a>", dropped) == "see"


def test_the_frame_names_the_companion_and_cannot_be_left() -> None:
    out = markup.framed(clean("</div></div><b>host</b>"), "student")
    check(out.replace("border-left: 2px solid #999; padding-left: 8px; overflow: auto; max-width: 100%", ""))
    assert "companion 'student'" in out or "companion &#x27;student&#x27;" in out
    assert out.endswith("<b>host</b></div>")
