"""`%%isolated` and `%isolate`: companions from a notebook or an IPython terminal (face)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from isolate_magic import output, spawner
from isolate_magic.companion import Companion
from isolate_magic.errors import IsolateError, ProcessTerminationError, TransferError
from isolate_magic.notebook import ShellSink
from isolate_magic.output import NullSink
from isolate_magic.session import byvalue, companions, get_companion, import_isolated

_COMMANDS = ("status", "start", "restart", "stop", "interrupt", "list", "logs")


@magics_class
class IsolateMagics(Magics):
    """The two magics."""

    @magic_arguments()
    @argument("-c", "--companion", default="default", metavar="NAME", help="which companion runs the cell")
    @argument(
        "-i",
        "--in",
        dest="inputs",
        action="append",
        default=[],
        metavar="NAMES",
        help="names of this session to bind there first, with commas between them",
    )
    @argument(
        "-o",
        "--out",
        dest="outputs",
        action="append",
        default=[],
        metavar="NAMES",
        help="names of the cell to bind here as proxies",
    )
    @argument(
        "--copy",
        dest="copies",
        action="append",
        default=[],
        metavar="NAMES",
        help="names of the cell to bind here as copies",
    )
    @argument(
        "-t",
        "--timeout",
        type=float,
        default=None,
        metavar="SECONDS",
        help="interrupt the cell after so many seconds, and kill it if it does not end",
    )
    @argument("-q", "--quiet", action="store_true", help="show nothing that the cell prints or displays")
    @cell_magic
    def isolated(self, line: str, cell: str) -> None:
        """Run the cell in a companion; what crashes there does not crash here."""
        options = parse_argstring(self.isolated, line)
        inputs, outputs, copies = map(_names, (options.inputs, options.outputs, options.copies))
        if options.timeout is not None and options.timeout <= 0:
            raise UsageError(f"--timeout {options.timeout:g}: give a positive number of seconds")
        shell: Any = self.shell
        missing = [name for name in inputs if name not in shell.user_ns]
        if missing:
            raise UsageError(f"-i {','.join(missing)}: not defined in this session; nothing was run")
        companion = _companion(options.companion)
        with _own_traceback():
            result = companion.run_cell(
                cell,
                number=shell.displayhook.prompt_count,  # right in every IPython 9; execution_count is not
                lines_before=1,
                push={name: shell.user_ns[name] for name in inputs},
                timeout=options.timeout,
                sink=NullSink() if options.quiet else None,
                silent=options.quiet,
            )
            if result is not None and not options.quiet and not _ends_quietly(cell):
                shell.displayhook.update_user_ns(result)
            self._bind(companion, outputs, copies)

    def _bind(self, companion: Companion, outputs: list[str], copies: list[str]) -> None:
        """Bind names of the cell here; first all that can be bound, then complain of the others."""
        shell: Any = self.shell
        missing, uncopied = [], []
        for name in dict.fromkeys([*outputs, *copies]):
            try:
                proxy = companion.pull(name)
                shell.push({name: byvalue(proxy) if name in copies else proxy})
            except NameError:
                missing.append(name)
            except TransferError as error:
                uncopied.append(error)
        if missing:
            names = ",".join(missing)
            raise UsageError(f"-o {names}: the cell ran, but companion {companion.name!r} knows no such name")
        if uncopied:
            raise uncopied[0]

    @line_magic
    def isolate(self, line: str) -> Any:
        """Look after companions: %isolate COMMAND [NAME] [--preload MODULES].

        status     the state of one companion, or of all (the default)
        start      start one; --preload numpy,pandas imports modules before the fork
        restart    end it and start a new one; its variables are lost
        stop       end it; the next use starts a new one
        interrupt  raise KeyboardInterrupt in what it is doing
        list       the names of all companions
        logs       its last output
        """
        words, preload = _split(line)
        command = words.pop(0) if words else "status"
        if command not in _COMMANDS:
            raise UsageError(f"%isolate {command}: no such command; there are {', '.join(_COMMANDS)}")
        if len(words) > 1:
            raise UsageError(f"%isolate {command} takes one companion's name, not {' '.join(words)}")
        if preload is not None and command != "start":
            raise UsageError("--preload belongs to %isolate start")
        with _own_traceback():
            return _DO[command](words[0] if words else None, preload)


def _names(given: Iterable[str]) -> list[str]:
    """Split `a,b` and check that each is a name."""
    names = [name for part in given for name in part.strip("\"'").replace(",", " ").split()]
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name; names are given like -i threshold,table")
    return names


def _split(line: str) -> tuple[list[str], tuple[str, ...] | None]:
    words, preload = line.split(), None
    if "--preload" in words:
        place = words.index("--preload")
        if len(words) == place + 1:
            raise UsageError("--preload wants module names, as in --preload numpy,pandas")
        preload = tuple(words.pop(place + 1).split(","))
        words.pop(place)
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise UsageError(f"%isolate knows no option {unknown[0]}; there is --preload")
    return words, preload


def _companion(name: str) -> Companion:
    try:
        return get_companion(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _existing(name: str | None) -> Companion:
    for companion in companions():
        if companion.name == (name or "default"):
            return companion
    names = ", ".join(companion.name for companion in companions()) or "none yet"
    raise UsageError(f"there is no companion {name or 'default'!r}; there are: {names}")


def _ends_quietly(cell: str) -> bool:
    return cell.rstrip().endswith(";")


# ---------------------------------------------------------------- the commands


def _status(name: str | None, _preload: Any) -> None:
    chosen = [_existing(name)] if name else companions()
    if not chosen:
        print("no companion yet; %%isolated or import_isolated starts one")
    for companion in chosen:
        print(_line(companion))


def _line(companion: Companion) -> str:
    stats = companion.stats
    parts = [f"{companion.name}: {stats['state']}"]
    if stats["pid"]:
        parts.append(f"pid {stats['pid']}")
    if stats["uptime"] is not None:
        parts.append(f"up {stats['uptime']:.1f} s")
    if stats["rss"]:
        parts.append(f"{stats['rss'] / 2**20:.0f} MiB, {stats['uss'] / 2**20:.0f} of its own")
    if stats["proxies"]:
        parts.append(_count(stats["proxies"], "object lent to this session", "objects lent to this session"))
    if stats["restarts"]:
        parts.append(f"restarted {_count(stats['restarts'], 'time', 'times')}")
    if companion.preload:
        parts.append(f"preload {','.join(companion.preload)}")
    if companion.report and stats["state"] in ("dead", "new"):
        parts.append(companion.report.headline)
    return "; ".join(parts)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _start(name: str | None, preload: tuple[str, ...] | None) -> None:
    name = name or "default"
    found = next((companion for companion in companions() if companion.name == name), None)
    if found is not None and preload is not None and preload != found.preload:
        if found.pid:
            raise UsageError(
                f"companion {name!r} is running with another preload list; %isolate stop {name} first"
            )
        found.close()
        found = None
    if found is None:
        try:
            found = Companion(name, preload=preload or ())
        except ValueError as error:
            raise UsageError(str(error)) from None
    found.start()
    print(_line(found))


def _restart(name: str | None, _preload: Any) -> None:
    print(_line(_existing(name).restart()))


def _stop(name: str | None, _preload: Any) -> None:
    companion = _existing(name)
    companion.stop()
    print(_line(companion))


def _interrupt(name: str | None, _preload: Any) -> None:
    companion = _existing(name)
    print(f"{companion.name}: {'interrupted' if companion.interrupt() else 'was doing nothing'}")


def _list(_name: str | None, _preload: Any) -> None:
    for companion in companions():
        print(f"{companion.name}: {companion.state}")


def _logs(name: str | None, _preload: Any) -> None:
    print(_existing(name).logs(), end="")


_DO: dict[str, Callable[[str | None, Any], None]] = {
    "status": _status, "start": _start, "restart": _restart, "stop": _stop,
    "interrupt": _interrupt, "list": _list, "logs": _logs,
}  # fmt: skip


# ---------------------------------------------------------------- errors in the cell


@contextmanager
def _own_traceback() -> Iterator[None]:
    """Let an error of the companion show the companion's traceback instead of the magic's inside."""
    try:
        yield
    except IsolateError as error:
        _shorten(error, [f"{type(error).__name__}: {error}"])
        raise
    except BaseException as error:
        lines = error.__dict__.get("_isolate_lines_")
        if lines and isinstance(error, SyntaxError):
            error = _syntax_error(error)
        if lines:
            _shorten(error, list(lines))
        raise error


def _syntax_error(error: SyntaxError) -> IsolateError:
    """Return an error of the same name; IPython would look for a real SyntaxError's line in our code."""
    return type("SyntaxError", (IsolateError,), {})(str(error))  # type: ignore[no-any-return]


def _shorten(error: Any, lines: list[str]) -> None:
    error._isolate_shown_ = lines
    if not isinstance(error, ProcessTerminationError):
        error._render_traceback_ = lambda: lines


def _crash_renderer(shell: Any) -> Callable[[Any], list[str]]:
    """Return what IPython calls to show a ProcessTerminationError that nobody has caught."""

    def render(error: Any) -> list[str]:
        if error.report is not None and not error.__dict__.get("_isolate_card_"):
            error._isolate_card_ = True  # IPython renders more than once; one card is enough
            card = {"text/plain": str(error.report), "text/html": error.report._repr_html_()}
            shell.display_pub.publish(data=card, metadata={})
        lines: list[str] | None = error.__dict__.get("_isolate_shown_")
        if lines is None:
            lines = shell.InteractiveTB.structured_traceback(
                type(error), error, error.__traceback__, tb_offset=1
            )
        return lines

    return render


# ---------------------------------------------------------------- the extension

_NAMES = {"import_isolated": import_isolated, "byvalue": byvalue}
_before: list[output.Sink] = []


def _after_cell() -> None:
    for companion in companions():
        companion.after_cell()


def load_ipython_extension(shell: Any) -> None:
    """Load the magics, bind `import_isolated` and `byvalue`, and let a zygote import meanwhile."""
    unload_ipython_extension(shell, stop=False)
    shell.register_magics(IsolateMagics)
    shell.push(
        {name: thing for name, thing in _NAMES.items() if name not in shell.user_ns}, interactive=False
    )
    shell.events.register("post_execute", _after_cell)
    _before.append(output.use(ShellSink(shell)))
    ProcessTerminationError._render_traceback_ = _crash_renderer(shell)  # type: ignore[attr-defined]
    spawner.zygote()


def unload_ipython_extension(shell: Any, stop: bool = True) -> None:
    """Take back all that loading has put in place, and end the companions."""
    if stop:
        for companion in companions():
            companion.close()
    for name, thing in _NAMES.items():
        if shell.user_ns.get(name) is thing:
            shell.drop_by_id({name: thing})
    for kind, name in (("cell", "isolated"), ("line", "isolate")):
        shell.magics_manager.magics[kind].pop(name, None)
    if _after_cell in shell.events.callbacks["post_execute"]:
        shell.events.unregister("post_execute", _after_cell)
    while _before:
        output.use(_before.pop())
        del ProcessTerminationError._render_traceback_  # type: ignore[attr-defined]
