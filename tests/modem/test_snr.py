# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch

from semcom.channel import fading
from semcom.channel.awgn import awgn
from semcom.errors import ConfigError
from semcom.experiments.trials import fly, true_snr_db
from semcom.modem.snr import cramer_rao_db, estimate_snr, fit_flat

TRIALS = 20_000


def pilots(count, snr_db, seed=0):
    g = torch.Generator().manual_seed(seed)
    gain = torch.polar(torch.ones(TRIALS, 1), 6.28 * torch.rand(TRIALS, 1, generator=g))
    known = torch.polar(
        torch.ones(TRIALS, count), torch.pi / 2 * torch.randint(0, 4, (TRIALS, count), generator=g)
    )
    return awgn(gain * known, snr_db, g), known


@pytest.mark.parametrize(
    "count", [64, pytest.param(128, marks=pytest.mark.slow), pytest.param(256, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("snr_db", [-5, 0, 5, 10, 15, 20, 25])
def test_near_the_cramer_rao_bound(count, snr_db):
    received, known = pilots(count, snr_db)
    error = estimate_snr(received, fit_flat(received, known)).snr_db - snr_db
    assert abs(float(error.mean())) <= 0.1
    assert float(error.square().mean().sqrt()) <= 1.1 * float(cramer_rao_db(snr_db, count))


def test_the_standard_error_reported_is_the_spread_seen():
    received, known = pilots(128, 8)
    estimate = estimate_snr(received, fit_flat(received, known))
    assert float(estimate.stderr_db.mean()) == pytest.approx(float(estimate.snr_db.std()), rel=0.05)


@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e3])
def test_level_does_not_matter(gain):
    received, known = pilots(64, 10)
    a = estimate_snr(received * gain, fit_flat(received * gain, known)).snr_db
    b = estimate_snr(received, fit_flat(received, known)).snr_db
    assert torch.allclose(a, b, atol=1e-2)


@pytest.mark.parametrize("snr_db", [0, 5, 10, 20])
def test_per_burst_estimate_over_multipath(snr_db):
    # truth: the SNR of the flat channel with the same MMSE error as these very taps
    g = torch.Generator().manual_seed(snr_db)
    taps = fading.unit_energy(fading.rayleigh_taps(fading.exponential_profile(16), 100, g))
    trial = fly(100, snr_db, taps=taps)
    truth = true_snr_db(taps, snr_db)
    error = torch.tensor([estimate - float(truth[i]) for i, estimate in trial.estimates().items()])
    assert float(error.square().mean().sqrt()) < 1.0


def test_degenerate_input():
    assert torch.isfinite(estimate_snr(torch.zeros(1, 8) + 0j, torch.zeros(1, 8) + 0j).snr_db).all()
    with pytest.raises(ConfigError, match="give more pilots"):
        estimate_snr(torch.ones(1, 3) + 0j, torch.ones(1, 3) + 0j, dof=3)
