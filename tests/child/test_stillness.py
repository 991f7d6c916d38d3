"""Which libraries live on in a fork, tried with the libraries themselves, and which are an obstacle."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from child.copies import LIVED, played, worked

from isolate_magic.child import strands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="companions live on Linux")


def need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


LIBRARIES = {
    "numpy": """
import numpy as np
a = np.ones((300, 300))
def work():
    assert np.isfinite((a @ a).sum() + np.linalg.svd(a)[1].sum())
""",
    "scipy": """
import numpy as np, scipy.fft, scipy.linalg
a = np.random.default_rng(0).normal(size=(200, 200))
def work():
    scipy.fft.fft(a, workers=2)
    scipy.linalg.eigvalsh(a + a.T)
""",
    "sklearn": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
x = np.random.default_rng(0).normal(size=(800, 6))
y = x[:, 0] > 0
def work():
    HistGradientBoostingClassifier(max_iter=2).fit(x, y)
    KMeans(3, n_init=1).fit(x)
    RandomForestClassifier(8, n_jobs=2).fit(x, y)
""",
    "torch": """
import torch
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
x, a = torch.randn(4, 3, 48, 48), torch.randn(300, 300)
torch.set_num_threads(3)
def work():
    net.zero_grad()
    (net(x).pow(2).mean() + (a @ a).sum()).backward()
    assert torch.get_num_threads() == 3
""",
    "pandas": """
import numpy as np, pandas as pd
d = pd.DataFrame({"a": np.arange(50_000) % 7, "b": np.arange(50_000.0)})
def work():
    assert len(d.groupby("a").b.mean()) == 7
""",
    "pyarrow": """
import io
import pyarrow as pa, pyarrow.csv, pyarrow.parquet as pq
t = pa.table({"a": [i % 7 for i in range(50_000)], "b": list(range(50_000))})
text = b"a,b\\n" + b"1,2\\n" * 200_000
def work():
    sink = pa.BufferOutputStream()
    pq.write_table(t, sink, row_group_size=5_000)
    assert pq.read_table(pa.BufferReader(sink.getvalue()), use_threads=True).num_rows == 50_000
    assert t.group_by("a", use_threads=True).aggregate([("b", "mean")]).num_rows == 7
    assert pyarrow.csv.read_csv(io.BytesIO(text)).num_rows == 200_000
""",
    "matplotlib": """
import io
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
def work():
    figure = plt.figure()
    plt.plot([1, 2, 3])
    figure.savefig(io.BytesIO())
    plt.close(figure)
""",
    "tqdm": """
import tqdm
def work():
    with open(os.devnull, "w") as null:
        assert sum(tqdm.tqdm(range(3), file=null)) == 3
    assert tqdm.tqdm.monitor is not None
""",
    "cv2": """
import cv2, numpy as np
cv2.setNumThreads(4)
a = np.zeros((600, 600, 3), np.uint8)
def work():
    for _ in range(10):
        cv2.GaussianBlur(cv2.resize(a, (800, 800)), (15, 15), 0)
""",
    "lightgbm": """
import lightgbm, numpy as np
x = np.random.default_rng(0).normal(size=(500, 4))
def work():
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, x[:, 0]), 3)
""",
    "xgboost": """
import xgboost, numpy as np
x = np.random.default_rng(0).normal(size=(500, 4))
def work():
    xgboost.train({}, xgboost.DMatrix(x, x[:, 0]), 3)
""",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_works_on_in_a_copy_and_in_a_copy_of_that(library: str) -> None:
    need(library)
    assert worked(LIBRARIES[library]) == LIVED


NUMBA = """
import numba, numpy as np
numba.config.THREADING_LAYER = "{layer}"
@numba.njit(parallel=True)
def total(a):
    s = 0.0
    for i in numba.prange(a.size):
        s += a[i]
    return s
def work():
    assert total(np.ones(10_000)) == 10_000
    assert numba.threading_layer() == "{layer}"
"""


@pytest.mark.parametrize("layer", ["workqueue", "tbb"])
def test_the_layers_of_numba_work_on_in_a_copy(layer: str) -> None:
    need("numba", *(["tbb"] if layer == "tbb" else []))
    assert worked(NUMBA.format(layer=layer), NUMBA_NUM_THREADS="3") == LIVED


def test_numbas_openmp_layer_is_an_obstacle() -> None:
    need("numba")
    program = NUMBA.format(layer="omp") + "\nwork()\ntell(said=stillness.obstacle())\nos._exit(0)"
    told = played(program, NUMBA_NUM_THREADS="3")
    assert told == [{"said": "numba's OpenMP layer has run, which may end a fork on purpose"}]


OBSTACLES = {
    "polars": ("import polars", "polars keeps threads that do not survive a fork"),
    "torch": (
        """
import torch
@torch.jit.script
def f(x):
    return torch.jit.wait(torch.jit.fork(torch.relu, x))
f(torch.ones(3))
""",
        "torch has started threads for torch.jit.fork or the like, which do not survive a fork",
    ),
    "asyncio": (
        """
import asyncio
loop = asyncio.new_event_loop()
loop.run_until_complete(loop.run_in_executor(None, abs, 1))
""",
        "another Python thread runs (asyncio_0)",
    ),
    "threading": (
        "import threading\nthreading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()",
        "another Python thread runs (mine)",
    ),
    "_thread": (
        """
import _thread
lock = _thread.allocate_lock()
lock.acquire()
_thread.start_new_thread(lambda: lock.acquire(), ())
while len(sys._current_frames()) < 2: pass
""",
        "another Python thread runs (one that the module threading does not know)",
    ),
    "of C": (
        """
import _thread
lock = _thread.allocate_lock()
lock.acquire()
_thread.start_new_thread(lock.acquire, ())
""",
        "a thread is at work that the module threading does not know (python)",
    ),
}


@pytest.mark.parametrize("library", OBSTACLES)
def test_threads_that_would_be_missing_are_an_obstacle(library: str) -> None:
    need(*([library] if library.isidentifier() else []))
    program, clause = OBSTACLES[library]
    assert played(program + "\ntell(said=stillness.obstacle())\nos._exit(0)") == [{"said": clause}]


def test_the_idle_workers_of_joblib_are_an_obstacle_until_they_are_shut_down() -> None:
    need("joblib")
    told = played(
        """
import joblib
from joblib.externals.loky import get_reusable_executor
joblib.Parallel(2)(joblib.delayed(abs)(i) for i in range(4))
idle = stillness.obstacle()
get_reusable_executor().shutdown(wait=True, kill_workers=True)
tell(idle=idle, after=stillness.obstacle())
"""
    )
    assert told == [{"idle": "another Python thread runs (ExecutorManagerThread)", "after": ""}]


def test_threads_that_have_ended_are_no_obstacle() -> None:
    told = played(
        "import threading\nthread = threading.Thread(target=abs, args=(1,))\nthread.start()\nthread.join()\n"
        "tell(said=stillness.obstacle())"
    )
    assert told == [{"said": ""}]


def built(folder: Path, file: str, source: str) -> str:
    """Compile a library; skip where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "source.c").write_text(source)
    path = folder / file
    subprocess.run([compiler, "-shared", "-fPIC", "-pthread", "-o", path, folder / "source.c"], check=True)
    return str(path)


def test_a_native_thread_of_a_library_that_nobody_knows_is_an_obstacle(tmp_path: Path) -> None:
    path = built(
        tmp_path,
        "libmine.so.3",
        """
#include <pthread.h>
#include <unistd.h>
static void *wait_for_ever(void *_) { pthread_setname_np(pthread_self(), "my-pool"); for (;;) pause(); }
void begin(void) { pthread_t t; pthread_create(&t, 0, wait_for_ever, 0); }
""",
    )
    told = played(
        f"import ctypes\nlibrary = ctypes.CDLL({path!r})\nbefore = stillness.obstacle()\nlibrary.begin()\n"
        "tell(before=before, after=stillness.obstacle())\nos._exit(0)"
    )
    after = "a native thread does not survive a fork (my-pool, of libmine.so.3)"
    assert told == [{"before": "", "after": after}]


def test_what_lies_on_a_stack_is_taken_for_a_return_address_only_behind_a_call(tmp_path: Path) -> None:
    """Or else a pointer to a function of another library would be taken for the library that a thread waits in."""
    library = ctypes.CDLL(
        built(
            tmp_path,
            "libmine.so",
            """
__attribute__((noinline)) void *inner(void) { return __builtin_return_address(0); }
__attribute__((noinline)) void *outer(void) { void *p = inner(); __asm__ volatile(""); return p; }
__attribute__((noinline)) void *through(void *(*f)(void)) { void *p = f(); __asm__ volatile(""); return p; }
""",
        )
    )
    library.outer.restype = library.through.restype = ctypes.c_void_p
    assert strands._follows_call(library.outer())
    assert strands._follows_call(library.through(library.inner))
    for name in ("outer", "through"):
        assert not strands._follows_call(ctypes.cast(library[name], ctypes.c_void_p).value or 0)


def test_native_threads_that_work_without_end_are_an_obstacle(tmp_path: Path) -> None:
    path = built(
        tmp_path,
        "libmine.so",
        """
#include <pthread.h>
static volatile long n;
static void *spin(void *_) { for (;;) n++; }
void begin(void) { pthread_t t; pthread_create(&t, 0, spin, 0); }
""",
    )
    told = played(
        f"import ctypes\nctypes.CDLL({path!r}).begin()\ntell(said=stillness.obstacle())\nos._exit(0)"
    )
    assert told[0]["said"].startswith("a thread is at work")


def test_cuda_is_an_obstacle_once_the_driver_is_initialised(tmp_path: Path) -> None:
    """With a library that keeps the driver's documented contract; no graphics card is needed."""
    path = built(
        tmp_path,
        "libcuda.so.1",
        "static int begun;\nint cuInit(unsigned f) { begun = 1; return 0; }\n"
        "int cuDeviceGetCount(int *n) { *n = 1; return begun ? 0 : 3; }\n",
    )
    told = played(
        f"import ctypes\ndriver = ctypes.CDLL({path!r})\nbefore = stillness.obstacle()\ndriver.cuInit(0)\n"
        "tell(before=before, after=stillness.obstacle())"
    )
    assert told == [{"before": "", "after": "CUDA is initialised"}]


def test_asking_is_cheap_where_much_is_loaded() -> None:
    need("torch", "sklearn", "pandas")
    told = played(
        """
import pandas, torch, sklearn.cluster
torch.ones(300, 300) @ torch.ones(300, 300)
stillness.obstacle()
took = []
for _ in range(50):
    begun = time.perf_counter()
    stillness.obstacle()
    took.append(time.perf_counter() - begun)
tell(milliseconds=sorted(took)[5] * 1000)
os._exit(0)
"""
    )
    assert told[0]["milliseconds"] < 1


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="pools of one thread have none beside the main one")
def test_resting_ends_the_threads_of_openmp_and_openblas() -> None:
    need("torch", "numpy")
    told = played(
        """
import numpy as np, torch
def count():
    return len(os.listdir("/proc/self/task"))
torch.randn(300, 300) @ torch.randn(300, 300)
(torch.randn(2000, 2000) + 1).sum()
np.ones((300, 300)) @ np.ones((300, 300))
before = count()
stillness.rest()
tell(before=before, after=count(), ended=any("openblas" in path for path in stillness._pools))
os._exit(0)
"""
    )
    assert told[0]["before"] >= 3
    # A newer OpenBLAS cannot be told: its threads end at the fork alone.
    assert told[0]["after"] == 1 if told[0]["ended"] else told[0]["after"] < told[0]["before"]
