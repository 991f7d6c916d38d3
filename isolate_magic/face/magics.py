"""`%%isolated` and `%isolate`: companions from a notebook or an IPython terminal (face)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from isolate_magic.companion import Companion
from isolate_magic.errors import NotSupported, TransferError
from isolate_magic.face import commands
from isolate_magic.face.tracebacks import own_traceback
from isolate_magic.output import NullSink
from isolate_magic.session import byvalue, get_companion
from isolate_magic.tracing import traceable


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
    @argument(
        "--trace",
        action="store_true",
        help="list what the cell has opened, imported, started and connected to, and what was refused",
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
        with own_traceback(), self._traced(companion) if options.trace else nullcontext():
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

    @contextmanager
    def _traced(self, companion: Companion) -> Iterator[None]:
        """Show what the cell has tried, also if it fails: before the error, then."""
        try:
            traceable(companion)
        except NotSupported as error:
            raise UsageError(str(error)) from None
        trace = None
        try:
            with companion.tracing() as trace:
                yield
        finally:
            if trace is not None:
                shell: Any = self.shell
                shown = {"text/plain": str(trace), "text/html": trace._repr_html_()}
                shell.display_pub.publish(data=shown, metadata={})

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
        """Look after companions: %isolate COMMAND [NAME] [OPTIONS].

        status     the state of one companion, or of all (the default), and what confines it
        start      start one; --preload numpy,pandas imports modules before the fork; --policy untrusted says
                   what it may do (a preset or a TOML file); --policy-file FILE too, and follows its changes;
                   --trace lets %%isolated --trace follow it, which a policy that builds a wall does anyway
        restart    end it and start a new one, with --trace as above; its variables are lost
        stop       end it; the next use starts a new one
        interrupt  raise KeyboardInterrupt in what it is doing
        list       the names of all companions
        logs       its last output
        policy     show its policy; --policy or --policy-file change it while it runs
        doctor     try on this machine what keeps companions in
        """
        with own_traceback():
            return commands.run(line)


def _names(given: Iterable[str]) -> list[str]:
    """Split `a,b` and check that each is a name."""
    names = [name for part in given for name in part.strip("\"'").replace(",", " ").split()]
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name; names are given like -i threshold,table")
    return names


def _companion(name: str) -> Companion:
    try:
        return get_companion(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _ends_quietly(cell: str) -> bool:
    return cell.rstrip().endswith(";")
