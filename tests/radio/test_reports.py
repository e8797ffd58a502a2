# SPDX-License-Identifier: GPL-3.0-or-later
"""What a radio reports, counted in words; device times of received samples."""

from collections import Counter

import pytest

from semcom.radio.fake import FakeRadio
from semcom.radio.reports import OVERFLOW, SAMPLES_LOST, RxClock, TxReports, in_words
from semcom.radio.timing import Time


def clock(rate=1e6):
    counts = Counter()
    return RxClock(
        lambda what, n=1: counts.update({what: n}), lambda what: counts.update([what]), rate
    ), counts


@pytest.mark.parametrize(
    "event, letter",
    [("time_error", "L"), ("underflow", "U"), ("seq_error", "S"), ("seq_error_in_burst", "S")],
)
def test_events_in_words_with_uhds_letter(event, letter):
    assert f"({letter}): " in in_words(event) and len(in_words(event)) > 30


def test_late_bursts_are_answered_for_and_told_to_the_schedule():
    told, said = [], []
    reports = TxReports(said.append, said.append, lambda: told.append("late"), lambda: told.append("ack"))
    for _ in range(3):
        reports.sent()
    reports.event("burst_ack")
    reports.event("underflow")
    assert reports.outstanding == 2
    reports.event("time_error")
    reports.event("burst_ack")
    assert reports.outstanding == 0 and told == ["ack", "late", "ack"] and len(said) == 4


def test_times_of_samples_from_the_newest_tag():
    clock_, counts = clock(2e6)
    assert clock_.time_of(5) is None
    clock_.on_time(100, Time(1_700_000_000, 0.999999))
    assert clock_.time_of(102) == Time(1_700_000_001, pytest.approx(0.0, abs=1e-12))
    clock_.on_time(5000, clock_.time_of(5000))  # a retune: no gap
    assert not counts


def test_gaps_are_overflows_with_the_samples_they_cost():
    radio = FakeRadio(now=Time(1_700_000_000, 0.75))
    clock_, counts = clock()
    offset, lost = 0, [0, 1, 777, 10**6]
    for gap in lost:
        if offset:
            radio.overflow(gap)
        piece = radio.receive(4000)
        for position, key, value in piece.tags:
            if key == "rx_time":
                assert clock_.on_time(offset + position, value) == gap
        offset += 4000
    assert counts[OVERFLOW] == 3 and counts[SAMPLES_LOST] == sum(lost)


def test_a_new_rate_is_no_gap_and_a_clock_set_back_is_told():
    clock_, counts = clock()
    clock_.on_time(0, Time(5, 0.0))
    clock_.on_rate(2e6)
    clock_.on_time(1000, Time(5, 0.001))
    assert not counts and clock_.time_of(3000) == Time(5, pytest.approx(0.002))
    clock_.on_frequency(1e9)
    assert clock_.frequency_hz == 1e9
    clock_.on_time(5000, Time(1, 0.0))
    assert list(counts) == ["the radio's clock was set back while it received"]
