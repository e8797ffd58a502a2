# SPDX-License-Identifier: GPL-3.0-or-later
"""Which SNR reports a transmitter accepts, and the estimate that they give.

A report is a dictionary: ``snr_db``, ``snr_stderr_db`` and, from our own sender, ``session`` (drawn when the receiving
station starts) and ``sequence`` (``semcom.wire.numbering``). Reports get lost, repeated, reordered, old and
absurd; ``SnrTracker`` counts each by reason and keeps the rest. Ages count from arrival on the transmitter's clock,
as the clocks of two machines need not agree.

Reports are joined by a Kalman filter with one state: the SNR wanders by ``wander_db`` in a second (by its root of t in t
seconds), and a report is off by its standard error. So a precise report is followed at once and poor ones within a
picture's time are averaged; the time constant, (standard error / wander)^2 seconds, comes out by itself.
"""

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from semcom import keys
from semcom.errors import ConfigError, PduError
from semcom.payload.base import TARGETS_DB, checked_target

SNR_RANGE_DB = (-20.0, 60.0)  # reports outside of it are refused
_MAX_STDERR_DB = 20.0
_MIN_STDERR_DB = 0.05  # nobody knows better: the channel moves within a burst
_DEFAULT_STDERR_DB = 1.0  # of a report without one
_MAX_SEQUENCE = 2**63
_FORMER_SESSIONS = 8
_REFUSED = 64
_MOST_BURSTS = 128  # asked for at once
_METRIC = "psnr_db"


@dataclass
class _Session:
    """A receiving station's run. began: its turn among the sessions received; last: its highest number; rising_s: when a
    number above the last was first received after another session had taken its place; None: not since then."""

    began: int
    last: int
    rising_s: float | None = None


@dataclass(frozen=True)
class Belief:
    """The estimate: SNR and its standard error in dB; when the latest report arrived (s, the tracker's clock); the PSNR
    in dB that its receiver asks for, and the receiver's session. None: it said neither."""

    snr_db: float
    stderr_db: float
    heard_s: float
    target_psnr_db: float | None = None
    session: int | None = None

    def lower_limit_db(self, quantile: float, wander_db: float, age_s: float) -> float:
        """The SNR that is exceeded with the confidence of a standard normal ``quantile``; it falls with age."""
        return self.snr_db - quantile * math.sqrt(self.stderr_db**2 + wander_db**2 * max(age_s, 0.0))


def report_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a message that is a report, its numbers checked.

    Raises:
        PduError: in words worth counting: what is missing, of another kind or absurd.
    """
    report = {keys.SNR_DB: _number(message, keys.SNR_DB)}
    low, high = SNR_RANGE_DB
    if not low <= report[keys.SNR_DB] <= high:
        raise PduError(f"absurd SNR report refused: outside {low:g} to {high:g} dB")
    if keys.SNR_STDERR_DB in message:
        report[keys.SNR_STDERR_DB] = _number(message, keys.SNR_STDERR_DB)
        if not 0 <= report[keys.SNR_STDERR_DB] <= _MAX_STDERR_DB:
            raise PduError(f"absurd SNR report refused: standard error outside 0 to {_MAX_STDERR_DB:g} dB")
    if keys.TARGET_PSNR_DB in message:
        report[keys.TARGET_PSNR_DB] = target_of(message)
    if (wanted := wanted_of(message)) is not None:
        report |= wanted.fields()
    return report


def target_of(message: Mapping[str, Any]) -> float:
    """The PSNR in dB that a message asks for: ``target_psnr_db``, or ``metric`` and ``value``.

    Raises:
        PduError: in words worth counting: none, one that no picture could be meant to have, or of another metric.
    """
    key = keys.TARGET_PSNR_DB
    if keys.METRIC in message:
        key = keys.VALUE
        if message[keys.METRIC] != _METRIC:
            raise PduError(f"target refused: no model here predicts another metric than {_METRIC}")
    if key not in message:
        raise PduError(f"target without '{key}'")
    try:
        return checked_target(message[key])
    except ConfigError as error:
        low, high = TARGETS_DB
        raise PduError(f"absurd target refused: outside {low:g} to {high:g} dB") from error


@dataclass(frozen=True)
class Wanted:
    """What a receiver asks for of a picture that it has.

    Attributes:
        image_id: its number. rho: bandwidth ratio that it should have in all; 0: no more than was sent.
        begin: payload symbols that have come, so that parts behind them are sent again.
        bursts: that are lost, of the part with this ``side``.
    """

    image_id: int
    rho: float = 0.0
    begin: int = 0
    side: int = 0
    bursts: tuple[int, ...] = ()

    def fields(self) -> dict[str, Any]:
        """As a message has it."""
        if self.bursts:
            named = {keys.WANT_SIDE: self.side, keys.WANT_BURSTS: text_of(self.bursts)}
        else:
            named = {keys.WANT_RHO: self.rho, keys.WANT_FROM: self.begin}
        return {keys.WANT_ITEM: self.image_id} | named


def text_of(numbers: Iterable[int]) -> str:
    """Numbers of bursts as messages have them; ``numbers_of`` reads them."""
    return ",".join(map(str, numbers))


def numbers_of(text: Any) -> tuple[int, ...]:
    """Numbers of bursts with commas between. Raises PduError: anything else, or more than there can be."""
    words = text.split(",") if isinstance(text, str) else []
    if not 1 <= len(words) <= _MOST_BURSTS or not all(word.isascii() and word.isdecimal() for word in words):
        raise PduError("absurd request refused: bursts are numbers with commas between")
    numbers = tuple(int(word[:6]) for word in words)
    if max(numbers) >= 2**16:
        raise PduError("absurd request refused: no item has so many bursts")
    return numbers


def wanted_of(message: Mapping[str, Any]) -> Wanted | None:
    """What a message asks for; None: nothing.

    Raises:
        PduError: in words worth counting: numbers that no picture, part or rate can have.
    """
    if keys.WANT_ITEM not in message:
        return None

    def whole(key: str, most: int) -> int:
        value = message.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < most:
            raise PduError(f"absurd request refused: '{key}' is not a whole number from 0 to {most - 1}")
        return value

    number = whole(keys.WANT_ITEM, 2**16)
    if keys.WANT_BURSTS in message:
        return Wanted(number, side=whole(keys.WANT_SIDE, 2**20), bursts=numbers_of(message[keys.WANT_BURSTS]))
    rho = message.get(keys.WANT_RHO)
    if isinstance(rho, bool) or not isinstance(rho, int | float) or not 0 < rho <= 1:
        raise PduError(f"absurd request refused: '{keys.WANT_RHO}' is not above 0 and at most 1")
    return Wanted(number, float(rho), whole(keys.WANT_FROM, 2**32))


class SnrTracker:
    """Takes in reports one by one and estimates the SNR. One thread at a time.

    Args:
        max_age_s: how long after its arrival the latest report holds.
        wander_db: how far the SNR wanders in a second; at infinity the latest report counts alone.
        clock: seconds that never go back.

    Attributes:
        counters: what came, and what was wrong with it, in words.
    """

    def __init__(
        self, max_age_s: float = 2.0, wander_db: float = 10.0, clock: Callable[[], float] = time.monotonic
    ):
        if not max_age_s > 0 or not wander_db >= 0:
            raise ConfigError(
                f"feedback: max_age_s must be above 0 s and wander_db 0 dB or more, not {max_age_s!r} and {wander_db!r}."
            )
        self.counters: Counter[str] = Counter()
        self._max_age_s, self._wander_db, self._clock = max_age_s, wander_db, clock
        self._held: Belief | None = None
        self._was_fresh = False
        self._session: int | None = None
        self._sequence = -1
        self._refused: deque[tuple[int, int]] = deque(maxlen=_REFUSED)  # they came, so they are not lost
        self._turns = self._began = 0  # sessions received so far; the present one's turn among them
        self._former: OrderedDict[int, _Session] = OrderedDict()

    def hear(self, message: Mapping[str, Any]) -> Belief | None:
        """The estimate after a report; None: the report changed nothing, and the counters say why."""
        now_s = self._clock()
        fresh = self._is_fresh(now_s)
        try:
            number = _number_of(message)
        except PduError as error:
            self.counters[str(error)] += 1
            return None
        try:
            report = report_of(message)
        except PduError as error:
            self.counters[str(error)] += 1
            if number is not None:
                self._refused.append(number)
            return None
        if not self._take_number(number, fresh):
            return None
        self._was_fresh = True
        self.counters["SNR reports accepted"] += 1
        self._held = self._join(report, now_s, fresh)
        return self._held

    def belief(self) -> Belief | None:
        """The present estimate; None: nothing was received, or too long ago (counted once for each timeout)."""
        fresh = self._is_fresh(self._clock())
        if self._was_fresh and not fresh:
            self._was_fresh = False
            self.counters["SNR reports stale: nothing newer came in time"] += 1
        return self._held if fresh else None

    def _is_fresh(self, now_s: float) -> bool:
        return self._held is not None and now_s - self._held.heard_s <= self._max_age_s

    def _join(self, report: Mapping[str, float], now_s: float, fresh: bool) -> Belief:
        snr_db, asked = report[keys.SNR_DB], (report.get(keys.TARGET_PSNR_DB), self._session)
        stderr_db = max(report.get(keys.SNR_STDERR_DB, _DEFAULT_STDERR_DB), _MIN_STDERR_DB)
        if self._held is None or not fresh:
            return Belief(snr_db, stderr_db, now_s, *asked)
        wandered = self._held.stderr_db**2 + self._wander_db**2 * max(now_s - self._held.heard_s, 0.0)
        if math.isinf(self._wander_db):
            return Belief(snr_db, stderr_db, now_s, *asked)
        gain = wandered / (wandered + stderr_db**2)
        joint_db = self._held.snr_db + gain * (snr_db - self._held.snr_db)
        return Belief(joint_db, math.sqrt(gain) * stderr_db, now_s, *asked)

    def _take_number(self, number: tuple[int, int] | None, fresh: bool) -> bool:
        """Whether a report is newer than all before it. Once they are stale, any order begins anew: nothing that a
        broken or hostile peer sends blocks the tracker for longer than ``max_age_s``."""
        if number is None:
            self.counters["SNR reports without session and sequence"] += 1
            return True
        session, sequence = number
        if session != self._session:
            return self._may_take_over(session, sequence, fresh) and self._change_session(session, sequence)
        if sequence <= self._sequence and fresh:
            what = "repeated" if sequence == self._sequence else "out of order"
            self.counters[f"SNR reports {what}: ignored"] += 1
            return False
        if sequence <= self._sequence:
            self.counters["SNR reports out of order after a silence: accepted"] += 1
        elif sequence > self._sequence + 1:
            refused = {number for number in self._refused if number[0] == session}
            came = sum(self._sequence < number < sequence for _, number in refused)
            self.counters["SNR reports lost"] += sequence - self._sequence - 1 - came
        self._sequence = sequence
        return True

    def _may_take_over(self, session: int, sequence: int, fresh: bool) -> bool:
        """Whether another session than the present one is accepted: a new one is; of a former one only numbers above its
        last, and only if it began after the present one (which took its place by mistake), or if the present one is
        silent and this one continued for ``max_age_s``. One late or replayed report is no station."""
        former = self._former.get(session)
        if former is None:
            return True
        rises, former.last = sequence > former.last, max(former.last, sequence)
        if rises and former.began > self._began:
            return True
        now_s = self._clock()
        alive = rises and former.rising_s is not None and now_s - former.rising_s >= self._max_age_s
        if rises and former.rising_s is None:
            former.rising_s = now_s
        if alive and not fresh:
            return True
        self.counters["SNR reports of a former session: ignored"] += 1
        return False

    def _change_session(self, session: int, sequence: int) -> bool:
        former = self._former.pop(session, None)
        if self._session is not None:
            self._former[self._session] = _Session(self._began, self._sequence)
            while len(self._former) > _FORMER_SESSIONS:
                self._former.popitem(last=False)
            self._held = None  # another receiver, perhaps in another place
            again = "a former session of SNR reports resumed: accepted again"
            new = "receiver restarted: a new session of SNR reports"
            self.counters[again if former else new] += 1
        self._turns += former is None
        self._began = former.began if former else self._turns
        self._session, self._sequence = session, sequence
        return True


def _number_of(message: Mapping[str, Any]) -> tuple[int, int] | None:
    """Session and sequence of a report; None: it has neither, as from a plain estimator."""
    if keys.SESSION not in message and keys.SEQUENCE not in message:
        return None
    values = message.get(keys.SESSION), message.get(keys.SEQUENCE)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_SEQUENCE:
            raise PduError("absurd SNR report refused: session or sequence is not a whole number")
    return values


def _number(message: Mapping[str, Any], key: str) -> float:
    value = message.get(key)
    if value is None:
        raise PduError(f"SNR report without '{key}'")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PduError(f"SNR report whose '{key}' is not a number")
    if not math.isfinite(value):
        raise PduError(f"absurd SNR report refused: '{key}' is NaN or infinite")
    return float(value)
