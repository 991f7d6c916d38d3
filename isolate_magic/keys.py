"""The keys of checkpoints: bytes or a passphrase in, one key for each file out (host)."""

from __future__ import annotations

import secrets
import struct
import unicodedata
from importlib import import_module
from typing import Any, NamedTuple

from isolate_magic.errors import CheckpointError, NotSupported

KEY = 32
"""Bytes of a key."""

SALT = 32
CHECK = 32
SHORTEST = 8
"""Fewest characters of a passphrase."""

_DERIVATION = struct.Struct(">BBBB")
_COST = 17  # scrypt's N is 2 to this: 128 MiB and half a second
_COSTS = range(14, 19)  # at most 256 MiB, whatever a file asks for
_BLOCKS, _LANES = 8, 1
_HOW = (
    "isolate_magic.new_key() makes one, which is kept in another place than the file; a passphrase does too"
)


class Derivation(NamedTuple):
    """Say how the key of a file comes from the user's; zeros for 32 bytes, which are used as they are.

    Attributes:
        scrypt: whether it comes from a passphrase.
        cost: the logarithm of scrypt's N.
        blocks: its r.
        lanes: its p.
    """

    scrypt: int = 0
    cost: int = 0
    blocks: int = 0
    lanes: int = 0

    def packed(self) -> bytes:
        """Return it as it stands in a file."""
        return _DERIVATION.pack(*self)


def new_key() -> bytes:
    """Return a new key for checkpoints: 32 random bytes."""
    return secrets.token_bytes(KEY)


def derivation(key: object) -> Derivation:
    """Return how the key of a new file comes from what the user gives.

    Raises:
        CheckpointError: it is no key.
    """
    if key is None:
        raise CheckpointError(f"a checkpoint needs a key: {_HOW}")
    if isinstance(key, str):
        if len(key) < SHORTEST:
            raise CheckpointError(
                f"a passphrase of {len(key)} characters is guessed: give at least {SHORTEST}"
            )
        return Derivation(1, _COST, _BLOCKS, _LANES)
    if not isinstance(key, (bytes, bytearray)):
        raise CheckpointError(
            f"a key is {KEY} bytes, or a passphrase as text, not {type(key).__name__}: {_HOW}"
        )
    if len(key) != KEY:
        raise CheckpointError(f"a key has {KEY} bytes, this one {len(key)}: {_HOW}")
    return Derivation()


def from_passphrase(packed: bytes) -> bool:
    """Return whether the beginning of a file says that its key is a passphrase."""
    return Derivation(*_DERIVATION.unpack(packed)).scrypt == 1


def read(key: object, packed: bytes) -> Derivation:
    """Return how the key of a file comes about, as its beginning says, which nobody has vouched for yet.

    Raises:
        CheckpointError: it is another kind of key, or asks for more memory and time than any file of ours.
    """
    given, told = derivation(key), Derivation(*_DERIVATION.unpack(packed))
    if told == Derivation() == given:
        return told
    if told.scrypt != given.scrypt and told.scrypt in (0, 1):
        kinds = f"{KEY} bytes", "a passphrase"
        wanted, got = (kinds[bool(one.scrypt)] for one in (told, given))
        raise CheckpointError(f"it was saved with {wanted} as its key, and this is {got}")
    if told.cost not in _COSTS or (told.scrypt, told.blocks, told.lanes) != (1, _BLOCKS, _LANES):
        raise CheckpointError("what it says of its passphrase is nothing that isolate_magic writes")
    return told


def derive(key: str | bytes, how: Derivation, salt: bytes, head: bytes) -> tuple[bytes, bytes]:
    """Return the key of one file, and what shows that it is the right one.

    Args:
        key: what the user gives.
        how: as the file says.
        salt: random, of this file alone.
        head: the beginning of the file, which is vouched for by being a part of this.
    """
    material = bytes(key) if not isinstance(key, str) else _stretched(key, how, salt)
    kdf, hashes = _part("primitives.kdf.hkdf"), _part("primitives.hashes")
    both = kdf.HKDF(hashes.SHA256(), KEY + CHECK, salt, b"isolate_magic checkpoint" + head).derive(material)
    return both[:KEY], both[KEY:]


def _stretched(passphrase: str, how: Derivation, salt: bytes) -> bytes:
    scrypt = _part("primitives.kdf.scrypt").Scrypt(salt, KEY, 1 << how.cost, how.blocks, how.lanes)
    stretched: bytes = scrypt.derive(
        unicodedata.normalize("NFKC", passphrase).encode("utf-8", "surrogatepass")
    )
    return stretched


def cipher(key: bytes) -> Any:
    """Return AES-256 in Galois/counter mode under a key."""
    return _part("primitives.ciphers.aead").AESGCM(key)


def opened(cipher: Any, nonce: bytes, sealed: bytes) -> bytes | None:
    """Return what was sealed; None if these are not the bytes that `cipher` has made with this nonce."""
    try:
        found: bytes = cipher.decrypt(nonce, sealed, None)
    except (_part("exceptions").InvalidTag, ValueError):
        return None
    return found


def check_installed() -> None:
    """Raise NotSupported if the extra is not installed."""
    _part("exceptions")


def _part(name: str) -> Any:
    """Import a part of `cryptography`, which is an extra."""
    home = "cryptography.hazmat." if name.startswith("primitives") else "cryptography."
    try:
        return import_module(home + name)
    except ImportError:
        raise NotSupported(
            "checkpoints need the package cryptography: pip install 'isolate_magic[checkpoint]'"
        ) from None
