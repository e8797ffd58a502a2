# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate on request: what is predicted, and what is chosen for a target."""

import dataclasses

import numpy as np
import pytest

from semcom.adaptation import rates as measuring
from semcom.errors import ConfigError, ModelError
from semcom.kinds.pictures import samples
from semcom.payload.base import Analog
from semcom.system import rates, zoo
from semcom.system.latents import LatentSystem
from semcom.system.make import payload_with

PIXELS = np.ascontiguousarray(samples()[0].pixels[:128, :128])


def test_quality_rises_with_the_rate_and_the_closed_form_is_near(linear):
    rhos = linear.codec.ratios()[3:]
    expected, _ = rates.closed_psnr_db(linear, PIXELS, 10.0, rhos)
    exact = [rates.exact_psnr_db(linear, PIXELS, 10.0, rho) for rho in rhos]
    assert exact == sorted(exact) and len(set(exact)) == len(rhos)
    assert list(expected) == sorted(expected)
    # over several rates: the header says power in steps of 0.75 dB, so one rate is sent with up to 0.4 dB more or less
    assert np.abs(expected - exact).mean() < 1


def test_a_higher_target_takes_more_symbols_and_one_beyond_reach_is_said_to_be(linear):
    chooser = rates.RateChooser(linear)
    chosen = [chooser.choose(PIXELS, 10.0, target) for target in (22.0, 28.0, 60.0)]
    assert chosen[0].rho < chosen[1].rho <= chosen[2].rho == linear.card.rates["rhos"][-1]
    assert [choice.reached for choice in chosen] == [True, True, False]
    assert chooser.choose(PIXELS, 20.0, 28.0).rho < chosen[1].rho


def test_the_system_sends_what_was_chosen(linear):
    low, high = (LatentSystem(linear, Analog(target_psnr_db=t)).send([PIXELS], [10.0]) for t in (22.0, 28.0))
    assert low.symbols.shape[1] < high.symbols.shape[1]
    assert low.detail["target_reached"] and low.detail["expected_psnr_db"] >= 22


@pytest.mark.parametrize("target", ["-3", ".nan", "1000", "high"])
def test_bad_targets_are_refused(target):
    with pytest.raises(ConfigError, match="target"):
        payload_with({"target_psnr_db": target})


def test_models_that_cannot_promise_are_refused(linear):
    with pytest.raises(ModelError, match="one rate"):
        rates.RateChooser(zoo.load("cifar-1-12"))
    with pytest.raises(ModelError, match="python -m semcom_training.rates .* --data FOLDER"):
        rates.table_of(dataclasses.replace(linear.card, rates=None))
    with pytest.raises(ModelError, match="broken"):
        rates.table_of(dataclasses.replace(linear.card, rates={"rhos": 3}))


def test_the_promise_is_kept_by_new_pictures():
    random = np.random.default_rng(3)

    def trial(count):
        level = random.uniform(20, 30, (count, 1)) + np.arange(4) * 3
        seen = level + random.normal(0, 0.5, level.shape)
        return measuring.RateTrial(
            [0.01, 0.02, 0.04, 0.08], np.full(count, 10.0), level, seen, np.zeros((count, 4, 0))
        )

    table, new = measuring.measure(trial(200), "none"), trial(2000)
    target = new.true_db[:, 0] + random.uniform(0, 9, 2000)
    below, _ = measuring.missed(new.true_db, new.expected_db - table.margin_db, target)
    bare, _ = measuring.missed(new.true_db, new.expected_db, target)
    assert below.mean() <= 0.05 < bare.mean()
    with pytest.raises(ConfigError, match="cannot show"):
        measuring.measure(trial(20), "none")


def test_a_table_is_held_against_other_pictures(linear):
    """Of predictions that are the truth nothing is below, and a margin is all that the choice costs."""
    true = np.array([[20.0, 24.0, 28.0], [22.0, 25.0, 31.0]])
    trial = measuring.RateTrial([0.02, 0.08, 0.25], np.array([5.0, 9.0]), true, true, np.zeros((2, 3, 0)))
    table = dataclasses.replace(
        rates.table_of(linear.card), rhos=trial.rhos, correction=[], sigma_db=[0.5] * 3
    )
    found = measuring.check(trial, table)
    assert found.below == 0 and not found.error_db.any() and list(found.true_db) == [21.0, 24.5, 29.5]
    assert found.oracle_rho < found.rho
    assert measuring.check(trial, dataclasses.replace(table, quantile=0.0)).rho == found.oracle_rho
    optimist = dataclasses.replace(trial, expected_db=true + 2)
    assert measuring.check(optimist, table).below > 0
