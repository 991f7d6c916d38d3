"""The command: `python -m benchmarks`; `--help` tells the options."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import bulk, calls, cells, confined, kernel, loops, memory, rewind, starts, table
from benchmarks.harness import Figure, contest

SECTIONS = {
    "calls": calls, "loops": loops, "cells": cells, "starts": starts, "kernel": kernel, "arrays": bulk,
    "memory": memory, "confined": confined, "rewind": rewind,
}  # fmt: skip
_PLACE = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main() -> int:
    """Measure, print, and return 0 unless something of ours could not be measured."""
    options = _options()
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    begin = time.monotonic()
    notes: list[str] = []
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="isolate-benchmarks-") as folder:
        for name in chosen:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            with contest(notes, Path(folder)) as field:
                figures |= SECTIONS[name].run(field, options.quick)
    data = table.rows(figures, chosen)
    said = table.circumstances(data, notes, time.monotonic() - begin)
    marked = table.markdown(data) + "\n" + "\n".join(said) + "\n"
    print(marked if options.markdown else table.text(data) + "\n" + "\n".join(said))
    if options.json:
        options.json.write_text(json.dumps({"rows": data, "said": said}, indent=1) + "\n")
    if options.into:
        options.into.write_text(_PLACE.sub(lambda _: "\n" + marked + "\n", options.into.read_text()))
    return int(any("ours" in note.split(":")[0] for note in notes))


def _options() -> argparse.Namespace:
    purpose = "Measure companions beside their peers."
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=purpose)
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures are worth nothing")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead of plain text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file, too")
    parser.add_argument("--into", type=Path, metavar="FILE", help="replace the table in a Markdown file, too")
    parser.add_argument("--only", default="", metavar="SECTIONS", help=f"some of {','.join(SECTIONS)}")
    options = parser.parse_args()
    unknown = [name for name in options.only.split(",") if name and name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return options


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted; everything that was started is ended", file=sys.stderr)
        code = 130
    sys.exit(code)
