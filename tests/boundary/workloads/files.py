"""Files as they come: temporary ones, odd names, folders, archives, logs, links, record locks."""

import fcntl
import gzip
import logging
import os
import pathlib
import shutil
import tempfile
import zipfile

with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
    file.write("text")
    file.seek(0)
    assert file.read() == "text"
    for name in ("naïve café.txt", "日本語", "emoji 🙂", "with\nbreak", "-dash", "ende\udcff"):
        path = pathlib.Path(folder, name)
        path.write_text(name, errors="surrogateescape")
    assert len(os.listdir(folder)) == 6
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.write(pathlib.Path(folder, "日本語"), "日本語")
    shutil.move(folder, "moved")
    os.mkdir(folder)
    shutil.make_archive("moved", "gztar", "moved")
with gzip.open("a.gz", "wt") as file:
    file.write("x" * 1000)
log = logging.getLogger("work")
handler = logging.FileHandler("work.log", encoding="utf-8")
log.addHandler(handler)
log.warning("größer als %d", 3)
handler.close()
assert pathlib.Path("work.log").read_text("utf-8") == "größer als 3\n"
os.symlink("work.log", "link")
os.link("work.log", "hard")
os.rename("hard", "harder")
with open("locked", "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
assert list(pathlib.Path(".").glob("*.log"))
with tempfile.TemporaryFile() as file:
    assert file.fileno() > 0
home = pathlib.Path.home() / ".config" / "tool"
home.mkdir(parents=True)
(home / "settings.ini").write_text("[a]\nb = 1\n")
