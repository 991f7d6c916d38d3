"""Tab as a front end asks for it, in a real kernel: whose names it offers, how soon, and what it never runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from face.test_terminal import terminal
from kernels import Kernel
from waiting import until

THERE = """%%isolated -o thing,table,strange
import sys
there_only = [1, 2]
class Thing:
    'A thing.'
    touched = 0
    def __init__(self): self.plain = {'inner': 1}
    @property
    def costly(self):
        Thing.touched += 1
        raise RuntimeError('the property ran')
    def method(self, number, wanted=1): 'Do something.'
class Strange(Thing):
    def __getattr__(self, name):
        Thing.touched += 1
        raise AttributeError(name)
thing, strange, table = Thing(), Strange(), {'first key': 1, 'second': 2}
"""
TOUCHED = "%%isolated\nThing.touched"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\n%config Isolate.snapshots = 'off'")
    made.run("here_only = 1; from isolate_magic.session import get_companion; import threading, time")
    assert made.run(THERE).status == "ok"
    yield made
    made.close()


def tab(kernel: Kernel, code: str, cursor: int | None = None) -> dict[str, Any]:
    """Press Tab; return the reply, whose parts must agree with each other."""
    place = len(code) if cursor is None else cursor
    reply: dict[str, Any] = kernel.client.complete(code, place, reply=True, timeout=30)["content"]
    assert reply["status"] == "ok"
    assert reply["cursor_start"] <= place <= reply["cursor_end"]
    typed = reply["metadata"].get("_jupyter_types_experimental", [])
    assert [one["text"] for one in typed] == reply["matches"]
    assert all((one["start"], one["end"]) == (reply["cursor_start"], reply["cursor_end"]) for one in typed)
    return reply


def offered(kernel: Kernel, code: str, cursor: int | None = None) -> list[str]:
    matches: list[str] = tab(kernel, code, cursor)["matches"]
    return matches


def kinds(kernel: Kernel, code: str) -> dict[str, str]:
    reply = tab(kernel, code)
    return {one["text"]: one["type"] for one in reply["metadata"]["_jupyter_types_experimental"]}


# ---------------------------------------------------------------- the cells of a companion


def test_a_cell_is_completed_with_the_companions_names_and_never_with_the_sessions(kernel: Kernel) -> None:
    assert offered(kernel, "%%isolated\nthere_o") == ["there_only"]
    assert offered(kernel, "%%isolated\nhere_o") == []
    assert "here_only" not in offered(kernel, "%%isolated\n")
    assert offered(kernel, "here_o") == ["here_only"]


def test_attributes_keys_modules_magics_and_files_are_the_companions(kernel: Kernel, tmp_path: Any) -> None:
    (tmp_path / "a file.txt").write_text("")
    assert {"append", "clear"} <= set(offered(kernel, "%%isolated\nthere_only."))
    assert offered(kernel, "%%isolated\ntable['sec") == ["second"]
    assert "json" in offered(kernel, "%%isolated\nimport js")
    assert "%timeit" in offered(kernel, "%%isolated\n%timei")
    assert any(
        "a file.txt" in text.replace("\\", "") for text in offered(kernel, f"%%isolated\nopen('{tmp_path}/a")
    )
    assert "wanted=" in offered(kernel, "%%isolated\nthing.method(wan")


def test_front_ends_learn_what_kind_of_thing_a_match_is(kernel: Kernel) -> None:
    found = kinds(kernel, "%%isolated\nthing.")
    assert found == {"costly": "property", "method": "function", "plain": "instance", "touched": "instance"}
    names = kinds(kernel, "%%isolated\n")
    assert names["sys"] == "module"
    assert names["Thing"] == "class"
    assert names["while"] == "keyword"


@pytest.mark.parametrize(
    "before",
    [
        "%%isolated\n",
        "%%isolated -c default  \n",
        "\n  \n%%isolated\n\n",
        "%%time\n%%isolated\n",
        "%%isolated\n# 𝔘𝔫𝔦 🎉\n'🎉'; ",
    ],
)
@pytest.mark.parametrize("after", ["", "\nmore = 2", " + '🎉'"])
def test_positions_count_in_the_whole_visible_cell(kernel: Kernel, before: str, after: str) -> None:
    code = f"{before}there_on"
    reply = tab(kernel, code + after, len(code))
    assert reply["matches"] == ["there_only"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (len(before), len(code))


def test_the_cursor_may_be_inside_a_name(kernel: Kernel) -> None:
    code = "%%isolated\nthere_only.app"
    reply = tab(kernel, code, code.index("e_only"))
    assert "there_only" in reply["matches"]
    assert reply["cursor_start"] == code.index("there")


def test_the_magics_line_says_which_companion_is_asked(kernel: Kernel) -> None:
    kernel.run("%%isolated -c other\nelsewhere = 1")
    for line in ("-c other", "-cother", "--companion other", "--companion=other -q", "-c default -c other"):
        assert offered(kernel, f"%%isolated {line}\nelsewh") == ["elsewhere"], line
        assert offered(kernel, f"%%isolated {line}\nthere_o") == [], line


def test_tab_starts_no_companion(kernel: Kernel) -> None:
    assert offered(kernel, "%%isolated -c nobody\nhere_o") == []
    assert offered(kernel, "%%isolated -c nobody\npri") == []
    kernel.run("%isolate start resting\n%isolate stop resting")
    assert offered(kernel, "%%isolated -c resting\nimp") == []
    listed = kernel.run("%isolate list").stream()
    assert "nobody" not in listed
    assert "resting: stopped" in listed


def test_a_companion_that_has_died_is_not_asked(kernel: Kernel) -> None:
    kernel.run("%%isolated -c mortal -o held\nheld = [1]")
    kernel.run("%%isolated -c mortal\nimport os; os.abort()")
    assert offered(kernel, "%%isolated -c mortal\nhe") == []
    assert offered(kernel, "held.app") == []
    assert "mortal: dead" in kernel.run("%isolate list").stream()


# ---------------------------------------------------------------- the lines of the magics


def test_the_magics_own_line_offers_options_companions_and_names(kernel: Kernel) -> None:
    kernel.run("%%isolated -c second_one\npass")
    assert {"-c", "--companion", "-i", "--trace"} <= set(
        offered(kernel, "%%isolated \n1", len("%%isolated "))
    )
    assert offered(kernel, "%%isolated --comp") == ["--companion"]
    assert offered(kernel, "%%isolated -c seco\nthere_o", len("%%isolated -c seco")) == ["second_one"]
    assert offered(kernel, "%%isolated --companion=seco") == ["second_one"]
    assert offered(kernel, "%%isolated -i here_o") == ["here_only"]
    assert offered(kernel, "%%isolated -i other,here_o") == ["here_only"]
    assert offered(kernel, "%%isolated -i there_o") == []
    assert offered(kernel, "%%isolated -o there_o") == ["there_only"]
    assert offered(kernel, "%%isolated -o fresh_n\nfresh_name = 1", len("%%isolated -o fresh_n")) == [
        "fresh_name"
    ]
    assert tab(kernel, "%%isolated -i other,here_o")["cursor_start"] == len("%%isolated -i other,")


def test_lines_of_isolate_offer_commands_companions_and_options(kernel: Kernel) -> None:
    kernel.run("%%isolated -c second_one\npass")
    assert offered(kernel, "%isolate resta") == ["restart"]
    assert offered(kernel, "x = 1\n%isolate stop seco") == ["second_one"]
    assert offered(kernel, "%isolate start seco") == ["second_one"]
    assert {"--policy", "--preload"} <= set(offered(kernel, "%isolate start second_one --"))
    assert "untrusted" in offered(kernel, "%isolate start second_one --policy unt")
    assert "--policy" in offered(kernel, "%isolate start second_one --trace ")


# ---------------------------------------------------------------- proxies in the session's own cells


@pytest.fixture(params=[False, True], ids=["without jedi", "with jedi"])
def jedi(kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[bool]:
    kernel.run(f"%config Completer.use_jedi = {request.param}")
    yield request.param
    kernel.run("%config Completer.use_jedi = True")


@pytest.mark.parametrize("evaluation", ["limited", "unsafe"])
def test_tab_on_proxies_runs_no_code_of_theirs(kernel: Kernel, jedi: bool, evaluation: str) -> None:
    kernel.run(f"%config Completer.evaluation = {evaluation!r}")
    try:
        before = kernel.run(TOUCHED).result["text/plain"]
        kernel.run("class Box: pass\nbox = Box(); box.thing = thing; things = [thing, strange]")
        attributes = {"costly", "method", "plain"}
        for code in ("thing.", "strange.", "x = box.thing.", "things[1].", "print(thing.", "y=[thing."):
            assert attributes <= set(offered(kernel, code)), code
        assert offered(kernel, "thing.me") == ["method"]
        assert {"keys", "items"} <= set(offered(kernel, "thing.plain."))
        assert {"keys", "items"} <= set(offered(kernel, "strange.plain."))
        for code in (
            "thing.costly.",
            "strange.costly.re",
            "things[0].costly.",
            "[thing][0].costly.",
            "a = thing\na.costly.",
            "",
            "thi",
            "box.",
            "thing.method(",
        ):
            offered(kernel, code)
        assert kernel.run(TOUCHED).result["text/plain"] == before
    finally:
        kernel.run("%config Completer.evaluation = 'limited'")


def test_chains_keys_and_arguments_of_proxies_are_completed(kernel: Kernel, jedi: bool) -> None:
    kernel.run("collections = import_isolated('collections')")
    assert "Mapping" in offered(kernel, "collections.abc.Map")
    assert "fromkeys" in offered(kernel, "collections.OrderedDict.from")
    assert offered(kernel, "table['sec") == ["second"]
    assert "first key" in offered(kernel, 'print(table["fir')
    reply = tab(kernel, "'🎉'; x = collections.Orde")
    assert "OrderedDict" in reply["matches"]
    assert reply["cursor_start"] == len("'🎉'; x = collections.")
    assert "wanted=" in offered(kernel, "thing.method(3, wan")
    assert "here_only" in offered(kernel, "thing.method(3, here")


def test_what_has_nothing_to_do_with_a_companion_is_ipythons(kernel: Kernel) -> None:
    assert {"path", "getcwd"} <= {text.lstrip(".") for text in offered(kernel, "import os\nos.")}
    assert "thing" in offered(kernel, "thi")
    assert "%%isolated" in offered(kernel, "%%isol")


# ---------------------------------------------------------------- a companion at work


def test_a_working_companion_is_completed_from_what_was_seen(kernel: Kernel) -> None:
    kernel.run("%%isolated -c works -o held\nloaded = [1]; held = {'a': 1}")
    assert "append" in offered(kernel, "%%isolated -c works\nloaded.")
    assert "keys" in offered(kernel, "held.")
    kernel.run(
        "job = threading.Thread(target=lambda: get_companion('works').call(time.sleep, 60)); job.start()\n"
        "while get_companion('works').state != 'busy': pass"
    )
    try:
        begun = time.monotonic()
        assert offered(kernel, "%%isolated -c works\nload") == ["loaded"]
        assert offered(kernel, "%%isolated -c works\nx = loaded.app") == ["append"]
        assert offered(kernel, "held.ke") == ["keys"]
        assert offered(kernel, "%%isolated -c works\nunseen.") == []
        assert offered(kernel, "%%isolated -c works\nprin") == ["print"]
        assert offered(kernel, "held.unseen.") == []
        offered(kernel, "hel")
        assert time.monotonic() - begun < 20  # it works for a minute
        assert kernel.run("get_companion('works').state").result["text/plain"] == "'busy'"
    finally:
        kernel.run("get_companion('works').interrupt(); job.join()")


def test_a_companion_that_does_not_answer_is_left_alone_and_works_on(kernel: Kernel) -> None:
    kernel.run(
        "%%isolated -c hangs\nimport time\nclass Hangs:\n    def __dir__(self):\n        time.sleep(60)\n"
        "        return ['late']\nhangs, kept = Hangs(), 5"
    )
    begun = time.monotonic()
    assert offered(kernel, "%%isolated -c hangs\nhangs.") == []
    assert offered(kernel, "%%isolated -c hangs\nkep") == ["kept"]
    assert time.monotonic() - begun < 5
    cell = kernel.run("%%isolated -c hangs\nkept", timeout=20)
    assert cell.result["text/plain"] == "5"
    assert time.monotonic() - begun < 10


def test_a_late_answer_is_there_at_the_next_tab(kernel: Kernel) -> None:
    kernel.run(
        "%%isolated -c late\nimport time\nclass Late:\n    def __dir__(self):\n        time.sleep(0.5)\n"
        "        return ['arrived']\nlate = Late()"
    )
    assert offered(kernel, "%%isolated -c late\nlate.") == []
    until(lambda: kernel.run("get_companion('late').state").result["text/plain"] == "'idle'")
    kernel.run(
        "job = threading.Thread(target=lambda: get_companion('late').call(time.sleep, 60)); job.start()\n"
        "while get_companion('late').state != 'busy': pass"
    )
    assert offered(kernel, "%%isolated -c late\nlate.") == ["arrived"]
    kernel.run("get_companion('late').interrupt(); job.join()")


def test_what_dies_at_tab_is_told_at_the_next_use(kernel: Kernel) -> None:
    kernel.run(
        "%%isolated -c fragile\nimport os\nclass Fragile:\n    def __dir__(self): os.abort()\nf = Fragile()"
    )
    assert offered(kernel, "%%isolated -c fragile\nf.") == []
    assert "SIGABRT" in kernel.run("%%isolated -c fragile\n1").stream("stderr")


# ---------------------------------------------------------------- a companion that lies

LIES = """%%isolated -c liar -o bait
import json
from isolate_magic.child.service import Service
bait = {'a': 1}
def lie(self, code, cursor, name, target):
    texts = ['good', 'good\\n!rm -rf /', '\\x1b]0;x\\x07good', 'good\\u202e', 'go' + 'o' * 5000, '__import__("os").system("x")',
             'good; x()', 'good or x()', 'unrelated']
    start = len(code) - 2
    return json.dumps({'start': start, 'end': len(code), 'matches': [[t, 'function\\n', '(\\x1b[2J)'] for t in texts] * 300})
Service.complete = lie
"""


@pytest.fixture
def liar(kernel: Kernel) -> Kernel:
    kernel.run("%isolate stop liar" if "liar" in kernel.run("%isolate list").stream() else "pass")
    started = kernel.run("%isolate start liar --policy untrusted")
    if started.status != "ok":
        pytest.skip("no confinement on this machine")
    assert kernel.run(LIES).status == "ok"
    return kernel


def test_an_untrusted_companion_can_offer_nothing_but_names(liar: Kernel) -> None:
    assert set(offered(liar, "%%isolated -c liar\nx = go")) == {"good"}
    assert set(offered(liar, "bait.go")) == {"good"}
    assert set(offered(liar, "x = bait['go")) == {"good"}
    for one in tab(liar, "bait.go")["metadata"]["_jupyter_types_experimental"]:
        assert one["type"] == "<unknown>"
        assert one["signature"] == ""


@pytest.mark.parametrize(
    "answer",
    [
        "'{'", "'[]'", "5", "None", "[1]", "{}", "b'x'", "self",
        "json.dumps({'start': 0, 'end': 10**9, 'matches': [['a', '', '']]})",
        "json.dumps({'start': -5, 'end': 1, 'matches': [['a', '', '']]})",
        "json.dumps({'start': cursor + 1, 'end': cursor, 'matches': [['a', '', '']]})",
        "json.dumps({'start': cursor, 'end': cursor, 'matches': [['a']]})",
        "json.dumps({'start': cursor, 'end': cursor, 'matches': [{'a': 1}] * 100000})",
        "json.dumps({'start': True, 'end': cursor, 'matches': []})",
        "'[' * 1000000",
        "'x' * (9 << 20)",
    ],
)  # fmt: skip
def test_nonsense_is_no_answer(liar: Kernel, answer: str) -> None:
    liar.run(f"%%isolated -c liar\nService.complete = lambda self, code, cursor, name, target: {answer}")
    reply = tab(liar, "%%isolated -c liar\nx = go")
    assert reply["matches"] in ([], ["a"])
    assert reply["cursor_start"] >= len("%%isolated -c liar\n")
    assert liar.run("1 + 1").result["text/plain"] == "2"


# ---------------------------------------------------------------- loading, unloading, the terminal


def test_unloading_gives_tab_back_to_ipython() -> None:
    kernel = Kernel()
    try:
        kernel.run(
            "%load_ext isolate_magic\n%load_ext isolate_magic\n%reload_ext isolate_magic\nhere_only = 1"
        )
        kernel.run("%%isolated\nthere_only = 1")
        assert offered(kernel, "%%isolated\nthere_o") == ["there_only"]
        kernel.run("%unload_ext isolate_magic")
        left = kernel.run(
            "ip = get_ipython(); [n for o in (ip, ip.kernel, ip.Completer) for n in vars(o) if n in "
            "('completions', 'do_complete', 'do_inspect', '_inspect')]"
        )
        assert left.result["text/plain"] == "[]"
        assert offered(kernel, "%%isolated\nhere_o") == ["here_only"]
        kernel.run("%load_ext isolate_magic")
        assert offered(kernel, "%%isolated\nhere_o") == []
    finally:
        kernel.close()


def test_completion_in_a_terminal_knows_the_same() -> None:
    ask = (
        "from IPython.core.completer import provisionalcompleter\n"
        "def tab(text):\n"
        "    with provisionalcompleter():\n"
        "        print(text.split()[-1], [one.text for one in get_ipython().Completer.completions(text, len(text))])"
    )
    seen = terminal(
        "%load_ext isolate_magic", "here_only = 1", "%%isolated -o held\nthere_only, held = 1, {'key': 1}", ask,
        "tab('%%isolated\\nthere_o'); tab('%%isolated\\nhere_o'); tab('held.ke'); tab('here_o')",
    )  # fmt: skip
    assert "there_o ['there_only']" in seen
    assert "%%isolated\nhere_o" not in seen
    assert "here_o []" in seen
    assert "held.ke ['keys']" in seen
    assert "here_o ['here_only']" in seen


def test_plain_cells_of_autoisolate_are_completed_by_the_companion(kernel: Kernel) -> None:
    kernel.run("%%isolated\nover_there = 1\n")
    assert kernel.run("%autoisolate on").status == "ok"
    try:
        reply = kernel.client.complete("over_th", 7, reply=True, timeout=30)["content"]
        assert reply["matches"] == ["over_there"]
        assert kernel.client.inspect("over_there", 10, reply=True, timeout=30)["content"]["found"]
    finally:
        kernel.run("%autoisolate off")
    assert kernel.client.complete("over_th", 7, reply=True, timeout=30)["content"]["matches"] == []
