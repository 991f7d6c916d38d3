"""A manager, which serves on a socket."""

import multiprocessing as mp

with mp.get_context("fork").Manager() as manager:
    shared = manager.dict()
    shared["a"] = 1
    assert dict(shared) == {"a": 1}
