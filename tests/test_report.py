"""The crash report as people read it: one set of facts, as text and as HTML."""

from __future__ import annotations

from isolate_magic import CrashReport, StackFrame

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
