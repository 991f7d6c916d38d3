"""Ask psutil about oneself and the machine."""

import os

import psutil

me = psutil.Process()
assert me.pid == os.getpid()
assert me.memory_info().rss > 0
assert me.cpu_times().user >= 0
assert psutil.virtual_memory().total
assert psutil.cpu_count()
