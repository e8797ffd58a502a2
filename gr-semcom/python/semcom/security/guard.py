# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose bursts a receiver takes: the tag of the second header block checked, and what comes again refused."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from semcom.security.keyfile import KeyRing
from semcom.security.sessions import (
    LIFETIME_S,
    MOST_BURSTS,
    SESSION_BITS,
    SessionKeys,
    session_keys,
)

# A sum of TAG_CHIPS chips of an attacker's choice, each with a sign that he does not know, is as large as this in units
# of its root-sum-square with a probability of at most exp(-8.7^2 / 2) = 2^-54 (Hoeffding 1963).
THRESHOLD = 8.7
TOLERANCE_S = 300.0  # between the clocks of two stations
_MOST_SESSIONS = 64  # of which bursts are remembered
_MOST_TRIED = 4  # sessions known by now, before the number in a burst is decoded

FORGED = "bursts whose tag does not fit: forged, signed with another key, or damaged"
UNKNOWN = "bursts of a key epoch that is not in the key file: renewed at one station only, or forged"
EXPIRED = "bursts signed with a key that has expired"
OLD = "bursts of an old session: replayed, or the clocks of the stations differ"
EARLY = "bursts of a session that begins in the future: set the clocks of both stations"
REPLAYED = "bursts replayed: signed, but received before"
CROWDED = "bursts refused: more sessions at once than a receiver remembers"
REFUSALS = (FORGED, UNKNOWN, EXPIRED, OLD, EARLY, REPLAYED, CROWDED)


@dataclass
class _Known:
    keys: SessionKeys
    expires_s: float
    seen: set[int] = field(default_factory=set)


class Guard:
    """Checks the second header block of bursts; what it has taken once it refuses from then on.

    Args:
        ring: the key.
        clock: seconds since 1970; None: age and expiry are not looked at, of a recording that is replayed.
        tolerance_s: between this clock and a transmitter's.
    """

    def __init__(
        self, ring: KeyRing, clock: Callable[[], float] | None = time.time, tolerance_s: float = TOLERANCE_S
    ):
        self._ring, self._clock, self._tolerance_s = ring, clock, tolerance_s
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def check(self, sent: list[int], soft_tag: np.ndarray, message: bytes, burst: int) -> SessionKeys | str:
        """The session of a burst, or why it is refused, in the words of a counter.

        Args:
            sent: epochs and sessions that it may be of, 64 bits each, the likeliest first.
            soft_tag: ``[TAG_CHIPS]`` real, as received.
            message: what is signed. burst: a number of the burst in its session.
        """
        least = _least(soft_tag)
        if least is None:
            return FORGED
        reason = FORGED
        for at, one in enumerate(sent):
            epoch = self._ring.reading(one >> SESSION_BITS)
            if epoch is None:
                reason = reason if at else UNKNOWN
                continue
            keys = session_keys(epoch.key, epoch.epoch, one % 2**SESSION_BITS)
            if self._fits(keys, soft_tag, message, least):
                return self._take(keys, epoch.expires_s, burst)
        return reason

    def recognise(self, soft_tag: np.ndarray, message: bytes, burst: int) -> SessionKeys | str | None:
        """As ``check``, of a burst of the sessions that were received last; None: it is of none of them.

        It needs no number of the session, which at low SNR is wrong while the tag is still plain to see.
        """
        least = _least(soft_tag)
        if least is None:
            return FORGED
        for known in list(reversed(self._known.values()))[:_MOST_TRIED]:
            if self._fits(known.keys, soft_tag, message, least):
                return self._take(known.keys, known.expires_s, burst)
        return None

    @staticmethod
    def _fits(keys: SessionKeys, soft_tag: np.ndarray, message: bytes, least: float) -> bool:
        return float(soft_tag @ tag_signs(keys.tag(message))) > least

    def _take(self, keys: SessionKeys, expires_s: float, burst: int) -> SessionKeys | str:
        """A burst that somebody with the key has made."""
        if self._clock is not None:
            now = self._clock()
            if now >= expires_s:
                return EXPIRED
            if now - keys.began_s > LIFETIME_S + self._tolerance_s:
                return OLD
            if keys.began_s - now > self._tolerance_s:
                return EARLY
        known = self._known.get(keys.bits)
        if known is None:
            if self._clock is not None:
                self._forget(now)
            if len(self._known) >= _MOST_SESSIONS:
                if self._clock is not None:
                    return CROWDED
                self._known.popitem(last=False)
            known = self._known[keys.bits] = _Known(keys, expires_s)
        if burst in known.seen:
            return REPLAYED
        if len(known.seen) >= MOST_BURSTS:
            return CROWDED
        known.seen.add(burst)
        self._known.move_to_end(keys.bits)
        return keys

    def _forget(self, now_s: float) -> None:
        """Sessions whose bursts are refused by their age."""
        for bits, known in list(self._known.items()):
            if now_s - known.keys.began_s > LIFETIME_S + self._tolerance_s:
                del self._known[bits]


class Eavesdropper:
    """Whoever has no key and does not care for tags: takes every signed burst, as of a session with a key of its own."""

    def __init__(self):
        self.keys = session_keys(os.urandom(32), 0, 1)

    def recognise(self, soft_tag: np.ndarray, message: bytes, burst: int) -> SessionKeys:
        """Its own session, of any burst."""
        return self.keys

    def check(self, sent: list[int], soft_tag: np.ndarray, message: bytes, burst: int) -> SessionKeys:
        """As ``recognise``, which leaves nothing to be checked."""
        return self.keys


def _least(soft_tag: np.ndarray) -> float | None:
    """What a tag's correlation must exceed; None: nothing was received, or no finite numbers."""
    energy = float(soft_tag @ soft_tag)
    return THRESHOLD * energy**0.5 if 0 < energy < float("inf") else None


def tag_signs(tag: bytes) -> np.ndarray:
    """A tag's bits as +-1, ``[TAG_CHIPS]`` float32."""
    return 1 - 2 * np.unpackbits(np.frombuffer(tag, np.uint8)).astype(np.float32)


def guard_of(key: str, **options) -> Guard | None:
    """The guard of a link's key; None: it has none, and everything is taken. options: of ``Guard``.

    Raises:
        ConfigError: no such key, or one that others can read.
    """
    return Guard(KeyRing(key), **options) if key else None
