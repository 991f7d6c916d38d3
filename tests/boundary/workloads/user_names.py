"""Ask who one is and where."""

import getpass
import os
import pwd
import socket

assert pwd.getpwuid(os.getuid()).pw_dir
assert getpass.getuser()
assert socket.gethostname()
