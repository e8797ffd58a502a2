# SPDX-License-Identifier: GPL-3.0-or-later
"""What a radio reports, in words: late, underflow, overflow, lost packets, acknowledgements, receive times."""

import threading
from collections.abc import Callable

from semcom.radio.timing import Time

# UHD's name of an event: (the letter UHD prints, what it means)
_EVENTS = {
    "time_error": ("L", "burst came too late and was not sent"),
    "underflow": ("U", "the computer did not deliver samples in time"),
    "underflow_in_packet": ("U", "the computer did not deliver samples in time, within a packet"),
    "seq_error": ("S", "packets to the radio lost or out of order"),
    "seq_error_in_burst": ("S", "packets to the radio lost or out of order, within a burst"),
}
ACKNOWLEDGED = "bursts acknowledged by the radio"
OVERFLOW = "overflow (O): the radio dropped received samples, this computer was too slow"
SAMPLES_LOST = "received samples lost to overflows"
_GAP_SAMPLES = 0.5


def in_words(event: str) -> str:
    """A reason to count an event under: words first, UHD's letter with them."""
    if event == "burst_ack":
        return ACKNOWLEDGED
    letter, words = _EVENTS.get(event, ("?", f"event '{event[:40]}' of the radio"))
    return f"{event.replace('_', ' ')} ({letter}): {words}" if letter != "?" else words


class TxReports:
    """Counts what the transmitter's radio says, and knows which bursts it still owes an answer for.

    Args:
        count: called with a reason in words, for what is ordinary. fail: for what went wrong.
        on_late, on_ack: called for each, to tell the schedule.
    """

    def __init__(
        self,
        count: Callable[[str], None],
        fail: Callable[[str], None],
        on_late: Callable[[], None] = lambda: None,
        on_ack: Callable[[], None] = lambda: None,
    ):
        self._count, self._fail, self._on_late, self._on_ack = count, fail, on_late, on_ack
        self._lock = threading.Lock()
        self._sent = self._answered = 0

    def sent(self) -> None:
        """A burst has been handed to the radio."""
        with self._lock:
            self._sent += 1

    @property
    def outstanding(self) -> int:
        """Bursts handed over that the radio has neither acknowledged nor refused."""
        return max(0, self._sent - self._answered)

    def event(self, name: str) -> None:
        """One event under UHD's name, such as "burst_ack" or "time_error"."""
        if name in ("burst_ack", "time_error"):
            with self._lock:
                self._answered += 1
        if name == "burst_ack":
            self._count(ACKNOWLEDGED)
            self._on_ack()
            return
        self._fail(in_words(name))
        if name == "time_error":
            self._on_late()


class RxClock:
    """Device time of every received sample, from the newest rx_time tag; gaps between tags are overflows.

    Tags come at the start, after an overflow and after a retune.
    """

    def __init__(self, count: Callable[[str, int], None], fail: Callable[[str], None], sample_rate_hz: float):
        self._count, self._fail, self.sample_rate_hz = count, fail, float(sample_rate_hz)
        self._anchor: tuple[int, Time] | None = None
        self.frequency_hz: float | None = None
        self._rate_changed = False

    def on_time(self, offset: int, time: Time) -> int:
        """An rx_time tag on sample ``offset``; returns how many samples were lost before it."""
        lost = 0
        if self._anchor is not None and not self._rate_changed:
            gap = time.minus(self.time_of(offset)) * self.sample_rate_hz
            if gap > _GAP_SAMPLES:
                lost = round(gap)
                self._fail(OVERFLOW)
                self._count(SAMPLES_LOST, lost)
            elif gap < -_GAP_SAMPLES:
                self._fail("the radio's clock was set back while it received")
        self._anchor, self._rate_changed = (offset, time), False
        return lost

    def on_rate(self, rate_hz: float) -> None:
        """An rx_rate tag: the samples from here on come at this rate."""
        self._rate_changed = rate_hz != self.sample_rate_hz
        self.sample_rate_hz = float(rate_hz)

    def on_frequency(self, frequency_hz: float) -> None:
        self.frequency_hz = float(frequency_hz)

    def time_of(self, offset: int) -> Time | None:
        """Device time of sample ``offset``; None before the first tag."""
        if self._anchor is None:
            return None
        at, time = self._anchor
        return time.plus((offset - at) / self.sample_rate_hz)
