"""What a terminal shows of a companion that is not trusted and lies: text and colours, and nothing that it obeys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from boundary.test_surface import ACTED_ON, PRELUDE

SESSION = """
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
for cell in {cells!r}:
    shell.run_cell(cell, store_history=True)
"""
START = ("%load_ext isolate_magic", "%isolate start guest --policy untrusted", PRELUDE)
EVIL = "\\x1b]52;c;eA==\\x07\\x1b[2J\\x1b[8m\\x9b5n\\u202e\\u200b\\x08\\x0b\\x0c\\u2028"
FORGED = (
    "%%isolated -c guest\nimport ctypes\n"
    "ctypes.CDLL(None).prctl(15, b'\\x1b]0;x\\x07)\\nR 1', 0, 0, 0)\nos.fork() or time.sleep(60)"
)
LAST = (
    f"%%isolated -c guest\nsys.stderr.write('{EVIL}seen\\n' * 99); sys.stderr.flush()\n"
    f"text = 'Current thread 0x1\\n  File \"{EVIL}\", line 1 in {EVIL}seen\\n'\n"
    "for fd in map(int, os.listdir('/proc/self/fd')):\n"
    "    try: 'isolate-words' in os.readlink(f'/proc/self/fd/{fd}') and os.pwrite(fd, text.encode(), 4096)\n"
    "    except OSError: pass\n"
    "os._exit(3)"
)
CELLS = {
    "pager": (
        f"%%isolated -c guest\nanswer('inspect', json.dumps(dict(found=True, text='{EVIL}seen\\n' * 200)))",
        "p?",
        "p??",
    ),
    "names": (
        f"%%isolated -c guest\nanswer('variables', lambda: (('seen{EVIL}', '{EVIL}', '{EVIL}', '{EVIL}' * 100),) * 100)",
        "%isolate vars guest",
    ),
    "process names": (
        FORGED,
        "%isolate top",
        "print('seen')",
    ),
    "an error": (
        f"%%isolated -c guest\nraise type('N{EVIL}', (Exception,), {{}})('{EVIL}seen')",
        f"%%isolated -c guest\nexec(compile('1/0', '{EVIL}', 'exec'))",
    ),
    "last words": (
        LAST,
        "%isolate crashes guest",
        "import isolate_magic\nprint(isolate_magic.get_companion('guest').crash)",
        "%isolate replay guest",
    ),
}


def test_a_terminal_is_told_nothing_that_it_acts_on(tmp_path: Path) -> None:
    cells = [cell for title, part in CELLS.items() for cell in (f"print('#### {title}')", *part)]
    done = subprocess.run(
        [sys.executable, "-c", SESSION.format(cells=(*START, *cells))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    shown = done.stdout.decode().replace("\r\n", "\n")
    parts = dict(part.split("\n", 1) for part in shown.split("#### ")[1:])
    assert {title for title, part in parts.items() if "seen" in part} == set(CELLS)
    found = ACTED_ON.search(shown)
    assert found is None, shown[max(0, found.start() - 200) : found.end() + 50]
    assert len(shown) < 500_000
