# SPDX-License-Identifier: GPL-3.0-or-later
"""More symbols for a picture that a receiver has: which coefficients they carry, and at what power.

Of what a first part left uncertain the next K dimensions take what lowers the error most, be it a coefficient that was
not sent or one that was sent with little power: two looks at a Gaussian coefficient of power p and q are worth one of
p + q. So the closed form (reverse water-filling, Lee and Petersen, 1976) holds with the power that each coefficient has
had as a floor. Sending only the next largest instead costs 0.5 to 4 dB, as the first part's strong ones would stay as
noisy as they were.

Both ends know from the map, the header and the numbers of symbols what was sent, and so compute the same choice: from
counts of coefficients that are alike (same variance, same power so far), in float64.
"""

from dataclasses import dataclass

import torch

from semcom.codec.image import allocation as closed

_ROUNDS = 6


@dataclass(frozen=True)
class Known:
    """What has been sent of a picture's coefficients.

    Attributes:
        group: ``[N]`` int64 of each coefficient; of one group all are alike.
        variance, power: of each group, ``[G]`` float64: of its coefficients, and what was spent on each so far.
        mu: price of power of the last part.
    """

    group: torch.Tensor
    variance: torch.Tensor
    power: torch.Tensor
    mu: float


@dataclass(frozen=True)
class Part:
    """Coefficients in sending order: their places ``[m]``, variances and the powers they are sent with now, float64."""

    places: torch.Tensor
    variance: torch.Tensor
    power: torch.Tensor


def after_first(
    levels: torch.Tensor,
    places: torch.Tensor,
    powers: torch.Tensor,
    mu: float,
    base_variances: torch.Tensor,
    base_powers: torch.Tensor,
) -> Known:
    """What is known once the first part is out; the base layer's coefficients stand behind all others.

    Args:
        levels: int16, of all coefficients in place, any shape. places: ``[m]`` that were sent. powers: ``[LEVELS]``.
        base_variances, base_powers: ``[n]``.
    """
    group = levels.flatten().long() - closed.LEVEL_MIN
    group = group.index_add(0, places, torch.full_like(places, closed.LEVELS))
    variance = closed.level_variances().to(powers.device)
    group = torch.cat([group, 2 * closed.LEVELS + torch.arange(len(base_powers), device=group.device)])
    spent = torch.cat([torch.zeros_like(powers), powers, base_powers])
    return Known(group, torch.cat([variance, variance, base_variances]), spent, mu)


def next_part(known: Known, noise: float, dimensions: int) -> tuple[Part, Known]:
    """The next ``dimensions`` real dimensions of mean power 1 over white noise of variance ``noise``."""
    counts = torch.bincount(known.group, minlength=len(known.variance))
    here = counts.nonzero()[:, 0]
    number, variance, before = counts[here], known.variance[here], known.power[here]
    mu, taken = known.mu, number
    for _ in range(_ROUNDS):
        power = _powers(variance, before, noise, mu)
        # error saved, less the price of the power that saves it
        gain = variance * noise / (noise + before) - variance * noise / (noise + before + power) - mu * power
        order = gain.sort(descending=True, stable=True).indices
        end = number[order].cumsum(0)
        room = (dimensions - (end - number[order])).clamp_min(0)
        taken = torch.zeros_like(number).index_copy(0, order, torch.minimum(number[order], room))
        mu = _price(variance, before, noise, taken, float(dimensions))
    power = _powers(variance, before, noise, mu) * (taken > 0)
    # strongest first, groups in the order that they have
    rank = torch.empty_like(here).index_copy(
        0, power.sort(descending=True, stable=True).indices, torch.arange(len(here), device=here.device)
    )
    of_group = torch.full_like(counts, -1).index_copy(0, here, torch.arange(len(here), device=here.device))
    own = of_group[known.group]
    whole = taken == number
    places = (whole & (taken > 0))[own].nonzero()[:, 0]
    for split in (~whole & (taken > 0)).nonzero()[:, 0].tolist():
        places = torch.cat([places, (own == split).nonzero()[: int(taken[split]), 0]])
    places = places.sort().values
    places = places[rank[own[places]].sort(stable=True).indices]
    index = own[places]
    after = known.group.index_copy(0, places, len(known.variance) + index)
    grown = Known(after, torch.cat([known.variance, variance]), torch.cat([known.power, before + power]), mu)
    return Part(places, variance[index], power[index]), grown


def _powers(variance, before, noise: float, mu: float) -> torch.Tensor:
    return ((variance * noise / mu).sqrt() - noise - before).clamp_min(0)


def _price(variance, before, noise: float, counts, budget: float) -> float:
    """The price mu at which ``counts`` of each group together take the power ``budget``."""
    root, floor = (variance * noise).sqrt(), noise + before
    # a group takes power where 1 / sqrt(mu) exceeds its floor / root
    order = (floor / root).sort(stable=True).indices
    root, floor, counts = root[order], floor[order], counts[order].double()
    slope = (budget + (counts * floor).cumsum(0)) / (counts * root).cumsum(0).clamp_min(1e-30)
    active = ((counts > 0) & (slope * root > floor)).nonzero()[:, 0]
    return float(slope[active[-1] if len(active) else -1] ** -2)
