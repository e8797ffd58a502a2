# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be measured on a receiver from its samples: noise floor, level, frequency offset, DC and image.

Full scale is a magnitude of 1; dBFS is the power of a sample relative to it. Samples are complex [n].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semcom.errors import ConfigError

CLIP_LEVEL = 0.99  # of full scale, in I or in Q
HEADROOM_DB = 6.0  # below full scale for the highest peak: levels move, and an ADC is not linear to its end
MIN_SAMPLES = 4096
_BINS = 1024
_FLOOR_DBFS = -200.0
_TONE_DB = 15.0  # above the noise of its own bin, or it is none
_MIN_SLOPE = 0.5  # dB of level a dB of gain: below, the gain does nothing


@dataclass(frozen=True)
class Level:
    """How strong samples are. power_dbfs: their mean. peak_dbfs: the strongest I or Q. clipped: share at full scale."""

    power_dbfs: float
    peak_dbfs: float
    clipped: float


@dataclass(frozen=True)
class NoiseFloor:
    """power_dbfs: of a sample, spurs left out. spur_db: the strongest bin above that, in dB. spur_hz: where it is."""

    power_dbfs: float
    spur_db: float
    spur_hz: float


@dataclass(frozen=True)
class Imbalance:
    """dc: mean of the samples. image: share of the conjugated signal, so that x - image * conj(x) has none."""

    dc: complex
    image: complex

    @property
    def image_rejection_db(self) -> float:
        return -_db(abs(self.image) ** 2)

    @property
    def gain_db(self) -> float:
        """Gain of I over Q in dB."""
        ratio = (1 + self.image) / (1 - self.image)
        return _db(abs(ratio) ** 2)

    @property
    def phase_deg(self) -> float:
        """How far Q is from being at right angles to I, in degrees."""
        ratio = (1 + self.image) / (1 - self.image)
        return math.degrees(np.angle(ratio))


def level(samples: np.ndarray) -> Level:
    """Raises ConfigError for too few samples."""
    samples = _enough(samples)
    parts = np.abs(samples.view(np.float64))
    clipped = float(np.mean(np.maximum(parts[0::2], parts[1::2]) >= CLIP_LEVEL))
    return Level(_db(np.mean(np.abs(samples) ** 2)), _db(parts.max() ** 2), clipped)


def noise_floor(samples: np.ndarray, sample_rate_hz: float) -> NoiseFloor:
    """The noise of a receiver with nothing connected: the median over frequency, which spurs and DC do not move.

    Raises:
        ConfigError: too few samples.
    """
    spectrum = _spectrum(_enough(samples))
    averaged = len(samples) // _BINS
    # the median of a mean of so many exponentials lies this much below their mean (Wilson and Hilferty)
    floor = float(np.median(spectrum)) / (1 - 1 / (9 * averaged)) ** 3
    strongest = int(np.argmax(spectrum))
    frequency = np.fft.fftfreq(_BINS, 1 / sample_rate_hz)[strongest]
    return NoiseFloor(_db(floor), _db(spectrum[strongest]) - _db(floor), float(frequency))


def tone_offset_hz(samples: np.ndarray, sample_rate_hz: float) -> float:
    """Frequency of the strongest tone, in Hz from the centre; DC and what leaks from it is left out.

    The peak of the spectrum, then phase advance between the two halves: an error of a fraction of 1/duration.

    Raises:
        ConfigError: too few samples, or no tone above the noise.
    """
    samples = _enough(samples)
    count = len(samples) // 2 * 2
    samples = samples[:count] - samples[:count].mean()
    window = np.hanning(count)
    power = np.abs(np.fft.fft(samples * window)) ** 2
    power[[0, 1, 2, -1, -2]] = 0
    peak = int(np.argmax(power))
    if _db(power[peak]) - _db(np.median(power)) < _TONE_DB + _db(math.log(count)):
        raise ConfigError(
            "no tone stands out of the noise: send an unmodulated carrier beside the centre, at a higher level."
        )
    coarse = np.fft.fftfreq(count)[peak]
    half = count // 2
    turned = samples * np.exp(-2j * np.pi * coarse * np.arange(count))
    weight = np.hanning(half)
    advance = np.angle(np.vdot(np.sum(turned[:half] * weight), np.sum(turned[half:] * weight)))
    return float((coarse + advance / (2 * np.pi * half)) * sample_rate_hz)


def imbalance(samples: np.ndarray) -> Imbalance:
    """DC offset and image from samples that were proper (E[s^2] = 0) before: noise, OFDM, a tone off the centre.

    With x = a s + b conj(s) and r = E[x^2] / E[|x|^2] the image is r / (1 + sqrt(1 - |r|^2)), exactly.

    Raises:
        ConfigError: too few samples, or hardly anything but DC in them, or a signal that is not proper.
    """
    samples = _enough(samples)
    dc = complex(samples.mean())
    moving = samples - dc
    power = float(np.mean(np.abs(moving) ** 2))
    if power < 1e-18:
        raise ConfigError("the samples do not move: no signal and no noise. Raise the gain.")
    share = complex(np.mean(moving**2)) / power
    if abs(share) > 0.5:
        raise ConfigError(
            "I and Q of the samples belong together: that is a real signal or a dead channel, not an imbalance. "
            "Measure on noise, on OFDM bursts, or on a tone beside the centre."
        )
    return Imbalance(dc, share / (1 + math.sqrt(1 - abs(share) ** 2)))


def corrected(samples: np.ndarray, dc: complex, image: complex) -> np.ndarray:
    """Samples [n] without DC and image; what ``blocks/media/correction.py`` does with GNU Radio's blocks."""
    moving = samples - dc
    return moving - image * np.conj(moving)


def best_gain_db(gains_db: Sequence[float], levels: Sequence[Level]) -> float:
    """The highest receive gain whose peaks stay below full scale by some headroom, where gain still does something.

    Args:
        gains_db: as the device took them, rising. levels: measured at each, with the strongest signal to expect.

    Raises:
        ConfigError: too strong at every gain.
    """
    if len(gains_db) != len(levels) or not levels:
        raise ConfigError("a sweep needs one level for each gain, and at least one of them.")
    fit = [i for i, at in enumerate(levels) if at.peak_dbfs <= -HEADROOM_DB and not at.clipped]
    if not fit:
        raise ConfigError(
            f"the signal is within {HEADROOM_DB:g} dB of full scale at every gain: put an attenuator between, or "
            "send less."
        )
    best = fit[0]
    for i in fit[1:]:
        step = gains_db[i] - gains_db[best]
        rise = levels[i].power_dbfs - levels[best].power_dbfs
        if step > 0 and rise >= _MIN_SLOPE * step:
            best = i
    return float(gains_db[best])


def _enough(samples: np.ndarray) -> np.ndarray:
    if len(samples) < MIN_SAMPLES:
        raise ConfigError(f"{len(samples)} samples are too few to measure anything: at least {MIN_SAMPLES}.")
    return np.ascontiguousarray(samples, np.complex128)


def _spectrum(samples: np.ndarray) -> np.ndarray:
    """Power of each of the bins [_BINS], averaged; sums over them are _BINS times the power of a sample."""
    frames = samples[: len(samples) // _BINS * _BINS].reshape(-1, _BINS)
    window = np.hanning(_BINS)
    window /= np.sqrt(np.mean(window**2) * _BINS)
    return np.mean(np.abs(np.fft.fft(frames * window, axis=1)) ** 2, axis=0)


def _db(power: float) -> float:
    return float(10 * np.log10(power)) if power > 10 ** (_FLOOR_DBFS / 10) else _FLOOR_DBFS
