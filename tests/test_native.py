"""Native stacks as the host reads them: the companion's own words, whatever they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

from isolate_magic import NativeFrame, native
from isolate_magic.link.layout import NATIVE

BACK = "0x00007f00000000a0"


def words(*lines: str) -> str:
    return "\n".join(["Fatal Python error", "", f"{NATIVE} {BACK}", *lines])


STACK = words(
    "[0x7f9d7cbba0a1]",
    f"/lib/libc.so.6(+0x3c050)[{BACK}]",
    "/lib/libc.so.6(gsignal+0x12)[0x7f9d7c459fb2]",
    f"/lib/libc.so.6(+0x3c050)[{BACK}]",
    "/home/me/my (new) module.so(_ZN6sensor4readEPi+0x1f)[0x7f9d7c585ad8]",
    "[0x7f0000000001]",
    "/usr/lib/libother.so(+0x8608)[0x7f9d7c08d608]",
    "/usr/lib/libpython3.11.so.1.0(_PyObject_MakeTpCall+0x7d)[0x7f9d7c75861d]",
    "/usr/lib/libpython3.11.so.1.0(_PyEval_EvalFrameDefault+0x2e53)[0x7f9d7c6fd9c3]",
    "/usr/bin/python(_start+0x21)[0x55ed3d298081]",
)


def test_only_what_lies_between_python_and_the_failure_is_told() -> None:
    frames = native.frames(STACK, trusted=False)
    assert frames == (
        NativeFrame("_ZN6sensor4readEPi", "/home/me/my (new) module.so"),
        NativeFrame("", ""),
        NativeFrame("", "/usr/lib/libother.so", "+0x8608"),
    )
    assert [str(frame) for frame in frames] == [
        "_ZN6sensor4readEPi in my (new) module.so", "code made at run time", "libother.so +0x8608",
    ]  # fmt: skip


def test_how_libc_aborts_is_left_out() -> None:
    frames = native.frames(
        words(
            f"/lib/libc.so.6(+0x3c050)[{BACK}]",
            "/lib/libc.so.6(+0x8aeec)[0x1]",
            "/lib/libc.so.6(gsignal+0x12)[0x2]",
            "/lib/libc.so.6(abort+0xd3)[0x3]",
            "/x/mine.so(give_up+0x4)[0x4]",
        ),
        trusted=False,
    )
    assert [frame.function for frame in frames] == ["abort", "give_up"]


def test_words_without_such_a_stack_say_nothing() -> None:
    for text in ("", NATIVE, f"{NATIVE} soon", words(), words("nonsense", "[", "(+0x1)[0x2]")):
        assert native.frames(text) == ()


def test_what_a_hostile_companion_writes_is_bounded_and_shown_as_text() -> None:
    wild = "/x\x1b]0;t\x07/a.so(\u202ename+0x1)[0x5]"
    (frame,) = native.frames(words(f"x.so(+0x1)[{BACK}]", wild), trusted=False)
    assert frame == NativeFrame("name", "/x]0;t/a.so")
    many = words(f"x.so(+0x1)[{BACK}]", *["a.so(f+0x1)[0x5]"] * 10_000)
    assert len(native.frames(many, trusted=False)) == 30
    begin = time.monotonic()
    for evil in ("(" * 250_000, "[0x" * 80_000, "\n".join(["((+0x[" * 600] * 60)):
        assert native.frames(words(f"x.so(+0x1)[{BACK}]", evil), trusted=False) == ()
    assert time.monotonic() - begin < 2


def test_files_that_are_no_libraries_are_not_read(tmp_path: Path) -> None:
    pipe, text = tmp_path / "pipe.so", tmp_path / "text.so"
    os.mkfifo(pipe)
    text.write_bytes(b"\x7fELF\2\1" + b"\xff" * 60)
    for path in (pipe, text, tmp_path / "gone.so", tmp_path):
        (frame,) = native.frames(words(f"x.so(+0x1)[{BACK}]", f"{path}(+0x10)[0x5]"))
        assert frame == NativeFrame("", str(path), "+0x10")
