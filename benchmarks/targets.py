"""What is to be measured and reached: every row of the table, every target, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks import bulk, calls, confined, rewind


@dataclass(frozen=True)
class Target:
    """Bound something about our figure.

    Attributes:
        bound: the number to reach.
        kind: `times`: ours divided by the peer's; `faster`: the peer's divided by ours; `value`: ours
            itself, in the row's unit; `above`: ours less the peer's, in that unit. `faster` wants at least
            the bound, the others at most.
        peer: the column of the other figure.
    """

    bound: float | None
    kind: str
    peer: str = ""


@dataclass(frozen=True)
class Row:
    """Name one row of the table.

    Attributes:
        section: the table that it belongs to.
        title: what is measured.
        unit: `us`, `ms`, `MB`, `%` or `GB/s`.
        ours: the figure that is ours.
        peers: the figures of the others, by column.
        targets: what to reach; with a bound of None the ratio is shown and nothing asked.
        size: bytes moved, for `GB/s`.
    """

    section: str
    title: str
    unit: str
    ours: str
    peers: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    size: int = 0


def _calls(place: str) -> tuple[Row, ...]:
    # Across two CPUs most of a peer's time is the wake-up. We spin instead, so we have to be faster there;
    # what is left is too uneven to ask anything of its ratio with many proxies alive.
    bound, bound_many = (1.25, 1.2) if place == calls.TOGETHER else (1.0, None)

    def row(operation: str, title: str, bound: float | None) -> Row:
        peers = {name: f"{operation} {place} {name}" for name in calls.CALLERS}
        target = Target(bound, "times", "raw pickle")
        return Row(f"Calls {place}", title, "us", peers.pop("ours"), peers, (target,))

    many = Row(
        f"Calls {place}", f"call, {calls.MANY:,} proxies alive", "us", f"call {place} ours, many held",
        {"ours, none alive": f"call {place} ours"}, (Target(bound_many, "times", "ours, none alive"),),
    )  # fmt: skip
    again = Row(
        f"Calls {place}", "`import_isolated` of an imported module", "us", f"again {place} ours",
        targets=(Target(1000, "value"),),
    )  # fmt: skip
    return (
        row("call", "call, int to int", bound), row("attribute", "attribute", bound),
        row("echo", "1 kB there and back", None), again, many,
    )  # fmt: skip


def _start(title: str, ours: str, peer: str, *targets: Target) -> Row:
    return Row("Starts", title, "ms", ours, {"ipykernel": peer}, targets or (_FASTER,))


_FASTER = Target(None, "faster", "ipykernel")


def _kernel() -> tuple[Row, ...]:
    return (
        Row(
            "Kernel", "start to first result", "ms", "kernel start ours",
            {"ipykernel": "kernel start ipykernel"}, (Target(1.3, "times", "ipykernel"),),
        ),
        Row(
            "Kernel", "crash to next result, beside a restart", "ms", "kernel crash ours",
            {"ipykernel": "kernel restart ipykernel"}, (Target(10, "faster", "ipykernel"),),
        ),
        Row(
            "Kernel", "a cell, `1+1`", "ms", "kernel cell ours", {"ipykernel": "kernel cell ipykernel"},
            (Target(None, "times", "ipykernel"),),
        ),
    )  # fmt: skip


def _array(direction: str, megabytes: int) -> Row:
    title = f"{megabytes} MB {'by `byvalue`' if direction == 'out' else 'as an argument'}"
    peers = {"warm memcpy": f"memcpy {megabytes}", "bare system call": f"{direction} {megabytes} bare"}
    bound = 0.9 if megabytes >= 80 else None
    target = Target(bound, "faster", "bare system call")
    ours = f"{direction} {megabytes} ours"
    return Row("Arrays", title, "GB/s", ours, peers, (target,), megabytes * 1_000_000)


def _argument(kind: str, megabytes: int) -> Row:
    peers = {"warm memcpy": f"memcpy {megabytes}", "bare system call": f"into {megabytes} bare"}
    bound = 0.9 if megabytes >= 80 and kind == "two" else None
    title = f"{megabytes} MB {bulk.KINDS[kind, megabytes]}"
    target = Target(bound, "faster", "bare system call")
    return Row("Arrays", title, "GB/s", f"{kind} {megabytes} ours", peers, (target,), megabytes * 1_000_000)


def _sharing(step: str, megabytes: int) -> Row:
    target = (Target(1, "value"),) if step == "again" else ()
    title = f"{bulk.SHARING[step]} of {megabytes} MB"
    peers = {"an argument": f"into {megabytes} ours"}
    return Row("Arrays shared", title, "ms", f"{step} {megabytes} ours", peers, target)


def _confined(table: str, unit: str, title: str, figure: str, *targets: Target) -> tuple[Row, ...]:
    peers = {confined.FREE: f"{figure} {confined.FREE}"}
    return tuple(
        Row(f"Confined {table}", f"{title}, tier {tier}", unit, f"{figure} tier {tier}", peers, targets)
        for tier in confined.TIERS
    )


def _confined_start(title: str, figure: str, bound: float | None) -> tuple[Row, ...]:
    target = Target(bound, "above", confined.FREE)
    return (
        *_confined("starts", "ms", f"{title}, bare", f"{figure} bare", target),
        *_confined("starts", "ms", f"{title}, numpy and pandas", f"{figure} loaded", target),
    )


def _confined_work(what: str) -> tuple[Row, ...]:
    plain = _confined("work", "ms", f"numpy: {what}", what, Target(1.03, "times", confined.FREE))
    return (*plain, *(replace(row, title=f"{row.title}, nice 5", ours=f"{row.ours}, nice") for row in plain))


def _confined_all() -> tuple[Row, ...]:
    times, above = Target(None, "times", confined.FREE), Target(None, "above", confined.FREE)
    states = {"idle": "nothing happens", "busy": "it computes"}
    return (
        *_confined_start("fork to first cell", "fork", 15),
        *_confined_start("`restart` to first cell", "restart", None),
        *(row for what in confined.WORK for row in _confined_work(what)),
        *_confined("calls", "us", "call, int to int", "call", times),
        *(row for what, it in confined.CALLS.items() for row in _confined("calls", "us", it, what, times)),
        *_confined("memory", "MB", "one more, bare", "weight bare", above),
        *_confined("memory", "MB", "one more, numpy and pandas", "weight loaded", above),
        *(
            Row("Confined supervisor", f"CPU used while {said}, tier {tier}", "%", f"{state} tier {tier}")
            for state, said in states.items()
            for tier in confined.TIERS
        ),
    )  # fmt: skip


ROWS = (
    *(row for place in calls.PLACES for row in _calls(place)),
    Row(
        "Loops", "`for x in remote_list`, 100,000 ints", "ms", "loop ours",
        {"one trip an item": "loop trips"},
        (Target(20, "faster", "one trip an item"),),
    ),
    Row(
        "Cells", "`%%isolated` of `1+1`, the whole cell", "ms", "cell ours", {"ipykernel": "cell ipykernel"},
        (Target(0.5, "times", "ipykernel"),),
    ),
    Row(
        "Cells", "the same, `run_cell_magic` alone", "ms", "magic ours", {"ipykernel": "cell ipykernel"},
        (Target(None, "times", "ipykernel"),),
    ),
    Row(
        "Cells", "Tab after `json.du`", "ms", "tab ours", {"ipykernel": "tab ipykernel"},
        (Target(None, "times", "ipykernel"),),
    ),
    _start("fork to first call, bare", "fork bare ours", "start bare ipykernel"),
    _start(
        "fork to first call, numpy and pandas", "fork loaded ours", "start loaded ipykernel",
        Target(20, "value"), Target(40, "faster", "ipykernel"),
    ),
    _start("fork to first cell, bare", "fork cell bare ours", "start bare ipykernel"),
    _start("fork to first cell, numpy and pandas", "fork cell loaded ours", "start loaded ipykernel"),
    _start("`restart` to first call, bare", "restart bare ours", "restart bare ipykernel"),
    _start(
        "`restart` to first call, numpy and pandas", "restart loaded ours", "restart loaded ipykernel",
        Target(30, "value"), _FASTER,
    ),
    _start("no zygote yet, bare", "cold bare ours", "start bare ipykernel"),
    _start("no zygote yet, numpy and pandas", "cold loaded ours", "start loaded ipykernel"),
    *_kernel(),
    *(_array(direction, megabytes) for direction in ("out", "into") for megabytes in bulk.SIZES),
    *(_argument(kind, megabytes) for kind, megabytes in bulk.KINDS),
    *(_sharing(step, megabytes) for megabytes in bulk.SIZES[1:] for step in bulk.SHARING),
    Row(
        "Memory", "one more, idle, numpy and pandas", "MB", "idle ours", {"ipykernel": "idle ipykernel"},
        (Target(15, "value"),),
    ),
    Row(
        "Memory", "one more, after some work with pandas", "MB", "used ours", {"ipykernel": "used ipykernel"},
        (Target(None, "times", "ipykernel"),),
    ),
    Row("Memory", "the zygote, once for all of them", "MB", "zygote ours"),
    *_confined_all(),
    *(
        Row("Rewind", f"snapshot with {size / 1000:g} GB of arrays", "ms", f"snapshot {size}",
            targets=(Target(10, "value"),))
        for size in rewind.SIZES
    ),
    *(
        Row("Rewind", f"a small cell with {size / 1000:g} GB of arrays", "ms", f"cell {size} auto",
            {"without snapshots": f"cell {size} off"}, (Target(None, "above", "without snapshots"),))
        for size in (rewind.SIZES[0], rewind.BACK)
    ),
    Row(
        "Rewind", "a cell that writes to 1 GB", "ms", "write auto", {"without snapshots": "write off"},
        (Target(None, "times", "without snapshots"),),
    ),
    Row("Rewind", "snapshot after that, 1 GB in small pages", "ms", "snapshot written"),
    Row("Rewind", "crash to next result, 1 GB of arrays", "ms", "crash", targets=(Target(100, "value"),)),
)  # fmt: skip
