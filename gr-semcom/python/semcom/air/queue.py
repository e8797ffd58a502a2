# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transmitter has sent and the air has not played yet."""

from collections import deque

import numpy as np


class SampleQueue:
    """Samples in order, handed out so that a transmission is not cut where its sender was held up.

    Samples after the last silent one (an exact zero) may be the beginning of a burst whose rest is still being computed:
    they wait until a silent one comes, or until ``hold_samples`` or ``hold_s`` are enough waiting. From then on
    everything goes as it comes, until the queue runs dry.

    Attributes:
        count: samples in it. cuts: how often it ran dry in the middle of a transmission.
    """

    def __init__(self, hold_samples: int, hold_s: float):
        self._hold_samples, self._hold_s = hold_samples, hold_s
        self._pieces: deque[np.ndarray] = deque()
        self._playable = 0
        self._flowing = False
        self._since_s = 0.0  # when the first sample came that has to wait
        self._last = np.complex64(0)
        self.count = self.cuts = 0

    def push(self, samples: np.ndarray, now_s: float) -> None:
        """Takes ``[n]`` complex64; ``now_s`` on any steady clock."""
        if not len(samples):
            return
        silent = np.flatnonzero(samples == 0)
        if self._playable == self.count or len(silent):
            self._since_s = now_s
        if len(silent):
            self._playable = self.count + int(silent[-1]) + 1
        self._pieces.append(samples)
        self.count += len(samples)

    def take(self, limit: int, now_s: float) -> np.ndarray:
        """Up to ``limit`` samples, fewer or none if no more may go yet."""
        waiting = self.count - self._playable
        if waiting and (waiting >= self._hold_samples or now_s - self._since_s >= self._hold_s):
            self._flowing = True
        if self._flowing:
            self._playable = self.count
        out = self._pop(min(limit, self._playable))
        if len(out):
            self._last = out[-1]
        if self._flowing and len(out) < limit:
            self._flowing = False
            self.cuts += bool(self._last != 0)
        return out

    def _pop(self, count: int) -> np.ndarray:
        parts, left = [], count
        while left:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            parts.append(piece)
            left -= len(piece)
        self.count -= count
        self._playable -= count
        return np.concatenate(parts) if parts else np.zeros(0, np.complex64)
