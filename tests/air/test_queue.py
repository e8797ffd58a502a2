# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue before the air: transmissions are not cut where their sender was held up for a moment."""

import numpy as np

from semcom.air.queue import SampleQueue


def loud(count):
    return np.ones(count, np.complex64)


def silent(count):
    return np.zeros(count, np.complex64)


def queue():
    return SampleQueue(hold_samples=1000, hold_s=0.1)


def test_a_burst_waits_for_its_end():
    waiting = queue()
    waiting.push(np.concatenate([silent(5), loud(100)]), 0.0)
    assert len(waiting.take(500, 0.0)) == 5, "the silence before it may go"
    waiting.push(loud(50), 0.01)
    assert len(waiting.take(500, 0.02)) == 0
    waiting.push(silent(10), 0.03)
    assert len(waiting.take(500, 0.03)) == 160
    assert waiting.count == waiting.cuts == 0


def test_it_does_not_wait_for_ever():
    waiting = queue()
    waiting.push(loud(100), 0.0)
    assert len(waiting.take(500, 0.09)) == 0
    assert len(waiting.take(60, 0.11)) == 60
    assert len(waiting.take(60, 0.12)) == 40 and waiting.cuts == 1, "it ran dry within a transmission"
    waiting.push(loud(100), 0.2)
    assert len(waiting.take(60, 0.2)) == 0, "and so it waits again"


def test_what_never_falls_silent_flows():
    waiting = queue()
    waiting.push(loud(1200), 0.0)
    taken = 0
    for step in range(50):
        taken += len(waiting.take(100, 0.001 * step))
        waiting.push(loud(100), 0.001 * step)
    assert taken == 5000 and waiting.cuts == 0


def test_order_is_kept_over_pieces():
    waiting, numbers = SampleQueue(0, 0.0), np.arange(1, 1001).astype(np.complex64)
    for piece in np.array_split(numbers, 7):
        waiting.push(piece, 0.0)
    waiting.push(silent(0), 0.0)
    got = [waiting.take(93, 0.0) for _ in range(11)]
    assert np.array_equal(np.concatenate(got), numbers) and waiting.count == 0
