"""One `%%isolated` cell: what its line asks for, and how that is done (face)."""

from __future__ import annotations

import tokenize
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError

from isolate_magic import output
from isolate_magic.companion import Companion
from isolate_magic.defaults import defaults
from isolate_magic.errors import NotSupported, TransferError
from isolate_magic.face import replaying, target
from isolate_magic.face.held import HeldSink
from isolate_magic.face.options import COMPANION, Line, Option, bytes_of, names, seconds
from isolate_magic.face.pinned import PinnedSink
from isolate_magic.face.tracebacks import own_traceback
from isolate_magic.link.proxy import isproxy
from isolate_magic.output import NullSink, Sink
from isolate_magic.registry import registered
from isolate_magic.session import byvalue
from isolate_magic.tracing import traceable

NAMES = "names with commas between them, as in -i threshold,table"
MEMORY = Option(
    ("-m", "--memory"),
    "most memory the companion may use, as in 2GiB; of one that runs it is changed at once, if it can be",
    "SIZE", "a size, as in -m 512MiB", bytes_of,
)  # fmt: skip
POLICY = Option(
    ("-p", "--policy"),
    "what the companion may do: a preset or a TOML file; for one that does not run yet",
    "POLICY", "a preset or a TOML file, as in -p untrusted",
)  # fmt: skip
OPTIONS = (
    COMPANION,
    Option(("-i", "--in"), "names of this session to bind there first, with commas between", "NAMES", NAMES,
           many=True),
    Option(("-o", "--out"), "names of the cell to bind here as proxies", "NAMES", NAMES, many=True),
    Option(("--copy",), "names of the cell to bind here as copies", "NAMES", NAMES, many=True),
    Option(("-t", "--timeout"), "interrupt the cell after so many seconds, and kill it if it does not end",
           "SECONDS", "a number of seconds", seconds),
    Option(("-b", "--bg"), "return at once, with a handle as the cell's value; output still comes here"),
    Option(("--no-stream",), "show output when the cell has ended, in the order it came"),
    Option(("--group",), "show output when the cell has ended, by kind: stdout, stderr, displays, the value"),
    Option(("-q", "--quiet"), "show nothing that the cell prints or displays"),
    Option(("--fresh",), "run it in a companion of its own, made like the named one and closed afterwards"),
    Option(("--dry",), "run it in a fork of the companion that ends with it; the companion stays as it is"),
    MEMORY,
    POLICY,
    Option(("--trace",),
           "list what the cell has opened, imported, started and connected to, and what was refused"),
)  # fmt: skip
_EXAMPLES = """\
examples:
  %%isolated -i threshold -o table      take a name along, bring a proxy back
  %%isolated -b                         run in the background; `%isolate result` waits for the value
  %%isolated --fresh -m 1GiB -t 60      try something with limits, and leave nothing behind
"""
CELL = Line(
    "%%isolated",
    "Run the cell in a companion; what crashes there does not crash here.",
    OPTIONS,
    more=_EXAMPLES,
)


@dataclass(frozen=True)
class Order:
    """What one cell asks for.

    Attributes:
        source: its text without the line of the magic.
        number: the prompt number of the visible cell.
        lines_before: lines of the visible cell above the source.
        options: the options, as `CELL` takes them apart.
        inputs: names to bind there.
        outputs: names to bind here as proxies.
        copies: names to bind here as copies.
        pushed: whether the inputs are there already.
    """

    source: str
    number: int
    lines_before: int
    options: Namespace
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    pushed: bool = False


def isolate(shell: Any, line: str, source: str, lines_before: int = 1) -> None:
    """Do what a `%%isolated` cell asks for.

    Args:
        shell: the main session's.
        line: the rest of the first line.
        source: the text below it.
        lines_before: lines of the visible cell above that.

    Raises:
        UsageError: the line says something that cannot be; nothing was run.
        Exception: what the cell has raised.
    """
    options = CELL.parse(line)
    if options.help:
        print(CELL.help(), end="")
        return
    order = _order(shell, options, source, lines_before)
    companion: Companion | None = None

    def rerun(sink: Sink) -> Any:
        return again(shell, companion, order, sink) if companion is not None else None

    with own_traceback(rerun):
        companion = target.companion(options)
        if options.bg:
            _begin(shell, companion, order)
            return
        result = _run(shell, companion, order, _sink(options, None))
        if result is not None and not options.quiet and not ends_quietly(source):
            keep(shell, result)


def _order(shell: Any, options: Namespace, source: str, lines_before: int) -> Order:
    """Check what the line says, before anything is started."""
    if options.words:
        raise UsageError(f"%%isolated takes no {options.words[0]!r}; the code stands below the line")
    inputs, outputs, copies = map(names, (getattr(options, "in"), options.out, options.copy))
    options.timeout = options.timeout or defaults.timeout or None
    _exclude(options)
    if options.fresh and outputs:
        taken = ",".join(outputs)
        raise UsageError(
            f"-o {taken}: a companion of --fresh ends with its cell, and proxies with it; "
            f"--copy {taken} brings copies; nothing was run"
        )
    _exclude_dry(options, [*outputs, *copies])
    missing = [name for name in inputs if name not in shell.user_ns]
    if missing:
        raise UsageError(f"-i {','.join(missing)}: not defined in this session; nothing was run")
    number = shell.displayhook.prompt_count  # right in every IPython 9; execution_count is not
    return Order(source, number, lines_before, options, inputs, outputs, copies)


def _exclude_dry(options: Namespace, taken: list[str]) -> None:
    """Refuse what has no meaning for a cell that leaves nothing behind."""
    if not options.dry:
        return
    if taken:
        raise UsageError(
            f"--dry leaves nothing to bind {','.join(taken)} to; let the cell show it, or leave --dry out; "
            "nothing was run"
        )
    other = [f"--{name}" for name in ("bg", "fresh", "trace") if getattr(options, name)]
    if other:
        raise UsageError(f"give --dry or {' or '.join(other)}, not both; nothing was run")


def _exclude(options: Namespace) -> None:
    given = [
        f"--{name.replace('_', '-')}" for name in ("quiet", "group", "no_stream") if getattr(options, name)
    ]
    if len(given) > 1:
        raise UsageError(f"give {' or '.join(given)}, not both")


def _sink(options: Namespace, own: Sink | None) -> Sink | None:
    """Return where the output goes: what is held is shown in `own`, or where everything goes."""
    if options.quiet:
        return NullSink()
    if options.no_stream or options.group:
        return HeldSink(own or output.default, options.group)
    return own


def _run(
    shell: Any, companion: Companion, order: Order, sink: Sink | None, pinned: Sink | None = None
) -> Any:
    """Run the cell, bind what it shall bind, and return its value; a companion of its own is closed."""
    options = order.options
    try:
        with (
            _traced(shell, companion, pinned) if options.trace else nullcontext(),
            nullcontext() if options.dry else replaying.noted(companion, order),
        ):
            try:
                result = companion.run_cell(
                    order.source,
                    number=order.number,
                    lines_before=order.lines_before,
                    push={} if order.pushed else values(shell, order.inputs),
                    timeout=options.timeout,
                    sink=sink,
                    silent=options.quiet,
                    dry=options.dry,
                )
            finally:
                if isinstance(sink, HeldSink):
                    sink.show()
            _bind(shell, companion, order)
    finally:
        if options.fresh:
            companion.close()
    return None if options.fresh and isproxy(result) else result


def values(shell: Any, inputs: list[str]) -> dict[str, Any]:
    """Return what names of this session are bound to."""
    return {name: shell.user_ns[name] for name in inputs}


def again(shell: Any, companion: Companion, order: Order, sink: Sink | None = None) -> None:
    """Run a cell that has run before; its output is shown in `sink`, or not at all.

    Raises:
        UsageError: a name that it takes along is not defined any more.
        Exception: what the cell has raised.
    """
    missing = [name for name in order.inputs if name not in shell.user_ns]
    if missing:
        raise UsageError(f"{','.join(missing)}: not defined in this session any more")
    if not order.source:  # names that were pushed without a cell
        with replaying.noted(companion, order):
            companion.push(values(shell, order.inputs))
        return
    shown = NullSink() if sink is None else _sink(order.options, sink)
    _run(shell, companion, replace(order, pushed=False), shown, sink)


# ---------------------------------------------------------------- in the background


def _begin(shell: Any, companion: Companion, order: Order) -> None:
    """Let the cell run in the background; its handle is the value of the cell here."""
    try:
        order = _prepared(shell, companion, order)
    except BaseException:
        if order.options.fresh:
            companion.close()
        raise
    pinned = PinnedSink(shell)
    quiet = order.options.quiet
    sink = _sink(order.options, pinned)
    work = _work(shell, companion, order, sink, pinned)
    handle = companion.background.submit(f"cell In[{order.number}]", work)
    named = registered().get(order.options.companion or "default")
    if named is not None and named is not companion:  # one of its own is not there to be asked for the result
        named.background.keep(handle)
    keep(shell, handle)
    if not quiet:
        before = handle.before
        pinned.status(handle)
        if before is not None:
            before.add_done_callback(lambda _: pinned.status(handle, again=True))
        handle.add_done_callback(lambda done: pinned.status(done, again=True))


def _prepared(shell: Any, companion: Companion, order: Order) -> Order:
    """Start the companion, so that what is wrong is said at once; give it its names as they are now."""
    if order.options.trace:
        _start_traced(companion)
    companion.start()
    if not order.inputs or companion.state != "idle":
        return order
    companion.push(values(shell, order.inputs))
    return replace(order, pushed=True)


def _work(
    shell: Any, companion: Companion, order: Order, sink: Sink | None, pinned: PinnedSink
) -> Callable[[], Any]:
    def work() -> Any:
        try:
            value = _run(shell, companion, order, sink, pinned)
            if not order.options.quiet:
                pinned.end(f"cell In[{order.number}]")
            return value
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            pinned.error(error)
            raise

    return work


# ---------------------------------------------------------------- the value


def keep(shell: Any, value: Any) -> None:
    """Bind the value of a cell to `_` and in `Out`, as IPython does."""
    shell.displayhook.check_for_underscore()
    shell.displayhook.update_user_ns(value)
    shell.displayhook.fill_exec_result(value)


def ends_quietly(source: str) -> bool:
    """Tell whether a semicolon at the end says that the value is not to be shown."""
    try:
        return bool(DisplayHook.semicolon_at_end_of_expression(source))
    except (tokenize.TokenError, SyntaxError):  # magics and shell commands are not Python
        return source.rstrip().endswith(";")


def _bind(shell: Any, companion: Companion, order: Order) -> None:
    """Bind names of the cell here; first all that can be bound, then complain of the others."""
    missing, uncopied = [], []
    for name in dict.fromkeys([*order.outputs, *order.copies]):
        try:
            proxy = companion.pull(name)
            shell.push({name: byvalue(proxy) if name in order.copies else proxy})
        except NameError:
            missing.append(name)
        except TransferError as error:
            uncopied.append(error)
    if missing:
        raise UsageError(
            f"-o {','.join(missing)}: the cell ran, but companion {companion.name!r} knows no such name"
        )
    if uncopied:
        raise uncopied[0]


@contextmanager
def _traced(shell: Any, companion: Companion, pinned: Sink | None) -> Iterator[None]:
    """Show what the cell has tried, also if it fails: before the error, then."""
    _start_traced(companion)
    trace = None
    try:
        with companion.tracing() as trace:
            yield
    finally:
        if trace is not None:
            shown = {"text/plain": str(trace), "text/html": trace._repr_html_()}
            if pinned is not None:
                pinned.message("display_data", {"data": shown})
            else:
                shell.display_pub.publish(data=shown, metadata={})


def _start_traced(companion: Companion) -> None:
    """Start a companion that has no process so that it can be traced; raises UsageError if one cannot be."""
    try:
        traceable(companion)
    except NotSupported as error:
        raise UsageError(str(error)) from None
