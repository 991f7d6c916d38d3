"""Options and commands: one definition for parsing, help, completion and the page in docs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from isolate_magic.face import commands, words
from isolate_magic.face.cell import CELL, OPTIONS
from isolate_magic.face.options import rows

PAGE = Path(__file__).parent.parent.parent / "docs" / "notebook.md"


def test_values_are_taken_with_and_without_an_equals_sign_and_quotes() -> None:
    found = CELL.parse('-c one --timeout=2.5 -i "a, b" -i c -m 1GiB -b')
    assert (found.companion, found.timeout, found.bg) == ("one", 2.5, True)
    assert (getattr(found, "in"), found.memory) == (["a, b", "c"], 1 << 30)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--grup", "knows no option --grup; did you mean --group?"),
        ("--timeot 5", "did you mean --timeout?"),
        ("-t", "--timeout wants a number of seconds"),
        ("-t -1", "--timeout"),
        ("-t nan", "positive number of seconds"),
        ("-t soon", "--timeout: 'soon' is none: give a positive number of seconds"),
        ("-m much", "--memory: memory = 'much'"),
        ("--bg=yes", "--bg takes no value"),
        ('-i "a', "no closing quotation"),
    ],
)
def test_an_error_names_the_option_and_what_it_takes(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        CELL.parse(line)
    assert said in str(caught.value)


def test_help_names_every_option_with_its_value() -> None:
    text = CELL.help()
    assert text.startswith("usage: %%isolated [options]\n")
    for option in OPTIONS:
        for flag in option.flags:
            assert flag in text


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (f"{name} --help", f"{name} -h"):
        assert commands.run(line) is None
        text = capsys.readouterr().out
        assert text.startswith(f"usage: %isolate {name} [options]")
        assert commands.COMMANDS[name].says in " ".join(text.split())


def test_the_help_of_isolate_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    commands.run("--help")
    text = capsys.readouterr().out
    for command in commands.COMMANDS.values():
        assert f"  {command.name} " in text
        assert command.says in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("statu", "did you mean status?"),
        ("stop --polcy x", "knows no option --polcy"),
        ("vars --copy", "--copy belongs to %isolate pull, not to vars"),
        ("list default", "takes nothing, not default"),
        ("stop one -c two", "takes one companion's name"),
        ("push", "which names?"),
        ("push 1x", "'1x' is no name"),
        ("crashes soon", "takes the number of a crash, not 'soon'"),
        ("crashes 9999", "there is no crash 9999"),
        ("result -t 0", "positive number of seconds"),
    ],
)
def test_a_command_says_what_was_wrong(line: str, said: str) -> None:
    shell = SimpleNamespace(user_ns={})
    with pytest.raises(UsageError) as caught:
        commands.run(line, shell)
    assert said in str(caught.value)


def suggested(text: str) -> list[str]:
    magic, _, line = text.partition(" ")
    if magic == "%%isolated":
        found = words.of_cell(line, len(line), {}, "", ())
    else:
        found = (words.of_line if magic == "%isolate" else words.of_autoisolate)(line, len(line))
    return [match.text for match in found.matches]


def test_tab_offers_commands_options_and_values() -> None:
    assert set(commands.COMMANDS) <= set(suggested("%isolate "))
    assert "--preload" in suggested("%isolate start --pre")
    assert "--preload" not in suggested("%isolate stop --pre")
    assert set(CELL.flags()) == set(suggested("%%isolated -"))
    assert "untrusted" in suggested("%%isolated -p ")
    assert "on" in suggested("%autoisolate o")


def test_the_page_lists_every_option_and_every_command() -> None:
    text = PAGE.read_text()
    for typed, says in rows(OPTIONS):
        assert f"| `{typed}` | {says} |" in text, f"docs/notebook.md wants: | `{typed}` | {says} |"
    for command in commands.COMMANDS.values():
        typed = f"{command.name} {command.words}".strip()
        row = f"| `{typed}` | {command.says} |"
        assert row in text, f"docs/notebook.md wants: {row}"
