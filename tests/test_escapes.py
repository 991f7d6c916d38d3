"""Text of an untrusted companion: only colours stay, and no line goes without the gutter."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolate_magic.escapes import GUTTER, RESET, Text, clean, filter_lines

SGR = re.compile(r"\x1b\[[0-9;:]*m")
PIECES = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "\x1b",
                "\x1b[",
                "31",
                ";1m",
                "m",
                "\x1b[0m",
                "\x1b]8;;",
                "\x07",
                "\x1b\\",
                "\x9b2J",
                "\x9d0;t\x9c",
                "\r",
            ]
            + [
                "\n",
                "\r\n",
                "\x08",
                "\u202e",
                "\x1bP",
                "\x1bc",
                "\x1b(0",
                "\x1b[8m",
                "\x1b[38;5;8m",
                "\ud800",
                "a",
            ]
        ),
    ),
    max_size=20,
)


def bare(text: str) -> str:
    return clean(text, gutter="")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1b]8;;http://evil\x07click\x1b]8;;\x07", "click"),
        ("\x1b]52;c;cm0gLXJm\x07x", "x"),
        ("\x1b]0;title\x9cx", "x"),
        ("\x9d2;title\x07x", "x"),
        ("\x1bPq#0;2;0\x1b\\x", "x"),
        ("\x90q\x9cx", "x"),
        ("\x1b_Gapc\x1b\\x", "x"),
        ("\x9fapc\x1b\\x", "x"),
        ("\x1b^pm\x1b\\x\x1bXsos\x1b\\y", "xy"),
        ("\x1b]never ended\nnext", "\nnext"),
        ("\x1b]a\x1b[2Jx", "x"),
        ("a\x1b[1A\x1b[2K\x1b[H\x1b[2Jb", "ab"),
        ("\x1b[?1049h\x1b[?25lx\x1b[6n", "x"),
        ("\x1b[>c\x1b[!p\x1b[5 qx", "x"),
        ("\x9b2J\x9b31mx", "x"),
        ("\x1bc\x1b7\x1b8\x1bM\x1b(0\x1b#8x", "x"),
        ("a\x00\x07\x08\x0b\x0c\x0e\x0f\x7f\x85b", "ab"),
        ("tab\tstays", "tab\tstays"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("\u2066a\u2069\u200e\u200f\u061c", "a"),
        ("z\u200be\u2060r\ufeffo\u00ad", "zero"),
        ("\U000e0041tag", "tag"),
        ("\U0001f468\u200d\U0001f469\ufe0f", "\U0001f468\u200d\U0001f469\ufe0f"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("lone \ud800", "lone \ufffd"),
        ("\x1b[8mhidden\x1b[5mblink\x1b[6m", "hiddenblink"),
        ("\x1b[1;31;400;99999mx", f"\x1b[1;31mx{RESET}"),
        ("\x1b[38;5;196;48;2;1;2;3mx", f"\x1b[38;5;196;48;2;1;2;3mx{RESET}"),
        ("\x1b[38;5mx\x1b[38;9;8mx", "xx"),
        ("\x1b[4:3mx\x1b[24my", f"\x1b[4:3mx{RESET}y"),
        ("\x1b[38:2::1:2:3mx\x1b[39my", f"\x1b[38:2::1:2:3mx{RESET}y"),
        ("\x1b[>4;1mx\x1b[?4mx", "xx"),
        ("\x1b[" + "1;" * 40 + "mx", "1;" * 40 + "mx"),
        ("\x1b", ""),
        ("\x1b[31", ""),
        ("a\r\nb\r\r\nc", "a\nb\nc"),
    ],
)
def test_of_escape_sequences_only_colours_stay(text: str, left: str) -> None:
    assert bare(text) == left


def test_each_line_has_the_gutter_and_its_own_colours() -> None:
    assert clean("\x1b[31ma\n\nb") == f"{GUTTER}\x1b[31ma{RESET}\n{GUTTER}\n{GUTTER}\x1b[31mb{RESET}"


def test_a_carriage_return_overprints_only_lines_that_began_here() -> None:
    assert clean("10%\r20%\r30%\n") == f"{GUTTER}10%\n{GUTTER}20%\r{GUTTER}30%\n"
    assert clean("\r\r0%") == f"{GUTTER}0%"
    assert clean("a\r") == f"{GUTTER}a"


def test_colours_end_with_the_text() -> None:
    text = Text()
    assert text.feed("\x1b[7mabc") == f"{GUTTER}\x1b[7mabc"
    assert text.pause() == RESET
    assert text.feed("d") == "\x1b[7md"
    assert text.close() == f"{RESET}\n"
    assert text.feed("plain") == f"{GUTTER}plain"


def test_what_is_dropped_is_counted() -> None:
    dropped: Counter[str] = Counter()
    clean("\x1b]0;t\x07\x1b[2J\x1b[31mred\x00\u202e\u202e\x1b[", dropped=dropped)
    assert +dropped == {"escape sequence": 3, "control character": 1, "invisible character": 2}


@given(PIECES)
def test_the_pieces_that_text_comes_in_make_no_difference(pieces: list[str]) -> None:
    one, many = Text(), Text()
    whole = one.feed("".join(pieces)) + one.close()
    assert "".join(map(many.feed, pieces)) + many.close() == whole
    assert many.dropped == one.dropped


@given(PIECES)
def test_no_forbidden_character_passes_and_every_line_is_framed(pieces: list[str]) -> None:
    text = Text()
    out = "".join(text.feed(piece) + text.pause() for piece in pieces) + text.close()
    rest = SGR.sub("", out)
    assert not re.search(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", rest
    )
    assert all(line.startswith(GUTTER) for line in re.split(r"[\n\r]", rest) if line)
    assert not SGR.findall(out) or SGR.findall(out)[-1] == RESET
    assert out.endswith("\n") or not out


@given(st.text())
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    ordinary = re.sub(r"[^a-z \n\té\u4e2d]", "", text)
    assert bare(ordinary) == ordinary


def test_a_traceback_is_filtered_line_by_line_and_cut_in_its_middle() -> None:
    assert filter_lines(["\x1b[31mValueError\x1b[0m: \x1b]0;x\x07no", "a\nb"], gutter="") == [
        f"\x1b[31mValueError{RESET}: no",
        "a\nb",
    ]
    assert filter_lines(["x"]) == [f"{GUTTER}x"]
    long = filter_lines(["a" * 1_000_000, "the end"], gutter="")
    assert len("\n".join(long)) < 300_000
    assert long[-1].endswith("the end")
    assert filter_lines([1, None, "x"], gutter="") == ["x"]  # type: ignore[list-item]
