"""A terminal of one's own, as pexpect opens."""

import pexpect

assert b"hello" in pexpect.run("echo hello")
