# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream tagged with tx_sob and tx_eob to timed bursts for a radio that understands them.

Two blocks with a queue between, each in a flowgraph of its own, because the second must outlive the stream: UHD's
reports of the last bursts come back only while its sink is fed by somebody who has not finished.

    modulator --> burst_collector | queue | burst_emitter --> usrp_sink -- async_msgs --> burst_emitter
"""

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded, begin_anew
from semcom.blocks.media import IDLE_MS
from semcom.blocks.media.device_graph import DeviceGraph
from semcom.radio.reports import UNANSWERED, TxReports
from semcom.radio.timing import Burst, BurstCutter, BurstScheduler, BurstTimer, TaggedSamples, Time

_MAX_WAITING = 8  # bursts, beside what gr-uhd and the radio hold
_PATIENCE_S = 0.02
_STILL_S = 3.0  # nothing handed over or answered for so long, the end is not waited for
_LAST_ANSWER_S = 1.0  # how long after the end of the last burst an acknowledgement may come
_REPORTS = "reports"
NEVER_HANDED = "bursts never handed to the radio"


class BurstQueue:
    """Whole bursts between the two blocks, numbered; the one that fills it waits, the one that empties it does not."""

    def __init__(self):
        self._changed = threading.Condition()
        self.clear()

    def clear(self) -> None:
        """For another run."""
        with self._changed:
            self._bursts: deque[tuple[int, np.ndarray]] = deque()
            self._count, self.ended, self.answered = 0, False, False
            self._moved_s = time.monotonic()

    def wait_for_room(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._bursts) < _MAX_WAITING, timeout_s)

    def put(self, bursts: list[np.ndarray]) -> None:
        with self._changed:
            for burst in bursts:
                self._bursts.append((self._count, burst))
                self._count += 1
            self._changed.notify_all()

    def put_back(self, index: int, burst: np.ndarray) -> None:
        """One that was taken and cannot be sent now."""
        with self._changed:
            self._bursts.appendleft((index, burst))

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> tuple[int, np.ndarray] | None:
        """The next burst and its number; None if there is none yet, or none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._bursts or self.ended, timeout_s)
            if not self._bursts:
                return None
            self._changed.notify_all()
            self.moved()
            return self._bursts.popleft()

    def moved(self) -> None:
        """Something was handed over or answered for."""
        self._moved_s = time.monotonic()

    def answer(self) -> None:
        """The radio has answered for the last."""
        with self._changed:
            self.answered = True
            self._changed.notify_all()

    def wait_answered(self, is_gone: Callable[[], bool]) -> int:
        """Waits for that, as long as something moves and the radio is there; returns how many bursts still wait."""
        with self._changed:
            while not (self.answered or is_gone() or time.monotonic() - self._moved_s > _STILL_S):
                self._changed.wait(_PATIENCE_S)
            return len(self._bursts)


class burst_collector(gr.sync_block):
    """Whole bursts out of the stream into the queue; waits while that is full.

    Starts the radio's flowgraph with itself, and ends when the radio has answered for the last burst.
    """

    def __init__(self, queue: BurstQueue, guard: Guarded, graph: DeviceGraph):
        gr.sync_block.__init__(self, name="burst_collector", in_sig=[np.complex64], out_sig=None)
        self._queue, self._guard, self._graph = queue, guard, graph
        self._cutter = BurstCutter(guard.count)

    def start(self) -> bool:
        self._cutter = BurstCutter(self._guard.count)
        self._queue.clear()
        self._graph.start()
        return True

    def stop(self) -> bool:
        self._queue.end()
        left = self._queue.wait_answered(lambda: self._graph.gone_s() > 0)
        if left:
            self._guard.fail(NEVER_HANDED)
            self._guard.count(NEVER_HANDED, left - 1)
        self._graph.stop()
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._collect(input_items[0]), fallback=len(input_items[0]))

    def _collect(self, samples: np.ndarray) -> int:
        if not self._queue.wait_for_room(_PATIENCE_S):
            return 0
        start, marks, ended = self.nitems_read(0), [], False
        for tag in sorted(self.get_tags_in_window(0, 0, len(samples)), key=lambda tag: tag.offset):
            key = pmt.symbol_to_string(tag.key)
            ended = ended or key == keys.TAG_END
            if key in (keys.TAG_TX_SOB, keys.TAG_TX_EOB):
                marks.append((tag.offset - start, key))
        self._queue.put(self._cutter.push(samples, marks))
        if ended:
            self._queue.end()
        return len(samples)


class burst_emitter(gr.sync_block):
    """Bursts out of the queue, timed and tagged; ends when the radio has answered for the last one.

    Ports: stream out; message port ``reports`` takes the radio's async_msgs.

    Args:
        clock: the radio's time now.
        on_answer: called once a burst with its number and what became of it, in the words of ``radio.reports``.
    """

    def __init__(
        self,
        queue: BurstQueue,
        guard: Guarded,
        sample_rate_hz: float,
        clock: Callable[[], Time],
        on_answer: Callable[[int, str], None] = lambda index, answer: None,
    ):
        gr.sync_block.__init__(self, name="burst_emitter", in_sig=None, out_sig=[np.complex64])
        self._queue, self._guard, self._on_answer = queue, guard, on_answer
        self._sample_rate_hz, self._clock = sample_rate_hz, clock
        self.on_report_received = lambda: None
        self._lock = threading.Lock()
        self._begin()
        self.set_blkd_input_timer_value(IDLE_MS)
        self.message_port_register_in(pmt.intern(_REPORTS))
        self.set_msg_handler(pmt.intern(_REPORTS), self.on_report)

    def start(self) -> bool:
        begin_anew(self)
        self._begin()
        return True

    def _begin(self) -> None:
        schedule = self._schedule = BurstScheduler(self._sample_rate_hz, self._clock)
        self._timer = BurstTimer(schedule)
        self.reports = TxReports(
            self._guard.count,
            self._guard.fail,
            on_late=lambda burst: schedule.late(burst.number),
            on_ack=lambda burst: schedule.acknowledged(),
            on_answer=self._answered,
        )
        self._taken: tuple[int, np.ndarray] | None = None  # a burst that has no time yet
        self._ready: deque[TaggedSamples] = deque()
        self._at = 0
        self._abandoned = False

    def _answered(self, burst: Burst, answer: str) -> None:
        self._queue.moved()
        if burst.index is not None:
            self._on_answer(burst.index, answer)

    def abandon(self) -> None:
        """The radio has gone: what it was handed is lost, what it was not is for the next."""
        with self._lock:
            self._abandoned = True
            if self._taken:
                self._queue.put_back(*self._taken)
            for piece in list(self._ready)[self._at > 0 :]:
                self._answered(piece.burst, UNANSWERED)
            self._ready.clear()
            self.reports.give_up()

    def on_report(self, message: pmt.pmt_base) -> None:
        self.on_report_received()
        time_of_it = time_in(message)
        for name in events_in(message):
            self.reports.event(name, time_of_it)

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._emit(output_items[0]), fallback=0)

    def _emit(self, out: np.ndarray) -> int:
        with self._lock:
            if self._abandoned:
                return -1
            if not self._ready:
                self._taken = self._taken or self._queue.take(_PATIENCE_S)
                try:
                    if self._taken is None:
                        return -1 if self._finished() else 0
                    index, burst = self._taken
                    self._ready.extend(self._timer.prepare(burst, index))
                    self._taken = None
                except Exception:  # the clock's; whether the radio has gone is the watchdog's to say
                    return 0
            return self._write(out, self._ready[0])

    def _write(self, out: np.ndarray, piece: TaggedSamples) -> int:
        if self._at == 0:
            self.reports.sent(piece.burst)
        count = min(len(out), len(piece.samples) - self._at)
        out[:count] = piece.samples[self._at : self._at + count]
        for position, key, value in piece.tags:
            if self._at <= position < self._at + count:
                at = self.nitems_written(0) + position - self._at
                self.add_item_tag(0, at, pmt.intern(key), _to_pmt(value))
        self._at += count
        if self._at == len(piece.samples):
            self._ready.popleft()
            self._at = 0
            self._guard.count("bursts handed to the radio")
        return count

    def _finished(self) -> bool:
        if not self._queue.ended:
            return False
        if self.reports.outstanding and self._schedule.over_since_s() < _LAST_ANSWER_S:
            return False
        self.reports.give_up()
        self._queue.answer()
        return True


def time_in(message: pmt.pmt_base) -> Time | None:
    """The device's time in a message of async_msgs; None: it has none."""
    content = pmt.cdr(message) if pmt.is_pair(message) and not pmt.is_dict(message) else message
    if not pmt.is_dict(content):
        return None
    spec = pmt.dict_ref(content, pmt.intern("time_spec"), pmt.PMT_NIL)
    if pmt.is_tuple(spec) and pmt.length(spec) == 2:
        whole, fraction = pmt.tuple_ref(spec, 0), pmt.tuple_ref(spec, 1)
    elif pmt.is_pair(spec):
        whole, fraction = pmt.car(spec), pmt.cdr(spec)
    else:
        return None
    return Time(int(pmt.to_python(whole)), float(pmt.to_python(fraction)))


def events_in(message: pmt.pmt_base) -> list[str]:
    """UHD's names of the events in a message of async_msgs: cons(uhd_async_msg, {event_code: list of symbols, ...})."""
    content = pmt.cdr(message) if pmt.is_pair(message) and not pmt.is_dict(message) else message
    if not pmt.is_dict(content):
        return ["message that is no report"]
    codes = pmt.dict_ref(content, pmt.intern("event_code"), pmt.PMT_NIL)
    if pmt.is_symbol(codes):
        return [pmt.symbol_to_string(codes)]
    names = []
    while pmt.is_pair(codes):
        names.append(pmt.symbol_to_string(pmt.car(codes)))
        codes = pmt.cdr(codes)
    return names


def _to_pmt(value) -> pmt.pmt_base:
    if isinstance(value, Time):
        return pmt.make_tuple(pmt.from_uint64(value.whole), pmt.from_double(value.fraction))
    return pmt.from_bool(bool(value))
