# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins what the detector cut out with what the receiver later made of it, by sample offset, in stream order."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from semcom.capture.namespace import BurstNote

_NEVER_READ = "no header or estimate came within {:g} s"
_MAX_EARLY = 1024  # readings that came before their burst
_MAX_GONE = 4096  # bursts written before they were read, whose readings may still come


@dataclass
class _Waiting:
    samples: np.ndarray
    note: BurstNote
    received_s: float
    until_s: float
    read: bool = False


class Joiner:
    """Holds each burst until its reading has come, ``window_s`` at most, and hands them out in the order of arrival.

    Args:
        write: called with (samples, note, received_s) for each burst, once.
        amend: called with the note of a burst that was written unread and whose reading came after all: a computer that
            stalls reads late, and what it read is not lost.
        window_s: how long a burst waits. max_waiting_bytes: of samples that wait; beyond it the oldest goes as it is.
    """

    def __init__(
        self,
        write: Callable[[np.ndarray, BurstNote, float], object],
        amend: Callable[[BurstNote], object],
        window_s: float = 2.0,
        max_waiting_bytes: int = 2**26,
    ):
        self._write, self._amend = write, amend
        self._window_s, self._max_bytes = window_s, max_waiting_bytes
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._early: OrderedDict[int, BurstNote] = OrderedDict()
        self._gone: OrderedDict[int, BurstNote] = OrderedDict()
        self._bytes = 0
        self.counters: Counter[str] = Counter()

    def add_burst(self, samples: np.ndarray, note: BurstNote, received_s: float, now_s: float) -> None:
        """Takes a burst as detected: ``note`` has sample_offset, cfo and sync_quality. ``now_s``: any steady clock."""
        offset = note.sample_offset
        if offset in self._waiting:
            self.counters["bursts given twice"] += 1
            return
        self._waiting[offset] = _Waiting(samples, note, received_s, now_s + self._window_s)
        self._bytes += samples.nbytes
        if offset in self._early:
            self.add_reading(self._early.pop(offset), now_s)
        while self._bytes > self._max_bytes:
            self.counters["bursts written before they were read: too many waited"] += 1
            self._release("written before it was read: too many bursts waited")
        self.advance(now_s)

    def add_reading(self, reading: BurstNote, now_s: float) -> None:
        """Takes what was made of the burst at ``reading.sample_offset``; cfo and sync_quality stay as detected."""
        waiting = self._waiting.get(reading.sample_offset)
        if reading.sample_offset in self._gone:
            self.counters["readings that came late"] += 1
            self._amend(_joined(reading, self._gone.pop(reading.sample_offset)))
            return
        if waiting is None:
            self._early[reading.sample_offset] = reading
            if len(self._early) > _MAX_EARLY:
                self._early.popitem(last=False)
                self.counters["readings without a burst"] += 1
            return
        waiting.note = _joined(reading, waiting.note)
        waiting.read = True
        self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Writes what is ready or has waited long enough."""
        while self._waiting:
            first = next(iter(self._waiting.values()))
            if not first.read and now_s < first.until_s:
                return
            self._release(_NEVER_READ.format(self._window_s))

    def flush(self, error: str = "the recording ended before it was read") -> None:
        """Writes all that waits."""
        while self._waiting:
            self._release(error)
        self.counters["readings without a burst"] += len(self._early)
        self._early.clear()

    def _release(self, error: str) -> None:
        _, first = self._waiting.popitem(last=False)
        self._bytes -= first.samples.nbytes
        note = first.note
        if not first.read:
            self._gone[note.sample_offset] = note
            if len(self._gone) > _MAX_GONE:
                self._gone.popitem(last=False)
            note = replace(note, error=error)
        self._write(first.samples, note, first.received_s)


def _joined(reading: BurstNote, found: BurstNote) -> BurstNote:
    """What was read, with the offset and quality that the detector found."""
    return replace(reading, cfo=found.cfo, sync_quality=found.sync_quality)
