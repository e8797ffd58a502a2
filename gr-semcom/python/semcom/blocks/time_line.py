# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that come when they come, to an even time line that a plot can draw."""

import time
from collections import deque

import numpy as np

from semcom import keys
from semcom.blocks.base import PduBlock, check, is_number
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError

_MAX_VALUES = 10_000


class time_line(PduBlock):
    """Puts the latest of each vector of values at the time when it came; between two values the earlier one holds.

    Bursts and pictures come at no even pace, so a plot of their histories has no time axis; of this it has, at a sample
    rate of ``rate_hz``.

    Ports: ``in`` PDUs of values as the ``history`` ports send them (f32vector), of which the last one counts; ``out`` an
    f32vector a PDU: the last ``span_s`` seconds, ``rate_hz`` values a second, the newest last; shorter at the beginning.

    Args:
        span_s: seconds shown. rate_hz: values a second. max_queue: as in every block.
    """

    def __init__(self, span_s: float = 60.0, rate_hz: float = 5.0, max_queue: int = 256):
        is_rate = is_number(rate_hz) and rate_hz > 0
        check("time_line", rate_hz=(rate_hz, is_rate, "above 0 values a second"))
        is_span = is_number(span_s) and 1 <= span_s * rate_hz <= _MAX_VALUES
        check("time_line", span_s=(span_s, is_span, f"so long that 1 to {_MAX_VALUES} values fit in"))
        super().__init__("time_line", max_queue=max_queue)
        self._span_s, self._rate_hz = float(span_s), float(rate_hz)
        self._kept: deque[tuple[float, float]] = deque()  # when, what

    def reset(self) -> None:
        self._kept.clear()

    def prepare(self, pdu: Pdu) -> list:
        values = pdu.vector(np.float32)
        if not len(values):
            raise PduError("PDU whose vector is empty")
        return [(time.monotonic(), float(values[-1]))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        self._kept.extend(items)
        now_s = self._kept[-1][0]
        # the first holds where the line begins
        while len(self._kept) > 1 and self._kept[1][0] <= now_s - self._span_s:
            self._kept.popleft()
        return [(keys.PORT_OUT, Pdu({}, line(list(self._kept), now_s, self._span_s, self._rate_hz)))]


def line(kept: list[tuple[float, float]], now_s: float, span_s: float, rate_hz: float) -> np.ndarray:
    """``[n]`` float32: what held at each ``1 / rate_hz`` up to ``now_s``, since ``span_s`` before or since the first.

    Args:
        kept: times in s, not falling, and values.
    """
    times_s, values = np.array(kept).T
    count = int(min(span_s, now_s - times_s[0]) * rate_hz + 1e-9) + 1
    grid_s = now_s - np.arange(min(count, int(span_s * rate_hz)))[::-1] / rate_hz
    held = np.searchsorted(times_s, grid_s + 1e-9, side="right") - 1
    return values[held.clip(0)].astype(np.float32)
