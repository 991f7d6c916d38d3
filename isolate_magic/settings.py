"""The kinds of settings of a policy: what each takes, and which value allows more (both sides)."""

from __future__ import annotations

import fnmatch
import ipaddress
import keyword
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from isolate_magic import patterns, quantities
from isolate_magic.quantities import wrong

ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM",
    "PYTHON*", "VIRTUAL_ENV", "CONDA_*", "LD_LIBRARY_PATH", "XDG_*", "IPYTHONDIR", "JUPYTER_*DIR", "MPL*",
    "MKL_*", "OMP_*", "KMP_*", "OPENBLAS_*", "NUMEXPR_*", "NUMBA_*", "CUDA_*", "NVIDIA_*", "TORCH_*",
    "TRITON_*", "XLA_*", "JAX_*", "SSL_CERT_*", "COLUMNS", "LINES", "NO_COLOR",
)  # fmt: skip
"""Names of the variables that a companion sees by default; passwords and tokens are not among them."""

DEFAULTS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OPENBLAS_THREAD_TIMEOUT": "22",
}
"""Variables that a companion has where its user sets none.

After each use the threads of OpenBLAS 0.3.34 spin for 2^28 cycles, a tenth of a second, in which no snapshot
can be taken; with 22 they do so for 2^22, some 2 ms (driver/others/blas_server.c of OpenBLAS).
"""

_HIGHEST_CPU = 8191
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([1-9][0-9]{0,4})")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_CPUS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")

NETWORK = '"all", "none" or a list of "host:port", such as ["127.0.0.1:9200", "[::1]:80", "pypi.org:443"]'
_IMPORTS = 'a list of module names, such as ["math", "numpy.linalg"]'
_VARIABLES = 'a list of names of variables, `*` allowed, such as ["PATH", "LC_*"]'
_CPU_LIST = 'a list of CPU numbers, or text such as "0-3,5"'


class Place(NamedTuple):
    """Where the relative paths of a policy begin, and whether its paths must exist."""

    folder: str | None = None
    look: bool = True


class Kind:
    """Take the values of one kind of field.

    Args:
        text: the type, as the documentation shows it.
        take: makes a stored value from (field, value, place), or raises PolicyError.
        exceeds: whether the first of two stored values allows something that the second does not.
        optional: whether None is a value.
        live: whether a companion that runs can be given the second value instead of the first.
        spell: makes a value that TOML has from a stored one; tuples are made lists without it.
    """

    def __init__(
        self,
        text: str,
        take: Callable[[str, Any, Place], Any],
        exceeds: Callable[[Any, Any], bool],
        *,
        optional: bool = False,
        live: Callable[[Any, Any], bool] = lambda old, new: False,
        spell: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.text = f"{text} or None" if optional else text
        self.exceeds = exceeds
        self.optional = optional
        self.live = live
        self.spell = spell
        self._take = take

    def take(self, field: str, value: Any, place: Place) -> Any:
        """Return the value as it is stored.

        Raises:
            PolicyError: this kind of field does not take it.
        """
        return None if value is None and self.optional else self._take(field, value, place)


def at_once(_old: object, _new: object) -> bool:
    """Say that a companion that runs can be given any new value."""
    return True


def listed(field: str, value: Any, accepted: str) -> list[Any]:
    """Return the items of a list, tuple or set.

    Raises:
        PolicyError: it is something else; a text is not taken for a list of letters.
    """
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise wrong(field, value, accepted)
    return list(value)


def address(field: str, text: Any) -> str:
    """Return "host:port" in the one spelling that is stored: addresses shortened, names in small letters.

    Args:
        field: the name of the policy's field, for the error.
        text: IPv4, [IPv6] or a DNS name, and a port.

    Raises:
        PolicyError: it is no such thing.
    """
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    host = _host(found[1]) if found else None
    if not found or host is None or int(found[2]) > 65535:
        raise wrong(field, text, NETWORK)
    return f"{host}:{found[2]}"


def _host(text: str) -> str | None:
    try:
        if text.startswith("["):
            number = ipaddress.IPv6Address(text[1:-1])
            return str(number.ipv4_mapped or f"[{number}]")
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        labels = text.rstrip(".").split(".")
    # inet_aton(3) reads "127.1" and "0x7f.1" as addresses: they are no names.
    if text.startswith("[") or _NUMERIC.fullmatch(labels[-1]) or len(text) > 253:
        return None
    return ".".join(labels).lower() if all(map(_LABEL.fullmatch, labels)) else None


def _network(field: str, value: Any, _place: Place) -> str | tuple[str, ...]:
    if isinstance(value, str) and value in ("all", "none"):
        return value
    return _ordered(address(field, item) for item in listed(field, value, NETWORK)) or "none"


def _network_exceeds(mine: Any, theirs: Any) -> bool:
    if mine == "none" or theirs == "all":
        return False
    return mine == "all" or theirs == "none" or not set(mine) <= set(theirs)


def _ordered(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(items)))


def _paths(field: str, value: Any, place: Place) -> tuple[str, ...]:
    found = _ordered(
        patterns.absolute(field, item, place.folder) for item in listed(field, value, patterns.PATHS)
    )
    if place.look:
        for text in found:
            patterns.must_exist(field, text)
    return found


def _paths_exceed(mine: Any, theirs: Any) -> bool:
    return theirs is not None and bool(patterns.uncovered(("/",) if mine is None else mine, theirs))


def _hidden_exceeds(mine: Any, theirs: Any) -> bool:
    return bool(patterns.uncovered(theirs, mine, dots=True))


def _imports(field: str, value: Any, _place: Place) -> tuple[str, ...]:
    names = listed(field, value, _IMPORTS)
    for name in names:
        parts = name.split(".") if isinstance(name, str) else [""]
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
            raise wrong(field, name, _IMPORTS)
    return _ordered(names)


def _imports_exceed(mine: Any, theirs: Any) -> bool:
    if theirs is None or mine is None:
        return theirs is not None
    return not all(any(f"{name}.".startswith(f"{other}.") for other in theirs) for name in mine)


def _environment(field: str, value: Any, _place: Place) -> tuple[str, ...]:
    names = listed(field, value, _VARIABLES)
    for name in names:
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise wrong(field, name, _VARIABLES)
    return _ordered(names)


def _environment_exceeds(mine: Any, theirs: Any) -> bool:
    ours, others = (ENVIRONMENT if names is None else names for names in (mine, theirs))
    # A pattern is covered by itself, and by one that matches its text (LC_A* by LC_*).
    return not all(name in others or any(_variable(name, other) for other in others) for name in ours)


def _variable(name: str, pattern: str) -> bool:
    if any(character in name for character in "?["):
        return pattern == "*"
    plain = not any(character in pattern for character in "?[")
    return fnmatch.fnmatchcase(name, pattern) and (plain or "*" not in name)


def _cpus(field: str, value: Any, _place: Place) -> tuple[int, ...]:
    if isinstance(value, str):
        numbers: set[int] = set()
        for part in value.replace(" ", "").split(","):
            found = _CPUS.fullmatch(part)
            if not found or int(found[2] or found[1]) < int(found[1]):
                raise wrong(field, value, _CPU_LIST)
            numbers |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
        value = list(numbers)
    numbers = {quantities.count(field, item, 0, _HIGHEST_CPU) for item in listed(field, value, _CPU_LIST)}
    if not numbers:
        raise wrong(field, value, _CPU_LIST)
    return _ordered(numbers)


def _flag(field: str, value: Any, _place: Place) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong(field, value, "True or False (true or false in TOML)")


def _label(field: str, value: Any, _place: Place) -> str:
    if isinstance(value, str) and value.isprintable() and len(value) <= 100:
        return value
    raise wrong(field, value, 'a short text, such as "homework"')


def _limit_exceeds(mine: Any, theirs: Any) -> bool:
    return theirs is not None and (mine is None or mine > theirs)


def _size(field: str, value: Any, _place: Place) -> int:
    return quantities.size(field, value)


def counted(lowest: int, highest: int) -> Callable[[str, Any, Place], int]:
    """Make what takes a whole number between two others."""
    return lambda field, value, place: quantities.count(field, value, lowest, highest)


LABEL = Kind("text", _label, lambda mine, theirs: False, live=at_once)
PATHS = Kind("list of paths", _paths, _paths_exceed, optional=True)
HIDDEN = Kind("list of paths", _paths, _hidden_exceeds)
NETWORKS = Kind(
    '"all", "none" or list of "host:port"',
    _network,
    _network_exceeds,
    live=lambda old, new: isinstance(old, tuple) and isinstance(new, tuple),
)
IMPORTS = Kind("list of module names", _imports, _imports_exceed, optional=True, live=at_once)
VARIABLES = Kind("list of names", _environment, _environment_exceeds, optional=True)
SIZE = Kind("size in bytes", _size, _limit_exceeds, optional=True, live=at_once, spell=quantities.spelled)
FIXED_SIZE = Kind("size in bytes", _size, _limit_exceeds, optional=True, spell=quantities.spelled)
DURATION = Kind(
    "duration in seconds",
    lambda field, value, place: quantities.duration(field, value),
    _limit_exceeds,
    optional=True,
    live=at_once,
)
COUNT = Kind("number", counted(1, 10**9), _limit_exceeds, optional=True, live=at_once)
CPUS = Kind(
    'list of CPU numbers, text such as "0-3,5"',
    _cpus,
    lambda mine, theirs: theirs is not None and (mine is None or not set(mine) <= set(theirs)),
    optional=True,
    live=at_once,
)
NODE = Kind(
    "number of a NUMA node",
    counted(0, 1023),
    lambda mine, theirs: theirs is not None and mine != theirs,
    optional=True,
)
NICE = Kind(
    "number from 0 to 19",
    counted(0, 19),
    lambda mine, theirs: (mine or 0) < (theirs or 0),
    optional=True,
    live=at_once,
)
FLAG = Kind("true or false", _flag, lambda mine, theirs: mine and not theirs)
