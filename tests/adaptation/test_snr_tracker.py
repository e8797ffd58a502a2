# SPDX-License-Identifier: GPL-3.0-or-later
"""The estimate from reports that are lost, repeated, out of order, old or absurd."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from semcom import keys
from semcom.adaptation import SnrTracker
from semcom.errors import ConfigError


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tracker(clock):
    return SnrTracker(max_age_s=2.0, wander_db=math.inf, clock=clock)


def report(snr_db, sequence=None, session=7, stderr_db=0.5):
    numbered = {} if sequence is None else {keys.SEQUENCE: sequence, keys.SESSION: session}
    return {keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: stderr_db} | numbered


def counted(tracker, words):
    return sum(number for what, number in tracker.counters.items() if words in what)


def test_believes_the_latest(tracker):
    assert tracker.belief() is None
    for sequence in range(3):
        assert tracker.hear(report(5.0 + sequence, sequence)).snr_db == 5.0 + sequence
    assert tracker.belief().snr_db == 7.0
    assert tracker.counters == {"SNR reports accepted": 3}


def test_lost_reports_are_counted(tracker):
    tracker.hear(report(5.0, 3))  # what came before we listened is not lost
    tracker.hear(report(6.0, 4))
    tracker.hear(report(7.0, 9))
    assert counted(tracker, "lost") == 4 and tracker.belief().snr_db == 7.0


def test_repeated_and_older_reports_change_nothing(tracker):
    tracker.hear(report(5.0, 8))
    for sequence, words in ((8, "repeated"), (7, "out of order"), (0, "out of order")):
        before = counted(tracker, words)
        assert tracker.hear(report(30.0, sequence)) is None
        assert counted(tracker, words) == before + 1
    assert tracker.belief().snr_db == 5.0


def test_a_restarted_receiver_is_accepted_at_once(tracker):
    tracker.hear(report(5.0, 100, session=1))
    assert tracker.hear(report(9.0, 0, session=2)).snr_db == 9.0
    assert counted(tracker, "restarted") == 1
    assert tracker.hear(report(5.0, 101, session=1)) is None
    assert counted(tracker, "former session") == 1 and counted(tracker, "lost") == 0


def test_stale_reports_are_forgotten_and_counted_once_a_silence(tracker, clock):
    tracker.hear(report(5.0, 0))
    clock.now_s += 2.0
    assert tracker.belief().snr_db == 5.0
    clock.now_s += 0.1
    assert tracker.belief() is None and tracker.belief() is None
    assert counted(tracker, "stale") == 1
    assert tracker.hear(report(6.0, 1)).snr_db == 6.0
    clock.now_s += 5
    assert tracker.belief() is None and counted(tracker, "stale") == 2


def test_age_is_counted_from_arrival_whatever_the_senders_clock_says(tracker):
    for sequence, sent_s in enumerate((-1e9, 0.0, 1e12, math.nan)):
        assert tracker.hear(report(5.0, sequence) | {keys.TIMESTAMP_S: sent_s}).heard_s == 1000.0


def test_nothing_makes_it_deaf_for_longer_than_the_age(tracker, clock):
    tracker.hear(report(5.0, 2**62))  # a broken peer
    assert tracker.hear(report(6.0, 5)) is None
    clock.now_s += 2.1
    assert tracker.hear(report(6.0, 6)).snr_db == 6.0
    tracker.hear(report(1.0, 0, session=8))
    assert tracker.hear(report(6.0, 7)) is None
    clock.now_s += 2.1
    assert tracker.hear(report(6.0, 8)).snr_db == 6.0  # the former session again: the other one fell silent


def test_one_late_report_of_a_former_session_does_not_silence_the_true_one(tracker, clock):
    tracker.hear(report(5.0, 100, session=1))
    tracker.hear(report(9.0, 0, session=2))
    clock.now_s += 2.5
    assert tracker.hear(report(5.0, 101, session=1)) is None and tracker.belief() is None
    assert tracker.hear(report(8.0, 1, session=2)).snr_db == 8.0
    assert counted(tracker, "former session") == 1 and counted(tracker, "restarted") == 1


def test_a_former_session_that_lives_is_accepted_until_the_later_one_resumes(tracker, clock):
    tracker.hear(report(5.0, 100, session=1))
    tracker.hear(report(9.0, 0, session=2))
    said = []
    for sequence in range(101, 110):
        clock.now_s += 1.0
        said.append(tracker.hear(report(5.0, sequence, session=1)))
    assert said[:2] == [None, None] and said[-1].snr_db == 5.0
    assert tracker.hear(report(5.0, 90, session=1)) is None
    assert tracker.hear(report(9.0, 0, session=2)) is None  # a replay of what it said before
    assert tracker.hear(report(8.0, 1, session=2)).snr_db == 8.0
    assert tracker.hear(report(5.0, 110, session=1)) is None
    assert counted(tracker, "accepted again") == 2


def test_a_former_session_replayed_for_ever_is_never_accepted(tracker, clock):
    for sequence in range(5):
        tracker.hear(report(5.0, sequence, session=1))
    tracker.hear(report(9.0, 0, session=2))
    for turn in range(100):
        clock.now_s += 1.0
        assert tracker.hear(report(5.0, turn % 5, session=1)) is None
    assert tracker.hear(report(9.0, 1, session=2)).snr_db == 9.0


@given(
    some.lists(
        some.tuples(some.integers(0, 3), some.integers(0, 9), some.sampled_from([0.1, 1.0, 2.5])), max_size=40
    )
)
def test_the_session_that_began_last_is_taken_whatever_former_ones_say(said):
    clock = Clock()
    tracker, began, last = SnrTracker(clock=clock), [], {}
    for session, sequence, pause_s in said:
        clock.now_s += pause_s
        rises, new = sequence > last.get(session, -1), session not in last
        belief = tracker.hear(report(5.0, sequence, session=session))
        began += [session] * new
        if session == began[-1] and rises:
            assert belief is not None
        last[session] = max(sequence, last.get(session, -1))


@pytest.mark.parametrize(
    "bad, words",
    (
        ({keys.SNR_DB: math.nan}, "NaN or infinite"),
        ({keys.SNR_DB: math.inf}, "NaN or infinite"),
        ({keys.SNR_DB: -math.inf}, "NaN or infinite"),
        ({keys.SNR_DB: -20.1}, "outside -20 to 60 dB"),
        ({keys.SNR_DB: 60.1}, "outside -20 to 60 dB"),
        ({keys.SNR_DB: 2**63}, "outside -20 to 60 dB"),
        ({keys.SNR_DB: "10"}, "not a number"),
        ({keys.SNR_DB: True}, "not a number"),
        ({keys.SNR_DB: None}, "without 'snr_db'"),
        ({keys.SNR_STDERR_DB: math.nan}, "NaN or infinite"),
        ({keys.SNR_STDERR_DB: -1.0}, "standard error outside"),
        ({keys.SNR_STDERR_DB: 1e9}, "standard error outside"),
        ({keys.SEQUENCE: -1}, "session or sequence"),
        ({keys.SEQUENCE: 2**64}, "session or sequence"),
        ({keys.SEQUENCE: 1.5}, "session or sequence"),
        ({keys.SESSION: "x"}, "session or sequence"),
        ({keys.SESSION: None}, "session or sequence"),
    ),
)
def test_absurd_reports_are_refused_in_words(tracker, bad, words):
    tracker.hear(report(5.0, 0))
    assert tracker.hear(report(9.0, 1) | bad) is None
    assert counted(tracker, words) == 1 and tracker.belief().snr_db == 5.0
    assert tracker.hear(report(6.0, 2)).snr_db == 6.0


@pytest.mark.parametrize("number", [(8, 0), (7, 2**62), (7, 0)])
def test_a_refused_report_takes_neither_session_nor_number(tracker, number):
    session, sequence = number
    tracker.hear(report(5.0, 0))
    for bad in ({keys.SNR_DB: math.nan}, {keys.SNR_DB: 1e9}, {keys.SNR_STDERR_DB: -1.0}):
        assert tracker.hear(report(9.0, sequence, session=session) | bad) is None
        assert tracker.belief().snr_db == 5.0
    assert tracker.hear(report(6.0, 1)).snr_db == 6.0
    assert counted(tracker, "restarted") == counted(tracker, "lost") == counted(tracker, "ignored") == 0


def test_an_older_number_after_a_silence_is_accepted_and_counted(tracker, clock):
    tracker.hear(report(5.0, 9))
    clock.now_s += 2.1
    assert tracker.hear(report(6.0, 3)).snr_db == 6.0
    assert counted(tracker, "out of order after a silence: accepted") == 1
    assert tracker.hear(report(7.0, 4)).snr_db == 7.0 and counted(tracker, "lost") == 0


def test_an_absurd_report_is_not_counted_as_lost_too(tracker):
    for sequence, snr_db in enumerate((5.0, math.nan, 6.0)):
        tracker.hear(report(snr_db, sequence))
    assert counted(tracker, "lost") == 0 and counted(tracker, "absurd") == 1
    tracker.hear(report(math.nan, 4))
    tracker.hear(report(5.0, 6))
    assert counted(tracker, "lost") == 2  # 3 and 5


def test_reports_of_a_plain_estimator_are_accepted(tracker):
    assert tracker.hear({keys.SNR_DB: 11}).snr_db == 11.0
    assert counted(tracker, "without session and sequence") == 1


def test_poor_reports_are_averaged_and_precise_ones_followed(clock):
    def after(stderr_db, wander_db=10.0):
        tracker = SnrTracker(wander_db=wander_db, clock=clock)
        for sequence, snr_db in enumerate((10.0, 10.0, 10.0, 14.0)):
            clock.now_s += 0.01
            tracker.hear(report(snr_db, sequence, stderr_db=stderr_db))
        return tracker.belief()

    assert after(0.05).snr_db == pytest.approx(14.0, abs=0.05)
    assert 11.0 < after(3.0).snr_db < 12.0 and after(3.0).stderr_db < 3.0
    assert after(1.0, wander_db=0.0).snr_db == pytest.approx(11.0)  # the plain mean
    assert after(1.0, wander_db=0.0).stderr_db == pytest.approx(0.5)


def test_joining_makes_the_error_smaller_on_a_wandering_channel(clock):
    random = np.random.default_rng(1)
    tracker, plain, joined, truth_db = SnrTracker(wander_db=5.0, clock=clock), [], [], 10.0
    for sequence in range(1500):
        clock.now_s += 0.02
        truth_db = float(np.clip(truth_db + 5.0 * math.sqrt(0.02) * random.standard_normal(), -5, 40))
        seen_db = truth_db + 1.0 * random.standard_normal()
        belief = tracker.hear(report(seen_db, sequence, stderr_db=1.0))
        plain.append((seen_db - truth_db) ** 2)
        joined.append((belief.snr_db - truth_db) ** 2)
    assert statistics.mean(joined) < 0.7 * statistics.mean(plain)
    # and it knows how large it is
    assert statistics.mean(joined) == pytest.approx(belief.stderr_db**2, rel=0.25)


def test_arguments_are_checked():
    for bad in ({"max_age_s": 0.0}, {"max_age_s": math.nan}, {"wander_db": -1.0}):
        with pytest.raises(ConfigError, match="feedback"):
            SnrTracker(**bad)


anything = some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=3))
names = some.sampled_from((keys.SNR_DB, keys.SNR_STDERR_DB, keys.SEQUENCE, keys.SESSION, "other"))


@pytest.mark.slow
@given(some.lists(some.tuples(some.dictionaries(names, anything), some.floats(0, 3)), max_size=20))
def test_survives_anything_and_hears_again(messages):
    clock = Clock()
    tracker = SnrTracker(clock=clock)
    for message, pause_s in messages:
        clock.now_s += pause_s
        belief = tracker.hear(message)
        assert belief is None or (-20 <= belief.snr_db <= 60 and 0 < belief.stderr_db <= 20)
    clock.now_s += 2.1
    assert tracker.hear(report(5.0, 0)).snr_db == 5.0
