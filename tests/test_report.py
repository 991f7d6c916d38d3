"""The crash report as people read it: one set of facts, as text and as HTML."""

from __future__ import annotations

from isolate_magic import CrashReport, NativeFrame, StackFrame, autopsy

REPORT = CrashReport(
    companion="default",
    pid=7,
    reason="SIGSEGV (segmentation fault)",
    kind="signal",
    signal="SIGSEGV",
    during="Cell In[3]",
    stack=(StackFrame("Cell In[3]", 2, "<module>", "f(1 < 2)"), StackFrame("/lib/x.py", 9, "g")),
    stderr="<b>boo</b>",
    peak_memory=3 << 20,
    lifetime=0.25,
)


def test_text_and_html_tell_the_same_facts() -> None:
    for text in (str(REPORT), REPORT._repr_html_()):
        for fact in ("SIGSEGV", "Cell In[3]", "line 2", "/lib/x.py, line 9, in g", "pid", "250 ms", "3 MiB"):
            assert fact in text


def test_html_of_the_companion_is_shown_as_text() -> None:
    assert "<b>" not in REPORT._repr_html_()
    assert "&lt;b&gt;boo" in REPORT._repr_html_()
    assert "f(1 &lt; 2)" in REPORT._repr_html_()


def test_a_death_without_a_stack_says_why_there_is_none() -> None:
    killed = CrashReport("default", 7, "SIGKILL", "signal", signal="SIGKILL")
    assert "no Python stack: SIGKILL leaves none" in str(killed)
    compiled = CrashReport("default", 7, "SIGSEGV", "signal", signal="SIGSEGV")
    assert "straight into compiled code" in str(compiled)
    left = CrashReport("default", 7, "exit", "exit", exit_code=3)
    assert "a process that exits leaves none" in str(left)
    assert "exit code: 3" in str(left)


def test_the_headline_says_when_it_was_idle() -> None:
    assert "while idle" in CrashReport("default", 7, "SIGKILL", "signal").headline


def test_the_line_of_the_cell_is_marked_among_its_neighbours() -> None:
    around = ((1, "import x"), (2, "f(1 < 2)"), (3, ""), (4, "done()"))
    marked = CrashReport(
        "d", 7, "SIGSEGV", "signal", stack=(StackFrame("Cell In[3]", 2, "<module>", "", around),)
    )
    assert "----> 2 f(1 < 2)\n          3\n          4 done()" in str(marked)
    html = marked._repr_html_()
    assert html.count("&#9656;") == 1
    assert "f(1 &lt; 2)" in html.partition("&#9656;")[2].partition("</span>\n")[0].partition("\n")[0]


def test_lines_around_are_few_and_end_with_code() -> None:
    source = "\na = 1\n\n\nboom()\n\n\n\nb = 2"
    words = 'Current thread 0x1 (most recent call first):\n  File "<ipython-input-5-abc>", line {} in f\n'
    (frame,) = autopsy.stack(words.format(6), {5: (source, 1)})
    assert frame.around == ((3, "a = 1"), (4, ""), (5, ""), (6, "boom()"))
    (beyond,) = autopsy.stack(words.format(99), {5: (source, 1)})
    assert beyond.around == ()
    assert beyond.source == ""


def test_what_a_signal_means_is_said_in_plain_words() -> None:
    assert "compiled code used memory that is not its own" in str(REPORT)
    killed = CrashReport("d", 7, "memory limit of 1 GiB passed", "memory", signal="SIGKILL")
    assert killed.meaning == ""  # the reason says more than the signal


def test_long_stacks_are_folded_and_short_ones_open() -> None:
    long = CrashReport("d", 7, "x", "signal", native=tuple(NativeFrame(f"f{n}", "/x.so") for n in range(9)))
    assert "<details style" in long._repr_html_()
    assert "(9)" in long._repr_html_()
    assert "<details open" in REPORT._repr_html_()


def test_nothing_in_a_report_is_taken_for_markup() -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    frame = StackFrame("Cell In[1]", 1, evil, evil, ((1, evil),))
    native = NativeFrame(evil, evil, evil)
    report = CrashReport(evil, 1, evil, "signal", during=evil, stack=(frame,), native=(native,), stderr=evil)
    html = report._repr_html_()
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;") >= 6
