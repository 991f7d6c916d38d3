"""Mappings of files and of memory, resource limits, a profile of memory."""

import mmap
import resource
import tracemalloc

with open("mapped", "wb+") as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 0) as m:
        m[:4] = b"abcd"
with mmap.mmap(-1, 1 << 24) as m:
    m[:1] = b"x"
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert resource.getrlimit(resource.RLIMIT_NOFILE)
tracemalloc.start()
x = [bytes(1000) for _ in range(1000)]
assert tracemalloc.get_traced_memory()[0] > 900_000
tracemalloc.stop()
