# SPDX-License-Identifier: GPL-3.0-or-later
"""A stretch of samples from a medium, for measurements."""

import threading

import numpy as np
from gnuradio import blocks, gr

from semcom.blocks.radio_source import radio_source
from semcom.errors import ConfigError

_START_S = 5.0  # a radio may take that long before its first sample
SETTLE_SAMPLES = 20000  # left out: filters and tuning settle


def receive(
    source: radio_source, count: int, sample_rate_hz: float, settle_samples: int = SETTLE_SAMPLES
) -> np.ndarray:
    """The next samples [count] complex64 of a source that is not connected to anything; can be called again.

    Raises:
        ConfigError: they do not come, or the medium ends before.
    """
    top = gr.top_block("receive", catch_exceptions=True)
    skip, head = (
        blocks.skiphead(gr.sizeof_gr_complex, settle_samples),
        blocks.head(gr.sizeof_gr_complex, count),
    )
    sink = blocks.vector_sink_c(1, count)
    top.connect(source, skip, head, sink)
    top.start()
    waiting = threading.Thread(target=top.wait, daemon=True)
    waiting.start()
    waiting.join(_START_S + 3 * (count + settle_samples) / sample_rate_hz)
    if waiting.is_alive():
        top.stop()
        waiting.join()
    top.disconnect_all()
    samples = np.array(sink.data(), np.complex64)
    if len(samples) < count:
        raise ConfigError(
            f"only {len(samples)} of {count} samples came from {source.medium.name}: is the other end running, "
            f"and is there enough of it (the first {settle_samples} are left out)?"
        )
    return samples
