# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed-form error of the content-adaptive codec at many rates at once: nothing is sent, nothing is decoded.

Expected error of a picture = energy of the coefficients that are not sent + for each that is, of energy e, variance s,
power p and noise n a dimension, (1 - w)^2 e + w^2 n s / p with w = p / (p + n) (Lee and Petersen, 1976). All follow
from the map, which is chosen for a few rates only, and from sums over its levels: a rate more costs microseconds.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from semcom.codec.image import allocation as closed
from semcom.codec.image import sideinfo
from semcom.codec.image.allocation import BlockMap
from semcom.codec.image.content import ContentAdaptive

#: bandwidth ratios for which a map is chosen, and the price of its bits; every rate has the best that fits
MAPS = ((1 / 192, 8.0), (1 / 192, 2.0), (1 / 96, 1.0), (1 / 24, 1.0), (1 / 8, 1.0))


@torch.inference_mode()
def expected_errors(
    codec: ContentAdaptive, images: torch.Tensor, snr_db, rhos: list[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean square error a colour value before the receiver's network, pictures in 0..1.

    Args:
        images: ``[B, 3, H, W]``, 0..1. snr_db: Es/N0 in dB, a number or ``[B]``.
        rhos: bandwidth ratios, side information counted, in rising order.

    Returns:
        The error at each rate, and the part of it that was not sent, both ``[B, R]`` float64, falling with the rate.
    """
    height, width = images.shape[-2:]
    images = F.pad(images, (0, -width % closed.CELL, 0, -height % closed.CELL), mode="replicate")
    code = closed.snr_code(codec._clamped(codec._per_image(snr_db, images)))
    planes = closed.to_colours(images)
    layout = closed.base_layout(*planes.shape[-2:])
    base, rest = closed.split_base(planes, layout)
    totals = torch.tensor([codec.latent_count(height, width, rho) for rho in rhos])
    found = []
    for rho, price in MAPS:
        room = torch.full_like(code, codec.latent_count(height, width, rho))
        blocks, _ = codec.choose_map(base, rest, code, room, passes=1, bit_price=price)
        found.append(_of_map(codec, base, rest, blocks, code, totals, _bits(codec, blocks, code)))
    default = BlockMap(
        *(getattr(codec._default(rest), name).expand(len(code), -1, -1) for name in ("size", "kind"))
    )
    found.append(
        _of_map(codec, base, rest, default, code, totals, torch.zeros(len(code), dtype=torch.float64))
    )
    errors, unsent = (torch.stack(values) for values in zip(*found))
    best = errors.argmin(dim=0, keepdim=True)
    errors, unsent = errors.gather(0, best)[0], unsent.gather(0, best)[0]
    return errors.cummin(dim=1).values / planes[0].numel(), unsent / planes[0].numel()


def _bits(codec: ContentAdaptive, blocks: BlockMap, code: torch.Tensor) -> torch.Tensor:
    """Bits of the coded map and its CRC, ``[B]``."""
    coder, _ = codec.map_coder()
    rows = range(len(code))
    return torch.tensor([len(coder.encode(blocks.row(row), int(code[row]))) + 32.0 for row in rows]).double()


def _of_map(codec, base, rest, blocks, code, totals, bits) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of squared errors and of what is not sent with this map, at each of ``totals`` ``[R]`` symbols, ``[B, R]``.

    Args:
        bits: of the map ``[B]``; where they do not fit, the error is infinite.
    """
    energies = closed.adaptive_dct(rest, blocks).double().square()
    variance, place = closed.level_variances(), torch.arange(closed.LEVELS)
    # one row a rate and boost, of which the best holds: the map is the same
    boost = torch.arange(closed.BASE_BOOSTS).repeat(len(totals))
    total = totals.repeat_interleave(closed.BASE_BOOSTS)
    errors, unsent = [], []
    for row in range(len(code)):
        codes = code[row].expand(len(total))
        side = (bits[row] / codec.bits_per_symbol(code[row : row + 1])).ceil().long()
        fits = side <= sideinfo.SIDE_SHARE * total
        plan = _plan(codec, blocks.row(row), codes, boost, (total - side).clamp_min(1))
        noise = 10 ** (-closed.code_snr_db(codes.double()) / 10)[:, None]
        levels = plan.levels.flatten().long() - closed.LEVEL_MIN
        energy = torch.zeros(closed.LEVELS, dtype=torch.float64).index_add_(
            0, levels, energies[row].flatten()
        )
        counts, choice = plan.histogram.double(), plan.choice
        share = (place > choice.threshold[:, None]).double()
        at = choice.at_threshold.double() / counts[choice.threshold].clamp_min(1)
        share = share.scatter(1, choice.threshold[:, None], at[:, None]) * (plan.powers > 0)
        own = base[row].double().square()
        spent = (plan.base_powers * own / plan.base_variances).sum(dim=1)
        spent = (spent + (share * plan.powers / variance * energy).sum(dim=1)) / (2 * (total - side))
        # powers are what they should be in the mean of pictures alone; this one's is in its header
        noise_now = noise * spent[:, None]
        weight = plan.powers / (plan.powers + noise)
        sent = (1 - weight) ** 2 * energy
        sent = sent + weight**2 * noise_now * variance * counts / plan.powers.clamp_min(1e-12)
        weight = plan.base_powers / (plan.base_powers + noise)
        first = (1 - weight) ** 2 * own + weight**2 * noise_now * plan.base_variances / plan.base_powers
        missing = ((1 - share) * energy).sum(dim=1)
        whole = missing + (share * sent).sum(dim=1) + first.sum(dim=1)
        whole = torch.where(fits, whole, torch.inf).view(len(totals), -1)
        best = whole.argmin(dim=1, keepdim=True)
        errors.append(whole.gather(1, best)[:, 0])
        unsent.append(missing.view(len(totals), -1).gather(1, best)[:, 0])
    return torch.stack(errors), torch.stack(unsent)


@dataclass(frozen=True)
class _Plan:
    """What :class:`content.Plan` has, of one picture at several rates."""

    levels: torch.Tensor
    histogram: torch.Tensor
    choice: closed.Choice
    powers: torch.Tensor
    base_powers: torch.Tensor
    base_variances: torch.Tensor


def _plan(codec, blocks, code, boost, symbols) -> _Plan:
    rows, columns = blocks.size.shape[1:]
    layout = closed.base_layout(rows * closed.CELL, columns * closed.CELL)
    dimensions, noise = 2 * symbols, 10 ** (-closed.code_snr_db(code.double()) / 10)
    base_variances, base_powers = codec._base(layout, code, boost, noise, dimensions)
    levels = closed.map_levels(blocks, codec.tables())
    histogram = closed.level_histogram(levels)
    several = histogram.expand(len(code), -1)
    choice = closed.largest(several, dimensions - layout.count)
    powers, _ = closed.water_filling(several, choice, dimensions - base_powers.sum(dim=1), noise)
    return _Plan(levels, histogram[0], choice, powers, base_powers, base_variances)
