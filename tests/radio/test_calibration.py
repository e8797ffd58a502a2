# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements on generated samples, against what was put in."""

import numpy as np
import pytest

from semcom.errors import ConfigError
from semcom.radio import calibration
from semcom.radio.calibration import Level

RATE = 1e6


def noise(count, power=1.0, seed=0):
    random = np.random.default_rng(seed)
    return np.sqrt(power / 2) * (random.normal(size=count) + 1j * random.normal(size=count))


def tone(count, frequency_hz, amplitude=1.0, phase=0.7):
    return amplitude * np.exp(2j * np.pi * frequency_hz / RATE * np.arange(count) + 1j * phase)


@pytest.mark.parametrize("power_dbfs", [-90.0, -60.0, -20.0])
def test_noise_floor_beside_spurs_and_dc(power_dbfs):
    power = 10 ** (power_dbfs / 10)
    samples = noise(200_000, power) + tone(200_000, 123e3, np.sqrt(100 * power)) + 3 * np.sqrt(power)
    found = calibration.noise_floor(samples.astype(np.complex64), RATE)
    assert found.power_dbfs == pytest.approx(power_dbfs, abs=0.1)
    assert found.spur_hz == pytest.approx(123e3, abs=1000) and found.spur_db > 30


def test_noise_floor_of_few_frames_is_not_biased():
    errors = [calibration.noise_floor(noise(4096, 1e-6, seed), RATE).power_dbfs + 60 for seed in range(200)]
    assert abs(np.mean(errors)) < 0.05


def test_level_and_clipping():
    samples = np.clip(noise(100_000, 0.25).real, -1, 1) + 0j
    found = calibration.level(samples)
    assert found.power_dbfs == pytest.approx(10 * np.log10(0.125), abs=0.1)
    assert found.peak_dbfs == pytest.approx(0, abs=0.1) and 0.002 < found.clipped < 0.01
    assert calibration.level(np.zeros(5000, np.complex64)).power_dbfs == -200


@pytest.mark.parametrize("frequency_hz", [-412_345.678, -1234.5, 50_000.0, 333_333.3])
@pytest.mark.parametrize("snr_db", [40, 0, -10])
def test_tone_offset(frequency_hz, snr_db):
    samples = tone(200_000, frequency_hz, 0.1) + noise(200_000, 0.01 * 10 ** (-snr_db / 10)) + 0.2
    bound = {40: 0.02, 0: 0.2, -10: 1.0}[snr_db]
    assert calibration.tone_offset_hz(samples.astype(np.complex64), RATE) == pytest.approx(
        frequency_hz, abs=bound
    )


def test_noise_holds_no_tone():
    for seed in range(20):
        with pytest.raises(ConfigError, match="no tone"):
            calibration.tone_offset_hz(noise(50_000, 1.0, seed), RATE)


@pytest.mark.parametrize("gain_db, phase_deg", [(0.5, 3.0), (-1.0, -5.0), (0.0, 0.0)])
@pytest.mark.parametrize("signal", ["noise", "tone"])
def test_imbalance(gain_db, phase_deg, signal):
    clean = noise(400_000, 0.02) if signal == "noise" else tone(400_000, 77_777.7, 0.2)
    distorted = image_and_dc(clean, gain_db, phase_deg, 0.01 - 0.02j)
    found = calibration.imbalance(distorted.astype(np.complex64))
    assert found.dc == pytest.approx(0.01 - 0.02j, abs=1e-3)
    assert found.gain_db == pytest.approx(gain_db, abs=0.03)
    assert found.phase_deg == pytest.approx(phase_deg, abs=0.3)
    left = calibration.corrected(distorted, found.dc, found.image)
    assert abs(np.mean(left)) < 1e-6
    assert abs(np.mean(left**2)) / np.mean(np.abs(left) ** 2) < 1e-4  # no image: 80 dB and more below


def image_and_dc(clean, gain_db, phase_deg, dc):
    """A mixer whose I is louder than Q by gain_db and whose two carriers are phase_deg off the right angle."""
    gain, half = 10 ** (gain_db / 20), np.radians(phase_deg) / 2
    return gain * (clean * np.exp(-1j * half)).real + 1j * (clean * np.exp(1j * half)).imag + dc


def test_imbalance_refuses_what_cannot_be_measured():
    with pytest.raises(ConfigError, match="belong together"):
        calibration.imbalance(noise(10_000).real + 0j)
    with pytest.raises(ConfigError, match="do not move"):
        calibration.imbalance(np.full(10_000, 0.1 + 0.1j))


def test_too_few_samples():
    for call in (calibration.level, calibration.imbalance, lambda x: calibration.noise_floor(x, RATE)):
        with pytest.raises(ConfigError, match="too few"):
            call(np.zeros(100, np.complex64))


def test_best_gain():
    """A receiver with its own noise after the gain, an amplifier that saturates and an ADC that clips."""
    gains = [10.0 * i for i in range(8)]
    clean = noise(50_000, 1e-5)
    levels = []
    for gain in gains:
        amplified = clean * 10 ** (min(gain, 45) / 20) + noise(50_000, 1e-8, 5)
        levels.append(calibration.level(np.clip(amplified.real, -1, 1) + 1j * np.clip(amplified.imag, -1, 1)))
    assert calibration.best_gain_db(gains, levels) == 30
    assert (
        calibration.best_gain_db([0, 10, 20], [Level(-50, -40, 0), Level(-40, -30, 0), Level(-39, -29, 0)])
        == 10
    )
    with pytest.raises(ConfigError, match="attenuator"):
        calibration.best_gain_db([0.0], [Level(-3, 0, 0.2)])
    with pytest.raises(ConfigError, match="one level for each"):
        calibration.best_gain_db([0.0, 1.0], [Level(-3, 0, 0.2)])
