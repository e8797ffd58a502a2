# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment of docs/figures/feedback.md, small: what the arms are given, and that the closed loop pays."""

import numpy as np
import pytest
import torch

from semcom.adaptation import closed_loop as loop
from semcom.kinds.pictures import samples
from semcom.system import zoo

pytestmark = pytest.mark.timeout(120)


def test_the_ramp_goes_down_and_up():
    trace_db = loop.ramp_db(256, period=128)
    assert (trace_db[0], trace_db[64], trace_db[128]) == (20.0, 0.0, 20.0)
    assert np.allclose(np.abs(np.diff(trace_db)), 20 / 64)


def test_the_fading_has_rayleighs_power_and_moves_slowly():
    trace_db = np.concatenate([loop.rayleigh_db(400, 10.0, 0.02, seed) for seed in range(40)])
    power = 10 ** ((trace_db - 10) / 10)
    assert power.mean() == pytest.approx(1.0, abs=0.12)
    assert np.mean(power < 0.1) == pytest.approx(1 - np.exp(-0.1), abs=0.03)
    assert np.median(np.abs(np.diff(trace_db))) < 1.0


def test_what_the_arms_are_given():
    trace_db = loop.ramp_db(64)
    assert np.array_equal(loop.genie()(trace_db), trace_db)
    assert set(loop.open_loop(7.0)(trace_db)) == {7.0}
    given_db = loop.closed_loop(5, stderr_db=0.05)(trace_db)
    assert set(given_db[:5]) == {10.0}
    assert np.abs(given_db[5:] - trace_db[:-5]).max() < 0.3
    assert np.abs(given_db[10:] - trace_db[10:]).max() > 1.0


def test_standard_errors_know_that_neighbours_are_alike():
    random = np.random.default_rng(0)
    alike = np.repeat(random.standard_normal(64), 16)
    assert loop.standard_error(alike) == pytest.approx(1 / 8, rel=0.3)
    assert loop.standard_error(random.standard_normal(1024)) == pytest.approx(1 / 32, rel=0.4)


@pytest.mark.slow
def test_the_closed_loop_is_not_worse_than_the_open_one():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, trace_db = zoo.load("cifar-1-12"), loop.ramp_db(128)
        sent = loop.crops([picture.pixels for picture in samples()], 128, 32, 2, seed=1)
        psnr = {
            name: loop.psnr_db(model, sent, trace_db, arm, seed=2)
            for name, arm in (
                ("closed", loop.closed_loop(1)),
                ("open", loop.open_loop(10)),
                ("wrong", loop.open_loop(0)),
            )
        }
    finally:
        torch.set_num_threads(threads)
    gain_db = psnr["closed"] - psnr["open"]
    assert gain_db.mean() > -loop.standard_error(gain_db)
    assert psnr["closed"].mean() > psnr["wrong"].mean() + 0.3
