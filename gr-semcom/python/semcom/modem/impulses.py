# SPDX-License-Identifier: GPL-3.0-or-later
"""Impulsive noise, blanked: ignition, switching, bits lost on the way from a converter."""

import math

import torch

from semcom.modem.tensors import power_of

_BLOCK = 64
_IMPULSE = 32.0  # power over the level around; OFDM signals stay below 25
_MOST = 6  # in a block; more are the samples of a coarsely quantised signal
# energy of a part of a block over the least of its parts: an impulse adds as much as 32 samples have
_SUSPECT = 3.3


def blank_impulses(samples: torch.Tensor, energy: torch.Tensor | None = None) -> torch.Tensor:
    """Zeroes single samples that stand out of both what is before and what is after: ``[..., n]`` to ``[..., n]``.

    The level is a median, so that a burst's edge is none, nor a pulse longer than 32 samples. What has no impulse comes
    back itself, not a copy.

    Args:
        energy: of each 16 (or 32) of the ``samples`` ``[n]``, where it is known: only blocks of uneven energy are then
            searched, in a fraction of the time.
    """
    count = samples.shape[-1]
    blocks = count // _BLOCK
    if blocks < 3:
        return samples
    flat = samples.detach()[..., : blocks * _BLOCK].reshape(-1, blocks, _BLOCK)
    parts = 0 if energy is None else _BLOCK * len(energy) // count
    if energy is None or parts < 2 or _BLOCK % parts:
        row, block = torch.nonzero(_peaky(power_of(flat)), as_tuple=True)
    else:
        energy = energy[: blocks * parts].view(blocks, parts)
        block = torch.nonzero(energy.amax(-1) > _SUSPECT * energy.amin(-1)).flatten()
        block = block[_peaky(power_of(flat[0, block]))]
        row = torch.zeros_like(block)
    # the last block waits for what comes after it
    row, block = row[block < blocks - 1], block[block < blocks - 1]
    if not len(row):
        return samples
    number = row * blocks + block
    around = torch.stack([torch.where(block > 0, number - 1, number), number, number + 1])
    every, which = torch.unique(around, return_inverse=True)
    level = power_of(flat[every // blocks, every % blocks]).median(-1).values[which].amax(0) / math.log(2)
    hit = power_of(flat[row, block]) > _IMPULSE * level[:, None]
    hit &= hit.sum(-1, keepdim=True) <= _MOST
    which, place = torch.nonzero(hit, as_tuple=True)
    if not len(which):
        return samples
    cleaned = samples.reshape(-1, count).clone()
    cleaned[row[which], block[which] * _BLOCK + place] = 0
    return cleaned.view(samples.shape)


def _peaky(power: torch.Tensor) -> torch.Tensor:
    """Blocks ``[...]`` of ``[..., _BLOCK]`` of which one sample is far above the mean of the others."""
    peak = power.amax(-1)
    return peak > 0.5 * _IMPULSE / (_BLOCK - 1) * (power.sum(-1) - peak)
