"""The process that Jupyter starts for the isolated kernel: `python -m isolate_magic.kernel -f FILE` (host).

The zygote is started first: it imports IPython while this process imports what it needs itself.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence

from isolate_magic.kernel.surroundings import begin

MODES = ("auto", "off")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve Jupyter until it asks for the end.

    Args:
        arguments: those of the command line; the ones that are not ours are ipykernel's.
    """
    parser = argparse.ArgumentParser(prog="python -m isolate_magic.kernel", allow_abbrev=False)
    parser.add_argument("--policy", default="trusted", help="what cells may do: a preset or a TOML file")
    parser.add_argument(
        "--snapshots", choices=MODES, default="auto", help="`off` lets a crash lose everything"
    )
    options, rest = parser.parse_known_args(arguments)
    gc.disable()  # nothing that is imported is garbage; looking for some takes a seventh of the start
    begin(options.policy)
    from isolate_magic.kernel.application import IsolatedApplication

    IsolatedApplication.launch_instance(rest, policy=options.policy, snapshots=options.snapshots)


if __name__ == "__main__":
    main(sys.argv[1:])
