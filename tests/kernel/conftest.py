"""Kernelspecs for the tests of this folder, where all programs that these start find them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from kernels import Kernel

from isolate_magic.kernel.specification import install


@pytest.fixture(scope="session", autouse=True)
def _kernelspecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Register the trusted kernel as `isolated`, and one under `untrusted` as `student`."""
    prefix = tmp_path_factory.mktemp("prefix")
    install("isolated", "trusted", prefix=str(prefix))
    install("student", "untrusted", prefix=str(prefix))
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(prefix / "share" / "jupyter")
    yield
    if before is None:
        del os.environ["JUPYTER_PATH"]
    else:
        os.environ["JUPYTER_PATH"] = before


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """Give an isolated kernel, for all tests of a module."""
    made = Kernel(name="isolated")
    yield made
    made.close()


@pytest.fixture(scope="module")
def student() -> Iterator[Kernel]:
    """Give a kernel under the policy `untrusted`, for all tests of a module."""
    made = Kernel(name="student")
    yield made
    made.close()
