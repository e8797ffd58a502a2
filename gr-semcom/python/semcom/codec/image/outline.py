# SPDX-License-Identifier: GPL-3.0-or-later
"""What a picture takes at any rate, from the energies of its blocks alone: no map, no class, nothing sent.

Each block's DCT is cut into zones of octaves of both frequencies, whose mean energy stands for the variance that a map
would give their coefficients. The closed form of Lee and Petersen (``allocation.water_filling``) over the counts of
these variances then says at every rate what is sent, at what price of power, and what error is left.
"""

from dataclasses import dataclass

import torch

from semcom.cached import cached_tensors
from semcom.codec.image import allocation as closed

BLOCK = 16
#: of variance, in octaves from LOWEST on
STEPS_PER_OCTAVE, LOWEST = 8, -24
STEPS = 40 * STEPS_PER_OCTAVE


@cached_tensors(8)
def _zones(block: int) -> torch.Tensor:
    """Which frequencies of a block an octave holds, ``[zones, block]`` float32 of 0 and 1."""
    edges = [0, *(1 << n for n in range(block.bit_length()))]
    out = torch.zeros(len(edges) - 1, block)
    for number, (first, last) in enumerate(zip(edges, edges[1:])):
        out[number, first:last] = 1
    return out


@cached_tensors(8)
def _sizes(block: int) -> torch.Tensor:
    """Coefficients in each zone, ``[zones, zones]`` float32."""
    wide = _zones(block).sum(dim=1)
    return wide[:, None] * wide


@cached_tensors()
def variances() -> torch.Tensor:
    """The variance of every step, ``[STEPS]`` float64."""
    return torch.exp2(torch.arange(STEPS, dtype=torch.float64) / STEPS_PER_OCTAVE + LOWEST)


def histogram(planes: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """How many coefficients have the variance of each step, ``[B, STEPS]`` int64.

    Args:
        planes: ``[B, 3, H, W]``, sides multiples of ``CELL``; what the edge cuts off a block is zeros.
        block: pixels a side.
    """
    energies = closed.block_dct(closed.padded(planes, block), block).square_()
    zones, count, width = _zones(block).to(energies), len(energies), energies.shape[-1]
    sums = (zones @ energies.view(-1, block, width)).view(-1, block) @ zones.T
    sums = sums.view(-1, len(zones), width // block, len(zones))
    sizes = _sizes(block).to(energies)[:, None, :]
    steps = ((sums / sizes).clamp_min_(2.0**LOWEST).log2_() - LOWEST).mul_(STEPS_PER_OCTAVE).round_()
    steps = steps.clamp_(0, STEPS - 1).view(count, -1).long()
    steps += torch.arange(count, device=steps.device)[:, None] * STEPS
    found = torch.bincount(steps.flatten(), sizes.expand_as(sums).flatten(), minlength=count * STEPS)
    return found.view(count, STEPS).round().long()


@dataclass(frozen=True)
class Expected:
    """At each rate, ``[R]`` float64: sums of squared errors, price of power mu, and the lowest variance that is
    sent."""

    error: torch.Tensor
    mu: torch.Tensor
    lowest: torch.Tensor


def expected(counts: torch.Tensor, noise: torch.Tensor, dimensions: torch.Tensor) -> Expected:
    """The closed form of pictures or rates, a row each.

    Args:
        counts: ``[R, STEPS]``, of ``histogram``. noise: ``[R]`` variance of a dimension. dimensions: ``[R]`` to send.
    """
    choice, variance = closed.largest(counts, dimensions), variances().to(counts.device)
    powers, mu = closed.water_filling(counts, choice, dimensions, noise, variance)
    sent = torch.where(torch.arange(STEPS, device=counts.device) > choice.threshold[:, None], counts, 0)
    sent = sent.scatter(1, choice.threshold[:, None], choice.at_threshold[:, None]).double()
    noise = noise.double()[:, None]
    error = (counts - sent) @ variance + (sent / (powers + noise)) @ variance * noise[:, 0]
    return Expected(error, mu, variance[choice.threshold])
