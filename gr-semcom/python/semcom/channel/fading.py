# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipath and fading: taps, and what they do to samples."""

import torch

from semcom.channel.awgn import complex_normal
from semcom.channel.named import DECAY_DB
from semcom.errors import ConfigError


def exponential_profile(max_delay_samples: float, *, decay_db: float = DECAY_DB) -> torch.Tensor:
    """Mean tap powers of an exponential delay profile, summing to 1: ``[max_delay_samples + 1]`` float64.

    The last tap, at the maximum excess delay, is ``decay_db`` below the first.
    """
    if max_delay_samples < 0:
        raise ConfigError(f"a delay spread of {max_delay_samples} samples cannot be: give 0 or more")
    delays = torch.arange(int(max_delay_samples) + 1, dtype=torch.float64)
    power = 10 ** (-decay_db / 10 * delays / max(int(max_delay_samples), 1))
    return power / power.sum()


def rayleigh_taps(
    profile: torch.Tensor, batch: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Independent CN(0, profile) taps, ``[batch, len(profile)]`` complex64: one block-fading draw a row.

    They are on the generator's device; without one, on the CPU.
    """
    like = torch.empty(0, dtype=torch.complex64, device=generator.device if generator else None)
    draw = complex_normal((batch, len(profile)), like=like, generator=generator)
    return draw * profile.sqrt().to(draw.device, torch.float32)


def unit_energy(taps: torch.Tensor) -> torch.Tensor:
    """Taps ``[B, L]`` scaled to energy 1 a row: frequency selective, but with no fading of the whole."""
    return taps / taps.abs().square().sum(-1, keepdim=True).sqrt()


def still_taps(delay_samples: int, seed: int) -> torch.Tensor:
    """The multipath of one run: Rayleigh taps of an exponential profile, energy 1, ``[delay_samples + 1]``."""
    profile = exponential_profile(delay_samples)
    return unit_energy(rayleigh_taps(profile, 1, torch.Generator().manual_seed(seed)))[0]


def multipath(samples: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Samples ``[B, n]`` through FIR channels ``[B, L]`` or ``[L]``; output ``[B, n]``, tails cut off."""
    size = samples.shape[-1] + taps.shape[-1] - 1
    spectrum = torch.fft.fft(samples, size) * torch.fft.fft(taps.to(samples), size)
    return torch.fft.ifft(spectrum)[..., : samples.shape[-1]]
