# SPDX-License-Identifier: GPL-3.0-or-later
"""What a radio reports, in words: late, underflow, overflow, lost packets, acknowledgements, receive times."""

import threading
from collections import deque
from collections.abc import Callable

from semcom.radio.timing import Burst, Time

# UHD's name of an event: (the letter UHD prints, what it means)
_EVENTS = {
    "time_error": ("L", "burst came too late and was not sent, or not whole"),
    "underflow": ("U", "the computer did not deliver samples in time"),
    "underflow_in_packet": ("U", "the computer did not deliver samples in time, within a packet"),
    "seq_error": ("S", "packets to the radio lost or out of order"),
    "seq_error_in_burst": ("S", "packets to the radio lost or out of order, within a burst"),
}
ACKNOWLEDGED = "bursts acknowledged by the radio"
NO_ANSWER = "bursts that the radio never answered for"
ON_AIR, LATE, UNANSWERED = "on the air", "late", "unanswered"  # what became of a burst
# gr-uhd makes one of UHD's two: a computer too slow (O), and packets that the network lost (D)
OVERFLOW = "received samples lost (O or D): this computer was too slow, or the network lost packets (UHD prints which)"
SAMPLES_LOST = "received samples lost to overflows"
_GAP_SAMPLES = 0.5
_ANSWER_S = 1.0  # after its end, a burst's acknowledgement is overdue
_NEAR_S = 0.1  # an acknowledgement is made when the last sample has left


def in_words(event: str) -> str:
    """A reason to count an event under: words first, UHD's letter with them."""
    if event == "burst_ack":
        return ACKNOWLEDGED
    letter, words = _EVENTS.get(event, ("?", f"event '{event[:40]}' of the radio"))
    return f"{event.replace('_', ' ')} ({letter}): {words}" if letter != "?" else words


class TxReports:
    """Counts what the transmitter's radio says, and matches its answers to bursts.

    Reports come in the order of bursts, but not one a burst: UHD reports a late one once a packet, acknowledges it
    nevertheless if its last packet was in time, and says nothing more if it was not. So a burst is late once, an
    acknowledgement goes to the burst that ended when it was made, and bursts before that one get no answer any more.

    Args:
        count: called with a reason in words, for what is ordinary. fail: for what went wrong.
        on_late, on_ack: called with each ``Burst`` that was late, or whole on the air; for the schedule.
        on_answer: called once a burst with it and ``ON_AIR``, ``LATE`` or ``UNANSWERED``.
    """

    def __init__(
        self,
        count: Callable[[str], None],
        fail: Callable[[str], None],
        on_late: Callable[[Burst], None] = lambda burst: None,
        on_ack: Callable[[Burst], None] = lambda burst: None,
        on_answer: Callable[[Burst, str], None] = lambda burst, answer: None,
    ):
        self._count, self._fail = count, fail
        self._on_late, self._on_ack, self._on_answer = on_late, on_ack, on_answer
        self._lock = threading.RLock()
        self._open: deque[Burst] = deque()  # handed over and not answered for
        self._late: set[int] = set()  # numbers of those of them that were late

    def sent(self, burst: Burst) -> None:
        """The first sample of a burst goes to the radio."""
        with self._lock:
            self._open.append(burst)

    @property
    def outstanding(self) -> int:
        """Bursts handed over that the radio has not yet answered for; a late one may still be acknowledged."""
        return len(self._open)

    def overdue(self, now: Time) -> bool:
        """Whether a burst was over long ago and the radio has not said so."""
        with self._lock:
            return bool(self._open) and now.minus(self._open[0].end) > _ANSWER_S

    def event(self, name: str, time: Time | None = None) -> None:
        """One event under UHD's name, such as "burst_ack" or "time_error". time: of the device, where it is given."""
        with self._lock:
            if name == "burst_ack":
                self._acknowledged(time)
            elif name == "time_error":
                self._was_late(time)
            else:
                self._fail(in_words(name))

    def give_up(self) -> None:
        """No answer will come any more: closes what is open."""
        with self._lock:
            while self._open:
                self._close(self._open.popleft(), UNANSWERED)

    def _acknowledged(self, time: Time | None) -> None:
        if not self._open:
            self._count(ACKNOWLEDGED)
            return
        place = self._ended_at(time) if time is not None else 0
        troubled = bool(self._late)
        for _ in range(place):
            if troubled:
                self._late.add(self._open[0].number)
            self._close(self._open.popleft(), UNANSWERED)
        self._close(self._open.popleft(), ON_AIR)

    def _ended_at(self, time: Time) -> int:
        """Place of the open burst that ended next to ``time``; the oldest's where none did: then times are no help."""
        distance_s, place = min((abs(time.minus(burst.end)), at) for at, burst in enumerate(self._open))
        return place if distance_s < _NEAR_S else 0

    def _was_late(self, time: Time | None) -> None:
        """Goes to the oldest open burst that can be meant: late it can only be after its start."""
        due = [burst for burst in self._open if time is None or time.minus(burst.start) > 0] or self._open
        if not due:
            self._fail(in_words("time_error"))
        elif due[0].number not in self._late:
            self._late.add(due[0].number)
            self._fail(in_words("time_error"))
            self._on_late(due[0])

    def _close(self, burst: Burst, answer: str) -> None:
        if burst.number in self._late:
            self._late.discard(burst.number)
            answer = LATE
        if answer == ON_AIR:
            self._count(ACKNOWLEDGED)
            self._on_ack(burst)
        elif answer == UNANSWERED:
            self._fail(NO_ANSWER)
        self._on_answer(burst, answer)


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
