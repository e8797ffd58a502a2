# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts lost on the way to one receiver."""

from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded, check, is_count, is_number


class burst_eraser(Guarded, gr.sync_block):
    """Replaces bursts by silence, each with the same probability: one receiver's losses, behind a shared modulator.

    Bursts are what lies between the tags tx_sob and tx_eob (``burst_modulator`` with ``tx_tags``); all else passes.

    Ports: stream in, stream out.

    Args:
        drop: probability that a burst is lost. seed: of those draws.
        on_burst: called with whether it is lost for each burst that begins, in order, from the scheduler's thread.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, drop: float = 0.0, seed: int = 0, on_burst: Callable[[bool], None] | None = None):
        self._check_drop(drop)
        check("burst_eraser", seed=(seed, is_count(seed, 0), "a whole number, 0 or more"))
        gr.sync_block.__init__(self, name="burst_eraser", in_sig=[np.complex64], out_sig=[np.complex64])
        self.init_guard("burst_eraser")
        self.drop, self._random = float(drop), np.random.default_rng(seed)
        self._on_burst = on_burst
        self._erasing = False

    @staticmethod
    def _check_drop(drop: float) -> None:
        check("burst_eraser", drop=(drop, is_number(drop) and 0 <= drop <= 1, "a probability, 0 to 1"))

    def set_drop(self, drop: float) -> None:
        self._check_drop(drop)
        self.drop = float(drop)

    def start(self) -> bool:
        self._erasing = False
        return True

    def work(self, input_items, output_items) -> int:
        return self.guarded_work(lambda: self._pass(input_items[0], output_items[0]), fallback=-1)

    def _pass(self, samples: np.ndarray, out: np.ndarray) -> int:
        count, first = len(out), self.nitems_read(0)
        edges = sorted(
            (tag.offset - first + (key == keys.TAG_TX_EOB), key)
            for tag in self.get_tags_in_window(0, 0, count)
            if (key := pmt.symbol_to_string(tag.key)) in (keys.TAG_TX_SOB, keys.TAG_TX_EOB)
        )
        out[:] = samples[:count]
        begin = 0
        for at, key in edges:
            if self._erasing:
                out[begin:at] = 0
            begin, self._erasing = at, key == keys.TAG_TX_SOB and self._lose()
        if self._erasing:
            out[begin:] = 0
        return count

    def _lose(self) -> bool:
        lost = bool(self._random.random() < self.drop)
        self.count("bursts erased" if lost else "bursts passed")
        if self._on_burst:
            self._on_burst(lost)
        return lost
