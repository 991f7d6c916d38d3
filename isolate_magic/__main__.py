"""The command line: `python -m isolate_magic COMMAND` (face)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from isolate_magic._version import __version__

_TIERS = ("N", "L")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: what stands behind `python -m isolate_magic`; that of this process by default.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    return _doctor(tier=options.tier, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m isolate_magic",
        description="A second IPython kernel beside your notebook's: what crashes there does not crash here.",
    )
    parser.add_argument("--version", action="version", version=f"isolate_magic {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="try every layer of the sandbox on this host",
        description="Try every layer of the sandbox on this host, by doing what is forbidden in throwaway "
        "companions. Exit status: 0 the policy `untrusted` can be enforced here and everything held, 1 "
        "something got through, 2 `untrusted` cannot be enforced here.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    doctor.add_argument("--tier", choices=_TIERS, default="", help="try this tier only")
    return parser


def _doctor(*, tier: str, as_json: bool) -> int:
    from isolate_magic.doctor import diagnose

    diagnosis = diagnose(tier)
    print(json.dumps(diagnosis.to_dict(), indent=2) if as_json else diagnosis)
    return diagnosis.status


if __name__ == "__main__":
    sys.exit(main())
