"""What is left when companions have gone: nothing, however they have left their folder."""

from __future__ import annotations

import gc
import os

import psutil
import pytest
from boundary.attacks import PRELUDE, Attack, Place
from boundary.conftest import caged, start
from boundary.scene import Scene
from waiting import until

_LEFT = {
    "links": "os.symlink(S.folder + '/open', 'l'); os.symlink('/', 'r'); os.symlink('loop', 'loop'); os.symlink(S.folder + '/open/kept', 'k')",
    "closed folders": "os.makedirs('a/b/c'); open('a/b/c/f', 'w').close(); "
                      "os.mkdir('z'); os.mkdir('z/y', 0); os.umask(0o777); os.mkdir('w'); os.mkdir('v', 0o300)",
    "pipes and sockets": "os.mkfifo('p'); os.mkfifo('q', 0)\ntry: s = socket.socket(socket.AF_UNIX); s.bind('s')\nexcept OSError: pass",
    "a deep tree": "for i in range(3000): os.mkdir('d'); os.chdir('d')",
    "names": "for n in (b'\\xff\\xfe', b'a\\n', b'-rf', b' ', b'*', b'x' * 255): open(n, 'w').close()",
    "many files": "for i in range(5000): open(str(i), 'w').close()",
    "hard links": "open('f', 'w').close(); [os.link('f', str(i)) for i in range(100)]",
    "an open file that is written on": "import threading\nf = open('f', 'w')\nif not os.fork():\n os.setsid()\n while True: f.write('x'); f.flush(); time.sleep(0.01)",
    "a swap that goes on": "os.mkdir('a'); os.symlink(S.folder + '/open', 'b')\nif not os.fork():\n os.setsid()\n while True:\n  os.rename('a', 'c'); os.rename('b', 'a'); os.rename('c', 'b')\n  os.rename('a', 'c'); os.rename('b', 'a'); os.rename('c', 'b')",
}  # fmt: skip


@pytest.mark.parametrize("code", _LEFT.values(), ids=list(_LEFT))
def test_its_folder_goes_and_nothing_else(code: str, tier: str, scene: Scene) -> None:
    companion = start("left", tier, caged(scene).but(disk=None))
    folder = companion._process.scratch  # type: ignore[union-attr]
    companion.run(PRELUDE + f"\nS = types.SimpleNamespace(folder={str(scene.folder)!r})\n")
    try:
        companion.run(f"{code}\nos.chdir('/')" if "chdir" in code else code)
    finally:
        companion.close()
    assert not (folder and os.path.exists(folder))
    assert scene.harms() == []
    scene.heal()


def test_nothing_is_left_of_many(tier: str, scene: Scene) -> None:
    def battery() -> None:
        companion = start("many", tier, caged(scene))
        place = Place(tier, companion)
        for code in (
            "won = read(S.folder + '/secret.txt')",
            "os.kill(S.pid, 9)",
            "if not os.fork(): os.setsid(); time.sleep(5); os._exit(0)",
        ):
            place.attempt(Attack("x", code), scene)
        assert companion.run("6 * 7") == 42
        companion.close()

    battery()
    gc.collect()
    me = psutil.Process()
    descriptors, memory, children = me.num_fds(), me.memory_info().rss, len(me.children(recursive=True))
    for _ in range(6):
        battery()
    gc.collect()
    until(lambda: me.num_fds() <= descriptors)
    until(lambda: len(me.children(recursive=True)) <= children)
    assert me.memory_info().rss - memory < 16 << 20
    assert scene.harms() == []
