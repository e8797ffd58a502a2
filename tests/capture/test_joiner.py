# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts and what was made of them find each other, in any order, and none waits for ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcom.capture import BurstNote, Joiner


def found(offset, count=4):
    return np.full(count, offset, np.complex64), BurstNote(offset, 0.01, sync_quality=0.9)


def reading(offset):
    return BurstNote(offset, 0.0, image_id=offset, burst_index=0, burst_count=1, snr_db=5.0)


@pytest.fixture
def written():
    return []


@pytest.fixture
def amended():
    return []


@pytest.fixture
def joiner(written, amended):
    return Joiner(lambda *item: written.append(item), amended.append, window_s=2.0, max_waiting_bytes=1000)


def test_a_burst_keeps_what_the_detector_found(joiner, written):
    joiner.add_burst(*found(5), received_s=77.0, now_s=0.0)
    assert not written
    joiner.add_reading(reading(5), 0.1)
    ((samples, note, received_s),) = written
    assert (note.cfo, note.sync_quality, note.snr_db, note.error) == (0.01, 0.9, 5.0, None)
    assert samples[0] == 5 and received_s == 77.0


def test_a_burst_without_a_reading_goes_after_its_time(joiner, written):
    joiner.add_burst(*found(5), 0.0, now_s=10.0)
    joiner.add_burst(*found(6), 0.0, now_s=11.0)
    joiner.add_reading(reading(6), 11.0)
    assert not written  # the order of the stream is kept
    joiner.advance(12.1)
    assert [note.sample_offset for _, note, _ in written] == [5, 6]
    assert "within 2 s" in written[0][1].error and written[1][1].error is None


def test_a_reading_that_comes_late_is_handed_on_with_what_the_detector_found(joiner, written, amended):
    joiner.add_burst(*found(5), 0.0, now_s=10.0)
    joiner.advance(12.1)
    joiner.add_reading(reading(5), 30.0)
    assert [note.error is None for _, note, _ in written] == [False]
    (note,) = amended
    assert (note.sample_offset, note.cfo, note.sync_quality, note.snr_db) == (5, 0.01, 0.9, 5.0)
    joiner.add_reading(reading(5), 31.0)
    assert len(amended) == 1 and joiner.counters["readings that came late"] == 1


def test_a_reading_may_come_first_and_twice(joiner, written):
    joiner.add_reading(reading(5), 0.0)
    joiner.add_burst(*found(5), 0.0, 0.1)
    joiner.add_reading(reading(5), 0.2)
    assert len(written) == 1 and written[0][1].snr_db == 5.0
    joiner.flush()
    assert joiner.counters["readings without a burst"] == 1


def test_what_waits_is_bounded(joiner, written):
    for offset in range(10):
        joiner.add_burst(*found(offset, 50), 0.0, 0.0)  # 400 bytes each
    assert [note.sample_offset for _, note, _ in written] == list(range(8))
    assert all("too many" in note.error for _, note, _ in written)
    joiner.flush()
    assert len(written) == 10
    for offset in range(3000):
        joiner.add_reading(reading(10_000 + offset), 0.0)
    assert joiner.counters["readings without a burst"] == 3000 - 1024


@given(
    st.permutations(range(6)), st.sets(st.integers(0, 5)), st.lists(st.booleans(), min_size=12, max_size=12)
)
def test_every_burst_is_written_once_in_order(readings, lost, pick):
    written, bursts = [], list(range(6))
    joiner = Joiner(lambda *item: written.append(item[1]), amend=None)
    readings = [offset for offset in readings if offset not in lost]
    for burst_next in pick + [True] * 12:
        if burst_next and bursts:
            joiner.add_burst(*found(bursts.pop(0)), 0.0, 0.0)
        elif readings:
            joiner.add_reading(reading(readings.pop()), 0.0)
    joiner.flush()
    assert [note.sample_offset for note in written] == list(range(6))
    assert {note.sample_offset for note in written if note.error} == lost
