"""Shared memory with a name."""

from multiprocessing import shared_memory

import numpy as np

block = shared_memory.SharedMemory(create=True, size=1 << 20)
a = np.ndarray(1 << 17, buffer=block.buf)
a[:] = 3
other = shared_memory.SharedMemory(block.name)
assert bytes(other.buf[:8]) == a[:1].tobytes()
del a
other.close()
block.close()
block.unlink()
