# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed-form part of the content-adaptive codec: blocks, classes, which coefficients are sent, at what power.

Linear analog transmission of Gaussian coefficients over white noise (Lee and Petersen, "Optimal Linear Coding for
Vector Channels", IEEE Trans. Commun. 1976), with adaptive classification of transform blocks (Chen and Smith,
"Adaptive Coding of Monochrome and Color Images", IEEE Trans. Commun. 1977) and a quadtree of block sizes. Pure
functions of tensors. Conventions:

- Planes are ``[B, 3, H, W]``, three decorrelated colours, H and W multiples of ``CELL``. A transform keeps the shape:
  the coefficient (u, v) of a block lies where the block's pixel (u, v) was ("in place").
- A variance is an integer *level*, ``round(LEVELS_PER_OCTAVE * log2(variance))`` of pixels in 0..1. Which coefficients
  are sent follows from levels alone, compared as integers with ties in order of place, so that every machine, batch
  and thread count agrees. Powers follow from levels too, in float64.
- Powers and noise are those of one real dimension, both relative to the mean signal power 1: noise of
  10^(-SNR/10), exactly Es/N0 of a complex symbol that carries two of them.

What is fixed here (colours, sizes, grids, order of coefficients, levels, ties, the base layer) is part of the format
on the air: changing any of it makes trained models worthless.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from semcom.cached import cached_tensors

SIZES = (64, 32, 16, 8)
ROOT, CELL = SIZES[0], SIZES[-1]
LEVELS_PER_OCTAVE = 64
LEVEL_MIN, LEVEL_MAX = -24 * LEVELS_PER_OCTAVE, 16 * LEVELS_PER_OCTAVE - 1
LEVELS = LEVEL_MAX - LEVEL_MIN + 1
NO_LEVEL = -(2**15)  # where no coefficient is
#: frequencies u + v of the base layer's luminance and chrominance, on the grid of a whole root
BASE_LUMA, BASE_CHROMA = 4, 1
BASE_SIDE = BASE_LUMA + 1
BASE_POWER_SHARE = 0.5  # of the picture's power at most
BASE_POWER_FLOOR = 0.05
#: how much more or less power than that of a mean picture the base layer may have, in the header: 2^((code - 4) / 2)
BASE_BOOSTS, NO_BOOST = 8, 4
#: real dimensions that are mixed with each other before they are sent
SPREAD = 64
SNR_STEP_DB, SNR_LOW_DB, SNR_CODES = 0.5, -8.0, 64

_COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]], dtype=torch.float64)
_COLOURS = (_COLOURS / _COLOURS.norm(dim=1, keepdim=True)).float()


def snr_code(snr_db: torch.Tensor) -> torch.Tensor:
    """An SNR in dB to the six bits of the allocation SNR, any shape, rounded and kept in range."""
    return ((snr_db - SNR_LOW_DB) / SNR_STEP_DB).round().clamp(0, SNR_CODES - 1).long()


def code_snr_db(code: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`snr_code`, in dB."""
    return code * SNR_STEP_DB + SNR_LOW_DB


def code_noise(code: torch.Tensor) -> torch.Tensor:
    """The noise variance of a real dimension of mean power 1 at the allocation SNRs of codes, float64."""
    return 10 ** (-code_snr_db(code.double()) / 10)


def to_colours(images: torch.Tensor) -> torch.Tensor:
    """RGB ``[B, 3, H, W]`` in 0..1 to luminance and two colour differences about mid-grey, by a rotation."""
    return F.conv2d(images - 0.5, _COLOURS.to(images)[:, :, None, None])


def from_colours(planes: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`to_colours`."""
    return F.conv2d(planes, _COLOURS.to(planes).T[:, :, None, None]) + 0.5


@cached_tensors(16)
def dct_matrix(size: int) -> torch.Tensor:
    """The orthonormal DCT-II, ``[frequency, place]`` float32."""
    n = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi * (n[None, :] + 0.5) * n[:, None] / size) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix.float()


def separable(planes: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``matrix`` ``[n, n]`` applied to rows and columns of every n x n block of ``[B, C, H, W]``."""
    b, c, h, w = planes.shape
    n = len(matrix)
    rows = matrix @ planes.reshape(b * c * (h // n), n, w)
    return (rows.reshape(-1, n) @ matrix.T).reshape(b, c, h, w)


def block_dct(planes: torch.Tensor, size: int) -> torch.Tensor:
    """The orthonormal DCT of every ``size`` x ``size`` block, in place. Sides must be multiples of ``size``."""
    return separable(planes, dct_matrix(size).to(planes))


def block_idct(coefficients: torch.Tensor, size: int) -> torch.Tensor:
    """The inverse of :func:`block_dct`."""
    return separable(coefficients, dct_matrix(size).to(coefficients).T)


def blocks_of(planes: torch.Tensor, size: int) -> torch.Tensor:
    """In-place planes to a row a block, ``[B, rows * columns, 3 * size^2]``, colour before row before column."""
    b, c, h, w = planes.shape
    cut = planes.reshape(b, c, h // size, size, w // size, size).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(b, (h // size) * (w // size), c * size * size)


def planes_of(blocks: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """The inverse of :func:`blocks_of`."""
    b = len(blocks)
    cut = blocks.reshape(b, height // size, width // size, 3, size, size).permute(0, 3, 1, 4, 2, 5)
    return cut.reshape(b, 3, height, width)


def padded(planes: torch.Tensor, multiple: int = ROOT) -> torch.Tensor:
    """Zeros at the right and the bottom, up to a multiple of ``multiple`` pixels a side."""
    h, w = planes.shape[-2:]
    return F.pad(planes, (0, -w % multiple, 0, -h % multiple))


def whole_cells(images: torch.Tensor) -> torch.Tensor:
    """The last row and column repeated, up to whole 8x8 cells."""
    height, width = images.shape[-2:]
    if height % CELL or width % CELL:
        images = F.pad(images, (0, -width % CELL, 0, -height % CELL), mode="replicate")
    return images


# --- base layer -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseLayout:
    """The base layer of a picture: low-pass DCT coefficients of each 64x64 root, cut at the picture's edges.

    A root that the edge cuts to h x w pixels has the DCT of its own size and keeps the coefficients (u, v) with
    64 u / h + 64 v / w at most ``BASE_LUMA`` (luminance) or ``BASE_CHROMA``: about the same number a pixel.

    Attributes:
        rows, columns: low-pass matrices of the segments of each axis, ``[segments, BASE_SIDE, 64]``; zero rows beyond
            what a segment keeps.
        kept: places in the flattened ``[3, segments, BASE_SIDE, segments, BASE_SIDE]``, in the order of sending.
        table: for each kept place its entry in the flattened base table ``[3, BASE_SIDE, BASE_SIDE]``.
        shift: what is added to that entry's level where the segment is smaller (of the mean alone).
    """

    rows: torch.Tensor
    columns: torch.Tensor
    kept: torch.Tensor
    table: torch.Tensor
    shift: torch.Tensor

    @property
    def count(self) -> int:
        return len(self.kept)

    def to(self, device) -> "BaseLayout":
        return BaseLayout(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def _segments(length: int) -> list[int]:
    return [ROOT] * (length // ROOT) + [length % ROOT] * bool(length % ROOT)


def _low_pass(lengths: list[int]) -> torch.Tensor:
    out = torch.zeros(len(lengths), BASE_SIDE, ROOT)
    for number, length in enumerate(lengths):
        frequencies = min(BASE_LUMA * length // ROOT + 1, length)
        out[number, :frequencies, :length] = dct_matrix(length)[:frequencies]
    return out


@cached_tensors(64)
def base_layout(height: int, width: int) -> BaseLayout:
    """The base layer of pictures of that size (multiples of ``CELL``)."""
    rows, columns = _segments(height), _segments(width)
    kept, table, shift = [], [], []
    for colour in range(3):
        limit = BASE_CHROMA if colour else BASE_LUMA
        for r, h in enumerate(rows):
            for u in range(BASE_SIDE):
                for c, w in enumerate(columns):
                    for v in range(BASE_SIDE):
                        if u * ROOT * w + v * ROOT * h > limit * h * w:
                            continue
                        kept.append(
                            (((colour * len(rows) + r) * BASE_SIDE + u) * len(columns) + c) * BASE_SIDE + v
                        )
                        scaled_u = min((2 * u * ROOT + h) // (2 * h), BASE_LUMA)
                        scaled_v = min((2 * v * ROOT + w) // (2 * w), BASE_LUMA)
                        table.append((colour * BASE_SIDE + scaled_u) * BASE_SIDE + scaled_v)
                        area = math.log2(h * w / ROOT**2) if u == v == 0 else 0.0
                        shift.append(round(LEVELS_PER_OCTAVE * area))
    as_tensor = functools.partial(torch.tensor, dtype=torch.long)
    return BaseLayout(
        _low_pass(rows), _low_pass(columns), as_tensor(kept), as_tensor(table), as_tensor(shift)
    )


def base_analysis(planes: torch.Tensor, layout: BaseLayout) -> torch.Tensor:
    """Planes ``[B, 3, H, W]`` to the base layer's coefficients ``[B, count]``."""
    full = padded(planes)
    b, c, h, w = full.shape
    cut = full.reshape(b, c, h // ROOT, ROOT, w // ROOT, ROOT)
    rows, columns = layout.rows.to(full), layout.columns.to(full)
    low = torch.einsum("swj,bcrusj->bcrusw", columns, torch.einsum("rui,bcrisj->bcrusj", rows, cut))
    return low.reshape(b, -1)[:, layout.kept]


def base_synthesis(coefficients: torch.Tensor, layout: BaseLayout, size: tuple[int, int]) -> torch.Tensor:
    """The base layer's picture ``[B, 3, H, W]``; the adjoint of :func:`base_analysis`."""
    b = len(coefficients)
    rows, columns = layout.rows.to(coefficients), layout.columns.to(coefficients)
    shape = (b, 3, len(rows), BASE_SIDE, len(columns), BASE_SIDE)
    low = coefficients.new_zeros(b, math.prod(shape[1:])).index_copy(1, layout.kept, coefficients)
    full = torch.einsum(
        "rui,bcrusj->bcrisj", rows, torch.einsum("swj,bcrusw->bcrusj", columns, low.view(shape))
    )
    return full.reshape(b, 3, len(rows) * ROOT, len(columns) * ROOT)[..., : size[0], : size[1]]


def split_base(planes: torch.Tensor, layout: BaseLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes ``[B, 3, H, W]`` to the base layer's coefficients ``[B, count]``, and the planes without them."""
    base = base_analysis(planes, layout)
    height, width = planes.shape[-2:]
    return base, planes - base_synthesis(base, layout, (height, width))


def boost_factor(code: torch.Tensor) -> torch.Tensor:
    """What the base layer's power is multiplied by, for the three bits of the header, float64."""
    return torch.exp2((code.double() - NO_BOOST) / 2)


# --- levels and powers ----------------------------------------------------------------------------------------


def level_of(variance: torch.Tensor) -> torch.Tensor:
    """Variances to int16 levels, kept in range."""
    return (LEVELS_PER_OCTAVE * variance.double().log2()).round().clamp(LEVEL_MIN, LEVEL_MAX).short()


@cached_tensors()
def level_variances() -> torch.Tensor:
    """The variance of every level from ``LEVEL_MIN`` on, ``[LEVELS]`` float64."""
    return torch.exp2(torch.arange(LEVEL_MIN, LEVEL_MAX + 1, dtype=torch.float64) / LEVELS_PER_OCTAVE)


def of_levels(table: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """What a table ``[LEVELS]`` says of levels of any shape, float32; 0 of ``NO_LEVEL``."""
    index = (levels.flatten().int() - (LEVEL_MIN - 1)).clamp_min_(0)
    return F.pad(table.float(), (1, 0)).index_select(0, index).view(levels.shape)


def level_histogram(levels: torch.Tensor) -> torch.Tensor:
    """How often each level stands in each row of ``[B, ...]`` (``NO_LEVEL`` not counted), ``[B, LEVELS]`` int64."""
    rows = levels.reshape(len(levels), -1).int() - (LEVEL_MIN - 1)
    rows = rows.clamp_min_(0) + torch.arange(len(rows), device=rows.device, dtype=torch.int32)[:, None] * (
        LEVELS + 1
    )
    counts = torch.bincount(rows.flatten(), minlength=len(rows) * (LEVELS + 1))
    return counts.view(len(levels), LEVELS + 1)[:, 1:]


@dataclass(frozen=True)
class Choice:
    """The ``count`` coefficients of highest level of each row, ties by place. All ``[B]`` int64, relative to LEVEL_MIN.

    Attributes:
        threshold: all levels above it are sent. at_threshold: and so many of it. count: in all.
    """

    threshold: torch.Tensor
    at_threshold: torch.Tensor
    count: torch.Tensor


def largest(histogram: torch.Tensor, count: torch.Tensor) -> Choice:
    """The ``count`` ``[B]`` highest of the levels counted in ``[B, LEVELS]``; all of them where there are fewer."""
    count = torch.minimum(count, histogram.sum(dim=1)).clamp_min(0)
    # how many have a level of l or more
    above = histogram.flip(1).cumsum(1).flip(1)
    threshold = (above >= count[:, None]).sum(dim=1) - 1
    beyond = F.pad(above, (0, 1)).gather(1, threshold[:, None] + 1)[:, 0]
    return Choice(threshold, count - beyond, count)


def water_filling(
    histogram: torch.Tensor,
    choice: Choice,
    power: torch.Tensor,
    noise: torch.Tensor,
    variances: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Powers that minimise the MMSE of the chosen coefficients: p = (sqrt(s n / mu) - n)+ (Lee and Petersen, 1976).

    Args:
        histogram: ``[B, LEVELS]``. power: ``[B]`` to spend in all. noise: ``[B]`` variance of a dimension.
        variances: of other levels than ``level_variances``, rising.

    Returns:
        The power of a coefficient of each level, ``[B, LEVELS]`` float64 (0 below the threshold), and the price mu
        of power, ``[B]``: error saved by the next unit of it.
    """
    variance = (level_variances() if variances is None else variances).to(histogram.device)
    place = torch.arange(len(variance), device=histogram.device)
    counts = torch.where(place > choice.threshold[:, None], histogram, 0)
    counts = counts.scatter(1, choice.threshold[:, None], choice.at_threshold[:, None]).double()
    noise, power = noise.double()[:, None], power.double()[:, None].clamp_min(1e-9)
    root = (variance * noise).sqrt()
    # with the levels from l up active, 1 / sqrt(mu) is the following; the lowest l whose own power is positive holds
    slope = (power + noise * counts.flip(1).cumsum(1).flip(1)) / (root * counts).flip(1).cumsum(1).flip(
        1
    ).clamp_min(1e-30)
    active = (root * slope > noise) & (counts > 0)
    lowest = torch.where(active.any(dim=1), active.int().argmax(dim=1), len(variance) - 1)
    slope = slope.gather(1, lowest[:, None])
    powers = torch.where(place >= choice.threshold[:, None], (root * slope - noise).clamp_min(0), 0.0)
    return powers, slope[:, 0] ** -2


def chosen_places(levels: torch.Tensor, choice: Choice, row: int) -> torch.Tensor:
    """Places ``[count]`` of the chosen coefficients of one row of ``[B, ...]`` levels, highest first, ties by place."""
    flat = levels[row].reshape(-1)
    threshold = int(choice.threshold[row]) + LEVEL_MIN
    places = (flat >= threshold).nonzero()[:, 0]
    return places[_falling(flat[places])[: int(choice.count[row])]]


def chosen_rows(levels: torch.Tensor, choice: Choice) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`chosen_places` of all rows at once, without waiting for a GPU but to learn the largest count.

    Returns places ``[B, K]`` in the same order, and which of them are sent ``[B, K]`` (rows have counts of their own).
    """
    most, flat = int(choice.count.max()), levels.flatten(1)
    places = torch.sort(flat, dim=1, stable=True, descending=True).indices[:, :most]
    # of a picture whose map is unknown there are fewer than the count
    there = flat.gather(1, places) >= choice.threshold[:, None] + LEVEL_MIN
    return places, there & (torch.arange(most, device=places.device) < choice.count[:, None])


def _falling(levels: torch.Tensor) -> torch.Tensor:
    """The order of int16 levels ``[n]`` from the highest on, ties by place."""
    if levels.device.type == "cpu":
        # numpy sorts integers of 16 bits by radix, in a quarter of the time
        return torch.from_numpy((-levels).numpy().argsort(kind="stable"))
    return torch.sort(levels, stable=True, descending=True).indices


# --- spreading ------------------------------------------------------------------------------------------------


@cached_tensors()
def hadamard() -> torch.Tensor:
    """The symmetric orthonormal Hadamard matrix of ``SPREAD`` (Sylvester's), float32."""
    matrix = torch.ones(1, 1)
    while len(matrix) < SPREAD:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / SPREAD**0.5


def spread(values: torch.Tensor) -> torch.Tensor:
    """Real dimensions ``[n]`` in sending order, each mixed with ``SPREAD`` - 1 others of all strengths; its own inverse.

    The order falls in power, and group m takes the dimensions m, m + M, m + 2 M, ... of the first SPREAD M. So no symbol
    is much stronger than the rest, and what is lost with a burst is the weakest coefficients of each group, not
    whole ones. What does not fill a group stays as it is.
    """
    groups = len(values) // SPREAD
    head = hadamard().to(values) @ values[: groups * SPREAD].view(SPREAD, groups)
    return torch.cat([head.flatten(), values[groups * SPREAD :]])


def despread(
    values: torch.Tensor, noise: torch.Tensor, power: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """LMMSE estimate of what was spread, and the share of each dimension's power that is known.

    With even noise the inverse transform and a factor for each dimension; with uneven noise or erasures one small
    system of equations a group, exactly.

    Args:
        values: received ``[n]``. noise: its variances ``[n]``, inf where lost. power: prior variances ``[n]``.

    Returns:
        The estimate ``[n]`` and 1 - (error variance / power), ``[n]``, 0 where the power is 0.
    """
    values = torch.where(torch.isinf(noise), torch.zeros_like(values), values)
    power = power.to(values.dtype)
    if not len(noise) or (noise - noise[0]).abs().max() <= 1e-4 * noise[0]:
        known = power / (power + noise)
        return known * spread(values), known
    groups = len(values) // SPREAD
    inside = slice(0, groups * SPREAD)
    matrix, root = hadamard().to(values), power[inside].view(SPREAD, groups).T.sqrt()
    certain = 1 / noise[inside].view(SPREAD, groups).T
    scaled = matrix * root[:, None, :]
    # I + sqrt(P) H N^-1 H sqrt(P), whose least eigenvalue is 1
    system = scaled.mT @ (certain[:, :, None] * scaled)
    system.diagonal(dim1=1, dim2=2).add_(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
    got = (certain * values[inside].view(SPREAD, groups).T)[:, None] @ scaled
    estimate = root * (got @ inverse)[:, 0]
    known = (1 - inverse.diagonal(dim1=1, dim2=2)) * (root > 0)
    rest = power[groups * SPREAD :] / (power[groups * SPREAD :] + noise[groups * SPREAD :])
    return (
        torch.cat([estimate.T.flatten(), rest * values[groups * SPREAD :]]),
        torch.cat([known.T.flatten(), rest]),
    )


def _group_places(counts: torch.Tensor, width: int) -> torch.Tensor:
    """Where the members of each group lie in rows of ``counts`` ``[B]`` dimensions, ``[B, SPREAD, M]``; no such group:
    ``width``, one beyond the end."""
    groups = counts // SPREAD
    member = torch.arange(SPREAD, device=counts.device)[:, None]
    group = torch.arange(width // SPREAD, device=counts.device)
    places = member * groups[:, None, None] + group
    return torch.where(group < groups[:, None, None], places, width)


def _take(rows: torch.Tensor, places: torch.Tensor, beyond: float) -> torch.Tensor:
    """``[B, n]`` at ``places`` ``[B, SPREAD, M]``; ``beyond`` at those one after the end."""
    return F.pad(rows, (0, 1), value=beyond).gather(1, places.flatten(1)).view(places.shape)


def _put(rows: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The inverse: ``rows`` with ``values`` at their places."""
    return F.pad(rows, (0, 1)).scatter(1, places.flatten(1), values.flatten(1))[:, :-1]


def spread_rows(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """:func:`spread` of each row of ``[B, n]``, of which the first ``counts`` ``[B]`` are dimensions."""
    places = _group_places(counts, values.shape[1])
    return _put(values, places, hadamard().to(values) @ _take(values, places, 0.0))


def despread_rows(
    values: torch.Tensor, noise: torch.Tensor, power: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`despread` of each row of ``[B, n]``, of which the first ``counts`` ``[B]`` are dimensions."""
    inside = torch.arange(values.shape[1], device=values.device) < counts[:, None]
    values = torch.where(torch.isinf(noise) | ~inside, torch.zeros_like(values), values)
    power = torch.where(inside, power.to(values.dtype), 0.0)
    noise = torch.where(inside, noise, noise[:, :1])
    # of even noise the inverse transform and a factor
    known = power / (power + noise)
    estimate = known * spread_rows(values, counts)
    uneven = ((noise - noise[:, :1]).abs() > 1e-4 * noise[:, :1]).any(dim=1)
    if not bool(uneven.any()):
        return estimate, known
    places = _group_places(counts, values.shape[1])
    matrix = hadamard().to(values)
    root = _take(power, places, 0.0).mT.sqrt()
    certain = 1 / _take(noise, places, torch.inf).mT
    scaled = matrix * root[..., None, :]
    system = scaled.mT @ (certain[..., None] * scaled)
    system.diagonal(dim1=-2, dim2=-1).add_(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
    got = (certain * _take(values, places, 0.0).mT)[..., None, :] @ scaled
    exact = root * (got @ inverse)[..., 0, :]
    share = (1 - inverse.diagonal(dim1=-2, dim2=-1)) * (root > 0)
    rest = known * values
    return (
        torch.where(uneven[:, None], _put(rest, places, exact.mT), estimate),
        torch.where(uneven[:, None], _put(known, places, share.mT), known),
    )


# --- the map --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockMap:
    """Block size and class of every 8x8 cell: what both ends must share beside the card and the header.

    size: ``[B, rows, columns]`` int8, place in ``SIZES`` of the block that covers the cell; -1: nothing is known.
    kind: ``[B, rows, columns]`` int16, the class of that block.
    """

    size: torch.Tensor
    kind: torch.Tensor

    def row(self, number: int) -> "BlockMap":
        return BlockMap(self.size[number : number + 1], self.kind[number : number + 1])

    def without(self, lost: torch.Tensor) -> "BlockMap":
        """The map with the rows of ``lost`` ``[B]`` bool unknown."""
        lost = lost[:, None, None]
        return BlockMap(self.size.masked_fill(lost, -1), self.kind.masked_fill(lost, 0))


@dataclass(frozen=True)
class Prices:
    """What a picture's coefficients, symbols, power and map bits cost, by which its map is chosen. All ``[B]`` float.

    power: error saved by a unit of power. dimension: by one more real dimension. bit: by a bit of the map.
    threshold: level (relative to LEVEL_MIN) below which nothing is sent. noise: variance of a dimension.
    """

    power: torch.Tensor
    dimension: torch.Tensor
    bit: torch.Tensor
    threshold: torch.Tensor
    noise: torch.Tensor


def prices(
    mu: torch.Tensor, threshold: torch.Tensor, noise: torch.Tensor, bits_per_symbol: torch.Tensor
) -> Prices:
    """Prices at the water level ``mu`` with levels from ``threshold`` up sent; a symbol is two dimensions of power 1."""
    mu, noise = mu.double(), noise.double()
    variance = level_variances().to(mu.device)[threshold]
    power = ((variance * noise / mu).sqrt() - noise).clamp_min(0)
    dimension = (variance - variance * noise / (power + noise) - mu * power).clamp_min(0)
    return Prices(mu, dimension, 2 * (mu + dimension) / bits_per_symbol, threshold, noise)


def block_costs(priced: Prices) -> tuple[torch.Tensor, torch.Tensor]:
    """Cost of a coefficient c whose class says some level, as a c^2 + b: error, power and dimension together.

    Returns a and b, each ``[B, LEVELS]`` float32.
    """
    place = torch.arange(LEVELS, device=priced.threshold.device)
    variance = level_variances().to(place.device)
    mu, noise = priced.power[:, None], priced.noise[:, None]
    power = ((variance * noise / mu).sqrt() - noise).clamp_min(0)
    sent = (place >= priced.threshold[:, None]) & (power > 0)
    weight = power / (power + noise)
    slope = torch.where(sent, (1 - weight) ** 2 + mu * power / variance, 1.0)
    constant = torch.where(
        sent, weight**2 * noise * variance / power.clamp_min(1e-12) + priced.dimension[:, None], 0.0
    )
    return slope.float(), constant.float()


def block_energies(planes: torch.Tensor) -> list[torch.Tensor]:
    """Squares of the coefficients of all blocks of each of ``SIZES``, ``[B, blocks, 3 * size^2]``.

    Args:
        planes: what is left beside the base layer, ``[B, 3, H, W]``, sides multiples of ``CELL``.
    """
    full = padded(planes)
    return [blocks_of(block_dct(full, size), size).square_() for size in SIZES]


def choose_map(
    energies: list[torch.Tensor],
    size: tuple[int, int],
    tables: list[torch.Tensor],
    bits: list[torch.Tensor],
    priced: Prices,
) -> BlockMap:
    """The quadtree and classes of least cost, error and what it takes to send it, found from the leaves up.

    Args:
        energies: of :func:`block_energies`. size: (H, W) of the planes.
        tables: int16 levels of the classes of each of ``SIZES``, ``[classes, 3 * size^2]``.
        bits: ``[B, classes + 1]`` for each size: price in bits of each class, and last of splitting instead.
    """
    (height, width), count = size, len(energies[0])
    slope, constant = block_costs(priced)
    best = None
    for number in reversed(range(len(SIZES))):
        side, price = SIZES[number], bits[number].float()
        index = tables[number].flatten().int() - LEVEL_MIN
        per_class = slope.index_select(1, index).view(count, len(tables[number]), -1)
        fixed = constant.index_select(1, index).view(count, len(tables[number]), -1).sum(dim=2)
        fixed = (fixed + priced.bit[:, None].float() * price[:, :-1])[:, None]
        cost, kind = torch.baddbmm(fixed, energies[number], per_class.mT).min(dim=2)
        rows, columns = -(-height // ROOT) * ROOT // side, -(-width // ROOT) * ROOT // side
        cost, kind = cost.view(-1, rows, columns), kind.view(-1, rows, columns).short()
        inside = _inside(height, width, side, cost)
        if best is None:
            # cells beyond the picture's edge cost nothing, and no block that holds one is ever taken whole
            best, sizes, kinds = cost * inside, torch.full_like(kind, number, dtype=torch.int8), kind
            continue
        split = best.view(-1, rows, 2, columns, 2).sum(dim=(2, 4))
        split = split + (priced.bit.float() * price[:, -1])[:, None, None]
        whole = (cost <= split) & (inside > 0)
        best = torch.where(whole, cost, split)
        cells = side // CELL
        spread = whole.repeat_interleave(cells, 1).repeat_interleave(cells, 2)
        sizes = sizes.masked_fill(spread, number)
        kinds = torch.where(spread, kind.repeat_interleave(cells, 1).repeat_interleave(cells, 2), kinds)
    rows, columns = height // CELL, width // CELL
    return BlockMap(sizes[:, :rows, :columns].contiguous(), kinds[:, :rows, :columns].contiguous())


def _inside(height: int, width: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """1 for blocks that lie wholly inside the picture, 0 for the others, ``[rows, columns]``."""
    rows, columns = like.shape[-2:]
    down = torch.arange(1, rows + 1, device=like.device) * size <= height
    across = torch.arange(1, columns + 1, device=like.device) * size <= width
    return (down[:, None] & across[None, :]).to(like.dtype)


def places_of(blocks: BlockMap) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """For each of ``SIZES`` the blocks of that size: rows of the batch, rows and columns in blocks."""
    found = []
    for number, size in enumerate(SIZES):
        step = size // CELL
        rows, columns = (length // step * step for length in blocks.size.shape[1:])
        batch, row, column = (blocks.size[:, :rows:step, :columns:step] == number).nonzero(as_tuple=True)
        found.append((batch, row, column))
    return found


def block_view(planes: torch.Tensor, size: int) -> torch.Tensor:
    """The whole blocks of planes ``[B, C, H, W]`` as ``[B, rows, columns, C, size, size]``, a view."""
    rows, columns = (length // size for length in planes.shape[-2:])
    whole = planes[..., : rows * size, : columns * size]
    return whole.unflatten(3, (columns, size)).unflatten(2, (rows, size)).permute(0, 2, 4, 1, 3, 5)


def _blocks_at(planes: torch.Tensor, size: int, places) -> torch.Tensor:
    """The blocks of a size at ``places`` (one of :func:`places_of`), ``[n, C, size, size]``."""
    batch, row, column = places
    every = block_view(planes, size)
    count, rows, columns = every.shape[:3]
    if 4 * len(batch) < count * rows * columns:
        return every[batch, row, column]
    # of many it is faster to bring the planes into the order of blocks first
    return every.reshape(-1, *every.shape[3:])[(batch * rows + row) * columns + column]


def map_levels(blocks: BlockMap, tables: list[torch.Tensor]) -> torch.Tensor:
    """The level of every coefficient, in place, ``[B, 3, H, W]`` int16; ``NO_LEVEL`` where the map is unknown."""
    b, rows, columns = blocks.size.shape
    out = blocks.kind.new_full((b, 3, rows * CELL, columns * CELL), NO_LEVEL)
    for (batch, row, column), size, table in zip(places_of(blocks), SIZES, tables):
        if len(batch):
            step = size // CELL
            kinds = blocks.kind[batch, row * step, column * step].long()
            block_view(out, size)[batch, row, column] = table[kinds].view(-1, 3, size, size)
    return out


def adaptive_dct(planes: torch.Tensor, blocks: BlockMap) -> torch.Tensor:
    """The DCT of each block of the map, in place; 0 where the map is unknown."""
    return _adaptive(planes, blocks, lambda size: dct_matrix(size))


def adaptive_idct(coefficients: torch.Tensor, blocks: BlockMap) -> torch.Tensor:
    """The inverse of :func:`adaptive_dct`."""
    return _adaptive(coefficients, blocks, lambda size: dct_matrix(size).T)


def _adaptive(planes: torch.Tensor, blocks: BlockMap, matrix_of) -> torch.Tensor:
    out = torch.zeros_like(planes)
    for places, size in zip(places_of(blocks), SIZES):
        if len(places[0]):
            matrix = matrix_of(size).to(planes)
            own = _blocks_at(planes, size, places)
            block_view(out, size)[places] = matrix @ own @ matrix.T
    return out


ZONES = 4  # octaves of frequency: coefficients with max(u, v) below size / 8, / 4, / 2 and all others


def zone_energy(values: torch.Tensor, blocks: BlockMap) -> torch.Tensor:
    """Sums of a plane of variances over each block's frequency zones, a pixel, ``[B, 2 * ZONES, rows, columns]``.

    Luminance first, then both colour differences together. ``values``: ``[B, 3, H, W]``, in place.
    """
    b, rows, columns = blocks.size.shape
    out = values.new_zeros(b, 2 * ZONES, rows, columns)
    for places, size in zip(places_of(blocks), SIZES):
        if not len(places[0]):
            continue
        own, step = _blocks_at(values, size, places), size // CELL
        sums = [own[..., : size >> k, : size >> k].sum(dim=(2, 3)) for k in reversed(range(ZONES))]
        zones = torch.stack([sums[0], *(high - low for low, high in zip(sums, sums[1:]))], dim=2)
        zones = torch.cat([zones[:, 0], zones[:, 1] + zones[:, 2]], dim=1) / size**2
        block_view(out, step)[places] = zones[:, :, None, None].expand(-1, -1, step, step)
    return out
