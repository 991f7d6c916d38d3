"""Copy files with their times, as whole folders are copied by default."""

import shutil
from pathlib import Path

Path("one").write_text("1")
shutil.copy2("one", "two")
shutil.copytree(Path(shutil.__file__).parent / "json", "tree")
