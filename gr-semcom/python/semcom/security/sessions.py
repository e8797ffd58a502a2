# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of a transmitter: what keys are made of, and why no key stream is ever used twice.

A session is a number of 56 bits: the second in which it began, and 24 random bits. The second is later than that of any
session before with this key file on this machine (it is kept in a file beside the key, locked), so a restart never
begins an old session again; the random bits keep machines apart that share a key. Keys of a session, and the key stream
of each item in it, are made by HKDF (RFC 5869) from the shared secret, so whatever differs in (key, session, sender,
item, part) has another key stream; what does not differ gets a new session.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from semcom.errors import ConfigError, OutputError
from semcom.security.keyfile import KeyRing, key_path

SESSION_BITS, EPOCH_BITS = 56, 8
_RANDOM_BITS = 24
TAG_CHIPS = 576
LIFETIME_S = 600.0  # of a session: what is replayed later than this is known by its age
MOST_BURSTS = 2**14  # of a session: so many a receiver remembers
_BACKWARD_S = 60  # a clock that was set back by no more than this


@dataclass(frozen=True)
class SessionKeys:
    """What both ends make of the shared secret for one session."""

    number: int
    epoch: int
    signing: bytes
    sealing: bytes

    @property
    def began_s(self) -> int:
        """Seconds since 1970."""
        return self.number >> _RANDOM_BITS

    @property
    def bits(self) -> int:
        """Epoch and session, as the second header block has them in clear: 64 bits."""
        return self.epoch << SESSION_BITS | self.number

    def tag(self, message: bytes) -> bytes:
        """Pseudo-random bits that only key holders can make of a header, ``TAG_CHIPS`` of them."""
        of_header = hmac.digest(self.signing, b"tag" + message, "sha256")
        return hashlib.shake_256(of_header).digest(TAG_CHIPS // 8)

    def stream_key(self, sender: int, item: int, side: int) -> bytes:
        """The key of one item's key stream, 32 bytes."""
        info = b"item" + bytes([sender]) + item.to_bytes(2, "big") + side.to_bytes(3, "big")
        return HKDFExpand(SHA256(), 32, info).derive(self.sealing)


@lru_cache(maxsize=64)
def session_keys(secret: bytes, epoch: int, number: int) -> SessionKeys:
    """The keys of a session."""
    salt = bytes([epoch]) + number.to_bytes(SESSION_BITS // 8, "big")
    made = HKDF(SHA256(), 64, salt, b"gr-semcom session 1").derive(secret)
    return SessionKeys(number, epoch, made[:32], made[32:])


@dataclass(frozen=True)
class Seal:
    """What one item is signed and sealed with."""

    keys: SessionKeys
    stream_key: bytes


class Signer:
    """A transmitter's sessions; one for each key file in a process (``signer_of``), whatever blocks share it.

    Args:
        ring: the key. clock: seconds since 1970.

    Raises:
        ConfigError: the clock was set back since the last session. OutputError: nothing can be kept beside the key.
    """

    def __init__(self, ring: KeyRing, clock: Callable[[], float] = time.time):
        self._ring, self._clock, self._lock = ring, clock, threading.Lock()
        self._keys: SessionKeys | None = None
        self._items: set[tuple[int, int, int]] = set()
        self._bursts, self._process = 0, os.getpid()

    def seal(self, sender: int, item: int, side: int, bursts: int = 1) -> Seal:
        """A seal that nothing else ever gets. bursts: of the item, or of this part of it.

        Raises:
            ConfigError: the key has expired, or the clock was set back.
        """
        with self._lock:
            epoch, now, name = self._ring.signing(), self._clock(), (sender, item, side)
            keys = self._keys
            if (
                keys is None
                or self._process != os.getpid()  # a fork would go on with the session of its parent
                or keys.epoch != epoch.epoch
                or not -_BACKWARD_S <= now - keys.began_s < LIFETIME_S
                or self._bursts + bursts > MOST_BURSTS
                or name in self._items
            ):
                began_s = _later_than_ever(self._ring.path, int(now))
                number = began_s << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
                keys = self._keys = session_keys(epoch.key, epoch.epoch, number)
                self._items, self._bursts, self._process = set(), 0, os.getpid()
            self._items.add(name)
            self._bursts += bursts
            return Seal(keys, keys.stream_key(sender, item, side))


def _later_than_ever(key: Path, now_s: int) -> int:
    """A second that is now, or just after that of the last session of this key."""
    file = key.with_name(f"{key.name}.last")
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            text = os.read(handle, 32)
            last_s = int(text) if text.strip() else 0
            if last_s - now_s > _BACKWARD_S:
                raise ConfigError(
                    f"the clock is {last_s - now_s} s behind that of the last session with key {key}, and a session "
                    f"must not begin twice: set the clock; if it was wrong then, renew the key and remove {file}."
                )
            began_s = max(now_s, last_s + 1)
            os.pwrite(handle, b"%-31d\n" % began_s, 0)
            os.fsync(handle)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"the time of the last session cannot be kept in {file} ({error}): a transmitter must be able to write "
            "there, or it could begin one twice."
        ) from error
    return began_s


def signer_of(key: str) -> Signer:
    """The one signer of a key in this process.

    Raises:
        ConfigError: no such key, or one that others can read.
    """
    return _signer_at(key_path(key).resolve())


@lru_cache(maxsize=16)
def _signer_at(path: Path) -> Signer:
    return Signer(KeyRing(str(path)))
