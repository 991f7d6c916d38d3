"""Where a policy comes from: a preset's name, a TOML file, another policy (both sides)."""

from __future__ import annotations

import difflib
import os
import tomllib
from typing import Any

from isolate_magic.errors import PolicyError
from isolate_magic.policy import PRESETS, Policy, made
from isolate_magic.settings import Place


def policy_of(thing: Any, folder: str = "", seen: tuple[str, ...] = ()) -> Policy:
    """Return the policy that something stands for.

    Args:
        thing: a policy, the name of a preset, the path of a .toml file, or None for the preset "trusted".
        folder: where a relative path begins; the current directory if empty.
        seen: the files that are being read because one extends the other.

    Raises:
        PolicyError: it stands for none.
    """
    if thing is None:
        return PRESETS["trusted"]
    if isinstance(thing, Policy):
        return thing
    if isinstance(thing, str) and thing in PRESETS:
        return PRESETS[thing]
    text = os.fspath(thing) if isinstance(thing, (str, os.PathLike)) else None
    if isinstance(text, str) and text.endswith(".toml"):
        return load(os.path.join(folder, os.path.expanduser(text)), seen)
    near = difflib.get_close_matches(text, PRESETS, 1) if isinstance(text, str) else []
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise PolicyError(
        f"{thing!r} is no policy: give a Policy, the path of a .toml file, or one of the presets "
        f"{', '.join(map(repr, PRESETS))}{meant}"
    )


def load(path: str, seen: tuple[str, ...] = ()) -> Policy:
    """Read a policy from a TOML file; arguments and errors as for `policy_of`."""
    path = os.path.abspath(path)
    real = os.path.realpath(path)
    if real in seen:
        raise PolicyError(f"policies extend each other in a circle: {' extends '.join([*seen, real])}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        raise PolicyError(f"the policy file {path} cannot be read: {error}") from error
    stem = os.path.basename(path).removesuffix(".toml")
    try:
        return parse(text, os.path.dirname(path), stem, (*seen, real))
    except PolicyError as error:
        if seen:  # the file that extends this one says where it stands
            raise PolicyError(f"{os.path.basename(path)}: {error}") from error
        raise PolicyError(f"{path}: {error}") from error


def parse(text: str, folder: str, name: str = "", seen: tuple[str, ...] = ()) -> Policy:
    """Read a policy from TOML.

    Args:
        text: the TOML; fields stand at its top level, and `extends`.
        folder: where relative paths begin; absolute.
        name: the policy's name if the text has none.
        seen: as for `policy_of`.

    Raises:
        PolicyError: it is no TOML, or says something that cannot be.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"this is no TOML: {error}") from error
    except RecursionError:
        raise PolicyError("this is no TOML of a policy: it is nested too deep") from None
    parent = policy_of(content.pop("extends"), folder, seen) if "extends" in content else None
    return made(parent, {"name": name} | content, Place(folder))
