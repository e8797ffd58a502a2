# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples from a radio's own flowgraph to the station's: their times read, losses counted, signs of life seen."""

import threading
from collections import deque

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import IDLE_MS
from semcom.radio.reports import RxClock
from semcom.radio.timing import Time

# that wait for the station, some 290 longest bursts: what a receiver in trouble falls behind; then the driver waits, and
# says that it overflows
_MOST_SAMPLES = 2**22
_PATIENCE_S = 0.02
_MANY_SAMPLES = 16384  # few, large calls: each of a Python block takes the lock from a picture's decoding


class SampleQueue:
    """Pieces of a stream with their tags (position, key, value) between two flowgraphs."""

    def __init__(self):
        self._pieces: deque[tuple[np.ndarray, list]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self.ended = False

    def wait_for_room(self) -> bool:
        """False if there has been none for a while."""
        with self._changed:
            return self._changed.wait_for(lambda: self._held < _MOST_SAMPLES, _PATIENCE_S)

    def put(self, samples: np.ndarray, tags: list) -> None:
        """A piece [n] of the stream."""
        with self._changed:
            self._pieces.append((samples, tags))
            self._held += len(samples)
            self._changed.notify_all()

    def wait(self) -> bool:
        """Waits a little until there is much; False at the end of the stream."""
        with self._changed:
            self._changed.wait_for(lambda: self._held >= _MANY_SAMPLES or self.ended, _PATIENCE_S)
            return bool(self._pieces) or not self.ended

    def take(self, count: int) -> tuple[np.ndarray, list] | None:
        """The next samples, at most ``count`` of one piece; None: there are none."""
        with self._changed:
            if not self._pieces:
                return None
            samples, tags = self._pieces.popleft()
            if len(samples) > count:
                later = [(at - count, key, value) for at, key, value in tags if at >= count]
                self._pieces.appendleft((samples[count:], later))
                samples, tags = samples[:count], [tag for tag in tags if tag[0] < count]
            self._held -= len(samples)
            self._changed.notify_all()
            return samples, tags

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def clear(self) -> None:
        """For another run."""
        with self._changed:
            self._pieces.clear()
            self._held, self.ended = 0, False


class sample_keeper(gr.sync_block):
    """The radio's side: into the queue. Reads rx_time, rx_rate and rx_freq, and hands them on: ``burst_detector``
    puts zeros where samples were lost."""

    def __init__(self, queue: SampleQueue, guard: Guarded, sample_rate_hz: float):
        gr.sync_block.__init__(self, name="sample_keeper", in_sig=[np.complex64], out_sig=None)
        self._queue, self._guard, self._rate_hz = queue, guard, sample_rate_hz
        self.set_blkd_input_timer_value(IDLE_MS)
        self.on_samples = lambda: None
        self._abandoned = False
        self.clock: RxClock | None = None

    def start(self) -> bool:
        self.clock = RxClock(self._guard.count, self._guard.fail, self._rate_hz)
        return True

    def abandon(self) -> None:
        """The radio has gone: this stream ends, the station's does not."""
        self._abandoned = True

    def stop(self) -> bool:
        if not self._abandoned:
            self._queue.end()
        return True

    def work(self, input_items, output_items) -> int:
        self.on_samples()
        return self._guard.guarded_work(lambda: self._keep(input_items[0]), fallback=len(input_items[0]))

    def _keep(self, samples: np.ndarray) -> int:
        if not self._queue.wait_for_room():
            return 0
        start, tags = self.nitems_read(0), []
        for tag in sorted(self.get_tags_in_window(0, 0, len(samples)), key=_rate_first):
            self._read(tag)
            tags.append((tag.offset - start, tag.key, tag.value))
        self._queue.put(samples.copy(), tags)  # the buffer is the scheduler's: keep a copy
        return len(samples)

    def _read(self, tag) -> None:
        key = pmt.symbol_to_string(tag.key)
        if key == keys.TAG_RX_RATE:
            self.clock.on_rate(pmt.to_double(tag.value))
        elif key == keys.TAG_RX_FREQ:
            self.clock.on_frequency(pmt.to_double(tag.value))
        elif key == keys.TAG_RX_TIME:
            whole, fraction = pmt.tuple_ref(tag.value, 0), pmt.tuple_ref(tag.value, 1)
            self.clock.on_time(tag.offset, Time(pmt.to_uint64(whole), pmt.to_double(fraction)))


class sample_giver(gr.sync_block):
    """The station's side: out of the queue. Starts and stops the radio's flowgraph with itself."""

    def __init__(self, queue: SampleQueue, guard: Guarded, graph):
        gr.sync_block.__init__(self, name="sample_giver", in_sig=None, out_sig=[np.complex64])
        self._queue, self._guard, self._graph = queue, guard, graph
        self.set_blkd_input_timer_value(IDLE_MS)

    def start(self) -> bool:
        self._queue.clear()
        self._graph.start()
        return True

    def stop(self) -> bool:
        self._graph.stop()
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._give(output_items[0]), fallback=0)

    def _give(self, out: np.ndarray) -> int:
        if not self._queue.wait():
            return -1
        done, start = 0, self.nitems_written(0)
        while done < len(out) and (piece := self._queue.take(len(out) - done)) is not None:
            samples, tags = piece
            out[done : done + len(samples)] = samples
            for at, key, value in tags:
                self.add_item_tag(0, start + done + at, key, value)
            done += len(samples)
        return done


def _rate_first(tag) -> tuple:
    return tag.offset, pmt.symbol_to_string(tag.key) != keys.TAG_RX_RATE
