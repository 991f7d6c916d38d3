"""A file that lies in memory only."""

import os

fd = os.memfd_create("m")
os.write(fd, b"x")
os.close(fd)
