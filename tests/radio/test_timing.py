# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts on time, against a radio with virtual time that has the faults of the real one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom import keys
from semcom.radio import timing
from semcom.radio.fake import FakeRadio, FakeUsrpSink
from semcom.radio.reports import LATE, ON_AIR, TxReports
from semcom.radio.timing import BurstCutter, BurstScheduler, BurstTimer, Time, lead_in

RATE = 1e6


def bursts(count=20, samples=3000, seed=1):
    random = np.random.default_rng(seed)
    return [
        (random.normal(size=samples) + 1j * random.normal(size=samples)).astype(np.complex64)
        for _ in range(count)
    ]


class Station:
    """Scheduler, timer and reports in front of a fake radio, as the blocks put them together."""

    def __init__(self, with_lead_in=True, rate=RATE, has_times=True, **radio):
        self.events, self.raw, self.answers = [], [], []
        self.rate, self.has_times = rate, has_times
        self.radio = FakeRadio(sample_rate_hz=rate, on_event=self.event, **radio)
        self.sink = FakeUsrpSink(self.radio)
        self.scheduler = BurstScheduler(rate, self.radio.time_now)
        self.timer = BurstTimer(self.scheduler, with_lead_in)
        self.reports = TxReports(
            self.events.append,
            self.events.append,
            lambda burst: self.scheduler.late(burst.number),
            lambda burst: self.scheduler.acknowledged(),
            lambda burst, answer: self.answers.append((burst.number, answer)),
        )
        self.due = []
        self.sink.start()

    def event(self, name, time):
        self.raw.append(name)
        self.reports.event(name, time if self.has_times else None)

    def send(self, burst):
        for piece in self.timer.prepare(burst):
            time = dict((key, value) for at, key, value in piece.tags if at == 0)[keys.TAG_TX_TIME]
            if len(piece.samples) > 4:
                self.due.append((time, burst))
            self.reports.sent(piece.burst)
            self.sink.consume(piece)

    def right(self):
        """How many bursts were on the air at their time, whole, with silence before and after."""
        good = 0
        for time, burst in self.due:
            start = round(time.whole * RATE + time.fraction * RATE)
            received = self.radio.transmitted(start - 10, len(burst) + 20)
            good += (
                np.array_equal(received[10:-10], burst)
                and not received[:10].any()
                and not received[-10:].any()
            )
        return good

    def events_with(self, words):
        return sum(words in event for event in self.events)


@pytest.mark.parametrize("pause_s", [0.0, 0.001, 0.3])
def test_with_the_lead_in_20_of_20_bursts_are_right(pause_s):
    station = Station(now=Time(1_700_000_000, 0.25))
    for burst in bursts():
        station.send(burst)
        station.radio.advance(pause_s)
    station.radio.advance(5)
    assert station.right() == 20
    assert station.events_with("acknowledged") == 21  # the lead-in as well
    assert station.reports.outstanding == 0 and len(station.events) == 21


def test_without_the_lead_in_a_burst_is_wrong():
    """The first burst loses its end, and the second is glued to it."""
    station = Station(with_lead_in=False)
    for burst in bursts():
        station.send(burst)
    station.radio.advance(5)
    assert station.right() <= 19
    assert station.events_with("acknowledged") == 19


def test_a_lead_in_without_the_second_start_does_not_help(monkeypatch):
    def halfway(start):
        piece = lead_in(start)
        return timing.TaggedSamples(piece.samples, [tag for tag in piece.tags if tag[0] != 1])

    monkeypatch.setattr(timing, "lead_in", halfway)
    station = Station()
    for burst in bursts():
        station.send(burst)
    station.radio.advance(5)
    assert station.right() <= 19


def test_without_the_lead_in_and_with_a_pause_the_burst_starves():
    station = Station(with_lead_in=False)
    for burst in bursts(3):
        station.send(burst)
        station.radio.advance(1)
    assert station.events_with("underflow (U)") == 1 and station.right() == 3


def test_bursts_follow_back_to_back_while_they_come_fast_enough():
    """The host runs 65,000 samples ahead: no pause may be put between for that."""
    station = Station()
    for burst in bursts(60):
        station.send(burst)
    station.radio.advance(5)
    assert station.right() == 60
    first, last = station.due[0][0], station.due[-1][0]
    assert 59 * 3000 / RATE < last.minus(first) < 59 * 3150 / RATE


def test_lead_of_the_first_burst_and_after_a_pause():
    radio = FakeRadio(now=Time(10, 0.0))
    scheduler = BurstScheduler(RATE, radio.time_now)
    assert scheduler.next(1000).minus(radio.now) >= 0.5
    radio.advance(5)
    assert 0.05 <= scheduler.next(1000).minus(radio.now) <= 0.11


def test_late_bursts_get_more_lead_and_the_link_goes_on():
    """A host that stalls for 0.3 s between the schedule and the radio."""
    station = Station()
    for number, burst in enumerate(bursts(12)):
        station.radio.advance(1)
        if number == 5:
            assert station.scheduler.lead_s == pytest.approx(0.2)
        pieces = station.timer.prepare(burst)
        if number in (3, 4):
            station.radio.advance(0.15 if number == 4 else 0.3)
        for piece in pieces:
            station.reports.sent(piece.burst)
            station.sink.consume(piece)
    station.radio.advance(5)
    assert station.events_with("time error (L)") == 1  # the second stall is shorter than the new lead
    assert station.events_with("acknowledged") == 12
    assert station.reports.outstanding == 0


def test_lead_comes_back_after_many_good_bursts_and_has_an_end():
    scheduler = BurstScheduler(RATE, lambda: Time(0, 0.0))
    for number in range(10):
        scheduler.next(1000)
        scheduler.late(number)
    assert scheduler.lead_s == 0.5
    for _ in range(10):
        scheduler.acknowledged()
    assert scheduler.lead_s == 0.1


def test_bursts_that_had_their_times_before_the_lead_grew_change_nothing():
    scheduler = BurstScheduler(RATE, lambda: Time(0, 0.0))
    for _ in range(5):
        scheduler.next(1000)
    for number in (1, 2, 4):
        scheduler.late(number)
    assert scheduler.lead_s == pytest.approx(0.2)
    scheduler.next(1000)
    scheduler.late(5)
    assert scheduler.lead_s == pytest.approx(0.4)


@pytest.mark.parametrize("rate", [1e6, 4e6, 8e6])
@pytest.mark.parametrize("packets", [5, 20])
def test_one_late_burst_does_not_cost_the_throughput(rate, packets):
    """UHD reports each packet of a late burst: air use of the 25 bursts after it, and the lead ten bursts later."""
    from semcom.radio.trials import after_a_late_burst

    trial = after_a_late_burst(rate, packets)
    assert trial.reports >= packets and trial.late_bursts >= 1
    assert trial.air_use >= 0.95, trial
    assert trial.recovered_after <= 10, trial


@pytest.mark.parametrize("has_times", [True, False])
@pytest.mark.parametrize("late_packets", [3, 20])
def test_a_late_burst_is_answered_once_and_the_others_each_by_their_own(has_times, late_packets):
    """Three packets late and acknowledged nevertheless; all late, and never acknowledged."""
    station = Station(has_times=has_times)
    for number, burst in enumerate(bursts(6, 40_000)):
        pieces = station.timer.prepare(burst)
        if number == 3:
            due = pieces[0].burst.start
            station.radio.advance(due.minus(station.radio.now) + (late_packets - 0.5) * 2000 / RATE)
        for piece in pieces:
            station.reports.sent(piece.burst)
            station.sink.consume(piece)
    assert station.raw.count("time_error") == late_packets
    assert station.reports.outstanding > 0, "the last burst is not over"
    station.radio.advance(5)
    station.reports.give_up()
    answers = dict(station.answers)
    assert len(station.answers) == len(answers) == 7 and answers.pop(4) == LATE
    if has_times:
        assert set(answers.values()) == {ON_AIR}
    assert station.events_with("time error (L)") == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200_000), st.floats(0, 0.5)), min_size=1, max_size=30),
    st.sampled_from([250e3, 1e6, 1e6 / 3, 30.72e6]),
)
def test_no_burst_is_in_the_past_or_over_another(sizes, rate):
    now = Time(1_700_000_000, 0.999)
    scheduler = BurstScheduler(rate, lambda: now)
    over = now
    for samples, pause in sizes:
        now = now.plus(pause)
        start = scheduler.next(samples)
        assert start.minus(now) >= 0.0005 and start.minus(over) >= -1e-9 and 0 <= start.fraction < 1
        over = start.plus(samples / rate)


def test_times_keep_their_nanoseconds():
    time = Time(1_700_000_000, 0.999999999).plus(3e-9)
    assert time.whole == 1_700_000_001 and time.fraction == pytest.approx(2e-9, abs=1e-15)
    assert time.plus(-3e-9).minus(Time(1_700_000_000, 0.999999999)) == pytest.approx(0, abs=1e-15)
    assert Time.of(-0.25) == Time(-1, 0.75)


# -- cutting a stream into bursts ------------------------------------------------------------------


def cut(stream, tags, chunks, **options):
    counts = {}
    cutter = BurstCutter(lambda what, number: counts.update({what: counts.get(what, 0) + number}), **options)
    out, at = [], 0
    for size in chunks:
        here = [(position - at, key) for position, key in tags if at <= position < at + size]
        out += cutter.push(stream[at : at + size], here)
        at += size
    return out, counts


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=5, max_size=30))
def test_bursts_come_out_whole_however_the_stream_is_chopped(chunks):
    stream = np.arange(sum(chunks), dtype=np.complex64)
    third = len(stream) // 3
    tags = [(2, "tx_sob"), (third - 1, "tx_eob"), (third, "tx_sob"), (2 * third, "tx_eob")]
    out, counts = cut(stream, tags, chunks) if third > 3 else ([], {})
    if out:
        assert np.array_equal(out[0], stream[2:third])
        assert np.array_equal(out[1], stream[third : 2 * third + 1])
        assert counts == {"samples outside of bursts, not sent": len(stream) - (2 * third - 1)}


def test_a_burst_of_one_sample():
    out, _ = cut(np.ones(3, np.complex64), [(1, "tx_sob"), (1, "tx_eob")], [3])
    assert [len(burst) for burst in out] == [1]


def test_starts_and_ends_that_do_not_match_are_counted():
    stream = np.ones(30, np.complex64)
    out, counts = cut(stream, [(2, "tx_eob"), (5, "tx_sob"), (10, "tx_sob"), (19, "tx_eob")], [30])
    assert [len(burst) for burst in out] == [10]
    assert counts["end of burst without a start"] == 1
    assert counts["start of burst inside a burst: what came before is not sent"] == 1


def test_a_burst_that_never_ends_is_dropped():
    out, counts = cut(np.ones(300, np.complex64), [(0, "tx_sob")], [50] * 6, max_samples=100)
    assert not out and counts["burst of more than 100 samples dropped: its end never came"] == 1
