"""Signals to oneself, alarms, and to a process that one has started."""

import os
import signal
import subprocess
import time

seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append("usr1"))
os.kill(os.getpid(), signal.SIGUSR1)
signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02)
deadline = time.monotonic() + 5
while len(seen) < 2 and time.monotonic() < deadline:
    time.sleep(0.005)
assert seen == ["usr1", "alarm"]
p = subprocess.Popen(["sleep", "30"])
p.terminate()
assert p.wait(10) == -signal.SIGTERM
