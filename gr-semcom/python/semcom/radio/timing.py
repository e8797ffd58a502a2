# SPDX-License-Identifier: GPL-3.0-or-later
"""When bursts leave: device times, the schedule, and the tags that make a USRP send a burst and nothing else.

What gr-uhd does with its tags decides the shape of all this: see ``lead_in``.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from semcom import keys

FIRST_LEAD_S = 0.5  # 0.3 s made repeated late errors
LEAD_S = 0.1
_GUARD_S = 20e-6  # between the end of a burst and the start of the next: room for the device's own rounding
_MARGIN_S = 0.02  # a burst that follows closely is still handed over this long ahead
_MARGIN_SAMPLES = 20000  # ... or so many samples, where that is less: gr-uhd runs some 65,000 ahead
_PAD_SAMPLES = 64  # zeros after a burst push its last samples through the device's filters
# what a radio's buffer holds: a host that keeps up is at most so far ahead of the air
_AHEAD_SAMPLES = 65_536
_AHEAD_SHARE = 0.5  # of it, which a margin must stay below: else no burst ever follows another closely again
_GOOD_BURSTS = 3  # acknowledged in a row, until a longer lead is taken back: with those on their way some 10

Tag = tuple[int, str, object]  # position, key, True or a Time


class Time(NamedTuple):
    """A device time. Whole seconds and fraction apart: a double alone has lost the nanoseconds."""

    whole: int
    fraction: float

    @classmethod
    def of(cls, seconds: float) -> "Time":
        return cls(0, 0.0).plus(seconds)

    def plus(self, seconds: float) -> "Time":
        whole = int(np.floor(seconds))
        fraction = self.fraction + (seconds - whole)
        carry = int(np.floor(fraction))
        return Time(self.whole + whole + carry, fraction - carry)

    def minus(self, other: "Time") -> float:
        """Seconds from ``other`` to this."""
        return (self.whole - other.whole) + (self.fraction - other.fraction)


class BurstScheduler:
    """Gives each burst its time: never in the past, never over another, back to back where they come fast enough.

    Args:
        sample_rate_hz: of the bursts.
        clock: the device's time now.
        first_lead_s: from now to the first burst. lead_s: to the first after a pause.
        ahead_samples: how far ahead of the air the radio's buffer lets the host run.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        clock: Callable[[], Time],
        first_lead_s: float = FIRST_LEAD_S,
        lead_s: float = LEAD_S,
        ahead_samples: int = _AHEAD_SAMPLES,
    ):
        self.sample_rate_hz, self._clock = float(sample_rate_hz), clock
        self._first_lead_s, self._usual_lead_s, self.lead_s = first_lead_s, lead_s, lead_s
        self._most_margin_s = _AHEAD_SHARE * ahead_samples / sample_rate_hz
        self._usual_margin_s = min(_MARGIN_S, _MARGIN_SAMPLES / sample_rate_hz, self._most_margin_s)
        self._margin_s = self._usual_margin_s
        self._free: Time | None = None  # when the last burst is over
        self._good = 0
        self.scheduled = 0  # bursts so far
        self._changed_at = 0  # so many were scheduled when the lead last grew

    def next(self, samples: int) -> Time:
        """The time at which a burst of so many samples starts."""
        now = self._clock()
        self.scheduled += 1
        if self._free is None:
            start = now.plus(self._first_lead_s)
        elif self._free.minus(now) >= self._margin_s:
            start = self._free
        else:
            earliest = now.plus(self.lead_s)
            start = max(earliest, self._free)
        self._free = start.plus(samples / self.sample_rate_hz + _GUARD_S)
        return start

    def late(self, number: int) -> None:
        """Burst ``number`` (counted from 0) came too late: the next gets twice the lead, up to that of the first.

        Bursts that had their times before the lead last grew are late for the same reason: they change nothing. The
        margin stays below what the radio's buffer holds.
        """
        self._good = 0
        if number < self._changed_at:
            return
        self._changed_at = self.scheduled
        self.lead_s = min(2 * self.lead_s, self._first_lead_s)
        self._margin_s = min(2 * self._margin_s, self.lead_s, self._most_margin_s)

    def acknowledged(self) -> None:
        """The device said that a burst went out whole; many of them, and the lead is as at first."""
        self._good += 1
        if self._good >= _GOOD_BURSTS:
            self.lead_s, self._margin_s = self._usual_lead_s, self._usual_margin_s

    def over_since_s(self) -> float:
        """Seconds since the last burst was over by the device's clock; negative while it is not."""
        return self._clock().minus(self._free) if self._free is not None else 0.0


@dataclass(frozen=True)
class Burst:
    """What a radio owes an answer for. number: as scheduled, from 0. index: in the stream; None: a lead-in."""

    number: int
    start: Time
    end: Time
    index: int | None = None


@dataclass(frozen=True)
class TaggedSamples:
    """Samples [n] complex64, their stream tags, and the burst that they are, where they are one."""

    samples: np.ndarray
    tags: list[Tag]
    burst: Burst | None = None


def lead_in(start: Time) -> TaggedSamples:
    """Four zeros to be sent before the first burst.

    When gr-uhd's sink starts, it sends an empty start of burst. UHD keeps that call's flags and puts them over those of
    the next call that has samples, so the first burst loses its end and the second one is glued to it. Here the call
    that suffers is the one of sample 0; the second start of burst on sample 1 forces another call, with an end
    that arrives.
    """
    tags = [(0, keys.TAG_TX_SOB, True), (0, keys.TAG_TX_TIME, start)]
    return TaggedSamples(
        np.zeros(4, np.complex64), [*tags, (1, keys.TAG_TX_SOB, True), (3, keys.TAG_TX_EOB, True)]
    )


def timed_burst(samples: np.ndarray, start: Time) -> TaggedSamples:
    """A burst, some zeros after it, and its tags."""
    padded = np.concatenate([samples, np.zeros(_PAD_SAMPLES, np.complex64)])
    tags = [(0, keys.TAG_TX_SOB, True), (0, keys.TAG_TX_TIME, start)]
    return TaggedSamples(padded, [*tags, (len(padded) - 1, keys.TAG_TX_EOB, True)])


class BurstTimer:
    """Bursts to timed, tagged samples: the lead-in first, then each burst with its time.

    Args:
        scheduler: gives the times.
        with_lead_in: only tests leave it out, to see what it is good for.
    """

    def __init__(self, scheduler: BurstScheduler, with_lead_in: bool = True):
        self.scheduler, self._lead_in_due = scheduler, with_lead_in

    def prepare(self, samples: np.ndarray, index: int | None = None) -> list[TaggedSamples]:
        """One burst [n] complex64, number ``index`` of its stream, to what goes into the sink, in order.

        Raises:
            Exception: whatever the radio's clock raises; the burst can be prepared again.
        """
        out = []
        if self._lead_in_due:
            out.append(self._given_its_time(lead_in, 4, None))
            self._lead_in_due = False
        count = len(samples) + _PAD_SAMPLES
        return [*out, self._given_its_time(lambda start: timed_burst(samples, start), count, index)]

    def _given_its_time(self, make, count: int, index: int | None) -> TaggedSamples:
        start = self.scheduler.next(count)
        end = start.plus(count / self.scheduler.sample_rate_hz)
        burst = Burst(self.scheduler.scheduled - 1, start, end, index)
        return dataclasses.replace(make(start), burst=burst)


class BurstCutter:
    """A stream with tx_sob and tx_eob tags to whole bursts; what lies outside of bursts is counted, not sent.

    A burst is held until its end is there, so that one that has begun on the air cannot starve.

    Args:
        max_samples: a burst longer than this is dropped: an end tag that never comes must not fill the memory.
        count: called with a reason in words and a number.
    """

    def __init__(self, count: Callable[[str, int], None], max_samples: int = 2**20):
        self._count, self._max_samples = count, max_samples
        self._parts: list[np.ndarray] | None = None

    def push(self, samples: np.ndarray, tags: list[tuple[int, str]]) -> list[np.ndarray]:
        """The bursts that end within ``samples`` [n]; tags are (position, key) and sorted."""
        done, at = [], 0
        for position, key in tags:
            if key == keys.TAG_TX_SOB:
                self._take(samples[at:position])
                if self._parts is not None:
                    self._count("start of burst inside a burst: what came before is not sent", 1)
                self._parts, at = [], position
            elif key == keys.TAG_TX_EOB:
                self._take(samples[at : position + 1])
                at = position + 1
                if self._parts is None:
                    self._count("end of burst without a start", 1)
                else:
                    done.append(np.concatenate(self._parts))
                self._parts = None
        self._take(samples[at:])
        return done

    def _take(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        if self._parts is None:
            self._count("samples outside of bursts, not sent", len(samples))
            return
        self._parts.append(samples.copy())  # the buffer is the scheduler's
        if sum(map(len, self._parts)) > self._max_samples:
            self._count(f"burst of more than {self._max_samples} samples dropped: its end never came", 1)
            self._parts = None
