# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with samples in which nothing was found: for the end of a run that received nothing."""

import math

import torch

from semcom.modem import Modem
from semcom.modem.sync import CFO_SEARCH_RANGE, Detection
from semcom.modem.tones import ToneRemover
from semcom.radio.calibration import MIN_SAMPLES, level, noise_floor

#: the transmitter's sample rate over the receiver's, as settings are confused
RATE_FACTORS = (2, 1 / 2, 4, 1 / 4, 10, 1 / 10, 5, 1 / 5, 8, 1 / 8, 3, 1 / 3, 1.5, 2 / 3, 1.25, 0.8)
_CLIPPED = 1e-3  # share of samples at full scale
_WEAK_DBFS = -60.0  # of the strongest sample
_DC_SHARE = 0.1
_TONE_DB = 20.0  # of a bin above the noise
# power of noise over that of the samples: what a wrong rate leaves empty is not judged as narrow
_FILL = 0.15


def findings(
    samples: torch.Tensor,
    modem: Modem,
    sample_rate_hz: float,
    inverted: bool = False,
    cfo_search: bool = False,
) -> tuple[list[str], list[str]]:
    """What samples ``[n]`` complex show, as they came, full scale 1, that a receiver could make nothing of.

    Args:
        inverted, cfo_search: as the receiver was set.

    Returns:
        Sentences with the cure: settings with which bursts are found, of which one is the cause; and what else is
        odd about the samples.
    """
    settings: list[str] = []
    if len(samples) < MIN_SAMPLES or not bool((samples != samples[0]).any()):
        return settings, _of_level(samples, sample_rate_hz)
    clean = ToneRemover(samples.dtype).clean(samples)
    straight = clean.conj().resolve_conj() if inverted else clean
    if _find(modem, straight.conj().resolve_conj(), True):
        cure = "without --invert-spectrum" if inverted else "with --invert-spectrum"
        settings.append(
            f"Bursts are there with the spectrum inverted, or I and Q swapped: start again {cure}."
        )
    for burst in () if cfo_search else _find(modem, straight, True)[:1]:
        settings.append(
            f"A burst is there {burst.cfo * sample_rate_hz:+,.0f} Hz off the carrier, which is beyond what is searched: "
            "tune nearer, or start again with --cfo-search."
        )
    for factor in RATE_FACTORS if not settings else ():
        if _find(modem, resampled(straight, factor), False):
            settings.append(
                f"Bursts are there if the transmitter's sample rate is {sample_rate_hz * factor:g} Hz, {factor:.3g} "
                "times the receiver's: load the same link profile at both, and look at what rate the radios took."
            )
            break
    return settings, _of_level(samples, sample_rate_hz)


def resampled(samples: torch.Tensor, factor: float) -> torch.Tensor:
    """Samples ``[n]`` at ``factor`` times the sample rate ``[n * factor]``, and a little noise over the whole band."""
    count = len(samples)
    size = int(count * factor)
    half = min(count, size) // 2
    spectrum = torch.fft.fft(samples)
    wanted = torch.zeros(size, dtype=samples.dtype)
    wanted[:half], wanted[-half:] = spectrum[:half], spectrum[-half:]
    out = torch.fft.ifft(wanted) * (size / count)
    noise = torch.randn(size, dtype=samples.dtype, generator=torch.Generator().manual_seed(0))
    # as dense as a share of the signal where that is
    power = out.abs().square().mean() * _FILL * max(1.0, factor)
    return out + noise * power.sqrt()


def _find(modem: Modem, samples: torch.Tensor, cfo_search: bool) -> list[Detection]:
    reach = CFO_SEARCH_RANGE + 0.5 / modem.profile.sts_period
    return [burst for burst in modem.detector.find(samples, cfo_search=cfo_search) if abs(burst.cfo) < reach]


def _of_level(samples: torch.Tensor, sample_rate_hz: float) -> list[str]:
    if len(samples) < MIN_SAMPLES:
        return []
    if not bool((samples != 0).any()):
        return ["All samples are zero: what sends them is silent, or a channel of the radio is dead."]
    if not bool((samples != samples[0]).any()):
        return ["All samples are the same: the radio's converter stands still."]
    out, numbers = [], samples.numpy()
    found = level(numbers)
    if found.clipped > _CLIPPED:
        out.append(f"{100 * found.clipped:.1f} % of the samples are at full scale: lower the gain.")
    elif found.peak_dbfs < _WEAK_DBFS:
        out.append(f"The strongest sample is at {found.peak_dbfs:.0f} dB of full scale: raise the gain.")
    share = float(samples.mean().abs().square() / samples.abs().square().mean())
    if share > _DC_SHARE:
        out.append(
            f"{100 * share:.0f} % of the power is DC, which is taken out: `semcom calibrate iq-dc` lowers it at the "
            "radio."
        )
    floor = noise_floor(numbers - numbers.mean(), sample_rate_hz)
    if floor.spur_db > _TONE_DB and math.isfinite(floor.spur_hz):
        out.append(
            f"A tone stands {floor.spur_db:.0f} dB out of what is beside it at {floor.spur_hz:+,.0f} Hz: it is taken "
            "out if it is steady; look for its source, or move the carrier."
        )
    return out
