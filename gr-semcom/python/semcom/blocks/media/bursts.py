# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream tagged with tx_sob and tx_eob to timed bursts for a radio that understands them.

Two blocks with a queue between, because the second must outlive the stream: UHD's reports of the last bursts
come back only while its sink is fed by somebody who has not finished.

    modulator --> burst_collector | queue | burst_emitter --> usrp_sink -- async_msgs --> burst_emitter
"""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import IDLE_MS
from semcom.radio.reports import TxReports
from semcom.radio.timing import BurstCutter, BurstScheduler, BurstTimer, TaggedSamples, Time

_MAX_WAITING = 8  # bursts, beside what gr-uhd and the radio hold
_PATIENCE_S = 0.02
_LAST_ANSWER_S = 1.0  # how long after the end of the last burst an acknowledgement may come
_REPORTS = "reports"


class BurstQueue:
    """Whole bursts between the two blocks; the one that fills it waits, the one that empties it does not."""

    def __init__(self):
        self._bursts: deque[np.ndarray] = deque()
        self._changed = threading.Condition()
        self.ended = False

    def wait_for_room(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._bursts) < _MAX_WAITING, timeout_s)

    def put(self, bursts: list[np.ndarray]) -> None:
        with self._changed:
            self._bursts.extend(bursts)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> np.ndarray | None:
        """The next burst; None if there is none yet, or none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._bursts or self.ended, timeout_s)
            if not self._bursts:
                return None
            self._changed.notify_all()
            return self._bursts.popleft()


class burst_collector(gr.sync_block):
    """Whole bursts out of the stream into the queue; waits while that is full."""

    def __init__(self, queue: BurstQueue, guard: Guarded):
        gr.sync_block.__init__(self, name="burst_collector", in_sig=[np.complex64], out_sig=None)
        self._queue, self._guard, self._cutter = queue, guard, BurstCutter(guard.count)

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

    def stop(self) -> bool:
        self._queue.end()
        return True


class burst_emitter(gr.sync_block):
    """Bursts out of the queue, timed and tagged; ends when the radio has answered for the last one.

    Ports: stream out; message port ``reports`` takes the radio's async_msgs.

    Args:
        clock: the radio's time now.
    """

    def __init__(self, queue: BurstQueue, guard: Guarded, sample_rate_hz: float, clock: Callable[[], Time]):
        gr.sync_block.__init__(self, name="burst_emitter", in_sig=None, out_sig=[np.complex64])
        self._queue, self._guard = queue, guard
        self._schedule = BurstScheduler(sample_rate_hz, clock)
        self._timer = BurstTimer(self._schedule)
        self.reports = TxReports(guard.count, guard.fail, self._schedule.late, self._schedule.acknowledged)
        self._ready: deque[TaggedSamples] = deque()
        self._at = 0
        self.sent_all = False
        self.set_blkd_input_timer_value(IDLE_MS)
        self.message_port_register_in(pmt.intern(_REPORTS))
        self.set_msg_handler(pmt.intern(_REPORTS), self.on_report)

    def on_report(self, message: pmt.pmt_base) -> None:
        for name in events_in(message):
            self.reports.event(name)

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._emit(output_items[0]), fallback=0)

    def _emit(self, out: np.ndarray) -> int:
        if not self._ready:
            burst = self._queue.take(_PATIENCE_S)
            if burst is None:
                return -1 if self._finished() else 0
            self._ready.extend(self._timer.prepare(burst))
        piece = self._ready[0]
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
            self.reports.sent()
            self._guard.count("bursts handed to the radio")
        return count

    def _finished(self) -> bool:
        if not self._queue.ended:
            return False
        waiting = self.reports.outstanding
        if waiting and self._schedule.over_since_s() < _LAST_ANSWER_S:
            return False
        if waiting and not self.sent_all:
            self._guard.fail(f"the radio never answered for {waiting} burst{'s' if waiting > 1 else ''}")
        self.sent_all = True
        return True


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
