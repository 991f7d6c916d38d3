"""`%isolate checkpoint` and `%isolate restore` in a real kernel: passphrases, key files, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("saving")
    made = Kernel(f"%load_ext isolate_magic\nimport os; os.chdir({str(folder)!r})")
    assert made.run("open('key', 'wb').write(__import__('isolate_magic').new_key())").status == "ok"
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_companions(kernel: Kernel) -> Iterator[None]:
    yield
    assert kernel.run("for c in __import__('isolate_magic').companions(): c.close()").status == "ok"


def typing(kernel: Kernel, code: str, *answers: str) -> tuple[Cell, list[dict[str, Any]]]:
    """Run a cell and type these answers; return the cell and what it asked."""
    asked: list[dict[str, Any]] = []
    left = iter(answers)

    def answer(message: dict[str, Any]) -> None:
        asked.append(message["content"])
        kernel.client.input(next(left))

    return kernel.run(code, allow_stdin=True, stdin_hook=answer), asked


def test_a_passphrase_is_asked_for_unseen_and_twice_and_is_in_no_history(kernel: Kernel) -> None:
    kernel.run("%%isolated\nimport threading\nx = [1]\ny = x\nlock = threading.Lock()")
    cell, asked = typing(kernel, "%isolate checkpoint one.checkpoint", "a long secret", "a long secret")
    assert asked == [
        {"prompt": "Passphrase for one.checkpoint: ", "password": True},
        {"prompt": "Again: ", "password": True},
    ]
    assert "3 names of companion 'default'" in cell.stream()  # `threading` is the third
    assert "lock is left out: TypeError: cannot pickle '_thread.lock' object" in cell.stream()
    kernel.run("%isolate stop")
    cell, asked = typing(kernel, "%isolate restore one.checkpoint -c fresh", "a long secret")
    assert asked == [{"prompt": "Passphrase of one.checkpoint: ", "password": True}]
    assert "loaded by running what is in it" in cell.stream()
    assert "3 names" in cell.stream()
    assert kernel.run("%%isolated -c fresh\nx is y").result["text/plain"] == "True"
    kept = kernel.run("text = 'a long ' + 'secret'\nany(text in str(one) for one in [*In, *Out.values()])")
    assert kept.result["text/plain"] == "False"


def test_a_key_file_serves_where_nobody_can_be_asked(kernel: Kernel) -> None:
    kernel.run("%%isolated\nx = 5")
    assert kernel.run("%isolate checkpoint two --key-file key").status == "ok"
    kernel.run("%%isolated\nx = 6\nz = 7")
    cell = kernel.run("%isolate restore two --key-file key")
    assert "1 name of companion 'default'" in cell.stream()
    assert "loaded by running what is in it" in cell.stream()
    assert kernel.run("%%isolated\nx, z").result["text/plain"] == "(5, 7)"
    cell = kernel.run("%isolate checkpoint two", allow_stdin=False)
    assert cell.reply["ename"] == "UsageError"
    assert "give --key-file" in cell.stream("stderr")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("checkpoint", "which file?"),
        ("checkpoint a b", "which file?"),
        ("checkpoint f -c nobody --key-file key", "there is no companion 'nobody'"),
        ("checkpoint f --key-file nowhere", "--key-file nowhere: No such file"),
        ("checkpoint /nowhere/f --key-file key", "cannot be written"),
        ("restore nothing --key-file key", "cannot be read; nothing was loaded: No such file"),
        ("restore key --key-file key", "is no checkpoint of isolate_magic"),
        ("restore f -p untrusted --key-file key", "has another policy"),
        ("restore seven -c new --key-file short", "a key has 32 bytes, this one 3"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(kernel: Kernel, line: str, says: str) -> None:
    kernel.run("open('short', 'wb').write(b'abc')")
    kernel.run("%%isolated\nx = 5")
    kernel.run("%isolate checkpoint seven --key-file key")
    cell = kernel.run(f"%isolate {line}")
    assert cell.reply["ename"] == "UsageError"
    assert says in cell.stream("stderr")
    assert "Traceback" not in cell.error
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("checkpoint /nowhere/f", "cannot be written"),
        ("checkpoint . ", "it is a folder"),
        ("checkpoint f -c asleep", "does not run, so it holds nothing"),
        ("restore nothing", "cannot be read; nothing was loaded: No such file"),
        ("restore key", "is no checkpoint of isolate_magic"),
        ("restore five", "was saved with a key of 32 bytes, no passphrase: give --key-file"),
    ],
)
def test_nobody_types_a_passphrase_in_vain(kernel: Kernel, line: str, says: str) -> None:
    kernel.run("%%isolated\nx = 5")
    kernel.run("%isolate checkpoint five --key-file key")
    kernel.run("%isolate start asleep")
    kernel.run("%isolate stop asleep")
    cell = kernel.run(f"%isolate {line}", allow_stdin=False)
    assert cell.reply["ename"] == "UsageError"
    assert says in cell.stream("stderr")


def test_a_passphrase_that_is_too_short_is_not_asked_for_again(kernel: Kernel) -> None:
    kernel.run("%%isolated\nx = 5")
    cell, prompts = typing(kernel, "%isolate checkpoint six", "short")
    assert len(prompts) == 1
    assert "a passphrase of 5 characters is guessed" in cell.stream("stderr")


def test_different_passphrases_write_nothing(kernel: Kernel) -> None:
    kernel.run("%%isolated\nx = 5")
    cell, _ = typing(kernel, "%isolate checkpoint three", "a long secret", "a long secre")
    assert "the two passphrases differ" in cell.stream("stderr")
    assert kernel.run("os.path.exists('three')").result["text/plain"] == "False"
    typing(kernel, "%isolate checkpoint three", "a long secret", "a long secret")
    cell, _ = typing(kernel, "%isolate restore three -c wrong", "another secret")
    assert "was saved with another key" in cell.stream("stderr")
    assert "wrong" not in kernel.run("%isolate list").stream()


def test_what_was_not_trusted_is_restored_under_a_policy_only(kernel: Kernel) -> None:
    kernel.run("%isolate start student --policy untrusted")
    kernel.run("%%isolated -c student\nx = 5")
    assert kernel.run("%isolate checkpoint four -c student --key-file key").status == "ok"
    cell = kernel.run("%isolate restore four -c new --key-file key")
    assert "was not trusted" in cell.stream("stderr")
    assert kernel.run("%isolate restore four -c new -p untrusted --key-file key").status == "ok"
    assert kernel.run("%%isolated -c new\nx").result["text/plain"].endswith("5")


def test_paths_are_completed(kernel: Kernel) -> None:
    kernel.run("open('analysis.checkpoint', 'w').close()")
    code = "%isolate restore anal"
    reply = kernel.client.complete(code, len(code), reply=True, timeout=30)
    assert reply["content"]["matches"] == ["analysis.checkpoint"]
