"""Exception classes of the standard library, which code here catches by its own name (host).

The mirror of `json.JSONDecodeError` derives from the `json.JSONDecodeError` of this session, if it has
been imported here: `except json.JSONDecodeError` works whichever `json` it says. The modules are listed,
and none is imported on the companion's word: a file of that name may lie in the working directory.
"""

from __future__ import annotations

import sys

_MODULES = frozenset({
    "_csv", "_lzma", "_pickle", "_queue", "_struct", "binascii", "concurrent.futures._base", "configparser",
    "copy", "ctypes", "dataclasses", "decimal", "email.errors", "getopt", "http.client", "http.cookies", "io",
    "json.decoder", "locale", "lzma", "multiprocessing.context", "netrc", "pickle", "plistlib", "pyexpat",
    "queue", "re", "re._constants", "select", "shutil", "socket", "sqlite3", "ssl", "statistics", "struct",
    "subprocess", "tarfile", "tokenize", "tomllib", "unicodedata", "unittest.case", "urllib.error",
    "xml.dom", "xml.etree.ElementTree", "xml.parsers.expat", "xml.sax._exceptions", "zipfile", "zipimport",
    "zlib", "zoneinfo._common",
    "numpy.exceptions", "numpy.linalg", "pandas.errors",
})  # fmt: skip


def standard_error(module: str, name: str) -> type[BaseException] | None:
    """Return the exception class of that name if it is a standard one and is here already, else None.

    >>> import zlib
    >>> standard_error("zlib", "error") is zlib.error
    True
    """
    home = sys.modules.get(module) if module in _MODULES else None
    found = vars(home).get(name) if home is not None else None
    if isinstance(found, type) and issubclass(found, BaseException) and found.__module__ == module:
        return found
    return None
