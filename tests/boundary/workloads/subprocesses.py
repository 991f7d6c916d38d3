"""Programs: a shell, Python itself, pipes between them, a time limit."""

import subprocess
import sys

assert subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout == "hello\n"
assert subprocess.check_output("ls -a . | sort | wc -l", shell=True, text=True).strip() != "0"
code = "import json, sys; print(json.dumps(sys.version_info[:2]))"
assert subprocess.check_output([sys.executable, "-c", code]).strip()
p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert p.communicate(b"x" * 100_000)[0] == b"x" * 100_000
try:
    subprocess.run(["sleep", "20"], timeout=0.1)
except subprocess.TimeoutExpired:
    pass
assert subprocess.run(["false"]).returncode == 1
