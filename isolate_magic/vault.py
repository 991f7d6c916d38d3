"""The file of a checkpoint: encrypted in chunks, each of which is authentic at its place or refused (host).

    magic 8, format 2, derivation 4, 2 spare, length of the contents 4, salt 32 | check 32
    the contents, encrypted as one
    the body, in chunks of 1 MiB, each encrypted with its number and whether it is the last

That is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, 2015) over AES-256-GCM. The key is of this file alone:
derived from the user's with the salt and the whole beginning of the file, so no byte of that can be changed,
and no chunk of another file fits. The check commits the file to one key; ciphertexts of GCM alone do not.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from isolate_magic import keys
from isolate_magic.errors import CheckpointError

CHUNK = 1 << 20
MOST = 16 << 20
"""Most bytes of the contents."""

_MAGIC = b"\x89ISOLATE"
_FORMAT = 1
_HEAD = struct.Struct(">8sH4s2xI32s")
_NONCE = struct.Struct(">BxxxxxxIB")
_TAG = 16
_CONTENTS, _BODY = 0, 1


def _nonce(what: int, number: int, last: bool) -> bytes:
    return _NONCE.pack(what, number, last)


class Writer:
    """Write a checkpoint beside its place, and put it there when it is whole.

    Args:
        path: the place.
        key: the user's key.
        contents: what the file says of itself.

    Raises:
        CheckpointError: the key is none, the contents are too long, or the file cannot be made.
    """

    def __init__(self, path: str, key: Any, contents: bytes) -> None:
        if len(contents) > MOST:
            raise CheckpointError(f"what there is to say of so many names does not fit into {MOST >> 20} MiB")
        how, salt = keys.derivation(key), secrets.token_bytes(keys.SALT)
        head = _HEAD.pack(_MAGIC, _FORMAT, how.packed(), len(contents), salt)
        own, check = keys.derive(key, how, salt, head)
        self._cipher = keys.cipher(own)
        self._path = path
        self._beside = f"{path}.{secrets.token_hex(8)}.part"
        self._number = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._beside, flags, 0o600)
        try:
            self._put([head, check, self._cipher.encrypt(_nonce(_CONTENTS, 0, True), contents, None)])
        except BaseException:
            self.give_up()
            raise

    def write(self, data: bytes, last: bool) -> None:
        """Write some of the body.

        Args:
            data: a whole number of chunks, unless they are the last.
            last: whether the body ends with them.
        """
        view, sealed = memoryview(data), []
        for begin in range(0, len(view), CHUNK):
            final = last and begin + CHUNK >= len(view)
            nonce = _nonce(_BODY, self._number, final)
            sealed.append(self._cipher.encrypt(nonce, view[begin : begin + CHUNK], None))
            self._number += 1
        self._put(sealed)

    def _put(self, buffers: list[bytes]) -> None:
        wanted = sum(map(len, buffers))
        written = os.writev(self._fd, buffers)
        if written != wanted:  # a full disk, or a signal
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def finish(self) -> int:
        """Put the file in its place, for good; return its size."""
        os.fsync(self._fd)
        size = os.fstat(self._fd).st_size
        self._close()
        os.replace(self._beside, self._path)
        self._beside = ""
        folder = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size

    def give_up(self) -> None:
        """Leave nothing, unless the file is in its place."""
        self._close()
        if self._beside:
            with suppress(OSError):
                os.unlink(self._beside)
            self._beside = ""

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Reader:
    """Read a checkpoint; what it returns is authentic.

    Args:
        path: where it is.

    Attributes:
        size: of the file, in bytes.
        passphrase: whether its key is one, as its beginning says, which nobody has vouched for yet.

    Raises:
        CheckpointError: it is no checkpoint.
        NotSupported: the extra is not installed.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        keys.check_installed()
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._head = self._begin()
        except BaseException:
            self.close()
            raise
        self.passphrase = keys.from_passphrase(_HEAD.unpack(self._head)[2])

    def _begin(self) -> bytes:
        about = os.fstat(self._fd)
        self.size = about.st_size
        head = self._take(_HEAD.size) if stat.S_ISREG(about.st_mode) else b""
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            raise self._refused("is no checkpoint of isolate_magic")
        version = _HEAD.unpack(head)[1]
        if version != _FORMAT:
            raise self._refused(
                f"says that it is of format {version}, and this isolate_magic reads {_FORMAT}: "
                "another version has written it, or it was changed"
            )
        return head

    def open(self, key: Any) -> bytes:
        """Return what the file says of itself.

        Args:
            key: the user's key.

        Raises:
            CheckpointError: it is not of this key, or was changed.
        """
        _, _, packed, length, salt = _HEAD.unpack(self._head)
        try:
            how = keys.read(key, packed)
        except CheckpointError as error:
            raise self._refused(f"cannot be opened: {error}") from None
        own, check = keys.derive(key, how, salt, self._head)
        if not hmac.compare_digest(check, self._take(keys.CHECK)):
            raise self._refused(
                "was saved with another key, or its first bytes were changed; which of the two cannot be told"
            )
        self._cipher = keys.cipher(own)
        return self._opened(_nonce(_CONTENTS, 0, True), length)

    def body(self, length: int) -> Iterator[bytes]:
        """Yield the body in chunks, each after it was found to be authentic.

        Nobody may use one before all have come: only the last says that nothing is missing.

        Args:
            length: how long it is, as the contents say.

        Raises:
            CheckpointError: it was changed, cut off or added to.
        """
        chunks = -(-length // CHUNK)
        missing = os.lseek(self._fd, 0, os.SEEK_CUR) + length + chunks * _TAG - os.fstat(self._fd).st_size
        if missing:
            how = (
                f"{missing:,} bytes are missing" if missing > 0 else f"there are {-missing:,} bytes too many"
            )
            raise self._refused(f"is not as it was written: {how}")
        for number in range(chunks):
            last = number == chunks - 1
            yield self._opened(_nonce(_BODY, number, last), length - number * CHUNK if last else CHUNK)

    def _opened(self, nonce: bytes, length: int) -> bytes:
        place = os.lseek(self._fd, 0, os.SEEK_CUR)
        sealed = self._take(length + _TAG) if length <= MOST else b""
        opened = keys.opened(self._cipher, nonce, sealed)
        if opened is None:
            raise self._refused(
                f"is not as it was written: the key is right, and bytes from {place:,} on were changed, "
                "moved or lost"
            )
        return opened

    def _take(self, length: int) -> bytes:
        """Read so many bytes, or what there is."""
        found = os.read(self._fd, length)
        while 0 < len(found) < length:
            more = os.read(self._fd, length - len(found))
            if not more:
                break
            found += more
        return found

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self._path} {why}; nothing was loaded")

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
