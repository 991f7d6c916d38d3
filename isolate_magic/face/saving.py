"""The commands of `%isolate` for checkpoints; the key never gets into the history (face)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from IPython.core.error import UsageError

from isolate_magic.checkpoint import wants_passphrase
from isolate_magic.companion import Companion
from isolate_magic.errors import CheckpointError, NotSupported
from isolate_magic.face import asking
from isolate_magic.face.options import Option
from isolate_magic.face.orders import POLICY, Command, Order, policy
from isolate_magic.keys import KEY, derivation
from isolate_magic.session import companions

KEY_FILE = Option(
    ("--key-file",),
    "a file with the key, 32 bytes; a passphrase is asked for else",
    "FILE", "the file of a key, as in --key-file ~/checkpoint.key",
)  # fmt: skip
_T = TypeVar("_T")
_TRUST = "It is loaded by running what is in it: restore only what you, or people you trust, have saved."


def _path(order: Order) -> str:
    if len(order.words) != 1:
        raise UsageError("which file? One path is given, as in analysis.checkpoint")
    return os.path.expanduser(order.words[0])


def _key(order: Order, prompt: str, again: str = "") -> str | bytes:
    """Return the key from its file, or ask for a passphrase, twice if `again` is what to ask then."""
    if order.options.key_file is not None:
        return _key_in(os.path.expanduser(order.options.key_file))
    try:
        given = asking.ask(order.shell, prompt, True)
        _done(lambda: derivation(given))
        if again and asking.ask(order.shell, again, True) != given:
            raise UsageError("the two passphrases differ; nothing was done")
    except NotSupported as error:
        raise UsageError(f"a passphrase cannot be asked for: {error}; give --key-file") from None
    return given


def _key_in(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(KEY + 1)
    except OSError as error:
        raise UsageError(f"--key-file {path}: {error.strerror}; nothing was done") from None


def _checkpoint(order: Order) -> None:
    path, companion = _path(order), order.existing()
    _done(lambda: companion._ready_to_save(path))  # before anybody types a passphrase
    key = _key(order, f"Passphrase for {path}: ", "Again: ")
    print(_done(lambda: companion.checkpoint(path, key=key)))


def _restore(order: Order) -> None:
    path, name = _path(order), order.name or "default"
    found = next((companion for companion in companions() if companion.name == name), None)
    wanted = None if order.options.policy is None else policy(order.options.policy)
    if found is not None and wanted not in (None, found.policy):
        raise UsageError(
            f"companion {name!r} has another policy; %isolate restore {path} -c NEW makes a new one"
        )
    passphrase = _done(lambda: wants_passphrase(path))
    if not passphrase and order.options.key_file is None:
        raise UsageError(
            f"{path} was saved with a key of {KEY} bytes, no passphrase: give --key-file; nothing was loaded"
        )
    print(_TRUST)
    key = _key(order, f"Passphrase of {path}: ")
    if found is not None:
        print(_done(lambda: found.resume(path, key=key)))
        return
    try:
        made = _done(lambda: Companion.restore(path, key=key, name=name, policy=wanted))
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(made.restored)


def _done(do: Callable[[], _T]) -> _T:
    """Do it; what is refused is said without a traceback."""
    try:
        return do()
    except (CheckpointError, NotSupported) as error:
        raise UsageError(str(error)) from None


COMMANDS = (
    Command(
        "checkpoint",
        "save what the cells have bound into a file, encrypted",
        _checkpoint,
        "PATH",
        (KEY_FILE,),
    ),
    Command(
        "restore",
        "bind what a checkpoint holds, in a new companion or beside what one has",
        _restore,
        "PATH",
        (POLICY, KEY_FILE),
        more=_TRUST,
    ),
)
