# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of the content-adaptive codec agree on: maps of classes, what is sent and at what power."""

import functools
import zlib
from dataclasses import dataclass

import torch

from semcom.codec.base import BaseCodec
from semcom.codec.image import allocation as closed
from semcom.codec.image import outline, sideinfo
from semcom.codec.image.allocation import BlockMap
from semcom.errors import ConfigError

MOST_RHO = 1 / 4
_RATIOS = 11  # down to 1/128: below, where no map fits, the networks cannot be trusted
#: of the map's bits, until it fits
_PRICES = (1, 2, 4, 8, 16, 32, 64)
#: the default map must leave so much less error: the networks have learnt with the others
_DEFAULT_GAIN = 0.9
#: by how much more than the SNR expected is allocated for from 0 to 4 dB, falling to nothing at -4 and 10 dB
LEAD_DB = 3.0


def allocation_snr_db(snr_db: torch.Tensor) -> torch.Tensor:
    """What a transmitter that expects ``snr_db`` allocates for.

    At low SNR that is up to ``LEAD_DB`` more: a receiver with a network makes more of many weak coefficients than
    water-filling for its linear estimate assumes, and the map is cheaper. Chosen on BSDS500's validation pictures; the
    header says what was taken, so receivers need not know. The map's margin is that much less.
    """
    share = torch.minimum((snr_db + 4) / 4, (10 - snr_db) / 6)
    return snr_db + LEAD_DB * share.clamp(0, 1)


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


@dataclass(frozen=True)
class CodedMap:
    """The map of one picture, ready to be sent.

    blocks: the map. boost: ``[1]`` of the base layer that goes with it. symbols: ``[side]`` complex, none of the default
    map. units: how many they are, as the header says it.
    """

    blocks: BlockMap
    boost: torch.Tensor
    symbols: torch.Tensor
    units: int


class PlannedCodec(BaseCodec):
    """The content-adaptive codec's tables, and what follows from them: sizes, plans and maps.

    Args:
        rho: complex symbols a colour value, side information counted.
        classes: classes of blocks of 64, 32, 16 and 8 pixels.
        side_backoff_db: how far below the allocation SNR the map is still read.
        side_loss: share of the map's symbols that may be lost.

    The class tables are zeros until they are measured (``semcom_training.classes``) or loaded.

    Raises:
        ConfigError: a rate beyond 1/4, or a number of classes that cannot be.
    """

    base_levels: torch.Tensor
    water_levels: torch.Tensor
    thresholds: torch.Tensor

    def __init__(
        self,
        rho: float,
        classes,
        side_backoff_db: float,
        side_loss: float,
        snr_range_db,
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

    def plan(self, blocks: BlockMap, code: torch.Tensor, boost: torch.Tensor, symbols: torch.Tensor) -> Plan:
        """What is sent where.

        Args:
            code, boost: ``[B]`` of the allocation SNR and of the base layer's power, as the header has them.
            symbols: ``[B]`` for latents.
        """
        rows, columns = blocks.size.shape[1:]
        layout = self._layout(rows * closed.CELL, columns * closed.CELL, code.device)
        dimensions = 2 * symbols
        noise = closed.code_noise(code)
        base_variances, base_powers = self._base(layout, code, boost, noise, dimensions)
        levels = closed.map_levels(blocks, self.tables())
        histogram = closed.level_histogram(levels)
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

    def _least_symbols(self, rows: int, columns: int) -> int:
        return self._layout(rows * closed.CELL, columns * closed.CELL).count

    def _layout(self, height: int, width: int, device=torch.device("cpu")) -> closed.BaseLayout:
        """The base layer of pictures of that size (multiples of ``CELL``)."""
        layout = closed.base_layout(height, width)
        return layout if device.type == "cpu" else layout.to(device)

    # --- the map ----------------------------------------------------------------------------------------------

    def choose_map(
        self,
        base,
        planes,
        code: torch.Tensor,
        total: torch.Tensor,
        bit_price: float = 1.0,
        energies: list[torch.Tensor] | None = None,
        prices: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[BlockMap, torch.Tensor]:
        """The map of least cost for ``total`` ``[B]`` symbols, and the boost of the base layer that goes with it.

        Args:
            base: coefficients ``[B, n]``. planes: ``[B, 3, H, W]`` without them.
            bit_price: what the map's bits cost beside what their symbols would be worth.
            energies, prices: what does not depend on ``bit_price``, of ``block_energies`` and ``first_prices``.
        """
        noise = closed.code_noise(code)
        bits_per_symbol = self.bits_per_symbol(code)
        mu, threshold = prices or self.first_prices(planes, code, total)
        energies = closed.block_energies(planes) if energies is None else energies
        boost = torch.full_like(code, closed.NO_BOOST)
        # the second time at the prices that the first map has; a third gains nothing
        for _ in range(2):
            priced = closed.prices(mu, threshold, noise, bits_per_symbol / bit_price)
            blocks = closed.choose_map(
                energies, planes.shape[-2:], self.tables(), self.class_bits(code), priced
            )
            symbols = total - (self.map_bits(blocks, code) / bits_per_symbol).long()
            plan = self.plan(blocks, code, boost, symbols)
            mu, threshold = plan.mu, plan.choice.threshold
            boost = self._best_boost(base, plan)
        return blocks, boost

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

    def coded_map(self, base, rest, code, total: int) -> list[CodedMap]:
        """The map of each picture as symbols, within their share of ``total``; the default map and no symbols where
        none fits, or where that one is expected to leave less error."""
        coder, key = self.map_coder()
        found = []
        for row in range(len(code)):
            own = slice(row, row + 1)
            snr, room = int(code[row]), torch.tensor([total], device=code.device)
            given = base[own], rest[own], code[own], room
            energies, prices = closed.block_energies(rest[own]), self.first_prices(*given[1:])
            best, worth_it = None, False
            for price in _PRICES:
                blocks, boost = self.choose_map(*given, bit_price=price, energies=energies, prices=prices)
                bits = coder.encode(moved(blocks, "cpu"), snr)
                units = sideinfo.units_for(len(bits), total, snr, self.side_backoff_db, self.side_loss)
                if units is not None:
                    layout = sideinfo.side_layout(units, total, snr, self.side_backoff_db, self.side_loss)
                    symbols = sideinfo.send_bits(bits, layout, key).to(rest.device)
                    best = CodedMap(blocks, boost, symbols, units)
                    # a map that is small beside what it orders has always been worth it
                    worth_it = price == 1 and 2 * units <= sideinfo.UNITS
                    break
            found.append(best if best is not None and worth_it else self._unless_default(best, *given))
        return found

    def _unless_default(self, chosen: CodedMap | None, base, planes, code, room) -> CodedMap:
        """``chosen`` (None: no map fits), or the default map if that leaves clearly less error."""
        blocks = self._default(planes)
        boost = self._best_boost(base, self.plan(blocks, code, torch.full_like(code, closed.NO_BOOST), room))
        if chosen is not None:
            plain = self.expected_error(base, planes, self.plan(blocks, code, boost, room))
            plan = self.plan(chosen.blocks, code, chosen.boost, room - len(chosen.symbols))
            if _DEFAULT_GAIN * self.expected_error(base, planes, plan) < plain:
                return chosen
        return CodedMap(blocks, boost, planes.new_zeros(0, dtype=torch.complex64), 0)

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

    @staticmethod
    def _default(planes: torch.Tensor) -> BlockMap:
        height, width = planes.shape[-2:]
        return moved(sideinfo.default_map(height // closed.CELL, width // closed.CELL), planes.device)

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


def stacked(maps: list[BlockMap]) -> BlockMap:
    """Maps of single pictures as one of a batch."""
    return BlockMap(torch.cat([m.size for m in maps]), torch.cat([m.kind for m in maps]))


def moved(blocks: BlockMap, device) -> BlockMap:
    """The map on a device."""
    return BlockMap(blocks.size.to(device), blocks.kind.to(device))
