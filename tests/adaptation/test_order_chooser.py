# SPDX-License-Identifier: GPL-3.0-or-later
"""Which order is chosen, when it changes, and what bad reports do to it: nothing."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from semcom import keys
from semcom.adaptation.modulation import OrderChooser
from semcom.adaptation.tolerance import tolerance_of
from semcom.errors import ConfigError
from semcom.modulation import ber
from semcom.system import zoo

MAX_BER = {2: 0.05, 4: 0.04, 16: 0.03, 64: 0.02}
FLOWGRAPH = Path(__file__).parents[2] / "flowgraphs" / "modulation_adaptation.grc"


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


def hear(choose, message, times=3):
    """The choice after the same report so many times: an order rises by three."""
    for _ in range(times):
        choice = choose.hear(message)
    return choice


def settings():
    """Settings that ship: of the class, and of the flowgraph that shows it."""
    blocks = yaml.safe_load(FLOWGRAPH.read_text())["blocks"]
    parameters = next(block["parameters"] for block in blocks if block["name"] == "adapter")
    names = ("hysteresis_db", "dwell_s", "max_age_s", "wander_db")
    return {"defaults": {}, "flowgraph": {name: float(parameters[name]) for name in names}}


@functools.cache
def table():
    return tolerance_of(zoo.card("photo-1-12"), 2, "uniform").max_ber


def changes(clock, choose, times_s, seen_db, stderr_db, settled_s=5.0):
    """How often the order changes after ``settled_s``, and the last choice: it is looked at after each report and
    just before the next."""
    orders = []
    for now_s, due_s, snr_db in zip(times_s, times_s[1:], seen_db, strict=False):
        clock.now_s = now_s
        looks = [choose.hear(report(float(snr_db), stderr_db))]
        clock.now_s = due_s - 1e-4
        looks.append(choose.choice())
        orders += [look.order for look in looks if now_s >= settled_s]
    return sum(one != other for one, other in zip(orders, orders[1:], strict=False)), looks[-1]


def test_the_highest_order_that_is_borne_at_the_lower_limit(clock):
    choose = chooser(clock)
    for tenth in range(-100, 350):
        choice = hear(choose, report(tenth / 10))
        borne = [order for order in MAX_BER if ber(order, choice.lower_db) <= MAX_BER[order] * (1 + 1e-6)]
        assert choice.order == max(borne, default=2) and choice.inside == bool(borne)


def test_a_poor_estimate_is_trusted_less(clock):
    edge_db = chooser(clock).thresholds_db[16]
    assert hear(chooser(clock), report(edge_db + 0.2)).order == 16
    assert hear(chooser(clock), report(edge_db + 0.2, stderr_db=1.0)).order == 4
    assert hear(chooser(clock), report(edge_db + 1.7, stderr_db=1.0)).order == 16
    assert hear(chooser(clock, confidence=0.99), report(edge_db + 1.7, stderr_db=1.0)).order == 4
    assert hear(chooser(clock, margin_db=2.0), report(edge_db + 1.7)).order == 4


def test_an_ageing_report_is_trusted_less_and_then_not_at_all(clock):
    choose = chooser(clock, wander_db=3.0)
    assert hear(choose, report(choose.thresholds_db[64] + 2)).order == 64
    clock.now_s = 1.0
    assert choose.choice().order == 16
    clock.now_s = 2.5
    assert choose.choice() == choose.choice()
    assert (choose.choice().order, choose.choice().inside, choose.choice().lower_db) == (2, False, None)
    assert choose.counters["SNR reports stale: nothing newer came in time"] == 1
    assert choose.hear(report(30.0)).order == 2  # anew: three reports
    assert hear(choose, report(30.0), times=2).order == 64


def test_hold_keeps_the_order_when_reports_stop(clock):
    choose = chooser(clock, fallback="hold")
    assert choose.choice().order == 2
    assert hear(choose, report(30.0)).order == 64
    clock.now_s = 10.0
    assert (choose.choice().order, choose.choice().inside) == (64, False)


def test_no_flapping_at_a_threshold(clock):
    nervous, calm = chooser(clock), chooser(clock, hysteresis_db=1.0)
    edge_db = calm.thresholds_db[16] + 0.1
    for step in range(100):
        clock.now_s = step / 50
        for choose in (nervous, calm):
            choose.hear(report(edge_db + 0.3 * (-1) ** (step // 4)))
    assert nervous.counters["orders stepped up"] > 10
    assert calm.counters["orders stepped up"] == 1 and calm.choice().order == 4


@pytest.mark.parametrize("interval_s", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("noise_db", [0.0, 0.2, 0.3])
@pytest.mark.parametrize("name", ["defaults", "flowgraph"])
def test_at_a_constant_snr_the_order_stays(name, noise_db, interval_s):
    """A minute, or 240 reports, at SNRs from 0 to 25 dB: ageing alone never changes the order, noise hardly ever; and
    the order is no lower than hysteresis, ageing and noise account for."""
    options, max_ber, stderr_db = settings()[name], table(), noise_db or 0.2
    times_s = np.arange(0, min(60.0, 240 * interval_s), interval_s)
    counts = []
    for number, snr_db in enumerate(np.linspace(0, 25, 22)):
        clock, random = Clock(), np.random.default_rng(number)
        choose = OrderChooser(max_ber, clock=clock, **options)
        seen_db = snr_db + noise_db * random.standard_normal(len(times_s))
        count, last = changes(clock, choose, times_s, seen_db, stderr_db)
        counts.append(count)
        wander_db, hysteresis_db = options.get("wander_db", 3.0), options.get("hysteresis_db", 1.0)
        aged_db = 1.645 * math.sqrt(stderr_db**2 + wander_db**2 * interval_s)
        sure_db = snr_db - aged_db - hysteresis_db - 3 * noise_db
        borne = [order for order, edge_db in choose.thresholds_db.items() if edge_db <= sure_db]
        assert last.order >= max(borne, default=2)
    assert max(counts) <= (2 if noise_db else 0) and sum(counts) <= 4


@pytest.mark.parametrize("name", ["defaults", "flowgraph"])
def test_a_rising_snr_is_climbed_step_by_step(clock, name):
    choose = OrderChooser(table(), clock=clock, **settings()[name])
    times_s = np.arange(0, 40, 0.2)
    count, last = changes(clock, choose, times_s, times_s, 0.2, settled_s=0.0)
    assert count == len(choose.thresholds_db) - 1 and last.order == 256


def test_pauses_that_come_regularly_are_reckoned_with_and_one_alone_is_not(clock):
    """Pictures of five bursts, 10 ms apart, twice a second: without the pause the limit would hardly age."""
    options = settings()["flowgraph"]
    times_s = (0.5 * np.arange(30)[:, None] + 0.01 * np.arange(5)).ravel()
    for snr_db in np.linspace(0, 25, 22):
        choose = OrderChooser(table(), clock=clock, **options)
        count, _ = changes(clock, choose, times_s, np.full(len(times_s), snr_db), 0.2)
        assert count == 0
    evenly_s = np.concatenate([np.arange(0, 40, 0.2), np.arange(40.8, 45, 0.2)])
    choose = OrderChooser(table(), clock=clock)
    _, after = changes(clock, choose, evenly_s, np.full(len(evenly_s), 24.5), 0.2)
    assert choose.counters["orders stepped down"] == 1 and after.order == 256


def test_up_waits_for_the_dwell_and_down_does_not(clock):
    choose = chooser(clock, dwell_s=1.0)
    assert hear(choose, report(choose.thresholds_db[16] + 1)).order == 16
    clock.now_s = 0.5
    assert hear(choose, report(30.0)).order == 16
    assert choose.hear(report(choose.thresholds_db[4] + 1)).order == 4
    clock.now_s = 1.4
    assert hear(choose, report(30.0)).order == 4
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
        report(math.nan, session=2, sequence=0),
        report(math.nan, session=1, sequence=2**62),
        report(10.0, stderr_db=-1.0, session=2, sequence=0),
        {},
    ],
)
def test_bad_reports_are_counted_and_change_nothing(clock, message):
    choose = chooser(clock)
    for sequence in (3, 4, 5):
        before = choose.hear(report(30.0, session=1, sequence=sequence))
    counted = choose.counters.total()
    assert before.order == 64 and choose.hear(message) == before
    assert choose.counters["SNR reports accepted"] == 3 and choose.counters.total() > counted
    assert choose.hear(report(30.0, session=1, sequence=6)) == before
    assert choose.counters["SNR reports accepted"] == 4 and choose.counters["SNR reports lost"] == 0


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
