# SPDX-License-Identifier: GPL-3.0-or-later
"""What the air demands, line by line, with enough trials to mean it (docs/architecture.md, "What the air demands")."""

import pytest
import torch

from semcom.channel import fading, frontend
from semcom.experiments.trials import fly
from semcom.modem import Modem, StreamDetector


def exponential(trials, spread, seed=1):
    profile = fading.exponential_profile(spread)
    return fading.unit_energy(fading.rayleigh_taps(profile, trials, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(
    "cfo", [0.03, pytest.param(0.0, marks=pytest.mark.slow), pytest.param(-0.03, marks=pytest.mark.slow)]
)
def test_detection_and_header_at_minus_5_db(cfo):
    assert fly(800, -5, cfo=cfo, k=500).found >= 0.99


@pytest.mark.slow
def test_header_is_not_the_cliff():
    # below the lowest SNR at which a picture is of any use, headers are still read
    assert fly(400, -6, k=500).found >= 0.93
    assert fly(200, -7, k=500).found >= 0.6


@pytest.mark.slow
def test_no_false_alarm_in_1e8_noise_samples():
    g = torch.Generator().manual_seed(0)
    detector = StreamDetector(Modem(), chunk_samples=2**18)
    found = 0
    for turn in range(100):
        noise = torch.randn(10**6, dtype=torch.complex64, generator=g)
        found += len(detector.push(noise * 10.0 ** (turn % 7 - 3)))
    found += len(detector.flush())
    assert detector.counters["samples searched"] >= 99_000_000
    assert found == 0


@pytest.mark.parametrize("wave", ["carrier", "dc", "impulses", "square"])
def test_interference_that_repeats_is_not_a_burst(wave):
    n = torch.arange(400_000)
    g = torch.Generator().manual_seed(0)
    interference = {
        "carrier": torch.polar(torch.ones(len(n)), 0.41 * n),
        "dc": torch.ones(len(n), dtype=torch.complex64),
        "impulses": (n % 16 == 0).to(torch.complex64) * 4,
        "square": torch.sign(torch.sin(n / 5)).to(torch.complex64),
    }[wave]
    noise = 0.1 * torch.randn(len(n), dtype=torch.complex64, generator=g)
    detector = StreamDetector(Modem())
    assert len(detector.push(interference + noise) + detector.flush()) == 0


@pytest.mark.parametrize("cfo", [0.03, -0.03, 0.0123, -0.021])
def test_carrier_offset(cfo):
    trial = fly(40, 20, cfo=cfo)
    assert trial.found == 1 and trial.detections == 40
    assert trial.snr_db().mean() > 19.7
    assert max(abs(b.cfo - cfo) for b in trial.bursts.values()) < 1e-6


@pytest.mark.parametrize("ppm", [20, -20])
@pytest.mark.parametrize("snr_db, loss_db", [(0, 0.5), (20, 0.4), (30, 0.8)])
@pytest.mark.slow
def test_sample_clock_offset_over_the_longest_burst(ppm, snr_db, loss_db):
    trial = fly(25, snr_db, k=8640, ppm=ppm)
    assert trial.found == 1
    assert trial.snr_db().mean() > snr_db - loss_db


def test_residual_phase_is_tracked_per_symbol():
    trial = fly(40, 20, k=8640, linewidth=1e-6)
    assert trial.found == 1
    assert trial.snr_db().mean() > 19.3
    last_rows = torch.stack(
        [(trial.sent(i) - b.latents)[-2000:].abs().square().mean() for i, b in trial.bursts.items()]
    )
    assert -10 * torch.log10(last_rows.mean()) > 19.0  # no worse at the end of the burst


@pytest.mark.parametrize("spread", [4, 16, 32])
def test_multipath_up_to_the_cyclic_prefix(spread):
    taps = exponential(80, spread)
    trial = fly(80, 20, taps=taps)
    assert trial.found >= 0.98
    bins = torch.cat([torch.arange(-120, 0), torch.arange(1, 121)])
    gain = torch.fft.fft(taps, 256)[:, bins].abs().square()
    for i, burst in trial.bursts.items():
        weight = 1 / (1 + burst.noise_var)
        error = (weight * burst.latents - trial.sent(i)).abs().square().mean()
        best = (1 / (1 + 100 * gain[i])).mean()
        assert error < 2 * best + 0.002


def test_two_equal_rays_a_prefix_apart():
    taps = torch.zeros(60, 33, dtype=torch.complex64)
    turn = torch.linspace(0, 2 * torch.pi, 60)
    taps[:, 0], taps[:, 32] = 0.8, 0.6 * torch.polar(torch.ones(60), turn)
    trial = fly(60, 20, taps=taps)
    assert trial.found >= 0.98
    assert trial.snr_db().mean() > 13.5


def test_noise_per_subcarrier_reaches_the_receiver():
    taps = exponential(30, 16)
    trial = fly(30, 15, taps=taps)
    for i, burst in trial.bursts.items():
        error = (burst.latents - trial.sent(i)).abs().square()
        clean, poor = burst.noise_var < burst.noise_var.median(), burst.noise_var >= burst.noise_var.median()
        for part in (clean, poor):  # reported and true noise agree on the good and on the bad carriers
            ratio = error[part].median() / burst.noise_var[part].median() / 0.693
            assert 0.6 < ratio < 1.7


@pytest.mark.parametrize("level", ["random", "alternating"])
def test_60_db_of_level_change_between_bursts(level):
    g = torch.Generator().manual_seed(0)
    gains = {
        "random": 10 ** (3 * torch.rand(80, generator=g) - 1.5),
        "alternating": 1000.0 ** (torch.arange(80) % 2),
    }
    trial = fly(80, 5, level=gains[level])
    assert trial.found == 1
    assert trial.snr_db().min() > 4.3


def test_a_clipping_amplifier_costs_what_its_distortion_costs(modem):
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(8, 2000, dtype=torch.complex64, generator=g)
    bursts = modem.modulate(latents, image_id=range(8), size=(64, 64), model_hash=1)[:, 0]
    power = bursts.abs().square()
    papr = 10 * torch.log10(power.amax(1) / power.mean(1))
    assert papr.max() < 14  # scrambled payload: no worse than any OFDM signal
    clipped = frontend.power_amplifier(bursts, 6.0)
    from semcom.modem import DetectedBurst

    out = modem.demodulate([DetectedBurst(row, 0, 0.0, 1.0) for row in clipped])
    error = torch.stack(
        [
            (b.latents - modem.pack_latents(latents[i : i + 1])[0]).abs().square().mean()
            for i, b in enumerate(out)
        ]
    )
    assert 15 < float(-10 * torch.log10(error.mean())) < 35
