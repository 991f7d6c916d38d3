"""Pictures of an untrusted companion: checked before a browser decodes them."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolate_magic import pictures


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 1, height: int = 1, *extra: bytes, end: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\xff\0\0" * min(width, 9)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"") + end


def jpeg(width: int = 1, height: int = 1) -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xe0\0\x04ab" + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0\xff\xd9"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_picture_passes() -> None:
    assert pictures.png(b64(png())) == b64(png())
    assert pictures.png(base64.encodebytes(png()).decode()) == b64(png())
    assert pictures.jpeg(b64(jpeg(640, 480))) == b64(jpeg(640, 480))


def test_a_png_loses_its_texts_its_profile_and_what_follows_it() -> None:
    loaded = png(
        1,
        1,
        chunk(b"tEXt", b"a\0<script>"),
        chunk(b"iCCP", b"bomb"),
        chunk(b"acTL", b"\0" * 8),
        end=b"<script>",
    )
    assert base64.b64decode(pictures.png(b64(loaded))) == png()


@pytest.mark.parametrize(
    "text",
    [
        b64(b"<html><script>alert(1)</script>"),
        b64(png(100_000, 100_000)),
        b64(png(8192, 8192)),
        b64(png(0, 1)),
        b64(png()[:-5]),
        b64(png()[:40]),
        b64(png(1, 1, chunk(b"IHDR", b"\0" * 13))),
        b64(png()[:8] + chunk(b"tEXt", b"x") + png()[8:]),
        b64(b"GIF89a"),
        b64(png()).replace("A", "A A"),
        b64(png()) + "!",
        "data:image/png;base64," + b64(png()),
        "\u00e9",
        "\ud800",
        "",
        None,
        [b64(png())],
        "A" * (23 << 20),
    ],
)
def test_what_is_no_png_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        pictures.png(text)


@pytest.mark.parametrize(
    "data",
    [
        png(),
        b"\xff\xd8\xff",
        b"\xff\xd8<script>",
        jpeg(60_000, 60_000),
        jpeg()[:20],
        b"\xff\xd8" + b"\xff\xe0\0\2" * 50,
    ],
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        pictures.jpeg(b64(data))


def test_an_svg_passes_without_its_doctype() -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE svg PUBLIC "-//W3C" "http://w3.org/a"><svg><rect/></svg>'
    assert base64.b64decode(pictures.svg(text)) == b"<svg><rect/></svg>"


def laughs(levels: int) -> str:
    groups = "".join(f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, levels))
    return f'<svg xmlns="http://www.w3.org/2000/svg"><g id="a0"><path/></g>{groups}</svg>'


@pytest.mark.parametrize(
    "text",
    [
        "<html/>",
        "<svg",
        "no svg",
        "",
        None,
        "\ud800<svg/>",
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>',
        laughs(20),
        '<svg><g id="a"><use href="#a"/></g></svg>',
        '<svg><pattern id="a"><rect fill="url(#a)"/></pattern></svg>',
    ],
)
def test_an_svg_that_is_none_or_multiplies_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        pictures.svg(text)


def test_references_that_stay_small_pass() -> None:
    assert pictures.svg(laughs(3))


@given(st.binary(max_size=80), st.integers(0, 60))
def test_nothing_but_value_errors_comes_out(data: bytes, place: int) -> None:
    for whole in (data, png()[:place] + data + png()[place:], jpeg()[:place] + data + jpeg()[place:]):
        for check in (pictures.png, pictures.jpeg):
            try:
                check(b64(whole))
            except ValueError:
                pass
