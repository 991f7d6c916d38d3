"""A hundred threads that wait."""

import threading

stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(100)]
try:
    for t in threads:
        t.start()
finally:
    stop.set()
