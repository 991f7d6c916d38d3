"""The kernelspec, by which Jupyter finds the isolated kernel: its argv is the whole isolation (host)."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile

from isolate_magic.policy import PRESETS, Policy

_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")


def install(
    name: str,
    policy: str,
    *,
    display_name: str = "",
    user: bool = False,
    prefix: str | None = None,
    snapshots: str = "auto",
) -> str:
    """Register a kernel and return the folder of its kernelspec.

    Args:
        name: what the command line calls it.
        policy: what its cells may do: a preset or a TOML file.
        display_name: what menus call it.
        user: whether it is for this user alone.
        prefix: the environment that it is for; that of all if neither is given.
        snapshots: `off` if a crash shall lose everything, for a process less and no fork before a cell.

    Raises:
        ValueError: the name cannot be.
        PolicyError: the policy cannot be.
        OSError: the folder cannot be written.
    """
    from ipykernel.kernelspec import RESOURCES
    from jupyter_client.kernelspec import KernelSpecManager

    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a kernel: 1 to 60 letters, digits, '_', '.', '-'")
    chosen = Policy.of(policy)
    if policy not in PRESETS:
        policy = os.path.abspath(os.path.expanduser(policy))
    shown = display_name or ("Python 3 (isolated)" if policy == "trusted" else f"Python 3 ({chosen.name})")
    options = ["--policy", policy] + (["--snapshots", snapshots] if snapshots != "auto" else [])
    content = {
        "argv": [sys.executable, "-P", "-m", "isolate_magic.kernel", "-f", "{connection_file}", *options],
        "display_name": shown,
        "language": "python",
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
        "kernel_protocol_version": "5.5",
    }
    with tempfile.TemporaryDirectory(prefix="isolate-kernelspec-") as made:
        folder = os.path.join(made, name)
        os.mkdir(folder)
        for logo in ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg"):
            shutil.copyfile(os.path.join(RESOURCES, logo), os.path.join(folder, logo))
        with open(os.path.join(folder, "kernel.json"), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        where = KernelSpecManager().install_kernel_spec(folder, kernel_name=name, user=user, prefix=prefix)
    return str(where)
