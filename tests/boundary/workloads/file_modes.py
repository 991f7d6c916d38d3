"""Change the mode of one's own files."""

import pathlib
import stat
import subprocess

path = pathlib.Path("script.sh")
path.write_text("#!/bin/sh\necho run\n")
path.chmod(0o755)
assert stat.S_IMODE(path.stat().st_mode) == 0o755
assert subprocess.check_output("./script.sh") == b"run\n"
