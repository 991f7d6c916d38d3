"""A pool of threads, queues and locks between them."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(lambda n: n * n, range(100))) == 328_350
q = queue.Queue()
threads = [threading.Thread(target=q.put, args=(n,)) for n in range(40)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert sum(q.get() for _ in range(40)) == 780
