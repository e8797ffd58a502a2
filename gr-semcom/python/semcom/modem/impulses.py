# SPDX-License-Identifier: GPL-3.0-or-later
"""Single samples that no signal of ours has: ignition, switching, lost bits on the way from a converter."""

import math

import torch

_BLOCK = 64
_IMPULSE = 32.0  # power over the level around; OFDM signals stay below 25
_MOST = 6  # in a block; more are a signal of few bits


def blank_impulses(samples: torch.Tensor) -> torch.Tensor:
    """Zeroes single samples that stand out of both what is before and what is after: ``[..., n]`` to ``[..., n]``.

    The level is a median, so that a burst's edge is none, nor a pulse longer than 32 samples.
    """
    blocks = samples.shape[-1] // _BLOCK
    if blocks < 3:
        return samples
    flat = samples[..., : blocks * _BLOCK].reshape(-1, blocks, _BLOCK)
    power = flat.detach().real.square() + flat.detach().imag.square()
    peak = power.amax(-1)
    rest = (power.sum(-1) - peak) / (_BLOCK - 1)
    # the last block waits for what comes after it
    row, block = torch.nonzero((peak > 0.5 * _IMPULSE * rest)[:, :-1], as_tuple=True)
    if not len(row):
        return samples
    around = torch.stack([power[row, (block + step).clamp_min(0)] for step in (-1, 0, 1)], dim=1)
    level = around.median(-1).values.amax(-1) / math.log(2)
    hit = power[row, block] > _IMPULSE * level[:, None]
    hit &= hit.sum(-1, keepdim=True) <= _MOST
    mask = torch.zeros_like(power, dtype=torch.bool)
    mask[row, block] = hit
    if not mask.any():
        return samples
    cleaned = torch.where(mask, torch.zeros((), dtype=flat.dtype, device=flat.device), flat)
    cleaned = cleaned.reshape(*samples.shape[:-1], -1)
    return torch.cat([cleaned, samples[..., blocks * _BLOCK :]], dim=-1)
