# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst eraser: what lies between tx_sob and tx_eob goes or stays as a whole, and nothing else is touched."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks as gr_blocks
from gnuradio import gr

from semcom import blocks, keys
from semcom.errors import ConfigError

BURST, GAP, BURSTS = 30_000, 500, 40  # longer than a buffer of the scheduler


def tag(offset: int, key: str):
    made = gr.tag_t()
    made.offset, made.key, made.value = offset, pmt.intern(key), pmt.PMT_T
    return made


def erased(drop: float, seed: int = 0):
    """Which bursts are silent behind the eraser, what it reported, and its counters; checks that all else is as sent."""
    line = np.arange(1, BURSTS * (BURST + GAP) + 1, dtype=np.float32).astype(np.complex64)
    starts = [GAP + n * (BURST + GAP) for n in range(BURSTS)]
    tags = [tag(at, keys.TAG_TX_SOB) for at in starts]
    tags += [tag(at + BURST - 1, keys.TAG_TX_EOB) for at in starts]
    reported = []
    source, sink = gr_blocks.vector_source_c(line, False, 1, tags), gr_blocks.vector_sink_c()
    eraser = blocks.burst_eraser(drop, seed, reported.append)
    flowgraph = gr.top_block()
    flowgraph.connect(source, eraser, sink)
    flowgraph.run()
    out = np.array(sink.data(), np.complex64)
    silent = [not out[at : at + BURST].any() for at in starts]
    for at, gone in zip(starts, silent, strict=True):
        line[at : at + BURST] *= not gone
    assert np.array_equal(out, line)
    assert {t.offset for t in sink.tags()} == {t.offset for t in tags}
    return silent, reported, eraser.counters


@pytest.mark.slow
def test_whole_bursts_go_and_it_says_which():
    silent, reported, counters = erased(0.4, seed=1)
    assert silent == reported and 5 < sum(silent) < 28
    assert counters == {"bursts erased": sum(silent), "bursts passed": BURSTS - sum(silent)}
    assert erased(0.4, seed=1)[0] == silent != erased(0.4, seed=2)[0]


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_none_and_all(drop):
    assert set(erased(drop)[0]) == {bool(drop)}


def test_the_probability_is_checked_and_can_change():
    eraser = blocks.burst_eraser()
    eraser.set_drop(0.25)
    assert eraser.drop == 0.25
    for wrong in (-0.1, 1.1, float("nan"), "half"):
        with pytest.raises(ConfigError, match="burst_eraser: drop must be a probability"):
            eraser.set_drop(wrong)
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        blocks.burst_eraser(0.1, -1)
