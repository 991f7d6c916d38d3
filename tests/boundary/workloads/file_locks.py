"""Lock a whole file."""

import fcntl

with open("locked", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
