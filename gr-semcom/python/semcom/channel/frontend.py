# SPDX-License-Identifier: GPL-3.0-or-later
"""What radios do to samples: carrier and clock offset, phase noise, a power amplifier's limits."""

import math

import torch


def carrier_offset(samples: torch.Tensor, cfo, start: int = 0) -> torch.Tensor:
    """Turns samples ``[..., n]`` by ``cfo`` cycles per sample (a number, or one a row ``[B]``)."""
    time = start + torch.arange(samples.shape[-1], dtype=torch.float64, device=samples.device)
    turns = torch.frac(torch.as_tensor(cfo, dtype=torch.float64, device=samples.device)[..., None] * time)
    return samples * torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(samples.dtype)


def sample_clock_offset(samples: torch.Tensor, ppm: float, *, half_taps: int = 24) -> torch.Tensor:
    """Resamples ``[..., n]`` as a receiver whose clock is slow by ``ppm`` parts per million would see it.

    Windowed-sinc interpolation at instants t (1 + ppm 1e-6); differentiable in the samples. ``[..., n]`` out.
    """
    if ppm == 0:
        return samples
    count = samples.shape[-1]
    instants = torch.arange(count, dtype=torch.float64, device=samples.device) * (1 + ppm * 1e-6)
    nearest = instants.round().long()
    fraction = (instants - nearest)[:, None]
    taps = torch.arange(-half_taps, half_taps + 1, device=samples.device)
    offset = taps - fraction
    kernel = (
        torch.sinc(offset)
        * torch.special.i0(9.0 * (1 - (offset / (half_taps + 1)).square()).clamp_min(0).sqrt())
        / torch.special.i0(torch.tensor(9.0))
    )
    out = torch.zeros_like(samples)
    padded = torch.nn.functional.pad(samples, (half_taps, half_taps + 2 + int(abs(ppm) * 1e-6 * count)))
    for i in range(len(taps)):  # one pass a tap keeps memory at the size of the signal
        index = (nearest + i).clamp_max(padded.shape[-1] - 1)
        out = out + padded[..., index] * kernel[:, i].to(samples.dtype)
    return out


def phase_noise(
    samples: torch.Tensor, linewidth: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Wiener phase noise of a free-running oscillator on ``[..., n]``.

    Args:
        linewidth: 3 dB linewidth over the sample rate; the phase walks by sqrt(2 pi linewidth) rad a sample.
    """
    steps = torch.randn(samples.shape, dtype=torch.float64, device=samples.device, generator=generator)
    phase = (steps * math.sqrt(2 * math.pi * linewidth)).cumsum(-1)
    return samples * torch.polar(torch.ones_like(phase), phase).to(samples.dtype)


def power_amplifier(samples: torch.Tensor, backoff_db: float, smoothness: float = 2.0) -> torch.Tensor:
    """Rapp's solid-state amplifier: amplitude a becomes a / (1 + (a/A)^(2p))^(1/(2p)), phase kept.

    Args:
        backoff_db: saturation power A^2 over the mean power 1 of the input. smoothness: p; large p is hard clipping.
    """
    saturation = 10 ** (backoff_db / 20)
    ratio = (samples.abs() / saturation).clamp_min(1e-9)
    return samples / (1 + ratio ** (2 * smoothness)) ** (1 / (2 * smoothness))
