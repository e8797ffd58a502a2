# SPDX-License-Identifier: GPL-3.0-or-later
"""The content-adaptive codec: symbols go where the picture needs them, networks correct what a linear code cannot.

A picture is cut into blocks of 64 to 8 pixels by a quadtree, each block has one of a table's classes, and the map of
both is side information. From map, header and card alone both ends know the variance of every coefficient, so they
agree on which are sent (the largest), in which order and at what power (``semcom.codec.image.allocation``). A network
at the sender changes the picture before that, a network at the receiver corrects the linear estimate after it.
"""

import copy
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import BaseCodec, Latents, power_code, power_of_code
from semcom.codec.image import allocation as closed
from semcom.codec.image import outline, refinement, sideinfo
from semcom.codec.image.allocation import BlockMap
from semcom.codec.image.linres import ResidualBlock
from semcom.codec.layers.convolution import Conv3x3, leaky, shuffled, unshuffled
from semcom.codec.layers.stages import zeroed
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ImageError, ModelError

MOST_RHO = 1 / 4
_RATIOS = 11  # down to 1/128: below, where no map fits, the networks cannot be trusted
#: of the map's bits, until it fits
_PRICES = (1, 2, 4, 8, 16, 32, 64)
#: the default map must leave so much less error: the networks have learnt with the others
_DEFAULT_GAIN = 0.9
_POWER_STEP, _POWER_CODES = 1 / 4, 32
#: code of the allocation SNR of a part that refines a picture; its nine bits of boost and map say where it begins
_REFINES = closed.SNR_CODES - 1
_PLACES = 512
#: energies of so many pixels are kept, 48 bytes each; of more they are made in bands of so many rows
_KEPT_PIXELS, _BAND_ROWS = 2**22, 4 * closed.ROOT
_SMALLEST = 1e-7  # variance a pixel, added before a logarithm or a root
_EMBEDDING = 16
#: brings planes to about 1
_PICTURE_SCALE = 5.0
#: by how much more than the SNR expected is allocated for from 0 to 4 dB, falling to nothing at -4 and 10 dB
LEAD_DB = 3.0
#: deviation of the error where the map is unknown
_UNKNOWN = 0.05


def in_single_precision(method):
    """Runs a codec's method in float32 whatever autocast says: powers span six decades. Networks go back to it."""

    @functools.wraps(method)
    def run(self, *args, **kwargs):
        device = next(self.parameters()).device.type
        self._autocast = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False):
            return method(self, *args, **kwargs)

    return run


def allocation_snr_db(snr_db: torch.Tensor) -> torch.Tensor:
    """What a transmitter that expects ``snr_db`` allocates for.

    At low SNR that is up to ``LEAD_DB`` more: a receiver with a network makes more of many weak coefficients than
    water-filling for its linear estimate assumes, and the map is cheaper. Chosen on BSDS500's validation pictures; the
    header says what was taken, so receivers need not know. The map's margin is that much less.
    """
    share = torch.minimum((snr_db + 4) / 4, (10 - snr_db) / 6)
    return snr_db + LEAD_DB * share.clamp(0, 1)


class Trunk(nn.Module):
    """A residual network on grids of 1/4 and 1/8 of the resolution, with what is known of each 8x8 cell as features.

    What it adds is in units of the error that the closed form expects there, which spans two decades from 0 to 20 dB.
    Its last convolution starts at zero, so an untrained codec is the closed form alone.

    Args:
        widths: feature channels at 1/4 and 1/8. blocks: residual blocks there. cells: channels known of a cell.
    """

    def __init__(self, widths, blocks, cells: int):
        super().__init__()
        outer, inner = widths
        self.picture_in = Conv3x3(48, outer)
        self.down = nn.Conv2d(4 * outer, inner, 1)
        self.cells_in = nn.Conv2d(cells, inner, 1)
        self.inner_blocks = nn.ModuleList(ResidualBlock(inner) for _ in range(blocks[1]))
        self.up = nn.Conv2d(inner, 4 * outer, 1)
        self.outer_blocks = nn.ModuleList(ResidualBlock(outer) for _ in range(blocks[0]))
        self.picture_out = Conv3x3(outer, 48)
        zeroed(self.picture_out)

    def forward(self, picture, cells, deviation, snr_db) -> torch.Tensor:
        """Planes ``[B, 3, H, W]`` to a correction of the same shape.

        Args:
            cells: what is known of each, ``[B, C, H/8, W/8]``. deviation: of the error expected there, ``[B, 3, ...]``.
            snr_db: ``[B]``.
        """
        fine = self.picture_in(unshuffled(picture, 4).mul_(_PICTURE_SCALE))
        x = self.down(leaky(unshuffled(fine, 2))) + self.cells_in(cells)
        for block in self.inner_blocks:
            x = block(x, snr_db)
        x = fine + shuffled(self.up(leaky(x)), 2)
        for block in self.outer_blocks:
            x = block(x, snr_db)
        return in_units_of(shuffled(self.picture_out(leaky(x)), 4), deviation)


def in_units_of(planes: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Planes ``[B, 3, H, W]`` times the deviation ``[B, 3, H/8, W/8]`` of their cells."""
    cells = planes.unflatten(3, (-1, closed.CELL)).unflatten(2, (-1, closed.CELL))
    return (cells * deviation[:, :, :, None, :, None]).flatten(2, 3).flatten(3, 4)


#: what a receiver knows of each cell: its class, error and what was not sent by zones, base layer's error, power
RECEIVER_CELLS = _EMBEDDING + 4 * closed.ZONES + 2


@dataclass(frozen=True)
class Front:
    """What the closed form makes of received symbols: all that a receiver's network is given beside the SNR.

    picture: the linear estimate, planes ``[B, 3, H, W]``. cells: what is known of each, ``[B, RECEIVER_CELLS, H/8,
    W/8]``. deviation: of the error expected there, ``[B, 3, H/8, W/8]``.
    """

    picture: torch.Tensor
    cells: torch.Tensor
    deviation: torch.Tensor

    def __iter__(self):
        return iter((self.picture, self.cells, self.deviation))


@dataclass(frozen=True)
class Plan:
    """What both ends know of a batch's allocation.

    Attributes:
        blocks: the map.
        code, boost: ``[B]`` of the allocation SNR and of the base layer's power.
        counts: ``[B]`` real dimensions (two a symbol) in all.
        levels: ``[B, 3, H, W]`` int16.
        choice, powers, mu: of the coefficients sent beside the base layer; ``[B]``, ``[B, LEVELS]``, ``[B]``.
        base: the layout of the base layer, ``base_powers`` ``[B, n]`` and ``base_variances`` ``[n]`` of it.
        side_losses: of each picture received which share of its map's symbols the sender allowed to be lost.
    """

    blocks: BlockMap
    code: torch.Tensor
    boost: torch.Tensor
    counts: torch.Tensor
    levels: torch.Tensor
    choice: closed.Choice
    powers: torch.Tensor
    mu: torch.Tensor
    base: closed.BaseLayout
    base_powers: torch.Tensor
    base_variances: torch.Tensor
    side_losses: tuple[float, ...] = ()


@register_architecture("content-adaptive")
class ContentAdaptive(BaseCodec):
    """Classified block transform with reverse water-filling, side information, and residual networks at both ends.

    Args:
        rho: complex symbols a colour value, side information counted, unless :meth:`send` is given another.
        classes: classes of blocks of 64, 32, 16 and 8 pixels.
        widths: feature channels of both networks at 1/4 and 1/8 of the resolution.
        sender_blocks, receiver_blocks: residual blocks there.
        side_backoff_db: how far below the allocation SNR the map is still read.
        side_loss: share of the map's symbols that may be lost.

    The class tables are zeros until they are measured (``semcom_training.classes``) or loaded.

    Raises:
        ConfigError: a rate beyond 1/4, or a number of classes that cannot be.
    """

    quantisable = False
    networks = ("sender", "receiver")
    base_levels: torch.Tensor
    water_levels: torch.Tensor
    thresholds: torch.Tensor

    def __init__(
        self,
        rho: float = 1 / 12,
        classes=(32, 128, 128, 64),
        widths=(64, 160),
        sender_blocks=(0, 1),
        receiver_blocks=(1, 4),
        side_backoff_db: float = 6.0,
        side_loss: float = 0.1,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(snr_range_db)
        if not 0 < rho <= MOST_RHO:
            raise ConfigError(f"content-adaptive: rho must be above 0 and at most 1/4, not {rho}.")
        if len(classes) != len(closed.SIZES) or not all(1 <= n <= 1024 for n in classes):
            raise ConfigError(
                f"content-adaptive: classes are four numbers of 1 to 1024, of blocks of 64, 32, 16 and 8 pixels, "
                f"not {classes}."
            )
        self._rho, self.classes = rho, tuple(classes)
        self.side_backoff_db, self.side_loss = side_backoff_db, side_loss
        for size, count in zip(closed.SIZES, self.classes):
            self.register_buffer(f"classes_{size}", torch.zeros(count, 3 * size**2, dtype=torch.int16))
            # how often each class, and last a split, was chosen in training pictures
            self.register_buffer(f"usage_{size}", torch.ones(sideinfo.BANDS, count + 1, dtype=torch.int32))
            self.register_buffer(
                f"contexts_{size}", torch.zeros(sideinfo.CONTEXTS, count + 1, dtype=torch.int32)
            )
        side = closed.BASE_SIDE
        self.register_buffer("base_levels", torch.zeros(3, side, side, dtype=torch.int16))
        # mean log2 of the price of power, in levels, at each allocation SNR: the base layer's powers follow from it
        self.register_buffer("water_levels", torch.zeros(closed.SNR_CODES, dtype=torch.int16))
        # in weights of before; nothing reads it
        self.register_buffer("thresholds", torch.zeros(closed.SNR_CODES, dtype=torch.int16))
        self._coder: tuple[sideinfo.MapCoder, int] | None = None
        self._autocast = False
        known = 2 * closed.ZONES
        # class 0 of each: the block is unknown
        self.sender_classes = nn.Embedding(sum(self.classes) + 1, _EMBEDDING)
        self.receiver_classes = nn.Embedding(sum(self.classes) + 1, _EMBEDDING)
        self.sender = Trunk(widths, sender_blocks, _EMBEDDING + 2 * known + 1)
        self.receiver = Trunk(widths, receiver_blocks, RECEIVER_CELLS)

    # --- sizes ------------------------------------------------------------------------------------------------

    @property
    def rho(self) -> float:
        return self._rho

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        """Complex symbols of a picture, side information included; the size is rounded up to whole 8x8 cells."""
        rho = self._rho if rho is None else rho
        if not 0 < rho <= MOST_RHO:
            raise ConfigError(f"content-adaptive: a bandwidth ratio is above 0 and at most 1/4, not {rho:g}.")
        rows, columns = -(-height // closed.CELL), -(-width // closed.CELL)
        return max(int(rho * 3 * rows * columns * closed.CELL**2), 1)

    def ratios(self) -> list[float]:
        """Steps of half an octave, though any ratio between can be sent."""
        return [MOST_RHO * 2 ** (-step / 2) for step in reversed(range(_RATIOS))]

    def expected_errors(self, images: torch.Tensor, snr_db, rhos: list[float]):
        from semcom.codec.image.prediction import expected_errors

        return expected_errors(self, images, snr_db, rhos)

    def admits(self, count: int, size: tuple[int, int]) -> bool:
        """Any rate up to 1/4 at which the base layer fits: the header says how many symbols came."""
        rows, columns = -(-size[0] // closed.CELL), -(-size[1] // closed.CELL)
        return self._least_symbols(rows, columns) <= count <= self.latent_count(*size, rho=MOST_RHO)

    def tables(self) -> list[torch.Tensor]:
        """Levels of the classes of each size, ``[classes, 3 * size^2]`` int16."""
        return [getattr(self, f"classes_{size}") for size in closed.SIZES]

    def class_bits(self, code: torch.Tensor) -> list[torch.Tensor]:
        """Price in bits of each class and of a split at the allocation SNRs ``[B]``, ``[B, classes + 1]`` a size."""
        out = []
        for size in closed.SIZES:
            usage = getattr(self, f"usage_{size}")[code // sideinfo.CODES_PER_BAND].double() + 0.5
            if size == closed.CELL:
                usage[:, -1] = 0
            out.append(-(usage / usage.sum(dim=1, keepdim=True)).log2().float())
        return out

    # --- the plan ---------------------------------------------------------------------------------------------

    def plan(
        self,
        blocks: BlockMap,
        code: torch.Tensor,
        boost: torch.Tensor,
        symbols: torch.Tensor,
        histograms: list[torch.Tensor] | None = None,
    ) -> Plan:
        """What is sent where.

        Args:
            code, boost: ``[B]`` of the allocation SNR and of the base layer's power, as the header has them.
            symbols: ``[B]`` for latents.
            histograms: of ``map_coder``, on a CPU, where they are at hand: the same plan, sooner.
        """
        levels = closed.map_levels(blocks, self.tables())
        if histograms is None:
            return self._plan(blocks, code, boost, symbols, closed.level_histogram(levels), levels)
        return self._plan(blocks, code, boost, symbols, closed.map_histogram(blocks, histograms), levels)

    def _plan(self, blocks, code, boost, symbols, histogram, levels) -> Plan:
        rows, columns = blocks.size.shape[1:]
        layout = self._layout(rows * closed.CELL, columns * closed.CELL, code.device)
        dimensions = 2 * symbols
        noise = closed.code_noise(code)
        base_variances, base_powers = self._base(layout, code, boost, noise, dimensions)
        choice = closed.largest(histogram, dimensions - layout.count)
        powers, mu = closed.water_filling(histogram, choice, dimensions - base_powers.sum(dim=1), noise)
        return Plan(
            blocks, code, boost, dimensions, levels, choice, powers, mu, layout, base_powers, base_variances
        )

    def _base(self, layout, code, boost, noise, dimensions) -> tuple[torch.Tensor, torch.Tensor]:
        """Variances ``[n]`` and powers ``[B, n]`` of the base layer, which size and header alone decide."""
        levels = self.base_levels.flatten().long()[layout.table] + layout.shift
        levels = levels.clamp(closed.LEVEL_MIN, closed.LEVEL_MAX) - closed.LEVEL_MIN
        variance = closed.level_variances().to(levels.device)[levels]
        mu = torch.exp2(self.water_levels[code].double() / closed.LEVELS_PER_OCTAVE)
        powers = (variance * noise[:, None] / mu[:, None]).sqrt() - noise[:, None]
        powers = powers.clamp_min(closed.BASE_POWER_FLOOR) * closed.boost_factor(boost)[:, None]
        most = closed.BASE_POWER_SHARE * dimensions.double()
        return variance, powers * (most / powers.sum(dim=1)).clamp_max(1)[:, None]

    def choose_map(
        self,
        base,
        planes,
        code: torch.Tensor,
        total: torch.Tensor,
        bit_price: float = 1.0,
        energies: list[torch.Tensor] | None = None,
        prices: tuple[torch.Tensor, torch.Tensor] | None = None,
        histograms: list[torch.Tensor] | None = None,
    ) -> tuple[BlockMap, torch.Tensor]:
        """The map of least cost for ``total`` ``[B]`` symbols, and the boost of the base layer that goes with it.

        Args:
            base: coefficients ``[B, n]``. planes: ``[B, 3, H, W]`` without them.
            bit_price: what the map's bits cost beside what their symbols would be worth.
            energies, prices: what does not depend on ``bit_price``, of ``_energies`` and ``first_prices``.
            histograms: as of ``plan``.
        """
        noise = closed.code_noise(code)
        bits_per_symbol = self.bits_per_symbol(code)
        mu, threshold = prices or self.first_prices(planes, code, total)
        energies = self._energies(planes) if energies is None else energies
        boost = torch.full_like(code, closed.NO_BOOST)
        # the second time at the prices that the first map has; a third gains nothing
        for _ in range(2):
            priced = closed.prices(mu, threshold, noise, bits_per_symbol / bit_price)
            # roots do not know of each other
            bands = [planes] if energies else planes.split(_BAND_ROWS, dim=2)
            parts = [
                closed.choose_map(
                    energies or closed.block_energies(band),
                    band.shape[-2:],
                    self.tables(),
                    self.class_bits(code),
                    priced,
                )
                for band in bands
            ]
            blocks = BlockMap(torch.cat([p.size for p in parts], 1), torch.cat([p.kind for p in parts], 1))
            symbols = total - (self.map_bits(blocks, code) / bits_per_symbol).long()
            if histograms is None:
                plan = self.plan(blocks, code, boost, symbols)
            else:
                # what is asked of this plan needs no levels
                histogram, levels = closed.map_histogram(blocks, histograms), blocks.kind.new_empty(0)
                plan = self._plan(blocks, code, boost, symbols, histogram, levels)
            mu, threshold = plan.mu, plan.choice.threshold
            boost = self._best_boost(base, plan)
        return blocks, boost

    @staticmethod
    def _energies(planes: torch.Tensor) -> list[torch.Tensor]:
        """``block_energies``; none of a large picture, whose energies are made again whenever they are asked for."""
        pixels = len(planes) * planes.shape[-2] * planes.shape[-1]
        return closed.block_energies(planes) if pixels <= _KEPT_PIXELS else []

    @staticmethod
    def first_prices(planes, code: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Price of power and threshold ``[B]`` of these pictures at ``total`` ``[B]`` symbols, before there is a map."""
        noise = closed.code_noise(code)
        found = outline.expected(outline.histogram(planes), noise, 2 * total)
        # a map has fewer classes than there are zones; measured on BSDS500's photographs, alike at all rates and SNRs
        return 2 * found.mu, closed.level_of(found.lowest * 2**0.5).long() - closed.LEVEL_MIN

    @staticmethod
    def _best_boost(base: torch.Tensor, plan: Plan) -> torch.Tensor:
        """The boost ``[B]`` at which the base layer's error and power, at the price of the rest, cost least."""
        noise = closed.code_noise(plan.code)[None, :, None]
        energy, variance = base.double().square(), plan.base_variances
        codes = torch.arange(closed.BASE_BOOSTS, device=base.device)
        now = closed.boost_factor(plan.boost)[None, :, None]
        power = plan.base_powers * closed.boost_factor(codes)[:, None, None] / now
        weight = power / (power + noise)
        error = (1 - weight) ** 2 * energy + weight**2 * noise * variance / power
        cost = (error + plan.mu[None, :, None] * power * energy / variance).sum(dim=2)
        return cost.argmin(dim=0)

    def bits_per_symbol(self, code: torch.Tensor) -> torch.Tensor:
        """Information bits that a symbol of the map carries, ``[B]`` float64."""
        table = sideinfo.efficiencies(self.side_backoff_db, self.side_loss)
        return table.to(code.device)[code]

    def map_bits(self, blocks: BlockMap, code: torch.Tensor) -> torch.Tensor:
        """Bits of each map ``[B]`` by the shares of its classes, without context."""
        total = torch.zeros(len(code), dtype=torch.float64, device=code.device)
        depth = blocks.size
        for number, (size, bits) in enumerate(zip(closed.SIZES, self.class_bits(code))):
            step = size // closed.CELL
            own, kinds = depth[:, ::step, ::step], blocks.kind[:, ::step, ::step].long()
            here, finer = own == number, own > number
            price = bits[:, :-1].gather(1, kinds.flatten(1).clamp_max(bits.shape[1] - 2)).view(kinds.shape)
            total += (price * here).sum(dim=(1, 2))
            if size > closed.CELL:
                total += finer.sum(dim=(1, 2)) * bits[:, -1]
        return total

    # --- ends -------------------------------------------------------------------------------------------------

    @in_single_precision
    def send(
        self, images: torch.Tensor, snr_db, *, rho: float | None = None, in_memory: bool = False
    ) -> Latents:
        """Images ``[B, 3, H, W]`` (0..1) to symbols ``[B, k]`` of mean power 1 a picture, and their side information.

        Args:
            snr_db: what the transmitter expects in dB, a number or ``[B]``; what is allocated for is
                :func:`allocation_snr_db` of it.
            rho: another rate. in_memory: the map does not become symbols, but the number that it would take is left
                out of the count.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty, or too small for the rate.
        """
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise ImageError(
                f"images have shape {list(images.shape)}; an encoder takes [B, 3, H, W] with H, W >= 1."
            )
        height, width = images.shape[-2:]
        total = self.latent_count(height, width, rho)
        images = F.pad(images, (0, -width % closed.CELL, 0, -height % closed.CELL), mode="replicate")
        code = closed.snr_code(allocation_snr_db(self._clamped(self._per_image(snr_db, images))))
        code = code.clamp_max(_REFINES - 1)
        with torch.no_grad():
            planes = closed.to_colours(images)
            layout = self._layout(planes.shape[-2], planes.shape[-1], planes.device)
            if 2 * total < 2 * layout.count:
                raise ImageError(
                    f"a picture of {height}x{width} pixels at rho = {rho or self._rho:.4f} has {total} symbols, fewer "
                    f"than its base layer takes ({layout.count}): send a larger picture or at a higher rate."
                )
            base, rest = closed.split_base(planes, layout)
            totals = torch.full((len(images),), total, device=code.device)
            if in_memory:
                blocks, boost = self.choose_map(base, rest, code, totals)
                histograms = None
                side = (self.map_bits(blocks, code) / self.bits_per_symbol(code)).ceil().long()
                side = side.clamp_max(int(sideinfo.SIDE_SHARE * total))
                coded, units = None, 0
            else:
                known = self.map_coder()
                blocks, boost, coded, units = self._coded_map(base, rest, code, total, known)
                side = torch.tensor([len(symbols) for symbols in coded], device=code.device)
                histograms = known[0].histograms if code.device.type == "cpu" else None
            plan = self.plan(blocks, code, boost, totals - side, histograms)
        del rest
        reals, power = self._allocate(self._sent_planes(images, plan), plan)
        code_of_power, rounding = power_code(power, _POWER_STEP, _POWER_CODES)
        reals = reals / (power * rounding).clamp_min(1e-12).sqrt()[:, None]
        values = torch.view_as_complex(reals.view(len(reals), -1, 2)) * 0.5**0.5
        if coded is not None:
            values = torch.stack([torch.cat([m, v[: total - len(m)]]) for m, v in zip(coded, values)])
        side_fields = code_of_power << 15 | boost << 12 | code << 6 | units
        return Latents(values, count=totals - side, side=side_fields, shared=plan if in_memory else None)

    # --- refinement -------------------------------------------------------------------------------------------

    def place(self, side: int, size: tuple[int, int]) -> int:
        if side >> 6 & 63 != _REFINES:
            return 0
        return -(-(side >> 6 + 6 & 7 | (side & 63) << 3) * self.latent_count(*size, MOST_RHO) // _PLACES)

    def _next_place(self, end: int, size: tuple[int, int]) -> tuple[int, int]:
        """Where a part may begin behind ``end`` symbols: its code, and its place."""
        most = self.latent_count(*size, MOST_RHO)
        code = -(-end * _PLACES // most)
        return code, -(-code * most // _PLACES)

    @in_single_precision
    @torch.no_grad()
    def refine(self, images: torch.Tensor, sent: Latents, symbols: int) -> Latents:
        """The next ``symbols`` of a picture that is out: the coefficients that lower what error is left most.

        The map, the allocation SNR and the network's change of the first part hold.
        """
        size, own = (images.shape[-2], images.shape[-1]), sent.values
        end = own.shape[1]
        for earlier in sent.later:
            end = self.place(int(earlier.side_bits[0]), size) + earlier.values.shape[1]
        code, first = self._next_place(end, size)
        most = self.latent_count(*size, MOST_RHO)
        if not 1 <= symbols <= most - first or code >= _PLACES:
            raise ConfigError(
                f"a picture of {size[0]}x{size[1]} pixels of which {end} symbols are out has at most "
                f"{max(most - first, 0)} more (rho 1/4), not {symbols}."
            )
        images = F.pad(images, (0, -size[1] % closed.CELL, 0, -size[0] % closed.CELL), mode="replicate")
        plan = self._read_plan(replace(sent, noise_var=torch.full_like(own.real, 1e-3)), size)[0]
        base, rest = closed.split_base(self._sent_planes(images, plan), plan.base)
        coefficients = torch.cat([closed.adaptive_dct(rest, plan.blocks).flatten(), base[0]])
        part = self._parts(plan, [p.values.shape[1] for p in sent.later] + [symbols])[-1]
        scaled = coefficients[part.places] * (part.power / part.variance).sqrt().float()
        reals = closed.spread(F.pad(scaled, (0, 2 * symbols - len(scaled))))[None]
        power, rounding = power_code(reals.square().mean(dim=1), _POWER_STEP, _POWER_CODES)
        reals = reals / (reals.square().mean(dim=1) * rounding).clamp_min(1e-12).sqrt()[:, None]
        side = power << 15 | (code & 7) << 12 | _REFINES << 6 | code >> 3
        return Latents(torch.view_as_complex(reals.view(1, -1, 2)) * 0.5**0.5, side=side)

    def _parts(self, plan: Plan, symbols: list[int]) -> list[refinement.Part]:
        """What parts of so many symbols carry of a picture of which the first is out."""
        known = refinement.after_first(
            *(plan.levels[0], self._order(plan, 0)[0], plan.powers[0], float(plan.mu[0])),
            *(plan.base_variances, plan.base_powers[0]),
        )
        noise, parts = float(closed.code_noise(plan.code)), []
        for count in symbols:
            part, known = refinement.next_part(known, noise, 2 * count)
            parts.append(part)
        return parts

    def _in_order(self, latents: Latents, plan: Plan, size: tuple[int, int]) -> list[Latents]:
        """The parts that follow each other without one missing: no other can be read, nor any without the map."""
        end = latents.values.shape[1]
        found: list[Latents] = []
        if bool((plan.blocks.size < 0).any()):
            return found
        for part in latents.later:
            first = self.place(int(part.side_bits[0]), size)
            if first != self._next_place(end, size)[1]:
                break
            found.append(part)
            end = first + part.values.shape[1]
        return found

    def _refined(self, parts: Sequence[Latents], plan: Plan, estimate, error, unsent) -> None:
        """Brings parts of one picture into estimates of its coefficients and their errors, ``[N]``, where they lie.

        By LMMSE about what is known: the part of a received dimension that was expected is taken off, the rest has the
        error as its variance. Parts are taken as independent of each other.
        """
        for got, part in zip(parts, self._parts(plan, [p.values.shape[1] for p in parts])):
            reals = torch.view_as_real(got.values[0]).flatten() * 2**0.5
            noise = got.noise[0].repeat_interleave(2)
            power = power_of_code(got.side_bits >> 15, _POWER_STEP, _POWER_CODES)[0]
            gain = (part.power / part.variance / power).sqrt().float()
            expected = closed.spread(F.pad(gain * estimate[part.places], (0, len(reals) - len(gain))))
            left = F.pad(gain.square() * error[part.places], (0, len(reals) - len(gain)))
            more, known = closed.despread(reals - expected, noise, left)
            more, known = more[: len(gain)], known[: len(gain)]
            estimate[part.places] += more / gain.clamp_min(1e-12) * (gain > 0)
            error[part.places] *= 1 - known
            unsent[part.places] = torch.where(gain > 0, 0.0, unsent[part.places])

    def forget(self, latents: Latents, lost: torch.Tensor) -> Latents:
        """The same with the maps of the pictures ``lost`` ``[B]`` unknown: their base layer is all that is left."""
        plan = _shared_plan(latents)
        levels = plan.levels.masked_fill(lost[:, None, None, None], closed.NO_LEVEL)
        return replace(latents, shared=replace(plan, blocks=plan.blocks.without(lost), levels=levels))

    def _coded_map(self, base, rest, code, total: int, known: tuple[sideinfo.MapCoder, int]):
        """The map of each picture as symbols, within their share; the default map and no symbols where none fits, or
        where that one is expected to leave less error.

        Returns the maps, boosts ``[B]``, the symbols of each picture's map and how many units they are ``[B]``.
        """
        coder, key = known
        histograms = coder.histograms if code.device.type == "cpu" else None
        maps: list[BlockMap] = []
        boosts: list[torch.Tensor] = []
        symbols: list[torch.Tensor] = []
        units: list[int] = []
        for row in range(len(code)):
            own = slice(row, row + 1)
            snr, room = int(code[row]), torch.tensor([total], device=code.device)
            given = base[own], rest[own], code[own], room
            energies, prices = self._energies(rest[own]), self.first_prices(*given[1:])
            best, needed = None, None
            # of the smallest pictures not even the CRC fits
            empty = sideinfo.units_for(0, total, snr, self.side_backoff_db, self.side_loss)
            for price in _PRICES if empty else ():
                blocks, boost = self.choose_map(
                    *given, bit_price=price, energies=energies, prices=prices, histograms=histograms
                )
                bits = coder.encode(_to(blocks, "cpu"), snr)
                needed = sideinfo.units_for(len(bits), total, snr, self.side_backoff_db, self.side_loss)
                if needed is not None:
                    layout = sideinfo.side_layout(needed, total, snr, self.side_backoff_db, self.side_loss)
                    best = blocks, boost, needed, layout
                    break
            # a map that is small beside what it orders has always been worth it
            if best is None or needed is None or price > 1 or 2 * needed > sideinfo.UNITS:
                best = self._unless_default(best, *given)
            coded = rest.new_zeros(0, dtype=torch.complex64)
            if best[3] is not None:
                coded = sideinfo.send_bits(bits, best[3], key).to(rest.device)
            maps.append(best[0])
            boosts.append(best[1])
            units.append(best[2])
            symbols.append(coded)
        return _stacked(maps), torch.cat(boosts), symbols, torch.tensor(units, device=code.device)

    def _unless_default(self, chosen, base, planes, code, room):
        """``chosen`` (map, boost, units, layout; None: no map fits), or the default map if that leaves clearly less
        error."""
        blocks = self._default(planes)
        boost = self._best_boost(base, self.plan(blocks, code, torch.full_like(code, closed.NO_BOOST), room))
        if chosen is not None:
            plain = self.expected_error(base, planes, self.plan(blocks, code, boost, room))
            plan = self.plan(chosen[0], code, chosen[1], room - chosen[3].symbols)
            if _DEFAULT_GAIN * self.expected_error(base, planes, plan) < plain:
                return chosen
        return blocks, boost, 0, None

    def expected_error(self, base, planes, plan: Plan) -> torch.Tensor:
        """Sum of squared errors ``[B]`` that the closed form expects of pictures sent by a plan, before the networks.

        Energy of the coefficients that are not sent + for each that is, of energy e, variance s, power p and noise n a
        dimension, (1 - w)^2 e + w^2 n s / p with w = p / (p + n) (Lee and Petersen, 1976).
        """
        noise = closed.code_noise(plan.code)[:, None]
        variance, place = (
            closed.level_variances().to(noise.device),
            torch.arange(closed.LEVELS, device=noise.device),
        )
        levels = plan.levels.flatten(1).long() - closed.LEVEL_MIN
        energy = closed.adaptive_dct(planes, plan.blocks).flatten(1).square().double()
        energy = energy.new_zeros(len(energy), closed.LEVELS).scatter_add_(1, levels, energy)
        counts, choice = closed.level_histogram(plan.levels).double(), plan.choice
        share = (place > choice.threshold[:, None]).double()
        at = choice.at_threshold.double()[:, None] / counts.gather(1, choice.threshold[:, None]).clamp_min(1)
        share = share.scatter(1, choice.threshold[:, None], at) * (plan.powers > 0)
        own = base.double().square()
        spent = (plan.base_powers * own / plan.base_variances).sum(dim=1)
        spent = (spent + (share * plan.powers / variance * energy).sum(dim=1)) / plan.counts
        # powers are what they should be in the mean of pictures alone; this one's is in its header
        noise_now = noise * spent[:, None]
        weight = plan.powers / (plan.powers + noise)
        sent = (1 - weight) ** 2 * energy
        sent = sent + weight**2 * noise_now * variance * counts / plan.powers.clamp_min(1e-12)
        weight = plan.base_powers / (plan.base_powers + noise)
        first = (1 - weight) ** 2 * own + weight**2 * noise_now * plan.base_variances / plan.base_powers
        return ((1 - share) * energy + share * sent).sum(dim=1) + first.sum(dim=1)

    def with_side_loss(self, share: float) -> "ContentAdaptive":
        """The same codec, its weights shared, that allows another share of the map's symbols to be lost as it sends.

        Raises:
            ConfigError: none of ``sideinfo.LOSSES``, which receivers try.
        """
        if share not in sideinfo.LOSSES:
            raise ConfigError(
                f"side_loss is the share of the map's symbols that may be lost, one of "
                f"{', '.join(map(str, sideinfo.LOSSES))}, not {share}."
            )
        other = copy.copy(self)
        other.side_loss = share
        return other

    @staticmethod
    def _default(planes: torch.Tensor) -> BlockMap:
        height, width = planes.shape[-2:]
        return _to(sideinfo.default_map(height // closed.CELL, width // closed.CELL), planes.device)

    def map_coder(self) -> tuple[sideinfo.MapCoder, int]:
        """The coder of maps, and the CRC-32 of all tables, which both ends must share; made anew when they change."""
        tables = [
            [getattr(self, f"{name}_{size}").cpu() for size in closed.SIZES]
            for name in ("classes", "usage", "contexts")
        ]
        flat = [table.numpy().tobytes() for kind in tables for table in kind]
        key = functools.reduce(lambda crc, table: zlib.crc32(table, crc), flat, 0)
        if self._coder is None or self._coder[1] != key:
            self._coder = sideinfo.MapCoder(*tables), key
        return self._coder

    def _allocate(self, planes: torch.Tensor, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes to real dimensions ``[B, 2 k]`` in sending order, and their mean power ``[B]``, about 1."""
        base, rest = closed.split_base(planes, plan.base)
        coefficients = closed.adaptive_dct(rest, plan.blocks).flatten(1)
        base = base * (plan.base_powers / plan.base_variances).sqrt().float()
        room = int(plan.counts.max())
        if self._at_once(planes):
            return self._allocate_at_once(base, coefficients, plan, room)
        rows, variances = [], closed.level_variances().to(planes.device)
        gains = (plan.powers / variances).sqrt().float()
        for row in range(len(planes)):
            places, index = self._order(plan, row)
            own = coefficients[row, places] * gains[row, index]
            own = torch.cat([base[row], own])
            own = F.pad(own, (0, int(plan.counts[row]) - len(own)))
            rows.append(F.pad(closed.spread(own), (0, room - len(own))))
        reals = _batch_of(rows)
        # the power of the dimensions in use; sent in the header, so the receiver undoes it exactly
        return reals, reals.square().sum(dim=1) / plan.counts

    def _sent_planes(self, images: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Images of whole cells to the planes that are sent: with what the sender's network adds."""
        planes = closed.to_colours(images)
        snr_db = closed.code_snr_db(plan.code).float()
        return planes + self._network(self.sender, planes, *self._sender_cells(plan), snr_db)

    @staticmethod
    def _at_once(like: torch.Tensor) -> bool:
        """Whether rows are worked on together: a GPU would wait for each of them; a CPU saves memory row by row."""
        return like.device.type != "cpu"

    @staticmethod
    def _allocate_at_once(base, coefficients, plan: Plan, room: int) -> tuple[torch.Tensor, torch.Tensor]:
        places, sent = closed.chosen_rows(plan.levels, plan.choice)
        gains = (plan.powers / closed.level_variances().to(base.device)).sqrt().float()
        index = plan.levels.flatten(1).gather(1, places).long() - closed.LEVEL_MIN
        own = coefficients.gather(1, places) * gains.gather(1, index.clamp_min(0))
        reals = torch.cat([base, torch.where(sent, own, 0.0)], dim=1)
        reals = closed.spread_rows(F.pad(reals, (0, room - reals.shape[1])), plan.counts)
        return reals, reals.square().sum(dim=1) / plan.counts

    @staticmethod
    def _order(plan: Plan, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the coefficients of a picture in sending order, and their levels from LEVEL_MIN on."""
        places = closed.chosen_places(plan.levels, plan.choice, row)
        return places, plan.levels[row].reshape(-1)[places].long() - closed.LEVEL_MIN

    @in_single_precision
    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """Received symbols to images ``[B, 3, H, W]``, 0..1.

        Args:
            latents: as :meth:`send` made them, with ``noise_var`` ``[B, k]`` (inf: lost).
            snr_db: equivalent SNR in dB, a number or ``[B]``. size: (H, W).

        Raises:
            ImageError: the number of symbols does not fit the size.
        """
        front = self.front(latents, size)
        return self.finish(self.receiver, front, self._clamped(self._per_image(snr_db, front.picture)), size)

    @in_single_precision
    def front(self, latents: Latents, size: tuple[int, int]) -> Front:
        """The closed form's part of :meth:`receive`, which decoders of others share (``content_user``)."""
        plan, values, noise_var = self._read_plan(latents, size)
        power = power_of_code(latents.side_bits >> 15, _POWER_STEP, _POWER_CODES)
        noise = noise_var.repeat_interleave(2, dim=1)
        reals = torch.view_as_real(values).flatten(1) * 2**0.5
        base, base_error, planes, error, unsent = self._estimate(
            reals, noise, power, plan, self._in_order(latents, plan, size)
        )
        linear = planes + closed.base_synthesis(base, plan.base, planes.shape[-2:])
        # of a large picture these are hundreds of megabytes
        del planes
        return Front(linear, *self._receiver_cells(plan, error, unsent, base_error, power))

    def finish(self, network: nn.Module, front: Front, snr_db: torch.Tensor, size: tuple[int, int]):
        """The linear estimate and a network's correction, as images ``[B, 3, H, W]``; ``snr_db`` ``[B]``."""
        images = closed.from_colours(front.picture + self._network(network, *front, snr_db))
        images = images[..., : size[0], : size[1]].float()
        return images if network.training else images.clamp(0, 1)

    @torch.no_grad()
    def send_again(self, images: torch.Tensor, got: Latents, size: tuple[int, int]) -> torch.Tensor:
        """The symbols ``[B, k]`` that were sent of images whose side information arrived.

        Map, number of symbols, allocation SNR and scale are those received: nothing is chosen anew, so the sender's
        feedback, settings and rounding need not be known.

        Raises:
            ImageError: the map of one did not come through, or the number of symbols does not fit the size.
        """
        plan = self._read_plan(got, size)[0]
        if bool((plan.blocks.size < 0).any()):
            raise ImageError("what was sent can be told only of pictures whose map of classes was received.")
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % closed.CELL, 0, -height % closed.CELL), mode="replicate")
        reals = self._allocate(self._sent_planes(images, plan), plan)[0]
        scale = power_of_code(got.side_bits >> 15, _POWER_STEP, _POWER_CODES).float().rsqrt()
        values = torch.view_as_complex((reals * scale[:, None]).view(len(reals), -1, 2)) * 0.5**0.5
        rows, total, (coder, key) = [], got.values.shape[1], self.map_coder()
        for row, own in enumerate(values):
            code, units = int(plan.code[row]), int(got.side_bits[row] & sideinfo.UNITS)
            coded = own[:0]
            if units:
                loss = plan.side_losses[row]
                layout = sideinfo.side_layout(units, total, code, self.side_backoff_db, loss)
                bits = coder.encode(_to(plan.blocks.row(row), "cpu"), code)
                coded = sideinfo.send_bits(bits, layout, key).to(own)
            rows.append(torch.cat([coded, own[: total - len(coded)]]))
        return torch.stack(rows)

    @property
    def side_width(self) -> int:
        return 20

    @in_single_precision
    def read_side(self, latents: Latents, size: tuple[int, int]) -> tuple[Latents, torch.Tensor]:
        plan, values, noise_var = self._read_plan(latents, size)
        lost = (plan.blocks.size < 0).flatten(1).all(dim=1)
        return replace(latents, values=values, noise_var=noise_var, shared=plan), lost

    def _estimate(self, reals, noise, power, plan: Plan, parts: Sequence[Latents] = ()):
        """MMSE estimates: base ``[B, n]`` and its mean error a pixel ``[B]``, planes, error and what was not sent."""
        layout, variances = plan.base, closed.level_variances().to(reals.device)
        scale, pixels = power.float(), plan.levels[0].numel()
        # a coefficient of no power was not sent, and must not make infinite gradients
        root = torch.where(plan.powers > 0, variances / plan.powers.clamp_min(1e-12), 0.0).sqrt().float()
        # parts are of one picture, so that there is nothing to do at once
        if self._at_once(reals) and not parts:
            return self._estimate_at_once(reals, noise, scale, plan, root)
        bases, base_errors, estimates, errors, unsent = [], [], [], [], []
        for row in range(len(reals)):
            places, index = self._order(plan, row)
            count, first, last = int(plan.counts[row]), layout.count, layout.count + len(places)
            sent_p = plan.powers[row, index]
            if not len(places):
                # without the map the variances are unknown; their mean is 1
                sent_p, last = plan.powers.new_ones(count - first), count
            p = F.pad(torch.cat([plan.base_powers[row], sent_p]), (0, count - last)).float()
            values, known = closed.despread(reals[row, :count], noise[row, :count], p)
            base_variance = plan.base_variances.float() * scale[row]
            bases.append(values[:first] * (base_variance / p[:first]).sqrt())
            base_error = base_variance * (1 - known[:first])
            variance = closed.of_levels(variances.float() * scale[row], plan.levels[row]).flatten()
            own = slice(first, first + len(places))
            estimates.append(
                torch.zeros_like(variance).index_copy(
                    0, places, values[own] * root[row, index] * scale[row].sqrt()
                )
            )
            errors.append(
                torch.zeros_like(variance).index_copy(0, places, variance[places] * (1 - known[own]))
            )
            unsent.append(variance.index_fill(0, places, 0.0))
            # of a large picture these are hundreds of megabytes
            del variance
            if parts:
                # what was not sent yet is as uncertain as its variance
                whole = torch.cat([errors[-1] + unsent[-1], base_error])
                every = torch.cat([estimates[-1], bases[-1]])
                missing = F.pad(unsent[-1], (0, first))
                self._refined(parts, plan, every, whole, missing)
                (estimates[-1], bases[-1]), (whole, base_error) = (
                    v.split([pixels, first]) for v in (every, whole)
                )
                unsent[-1] = missing[:pixels]
                errors[-1] = whole - unsent[-1]
            base_errors.append(base_error.sum() / pixels)
        shape = plan.levels.shape
        error, rest = (_batch_of(rows).view(shape) for rows in (errors, unsent))
        planes = closed.adaptive_idct(_batch_of(estimates).view(shape), plan.blocks)
        return torch.stack(bases), torch.stack(base_errors), planes, error, rest

    @staticmethod
    def _estimate_at_once(reals, noise, scale, plan: Plan, root):
        layout, room = plan.base, int(plan.counts.max())
        first, shape, pixels = layout.count, plan.levels.shape, plan.levels[0].numel()
        places, sent = closed.chosen_rows(plan.levels, plan.choice)
        index = (plan.levels.flatten(1).gather(1, places).long() - closed.LEVEL_MIN).clamp_min(0)
        powers = torch.where(sent, plan.powers.gather(1, index), 0.0)
        p = torch.cat([plan.base_powers, powers], dim=1)
        p = F.pad(p, (0, room - p.shape[1]))
        # without the map the variances are unknown; their mean is 1
        unknown = ~sent.any(dim=1)[:, None] & (torch.arange(room, device=p.device) >= first)
        p = torch.where(unknown, 1.0, p).float()
        values, known = closed.despread_rows(reals[:, :room], noise[:, :room], p, plan.counts)
        base_variance = plan.base_variances.float() * scale[:, None]
        base = values[:, :first] * (base_variance / p[:, :first]).sqrt()
        base_error = (base_variance * (1 - known[:, :first])).sum(dim=1) / pixels
        variance = closed.of_levels(closed.level_variances().to(reals.device), plan.levels).flatten(1)
        variance = variance * scale[:, None]
        own = slice(first, first + places.shape[1])
        # what is not sent is put one beyond the end
        places = torch.where(sent, places, pixels)
        blank = variance.new_zeros(len(variance), pixels + 1)
        estimate = values[:, own] * root.gather(1, index) * scale[:, None].sqrt()
        estimate = blank.scatter(1, places, estimate)[:, :-1].view(shape)
        padded = F.pad(variance, (0, 1))
        error = blank.scatter(1, places, padded.gather(1, places) * (1 - known[:, own]))[:, :-1]
        rest = padded.scatter(1, places, 0.0)[:, :-1]
        planes = closed.adaptive_idct(estimate, plan.blocks)
        return base, base_error, planes, error.view(shape), rest.view(shape)

    def _read_plan(self, latents: Latents, size) -> tuple[Plan, torch.Tensor, torch.Tensor]:
        """The plan, and values and noise variances of its latents alone."""
        values, noise_var = latents.values, latents.noise_var
        if noise_var is None:
            raise ImageError("received symbols come with noise_var, the noise variance of each.")
        if latents.shared is not None:
            return _shared_plan(latents), values, noise_var
        rows, columns = (-(-length // closed.CELL) for length in size)
        total, (coder, key) = values.shape[1], self.map_coder()
        if total < self._least_symbols(rows, columns):
            raise ImageError(
                f"{total} symbols do not fit an image of {size[0]}x{size[1]} pixels: its base layer alone takes "
                f"{self._least_symbols(rows, columns)}."
            )
        side_fields = latents.side_bits
        maps, lost, sides, losses = [], [], [], []
        for row in range(len(values)):
            code, units = int(side_fields[row] >> 6 & 63), int(side_fields[row] & 63)
            bits, side, loss = None, 0, self.side_loss
            # the margin is the sender's choice
            for loss in dict.fromkeys((self.side_loss, *sideinfo.LOSSES)) if units else ():
                layout = sideinfo.side_layout(units, total, code, self.side_backoff_db, loss)
                side = layout.symbols
                if layout.capacity > 0:
                    own = values[row, :side].cpu(), noise_var[row, :side].cpu()
                    bits = sideinfo.receive_bits(*own, layout, key)
                if bits is not None:
                    break
            losses.append(loss)
            blocks = (
                sideinfo.default_map(rows, columns)
                if bits is None
                else coder.decode(bits, rows, columns, code)
            )
            maps.append(blocks)
            lost.append(bool(units) and bits is None)
            sides.append(side)
        first = torch.tensor(sides, device=values.device)
        plan = self.plan(
            *(
                _to(_stacked(maps), values.device),
                side_fields >> 6 & 63,
                side_fields >> 12 & 7,
                total - first,
            ),
            coder.histograms if values.device.type == "cpu" else None,
        )
        plan = replace(plan, side_losses=tuple(losses))
        # a row's latents follow its map
        place = (torch.arange(total, device=values.device) + first[:, None]).clamp_max(total - 1)
        got = replace(
            latents, values=values.gather(1, place), noise_var=noise_var.gather(1, place), shared=plan
        )
        got = self.forget(got, torch.tensor(lost, device=values.device))
        return _shared_plan(got), got.values, got.noise

    def _least_symbols(self, rows: int, columns: int) -> int:
        return self._layout(rows * closed.CELL, columns * closed.CELL).count

    def _layout(self, height: int, width: int, device=torch.device("cpu")) -> closed.BaseLayout:
        """The base layer of pictures of that size (multiples of ``CELL``)."""
        layout = closed.base_layout(height, width)
        return layout if device.type == "cpu" else layout.to(device)

    def _network(self, trunk: nn.Module, *given) -> torch.Tensor:
        with torch.autocast(given[0].device.type, enabled=self._autocast):
            return trunk(*given).float()

    # --- inputs of the networks ---------------------------------------------------------------------------------

    def _class_index(self, blocks: BlockMap) -> torch.Tensor:
        first = torch.tensor([0, *self.classes[:-1]], device=blocks.size.device).cumsum(0) + 1
        index = first[blocks.size.long().clamp_min(0)] + blocks.kind.long()
        return torch.where(blocks.size < 0, 0, index)

    def _sender_cells(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """The input of the sender's network of each cell, and the deviation of the error that it expects there."""
        variances = closed.level_variances().to(plan.levels.device)
        noise = closed.code_noise(plan.code)
        # the error of each level, sent or not, as if all of the threshold's own level were sent
        place = torch.arange(closed.LEVELS, device=noise.device)
        sent = (place >= plan.choice.threshold[:, None]) & (plan.choice.count > 0)[:, None]
        error = torch.where(sent, variances * noise[:, None] / (plan.powers + noise[:, None]), 0.0)
        tables = [torch.where(sent, error, 0.0), torch.where(sent, 0.0, variances.expand_as(error))]
        zones = []
        for table in tables:
            values = torch.stack([closed.of_levels(own, levels) for own, levels in zip(table, plan.levels)])
            zones.append(closed.zone_energy(values, plan.blocks))
        mu = _as_feature(plan.mu.float())[:, None, None, None].expand(-1, 1, *zones[0].shape[2:])
        known = self.sender_classes(self._class_index(plan.blocks)).permute(0, 3, 1, 2)
        return torch.cat([known, *map(_as_feature, zones), mu], dim=1), _deviation(
            zones[0] + zones[1], plan.blocks
        )

    def _receiver_cells(
        self, plan: Plan, error, unsent, base_error, power
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the receiver's, from the noise that it measured."""
        zones = [closed.zone_energy(values, plan.blocks) for values in (error, unsent)]
        whole = torch.stack([_as_feature(base_error), 0.25 * power.float().log2()], dim=1)
        whole = whole[:, :, None, None].expand(-1, -1, *zones[0].shape[2:])
        known = self.receiver_classes(self._class_index(plan.blocks)).permute(0, 3, 1, 2)
        cells = torch.cat([known, *map(_as_feature, zones), whole], dim=1)
        return cells, _deviation(
            zones[0] + zones[1] + base_error[:, None, None, None] / closed.ZONES, plan.blocks
        )


def _deviation(zones: torch.Tensor, blocks: BlockMap) -> torch.Tensor:
    """Deviation of the error of a pixel ``[B, 3, rows, columns]`` from its variance in the zones of a cell."""
    luma, chroma = zones.split(closed.ZONES, dim=1)
    chroma = chroma.sum(dim=1, keepdim=True) / 2
    variance = torch.cat([luma.sum(dim=1, keepdim=True), chroma, chroma], dim=1)
    return torch.where(blocks.size[:, None] < 0, _UNKNOWN, (variance + _SMALLEST).sqrt())


def _shared_plan(latents: Latents) -> Plan:
    """What both ends know in a training. Raises ModelError: it is not there."""
    if not isinstance(latents.shared, Plan):
        raise ModelError("these latents come without their plan: send them with in_memory=True.")
    return latents.shared


def _batch_of(rows: list[torch.Tensor]) -> torch.Tensor:
    """``torch.stack``, without a copy of a single row."""
    return rows[0][None] if len(rows) == 1 else torch.stack(rows)


def _stacked(maps: list[BlockMap]) -> BlockMap:
    return BlockMap(torch.cat([m.size for m in maps]), torch.cat([m.kind for m in maps]))


def _to(blocks: BlockMap, device) -> BlockMap:
    return BlockMap(blocks.size.to(device), blocks.kind.to(device))


def _as_feature(variance: torch.Tensor) -> torch.Tensor:
    """Variances a pixel as numbers of about -1..1: decades about 1e-4, halved."""
    return 0.5 * torch.log10(variance + _SMALLEST) + 2
