"""Modules that look at the system when they are imported or used."""

import ctypes
import ctypes.util
import datetime as dt
import hashlib
import lzma
import mimetypes
import os
import pathlib
import platform
import random
import secrets
import ssl
import sysconfig
import time
import uuid
import zoneinfo

assert ssl.create_default_context()
assert ssl.RAND_bytes(4)
assert ctypes.CDLL(None).getpid() == os.getpid()
assert ctypes.CDLL("libm.so.6").abs(-1) == 1
assert ctypes.util.find_library("c")
assert dt.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("America/New_York")).utcoffset().seconds
assert hashlib.sha256(b"").hexdigest()
assert secrets.token_hex()
assert uuid.uuid4() != uuid.uuid1()
assert lzma.decompress(lzma.compress(b"x" * 99))
assert mimetypes.guess_type("a.csv")[0] == "text/csv"
assert platform.platform()
assert platform.machine()
assert sysconfig.get_paths()
assert os.cpu_count()
assert os.path.expanduser("~")
assert os.getcwd()
assert os.urandom(4)
assert time.strftime("%Z")
assert time.tzname
assert random.random() < 1
assert pathlib.Path("/proc/cpuinfo").read_text()
assert pathlib.Path("/proc/meminfo").read_text()
f = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)
assert f(1) == 2
