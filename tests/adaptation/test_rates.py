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
    expected = linear.codec.forecast(PIXELS, 10.0, rhos).psnr_db
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
    former = dataclasses.replace(rates.table_of(linear.card), correction=[0.1] * 30)
    with pytest.raises(ModelError, match="another prediction"):
        rates.RateChooser(dataclasses.replace(linear, card=measuring.store(linear.card, former)))


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


def test_a_correction_is_fitted_to_others_than_those_that_calibrate():
    random = np.random.default_rng(5)

    def trial(count, half=False):
        given = np.concatenate([np.ones((count, 4, 1)), random.normal(0, 3, (count, 4, 2))], axis=2)
        seen = random.uniform(20, 30, (count, 1)) + np.arange(4) * 3
        true = seen + 1 + given @ [0, 0.2, -0.1] + random.normal(0, 0.05, seen.shape)
        if half:
            true[::2, ::2] = true[1::2, 1::2] = np.nan
        return measuring.RateTrial([0.01, 0.02, 0.04, 0.08], np.full(count, 10.0), true, seen, given)

    table = measuring.measure(trial(100), "some", trial(50, half=True), "others")
    assert table.fitted == "others" and table.mean_error_db < 0.1
    assert np.allclose(table.correction, [1, 0.2, -0.1], atol=0.1)
    assert measuring.check(trial(100), table).error_db.max() < 0.1
    # two sets that differ: each is as far off as the other says
    other, sets = trial(50), np.arange(100) // 50
    both = measuring.RateTrial(
        other.rhos,
        *(np.concatenate(pair) for pair in zip(*(list(vars(t).values())[1:] for t in (trial(50), other)))),
    )
    both.true_db[50:] += both.given[50:, :, 1]
    apart = measuring.measure(trial(100), "some", both, "others", sets)
    assert apart.mean_error_db > 1.05 * measuring.measure(trial(100), "some", both, "others").mean_error_db
    with pytest.raises(ConfigError, match="--fit FOLDER"):
        measuring.measure(trial(100), "some")


def test_a_forecast_is_of_any_size_and_falls_with_noise_and_a_worse_allocation(linear):
    rhos = linear.codec.ratios()
    for height, width in ((8, 8), (40, 72), (160, 200)):
        pixels = np.ascontiguousarray(samples()[1].pixels[:height, :width])
        found = linear.codec.forecast(pixels, 10.0, rhos)
        assert np.isfinite(found.features).all() and (found.features[:, 0] == 1).all()
        assert list(found.psnr_db) == sorted(found.psnr_db)
    at = {snr_db: linear.codec.forecast(PIXELS, snr_db, rhos).psnr_db for snr_db in (0.0, 10.0, 20.0)}
    assert (at[0.0] < at[10.0]).all() and (at[10.0] < at[20.0]).all()
    # a receiver at 20 dB of what is sent for one at 0 dB has more than that one, and less than of its own
    other = linear.codec.forecast(PIXELS, 20.0, rhos, 0.0).psnr_db
    assert (at[0.0] < other).all() and (other < at[20.0]).all()


def test_a_flat_picture_is_expected_to_be_reached_at_once(linear):
    choice = rates.RateChooser(linear).choose(np.full((192, 192, 3), 128, np.uint8), 10.0, 40.0)
    assert choice.reached and choice.rho == linear.card.rates["rhos"][0]


def test_a_small_picture_is_decoded_to_be_predicted(linear):
    """The closed form has the map's price and the base layer wrong there."""
    small = PIXELS[:64, :64]
    chooser = rates.RateChooser(linear)
    choice = chooser.choose(small, 10.0, 26.0)
    assert choice.psnr_db == rates.exact_psnr_db(linear, small, 10.0, choice.rho)
    assert choice.reached == (choice.psnr_db >= 26)
