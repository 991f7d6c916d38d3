"""Objects of the companion that fight back: none of their code runs in the host, and the host stays well."""

from __future__ import annotations

import builtins
import os
from typing import Any

import psutil
import pytest
from boundary.conftest import caged, start
from boundary.scene import Scene

from isolate_magic import Companion

# Whatever runs in the host instead of the companion leaves a mark there.
_TOOLS = """
import builtins, os, sys, ctypes, gc
there = os.getpid()
def mark(*a, **k):
    if os.getpid() != there or getattr(builtins, "host_of_tests", False): builtins.pwned = True
class Evil(Exception):
    def __str__(self): mark(); return "x" * 10 ** 7
    def __repr__(self): mark(); raise SystemExit(3)
    def __getattribute__(self, n): mark(); return object.__getattribute__(self, n)
    def __reduce_ex__(self, p): mark(); return (os.system, ("true",))
"""
_FIGHTS = {
    "a long text": "raise Evil('x')",
    "arguments that are huge": "raise ValueError('y' * 10 ** 7, [1] * 10 ** 6)",
    "a loop of causes": "a = ValueError('a'); b = ValueError('b'); a.__cause__ = b; b.__cause__ = a; raise a",
    "a deep stack": "def f(n): return f(n - 1) if n else 1 / 0\nsys.setrecursionlimit(10 ** 5); f(5000)",
    "a class that lies": "class L(ValueError):\n __class__ = property(lambda s: int)\nL.__name__ = 'OSError'; L.__module__ = 'builtins'; raise L('x')",
    "a text that raises": "class T(Exception):\n def __str__(self): raise KeyboardInterrupt\nraise T",
    "a group of groups": "e = ValueError()\nfor i in range(9): e = ExceptionGroup('g', [e, e])\nraise e",
    "notes": "e = ValueError(); e.__notes__ = ['n' * 10 ** 6] * 10 + [3, None]; raise e",
    "a file name": "exec(compile('1/0', '/etc/passwd', 'exec'))",
    "a wrong array": "class A:\n __array_interface__ = {'shape': (1 << 40,), 'typestr': '<f8', 'data': (0xdead0000, False), 'version': 3}\nA()",
    "a class of arrays": "import types\nclass A:\n def __class__(self): mark()\n dtype = shape = nbytes = property(mark)\nA.__module__ = 'numpy'; A.__name__ = A.__qualname__ = 'ndarray'; A()",
    "a capsule": "class A:\n def __dlpack__(self, **k): mark(); return 7\n def __dlpack_device__(self): return (1, 0)\nA()",
    "a list in itself": "l = []; l.append(l); l",
    "a dictionary in itself": "d = {}; d['d'] = d; d",
    "a list a million deep": "l = []\nfor i in range(10 ** 6): l = [l]\nl",
    "a subclass of dict": "class D(dict):\n def __iter__(self): mark(); return iter(int, 1)\n def items(self): mark(); return iter(int, 1)\nD(a=1)",
    "a subclass of int": "class I(int):\n def __index__(self): mark(); return 1 << 80\n def bit_length(self): raise SystemExit\nI(3)",
    "a subclass of str": "class S(str):\n def encode(self, *a): mark(); return b'\\xff'\nS('x')",
    "a key that is unhashable": "class K:\n def __hash__(self): mark(); raise SystemExit\n def __eq__(self, o): mark(); return True\nK()",
    "a huge number": "1 << (10 ** 8)",
    "a surrogate": "'\\ud800' * 1000",
    "a generator that never ends": "iter(int, 1)",
    "one that pretends to have a length": "class B:\n def __len__(self): return 1 << 62\n def __getitem__(self, i): return self\nB()",
    "a hostile name": "type('../../x\\n\\x1b]0;', (), {})()",
    "a class with a metaclass": "class M(type):\n def __instancecheck__(c, i): mark(); return True\n def __call__(c, *a): mark()\nclass C(metaclass=M): pass\nC",
    "no json": "import json, msgspec; json.dumps = json.loads = None; msgspec.msgpack.encode = None\n[1, 2]",
    "no sockets": "import socket, select; socket.socket.send = socket.socket.sendmsg = None; select.poll = None\n3",
    "tracing": "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None); sys.addaudithook(lambda *a: None)\n3",
    "all classes": "len(().__class__.__mro__[1].__subclasses__())",
    "frames": "f = sys._getframe()\nwhile f.f_back: f.f_locals.clear(); f = f.f_back\n3",
    "a small integer changed": "ctypes.memset(id(257) + 24, 0xff, 4)\n3",
    "the collector": "for o in gc.get_objects():\n if isinstance(o, dict) and 'talk' in o: o.clear()\n3",
    "sys.exit": "sys.exit(3)",
    "sys.exit with an object": "sys.exit(Evil())",
    "no interrupts": "try: raise KeyboardInterrupt\nexcept KeyboardInterrupt: pass\n3",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "os._exit": "os._exit(3)",
    "exec of another program": "os.execve('/bin/echo', ['echo', '{}'], {})",
    "exec of another Python": "os.execv(sys.executable, ['python', '-c', 'import os; [os.write(f, b\"x\" * 100) for f in range(3, 20)]'])",
    "a fork that goes on talking": "os.fork()\n3",
    "a thread that goes on": "import threading\ndef f():\n while True: pass\nthreading.Thread(target=f, daemon=True).start()\n3",
}  # fmt: skip


@pytest.fixture
def mean(tier: str, scene: Scene) -> Any:
    """Give a companion with hostile classes, in this host, which can be told from it."""
    setattr(builtins, "host_of_tests", True)
    companion = start("mean", tier, caged(scene))
    companion.run(_TOOLS)
    yield companion
    companion.close()
    delattr(builtins, "host_of_tests")


class _Silent:
    def stream(self, name: str, text: str) -> None: ...

    def display(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("fight", _FIGHTS.values(), ids=list(_FIGHTS))
def test_objects_that_fight_back_hurt_nobody(fight: str, mean: Companion) -> None:
    before = psutil.Process().memory_info().rss
    for again in range(2):
        try:
            value = mean.run(fight, timeout=1, sink=_Silent())
            assert len(repr(value)) < 10**8
        except (KeyboardInterrupt, GeneratorExit):
            pass  # raised there, so it is raised here
        except Exception as error:
            assert len(str(error)) < 10**8
        if again:
            break
        mean.start()
        try:
            mean.run(_TOOLS, timeout=1, sink=_Silent())
        except Exception:
            mean.restart()
            mean.run(_TOOLS, sink=_Silent())
    mean.restart()
    assert mean.run("6 * 7") == 42
    assert not hasattr(builtins, "pwned")
    assert psutil.Process().memory_info().rss - before < 400 << 20
    assert os.getpid() == psutil.Process().pid
