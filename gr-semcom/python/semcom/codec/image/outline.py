# SPDX-License-Identifier: GPL-3.0-or-later
"""What a picture takes at any rate, from the energies of its 16x16 blocks alone: no map, no class, nothing sent.

Each block's DCT is cut into zones of octaves of both frequencies, whose mean energy stands for the variance that a map
would give their coefficients. The closed form of Lee and Petersen (``allocation.water_filling``) over the counts of these
variances then says at every rate what is sent, at what price of power, and what error is left.
"""

from dataclasses import dataclass

import torch

from semcom.cached import cached_tensors
from semcom.codec.image import allocation as closed

BLOCK = 16
_EDGES = (0, 1, 2, 4, 8, BLOCK)


@cached_tensors()
def _zones() -> torch.Tensor:
    """Which frequencies a zone holds, ``[zones, BLOCK]`` float32 of 0 and 1."""
    out = torch.zeros(len(_EDGES) - 1, BLOCK)
    for number, (first, last) in enumerate(zip(_EDGES, _EDGES[1:])):
        out[number, first:last] = 1
    return out


def histogram(planes: torch.Tensor) -> torch.Tensor:
    """How many coefficients have a variance of each level, ``[B, LEVELS]`` int64.

    Args:
        planes: ``[B, 3, H, W]``, sides multiples of ``CELL``; what the edge cuts off a block is zeros.
    """
    energies = closed.block_dct(closed.padded(planes, BLOCK), BLOCK).square_()
    b, c, h, w = energies.shape
    zones = _zones().to(energies)
    sums = (energies.view(-1, BLOCK) @ zones.T).view(b, c, h // BLOCK, BLOCK, w // BLOCK, -1)
    sums = torch.einsum("zu,bcrusy->bcrszy", zones, sums)
    counts = (zones.sum(dim=1)[:, None] * zones.sum(dim=1)).expand_as(sums)
    levels = (closed.LEVELS_PER_OCTAVE * (sums / counts).clamp_min(1e-30).log2()).round()
    levels = levels.clamp(closed.LEVEL_MIN, closed.LEVEL_MAX).long() - closed.LEVEL_MIN
    rows = torch.arange(b, device=levels.device)[:, None] * closed.LEVELS
    flat = (levels.flatten(1) + rows).flatten()
    found = torch.bincount(flat, counts.flatten().double(), minlength=b * closed.LEVELS)
    return found.view(b, closed.LEVELS).long()


@dataclass(frozen=True)
class Expected:
    """At each rate, ``[R]`` float64: sums of squared errors, the part not sent; price of power mu, and int64 threshold."""

    error: torch.Tensor
    unsent: torch.Tensor
    mu: torch.Tensor
    threshold: torch.Tensor


def expected(levels: torch.Tensor, noise: torch.Tensor, dimensions: torch.Tensor) -> Expected:
    """The closed form of pictures or rates, a row each.

    Args:
        levels: ``[R, LEVELS]``, of ``histogram``. noise: ``[R]`` variance of a dimension. dimensions: ``[R]`` to send.
    """
    choice = closed.largest(levels, dimensions)
    powers, mu = closed.water_filling(levels, choice, dimensions.double(), noise)
    place, variance = torch.arange(closed.LEVELS, device=levels.device), closed.level_variances().to(levels.device)
    sent = torch.where(place > choice.threshold[:, None], levels, 0)
    sent = sent.scatter(1, choice.threshold[:, None], choice.at_threshold[:, None]).double()
    noise = noise.double()[:, None]
    unsent = ((levels - sent) * variance).sum(dim=1)
    error = (sent * variance * noise / (powers + noise)).sum(dim=1)
    return Expected(unsent + error, unsent, mu, choice.threshold)
