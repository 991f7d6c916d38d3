"""A few seconds of the fuzzer, whose long run is `python -m benchmarks.fuzz --seconds 600`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas")

ROOT = Path(__file__).parents[2]


def fuzz(*options: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; from benchmarks import fuzz\n{before}\nsys.exit(fuzz.main())"
    return subprocess.run([sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("engine", ["random", "hypothesis"])
def test_no_frame_does_anything_that_the_host_has_no_word_for(engine: str, tmp_path: Path) -> None:
    done = fuzz("--worker", str(tmp_path / "last"), "--engine", engine, "--seed", "4", "--seconds", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 100


def test_the_fuzzer_sees_a_fault(tmp_path: Path) -> None:
    fault = (
        "from isolate_magic.link import values\nfrom isolate_magic.link import frames as f\n"
        "values._UNWRAP[f.Complex] = lambda value, inner: open('/nonexistent')"
    )
    done = fuzz(
        "--worker",
        str(tmp_path / "last"),
        "--engine",
        "random",
        "--seed",
        "4",
        "--seconds",
        "2",
        before=fault,
    )
    assert done.returncode == 1
    assert "finding: Finding FileNotFoundError" in done.stdout


FOUND = """
9404019723ab53796e7461784572726f7292a8436861696e4d6170921896ab53796e7461784572726f72d380000000000000
002dae457863657074696f6e47726f7570ccacce7fffffff922a91c093a73c4d385b30735db36275696c74696e732e56616c
75654572726f72ab53796e7461784572726f7280c0c0

92079334cc97ccc1

9404019723ab53796e7461784572726f7295a57574662d389214c42817171717171717171717171717171717171717171717
1717171717171717171717171717171717cd011407a86461746574696d659217c4019891a974696d6564656c746181a86669
6c656e616d6595213acdffff70b36275696c74696e732e56616c75654572726f72c0c0

940301932b9433ccf9cf0000000100000000cf0000200000000000c2c0
""".strip().split("\n\n")


@pytest.mark.parametrize("packet", FOUND, ids=range(len(FOUND)))
def test_what_was_once_found_stays_mended(packet: str) -> None:
    done = fuzz("--packet", packet.replace("\n", ""))
    assert done.returncode == 0, done.stderr
