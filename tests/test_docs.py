"""Every code block of README and docs runs, page by page, in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernels import Kernel

from isolate_magic.kernel.specification import install

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [
        (rest.strip(), code)
        for language, rest, code in BLOCK.findall(page.read_text())
        if language == "python"
    ]
    if not blocks:
        return
    name = "python3"
    if page.name == "kernel.md":  # it is about the kernel that it runs in
        name = "isolated"
        install(name, "trusted", prefix=str(tmp_path))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    kernel = Kernel(name=name)
    try:
        kernel.run(f"import os; os.chdir({str(tmp_path)!r}); del os")  # for what the page writes
        for rest, code in blocks:
            cell = kernel.run(code)
            if rest.startswith("raises "):
                assert cell.reply.get("ename") == rest.removeprefix("raises "), code
            else:
                assert cell.status == "ok", f"{code}\n{cell.error}{cell.stream('stderr')}"
    finally:
        kernel.close()


def test_the_readme_begins_with_the_two_commands_and_they_are_the_makefiles() -> None:
    shell = [
        code for language, _, code in BLOCK.findall((ROOT / "README.md").read_text()) if language == "sh"
    ]
    commands = [line.split("#")[0].strip() for line in shell[0].splitlines()]
    assert commands == ["make demo", "make test"]
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets == ["demo test"]


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_protocol_page_lists_every_frame_and_value() -> None:
    from isolate_magic.link import frames

    text = (ROOT / "docs" / "protocol.md").read_text()
    for name, cls in vars(frames).items():
        if isinstance(cls, type) and issubclass(cls, frames.Wire) and cls is not frames.Wire:
            assert re.search(rf"\b{name}\b", text, re.IGNORECASE), name


def test_the_sandbox_page_lists_every_field_of_a_policy() -> None:
    from isolate_magic.policy import fields_table

    text = (ROOT / "docs" / "sandbox.md").read_text()
    for name, takes, default, says in fields_table():
        row = f"| `{name}` | {takes} | {default.strip(chr(39)) or 'empty'} | {says} |"
        assert row in text, f"docs/sandbox.md wants this row: {row}"


def test_the_page_on_crashes_names_every_error_of_a_death_and_every_button() -> None:
    from isolate_magic import errors

    text = (ROOT / "docs" / "crashes.md").read_text()
    for kind in errors.DEATHS.values():
        assert f"{kind.__name__} " in text
    for button in ("Restart", "Rerun the cell", "Report as text", "Interrupt"):
        assert f"**{button}**" in text


def test_the_notebook_page_lists_every_option() -> None:
    from isolate_magic.face.configuration import Isolate, options_table

    text = (ROOT / "docs" / "notebook.md").read_text()
    for name, takes, default, says in options_table():
        row = f"| `c.Isolate.{name}` | {takes} | {default} | {says} |"
        assert row in text, f"docs/notebook.md wants this row: {row}"
    assert text.count("| `c.Isolate.") == len(Isolate.class_own_traits(config=True))
