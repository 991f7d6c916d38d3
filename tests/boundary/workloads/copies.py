"""Copy files, the plain ways."""

import shutil
from pathlib import Path

Path("one").write_text("1")
shutil.copyfile("one", "two")
shutil.copy("one", "three")
assert Path("two").read_text() == Path("three").read_text() == "1"
