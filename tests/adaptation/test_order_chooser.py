# SPDX-License-Identifier: GPL-3.0-or-later
"""Which order is chosen, when it changes, and what bad reports do to it: nothing."""

import math

import pytest

from semcom import keys
from semcom.adaptation.modulation import OrderChooser
from semcom.errors import ConfigError
from semcom.modulation import ber

MAX_BER = {2: 0.05, 4: 0.04, 16: 0.03, 64: 0.02}


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def chooser(clock, **options):
    plain = {"hysteresis_db": 0.0, "dwell_s": 0.0, "wander_db": math.inf}
    return OrderChooser(MAX_BER, clock=clock, **plain | options)


def report(snr_db, stderr_db=0.05, **more):
    return {keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: stderr_db, **more}


def test_the_highest_order_that_is_borne_at_the_lower_limit(clock):
    choose = chooser(clock)
    for tenth in range(-100, 350):
        choice = choose.hear(report(tenth / 10))
        borne = [order for order in MAX_BER if ber(order, choice.lower_db) <= MAX_BER[order] * (1 + 1e-6)]
        assert choice.order == max(borne, default=2) and choice.inside == bool(borne)


def test_a_poor_estimate_is_trusted_less(clock):
    edge_db = chooser(clock).thresholds_db[16]
    assert chooser(clock).hear(report(edge_db + 0.2)).order == 16
    assert chooser(clock).hear(report(edge_db + 0.2, stderr_db=1.0)).order == 4
    assert chooser(clock).hear(report(edge_db + 1.7, stderr_db=1.0)).order == 16
    assert chooser(clock, confidence=0.99).hear(report(edge_db + 1.7, stderr_db=1.0)).order == 4
    assert chooser(clock, margin_db=2.0).hear(report(edge_db + 1.7)).order == 4


def test_an_ageing_report_is_trusted_less_and_then_not_at_all(clock):
    choose = chooser(clock, wander_db=3.0)
    assert choose.hear(report(choose.thresholds_db[64] + 2)).order == 64
    clock.now_s = 1.0
    assert choose.choice().order == 16
    clock.now_s = 2.5
    assert choose.choice() == choose.choice()
    assert (choose.choice().order, choose.choice().inside, choose.choice().lower_db) == (2, False, None)
    assert choose.counters["SNR reports stale: nothing newer came in time"] == 1


def test_hold_keeps_the_order_when_reports_stop(clock):
    choose = chooser(clock, fallback="hold")
    assert choose.choice().order == 2
    assert choose.hear(report(30.0)).order == 64
    clock.now_s = 10.0
    assert (choose.choice().order, choose.choice().inside) == (64, False)


def test_no_flapping_at_a_threshold(clock):
    nervous, calm = chooser(clock), chooser(clock, hysteresis_db=1.0)
    edge_db = calm.thresholds_db[16] + 0.1
    for step in range(100):
        clock.now_s = step / 50
        for choose in (nervous, calm):
            choose.hear(report(edge_db + 0.3 * (-1) ** step))
    assert nervous.counters["orders stepped up"] > 40
    assert calm.counters["orders stepped up"] == 1 and calm.choice().order == 4


def test_up_waits_for_the_dwell_and_down_does_not(clock):
    choose = chooser(clock, dwell_s=1.0)
    assert choose.hear(report(choose.thresholds_db[16] + 1)).order == 16
    clock.now_s = 0.5
    assert choose.hear(report(30.0)).order == 16
    assert choose.hear(report(choose.thresholds_db[4] + 1)).order == 4
    clock.now_s = 1.4
    assert choose.hear(report(30.0)).order == 4
    clock.now_s = 1.5
    assert choose.hear(report(30.0)).order == 64


def test_too_low_for_every_order_is_said(clock):
    choose = chooser(clock)
    for snr_db in (-10.0, -11.0, 20.0, -10.0):
        choice = choose.hear(report(snr_db))
    assert (choice.order, choice.inside) == (2, False)
    assert (
        choose.counters["SNR too low for every order: the lowest is used, and the loss is larger than stated"]
        == 2
    )


@pytest.mark.parametrize(
    "message",
    [
        report(math.nan),
        report(-math.inf),
        report(math.inf),
        report(500.0),
        report(10.0, stderr_db=math.nan),
        report(0.0, session=1, sequence=3),
        report(0.0, session=1, sequence=5),
        report(0.0, session=1, sequence="6"),
        {},
    ],
)
def test_bad_reports_are_counted_and_change_nothing(clock, message):
    choose = chooser(clock)
    before, counted = choose.hear(report(30.0, session=1, sequence=5)), choose.counters.total()
    assert choose.hear(message) == before
    assert choose.counters["SNR reports believed"] == 1 and choose.counters.total() > counted


def test_nonsense_is_refused_in_words():
    for arguments, words in (
        (({},), "no order may be used"),
        (({32: 0.1},), r"unknown orders \[32\]"),
        (({4: 0.7},), "between 0 and 0.5"),
    ):
        with pytest.raises(ConfigError, match=words):
            OrderChooser(*arguments)
    for name, value in (
        ("channel", "rician"),
        ("confidence", 1.0),
        ("margin_db", -1.0),
        ("hysteresis_db", math.nan),
        ("dwell_s", math.inf),
        ("fallback", "analog"),
        ("max_age_s", 0.0),
    ):
        with pytest.raises(ConfigError, match=name):
            OrderChooser(MAX_BER, **{name: value})
