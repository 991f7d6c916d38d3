"""Policies: what a companion may reach and use (both sides).

`Policy` is the one place where the fields are defined. The documentation, TOML, the checks and the comparison
go by `dataclasses.fields` and what stands at each field: its kind (`isolate_magic.settings`) and its help.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from isolate_magic import patterns, refusals, settings
from isolate_magic.errors import PolicyError
from isolate_magic.settings import Place

_MOST_PATHS = 1000
_DERIVED = ("trusted",)


def _field(default: Any, kind: settings.Kind, help_: str) -> Any:
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help_})


@dataclasses.dataclass(frozen=True, kw_only=True, init=False, repr=False)
class Policy:
    """Say what a companion may reach and use; all arguments go by name.

    A plain `Policy()` restricts nothing. Naming what is allowed forbids the rest: with `read=["data"]` only
    that and the Python runtime can be read and, unless `write` is given, nothing can be written. Two policies
    are equal if they say the same; the name does not count. `fields_table()` lists all fields.

    Args:
        extends: a policy, the name of a preset or the path of a TOML file, whose fields hold unless they are
            given here. The name is not inherited. `trusted` is inherited if it was given
            there, else it follows from the other fields anew.
        given: the fields.

    Raises:
        PolicyError: a field is unknown, or does not take its value; the text says what it takes.

    Example:
        >>> Policy(memory="512MiB", cpu="30s").allow_tcp("127.0.0.1:9200")
        Policy(network=('127.0.0.1:9200',), memory=536870912, cpu=30.0)
    """

    name: str = dataclasses.field(
        default="",
        compare=False,
        metadata={"kind": settings.LABEL, "help": "A label for messages; a TOML file's is its stem."},
    )
    read: tuple[str, ...] | None = _field(
        None,
        settings.PATHS,
        "What may be read, beside the Python runtime and what may be written. None: what you may read.",
    )
    write: tuple[str, ...] | None = _field(
        None,
        settings.PATHS,
        "What may be written, and read. None: what you may write, or nothing if `read` is given.",
    )
    hidden: tuple[str, ...] = _field(
        (),
        settings.HIDDEN,
        "What does not exist for the companion, also below what may be read. "
        "Beside it nothing new can be made.",
    )
    network: str | tuple[str, ...] = _field(
        "all", settings.NETWORKS, "Where it may connect to over TCP: IPv4, [IPv6] or DNS name, and port."
    )
    imports: tuple[str, ...] | None = _field(
        None,
        settings.IMPORTS,
        "Modules that its code may import, with what is in them. A convenience, never the boundary.",
    )
    memory: int | None = _field(None, settings.SIZE, "Memory of all its processes together.")
    cpu: float | None = _field(None, settings.DURATION, "Processor time of all its processes together.")
    wall: float | None = _field(None, settings.DURATION, "Time for each cell or call.")
    processes: int | None = _field(
        None, settings.COUNT, "Processes at a time, the companion included: 1 lets it start none."
    )
    threads: int | None = _field(None, settings.COUNT, "Threads of all its processes together.")
    open_files: int | None = _field(None, settings.COUNT, "Open files of each process.")
    disk: int | None = _field(None, settings.FIXED_SIZE, "What it may store in files.")
    output: int | None = _field(None, settings.SIZE, "Output of each cell or call; the rest is dropped.")
    output_rate: int | None = _field(None, settings.SIZE, "Output in each second.")
    environment: tuple[str, ...] | None = _field(
        None,
        settings.VARIABLES,
        "Environment variables that it sees. None: a default list without secrets; []: what Python needs.",
    )
    cpus: tuple[int, ...] | None = _field(None, settings.CPUS, "The CPUs that it runs on.")
    numa: int | None = _field(None, settings.NODE, "The NUMA node whose memory and CPUs it uses.")
    nice: int | None = _field(None, settings.NICE, "How much it gives way to others; 19 is most.")
    trusted: bool = _field(
        None,
        settings.FLAG,
        "Whether its code is trusted. If not: output is filtered, copies are data only, system calls and "
        "signals are confined too, and it does not start unless all of this holds. Not given: trusted if "
        "`read` and `write` are None, nothing is hidden and `network` is all.",
    )

    # Whether `trusted` was given, and so does not follow from the other fields. It is set in each policy;
    # ClassVar keeps it from being a field.
    _told: ClassVar[frozenset[str]] = frozenset()
    __signature__: ClassVar[inspect.Signature]

    def __init__(self, *, extends: str | os.PathLike[str] | Policy | None = None, **given: Any) -> None:
        self._fill(None if extends is None else Policy.of(extends), given, Place())

    def _fill(self, parent: Policy | None, given: Mapping[str, Any], place: Place) -> None:
        values = {field.name: getattr(parent, field.name, field.default) for field in _FIELDS.values()}
        values["name"] = ""
        told = set(parent._told if parent else ())
        for name, value in given.items():
            if name not in _FIELDS:
                raise _unknown(name)
            if name in _DERIVED:
                (told.discard if value is None else told.add)(name)
            if name not in _DERIVED or value is not None:
                values[name] = _kind(name).take(name, value, place)
        if values["read"] is not None and values["write"] is None:
            values["write"] = ()
        if "trusted" not in told:
            opened = values["read"] is None and values["write"] is None and values["network"] == "all"
            values["trusted"] = opened and not values["hidden"]
        for name, value in [*values.items(), ("_told", frozenset(told))]:
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._said())
        return f"Policy({said})"

    def _said(self) -> list[str]:
        """Name the fields from which this policy can be made again."""
        return [
            name
            for name, field in _FIELDS.items()
            if (name in self._told if name in _DERIVED else getattr(self, name) != field.default)
        ]

    @staticmethod
    def of(thing: Policy | str | os.PathLike[str] | None) -> Policy:
        """Return the policy that something stands for.

        Args:
            thing: a policy, the name of a preset, the path of a .toml file, or None for the preset "trusted".

        Raises:
            PolicyError: it stands for none.
        """
        from isolate_magic.origins import policy_of

        return policy_of(thing)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Policy:
        """Read a policy from a TOML file; relative paths in it count from its folder.

        Raises:
            PolicyError: the file cannot be read, or says something that cannot be; its name is in the text.
        """
        from isolate_magic.origins import load

        return load(os.path.expanduser(os.fsdecode(path)))

    @staticmethod
    def from_toml(text: str, *, folder: str | os.PathLike[str] | None = None, name: str = "") -> Policy:
        """Read a policy from TOML: the fields at top level, and `extends`.

        Args:
            text: the TOML.
            folder: where relative paths begin; without it, the current directory.
            name: the policy's name if the text has none.

        Raises:
            PolicyError: the text is no TOML, or says something that cannot be.
        """
        from isolate_magic.origins import parse

        return parse(text, os.path.abspath(folder or "."), name)

    def to_toml(self) -> str:
        """Return TOML that makes this policy again; what it inherited is written out."""
        import tomli_w

        return tomli_w.dumps({name: _kind(name).spell(value) for name, value in self.to_dict().items()})

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from `Policy()`, as JSON has it; patterns stay patterns."""
        values = {name: getattr(self, name) for name in self._said()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Policy:
        """Make the policy again that `to_dict` told of; its paths are not looked up.

        They may be out of sight here.

        Raises:
            PolicyError: a field is unknown, or does not take its value.
        """
        return made(None, content, Place(look=False))

    def but(self, **changes: Any) -> Policy:
        """Return this policy with some fields replaced.

        `trusted` follows from the other fields unless it was given; None lets it do so again.

        Raises:
            PolicyError: a field is unknown, or does not take its value.
        """
        # What is no preset any more must not bear a preset's name.
        name = f"{self.name}, changed" if self.name in PRESETS else self.name
        return made(self, {"name": name} | changes, Place())

    def allow_read(self, *paths: str | os.PathLike[str]) -> Policy:
        """Let paths or patterns be read; if everything could be read so far, the rest no longer can."""
        return self._allow("read", paths)

    def allow_write(self, *paths: str | os.PathLike[str]) -> Policy:
        """Let paths or patterns be written and read; if all could be written, the rest no longer can."""
        return self._allow("write", paths)

    def allow_tcp(self, *addresses: str) -> Policy:
        """Let connections be made to each "host:port"; if all were allowed so far, the rest no longer is."""
        return self._allow("network", addresses)

    def allow_import(self, *names: str) -> Policy:
        """Let modules be imported; if all could be imported so far, the rest no longer can."""
        return self._allow("imports", names)

    def hide(self, *paths: str | os.PathLike[str]) -> Policy:
        """Let paths or patterns not exist for the companion."""
        return self._allow("hidden", paths)

    def _allow(self, field: str, more: Sequence[Any]) -> Policy:
        # Only what is new is looked up: what was allowed before may be gone by now.
        added = _kind(field).take(field, more, Place())
        now = getattr(self, field)
        both = {*(now if isinstance(now, tuple) else ()), *(added if isinstance(added, tuple) else ())}
        changed = self.but()
        return made(changed, {"name": changed.name, field: tuple(both)}, Place(look=False))

    def readable(self) -> list[str]:
        """Return the paths that may be read or written now; ["/"] if all may be read.

        Raises:
            PolicyError: there are too many.
        """
        return ["/"] if self.read is None else self._expanded("read", {*self.read, *(self.write or ())})

    def writable(self) -> list[str]:
        """Return the paths that may be written now; as `readable`."""
        return ["/"] if self.write is None else self._expanded("write", self.write)

    def concealed(self) -> list[str]:
        """Return the hidden paths that are there now; wildcards match names that begin with a dot, too.

        Raises:
            PolicyError: there are too many.
        """
        return self._expanded("hidden", self.hidden)

    def _expanded(self, field: str, entries: Iterable[str]) -> list[str]:
        found = patterns.expand(entries, dots=field == "hidden")
        if len(found) > _MOST_PATHS:
            many = f"{len(found)} paths, more than {_MOST_PATHS}"
            raise PolicyError(f"{field}: the patterns match {many}; give the folder instead")
        return found

    def weaker_than(self, other: Policy) -> tuple[str, ...]:
        """Name the fields in which this policy allows something that another one does not.

        Where that cannot be told from the text, as with two different patterns, the answer is that it does.
        """
        theirs = {name: getattr(other, name) for name in _FIELDS}
        if other.read is not None:
            theirs["read"] = (*other.read, *(other.write or ()))
        return tuple(name for name in _FIELDS if _kind(name).exceeds(getattr(self, name), theirs[name]))

    def changes(self, new: Policy) -> dict[str, tuple[Any, Any]]:
        """Return the fields in which a new policy differs, with the value here and the value there."""
        pairs = {n: (getattr(self, n), getattr(new, n)) for n, field in _FIELDS.items() if field.compare}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def needs_restart(self, new: Policy) -> tuple[str, ...]:
        """Name the fields of a new policy that a companion under this one gets only by a restart."""
        return tuple(name for name, pair in self.changes(new).items() if not _kind(name).live(*pair))

    def refusal(self, kind: str, target: str, runtime: Sequence[str] = ()) -> str | None:
        """Tell which line of this policy forbids something, and what would allow it; None if none does.

        Args:
            kind: "read", "write", "connect", "import" or "start" (a program).
            target: the path, "host:port", module or program.
            runtime: paths that may be read under every policy.
        """
        return refusals.refusal(self, kind, target, runtime)


def made(parent: Policy | None, given: Mapping[str, Any], place: Place) -> Policy:
    """Make a policy from a parent (None is `Policy()`) and the fields that differ.

    Raises:
        PolicyError: a field is unknown, or does not take its value.
    """
    policy = object.__new__(Policy)
    policy._fill(parent, given, place)
    return policy


def _kind(name: str) -> settings.Kind:
    kind: settings.Kind = _FIELDS[name].metadata["kind"]
    return kind


def _unknown(name: str) -> PolicyError:
    near = difflib.get_close_matches(name, _FIELDS, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(_FIELDS)}"
    return PolicyError(f"a policy has no field {name!r}; {meant}")


_FIELDS = {field.name: field for field in dataclasses.fields(Policy)}
Policy.__signature__ = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in [*((name, field.default) for name, field in _FIELDS.items()), ("extends", None)]
    ]
)

PRESETS: dict[str, Policy] = {
    "trusted": Policy(name="trusted"),
    "offline": Policy(name="offline", network="none", trusted=True),
    "untrusted": Policy(
        name="untrusted",
        read=(),
        write=(),
        network="none",
        trusted=False,
        memory="1GiB",
        cpu="5min",
        wall="60s",
        processes=32,
        threads=256,
        open_files=256,
        disk="64MiB",
        output="1MiB",
        output_rate="1MiB",
        environment=(
            *("PATH", "LANG", "LC_*", "TZ", "PYTHONHASHSEED"),
            *("OMP_*", "OPENBLAS_*", "MKL_*", "NUMEXPR_*", "NUMBA_*"),
        ),
        nice=5,
    ),
}
"""The policies that have a name: `trusted` is the default and forbids nothing; `offline` is that without a
network; `untrusted` is for code of others, with limits that suit the notebook of a course."""


def fields_table() -> list[tuple[str, str, str, str]]:
    """Return name, type, default and help of each field, for the documentation."""
    return [
        (
            name,
            field.metadata["kind"].text,
            "derived" if name in _DERIVED else repr(field.default),
            field.metadata["help"],
        )
        for name, field in _FIELDS.items()
    ]
