"""The command line: `python -m isolate_magic COMMAND` (face)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

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
    if options.command == "install":
        return _install(options)
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
    _add_install(commands)
    return parser


def _add_install(commands: Any) -> None:
    install = commands.add_parser(
        "install",
        help='register the kernel "Python 3 (isolated)"',
        description="Register a kernel whose cells cannot end it: they run in a companion. "
        "`jupyter kernelspec remove NAME` takes it away again.",
    )
    install.add_argument(
        "--name", default="isolated", help="what the command line calls it; `isolated` by default"
    )
    install.add_argument("--display-name", default="", help="what menus call it")
    install.add_argument(
        "--policy",
        default="trusted",
        help="what its cells may do: a preset or a TOML file; `trusted` by default",
    )
    install.add_argument(
        "--snapshots", choices=("auto", "off"), default="auto", help="`off`: a crash loses every variable"
    )
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user alone")
    where.add_argument("--sys-prefix", action="store_true", help="for this Python's environment")
    where.add_argument("--prefix", help="for the environment in this folder")


def _install(options: argparse.Namespace) -> int:
    from isolate_magic.errors import PolicyError
    from isolate_magic.kernel.specification import install

    prefix = sys.prefix if options.sys_prefix else options.prefix
    try:
        where = install(
            options.name,
            options.policy,
            display_name=options.display_name,
            user=options.user,
            prefix=prefix,
            snapshots=options.snapshots,
        )
    except (ValueError, PolicyError, OSError) as error:
        print(f"python -m isolate_magic install: {error}", file=sys.stderr)
        return 1
    print(f"installed the kernel {options.name!r} in {where}")
    return 0


def _doctor(*, tier: str, as_json: bool) -> int:
    from isolate_magic.doctor import diagnose

    diagnosis = diagnose(tier)
    print(json.dumps(diagnosis.to_dict(), indent=2) if as_json else diagnosis)
    return diagnosis.status


if __name__ == "__main__":
    sys.exit(main())
