# SPDX-License-Identifier: GPL-3.0-or-later
"""What a radio reports, counted in words; device times of received samples."""

from collections import Counter

import pytest

from semcom.radio.fake import FakeRadio
from semcom.radio.reports import (
    ACKNOWLEDGED,
    LATE,
    ON_AIR,
    OVERFLOW,
    SAMPLES_LOST,
    UNANSWERED,
    RxClock,
    TxReports,
    in_words,
)
from semcom.radio.timing import Burst, Time


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


def burst(number, start_s=0.0, end_s=1.0):
    return Burst(number, Time.of(start_s), Time.of(end_s), number)


def test_late_bursts_are_answered_for_and_passed_to_the_schedule():
    calls, said, answers = [], [], []
    reports = TxReports(
        said.append,
        said.append,
        lambda burst: calls.append(("late", burst.number)),
        lambda burst: calls.append(("ack", burst.number)),
        lambda burst, answer: answers.append((burst.number, answer)),
    )
    for number in range(3):
        reports.sent(burst(number, number, number + 0.9))
    reports.event("burst_ack", Time.of(0.9))
    reports.event("underflow")
    assert reports.outstanding == 2
    for _ in range(18):
        reports.event("time_error", Time.of(1.95))
    assert reports.outstanding == 2, "reports of packets are no answers of bursts"
    reports.event("burst_ack", Time.of(2.9))
    assert reports.outstanding == 0 and calls == [("ack", 0), ("late", 1), ("ack", 2)]
    assert answers == [(0, ON_AIR), (1, LATE), (2, ON_AIR)]
    assert said.count(ACKNOWLEDGED) == 2 and len(said) == 4


def test_a_burst_without_an_answer_is_distinguished_from_one_that_was_late():
    answers = []
    reports = TxReports(lambda _: None, lambda _: None, on_answer=lambda *one: answers.append(one[1]))
    for number in range(4):
        reports.sent(burst(number, number, number + 0.9))
    reports.event("burst_ack", Time.of(1.9))
    reports.event("time_error", Time.of(2.5))
    assert answers == [UNANSWERED, ON_AIR]
    reports.give_up()
    assert answers == [UNANSWERED, ON_AIR, LATE, UNANSWERED]
    assert reports.outstanding == 0


def test_times_that_are_of_another_clock_are_no_help_and_do_no_harm():
    answers = []
    reports = TxReports(lambda _: None, lambda _: None, on_answer=lambda *one: answers.append(one[1]))
    for number in range(3):
        reports.sent(burst(number, number, number + 0.9))
    for _ in range(4):
        reports.event("burst_ack", Time(10**9, 0.0))
    assert answers == [ON_AIR] * 3


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


def test_a_new_rate_is_no_gap_and_a_clock_set_back_is_reported():
    clock_, counts = clock()
    clock_.on_time(0, Time(5, 0.0))
    clock_.on_rate(2e6)
    clock_.on_time(1000, Time(5, 0.001))
    assert not counts and clock_.time_of(3000) == Time(5, pytest.approx(0.002))
    clock_.on_frequency(1e9)
    assert clock_.frequency_hz == 1e9
    clock_.on_time(5000, Time(1, 0.0))
    assert list(counts) == ["the radio's clock was set back while it received"]
