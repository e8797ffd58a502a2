# SPDX-License-Identifier: GPL-3.0-or-later
"""Side information that must arrive whole: the map of blocks and classes, as entropy-coded bits, as coded symbols.

The quadtree is walked root by root in Z-order; each node says its class or that it splits, one symbol of an adaptive
alphabet. Its probability is P(symbol | band of the allocation SNR) P(context | symbol), both counted in training
pictures; the context is the mean activity of the cells at its left and upper edge, and how many of them are cut finer.
The bits (range coding, ``constriction``) end in a CRC-32 that also covers the class tables, and go through the
project's LDPC code at a rate that depends on the allocation SNR alone.
"""

import functools
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.codec.image import allocation as closed
from semcom.codec.image.allocation import BlockMap
from semcom.errors import MissingError
from semcom.modulation import map_bits, soft_demap
from semcom.payload.coded import mcs
from semcom.payload.coded.base_graph import MAX_INFO_BITS
from semcom.payload.coded.ldpc import ldpc_code

BANDS = 8
CODES_PER_BAND = closed.SNR_CODES // BANDS
ACTIVITIES = 13
"""Contexts of neighbours' activity; the last: there are none."""
CONTEXTS = 3 * ACTIVITIES
UNITS = 63
"""The header says in how many units of symbols the coded map is sent; 0: none, the default map holds."""
SIDE_SHARE = 0.1
"""Largest share of a picture's symbols that the map may take."""
LOSSES = (0.1, 0.3, 0.6)
"""Shares of the map's symbols that a transmitter may allow to be lost; a receiver tries them until the CRC holds."""
_ACTIVITY_LEVELS = 1.5 * closed.LEVELS_PER_OCTAVE
_ACTIVITY_LOW = -16 * closed.LEVELS_PER_OCTAVE
#: repetition of the most robust scheme, which lowers its threshold by the energy it gathers
_REPEATS = (2, 4, 8, 16)
_BLOCK_SYMBOLS = 256
_CRC_BITS = 32
_SCRAMBLER_SEED = 38213


# --- bits a symbol --------------------------------------------------------------------------------------------


@functools.cache
def _rates(backoff_db: float) -> list[tuple[int, float]]:
    """(points of the constellation, information bits a symbol) that work at each allocation SNR's back-off.

    From the measured thresholds of the LDPC code (blocks of 256 symbols, one block in a thousand lost), between the
    rates of one constellation on a straight line of log efficiency, and below the most robust by repetition.
    """
    curves: dict[int, list[tuple[float, float]]] = {}
    for scheme in mcs.TABLE:
        point = mcs.threshold_db(scheme, _BLOCK_SYMBOLS, 2), scheme.efficiency
        curves.setdefault(scheme.order, []).append(point)
    robust = curves[mcs.TABLE[0].order]
    first_db, first = robust[0]
    robust[:0] = [(first_db - 10 * np.log10(n), first / n) for n in reversed(_REPEATS)]
    out = []
    for code in range(closed.SNR_CODES):
        at = float(closed.code_snr_db(torch.tensor(code, dtype=torch.float64))) - backoff_db
        found = [(mcs.TABLE[0].order, robust[0][1] * 10 ** ((at - robust[0][0]) / 10))]
        for order, points in curves.items():
            snr_db, bits = zip(*points)
            if at >= snr_db[0]:
                found.append((order, float(np.exp(np.interp(at, snr_db, np.log(bits))))))
        out.append(max(found[1:] or found, key=lambda each: each[1]))
    return out


@cached_tensors()
def efficiencies(backoff_db: float, loss: float) -> torch.Tensor:
    """Information bits a symbol of the map at each allocation SNR, ``[SNR_CODES]`` float64.

    Args:
        backoff_db: how far below the allocation SNR the map must still be read. loss: share of its symbols that may
            be lost.
    """
    return torch.tensor([bits * (1 - loss) for _, bits in _rates(backoff_db)], dtype=torch.float64)


def unit_symbols(total: int) -> int:
    """Symbols of one unit of the coded map of a picture of ``total`` symbols."""
    return -(-int(SIDE_SHARE * total) // UNITS)


@dataclass(frozen=True)
class SideLayout:
    """How the map's bits lie in its symbols: what header and link settings determine alone.

    Attributes:
        symbols: of all blocks. order: points of the constellation. info: bits of each block. coded: coded bits of each.
    """

    symbols: int
    order: int
    info: tuple[int, ...]
    coded: tuple[int, ...]

    @property
    def capacity(self) -> int:
        """Bits that the map may have beside its CRC."""
        return sum(self.info) - _CRC_BITS


def side_layout(units: int, total: int, code: int, backoff_db: float, loss: float) -> SideLayout:
    """The layout of ``units`` units at an allocation SNR; blocks differ by at most one symbol and one bit."""
    symbols = min(units * unit_symbols(total), total)
    efficiency = float(efficiencies(backoff_db, loss)[code])
    order = _rates(backoff_db)[code][0]
    bits = order.bit_length() - 1
    info = max(int(symbols * efficiency), 0)
    blocks = max(-(-info // MAX_INFO_BITS[2]), 1)
    split = lambda n: tuple(n // blocks + (number < n % blocks) for number in range(blocks))  # noqa: E731
    return SideLayout(symbols, order, split(info), tuple(bits * s for s in split(symbols)))


def units_for(bits: int, total: int, code: int, backoff_db: float, loss: float) -> int | None:
    """The fewest units that hold so many bits and their CRC; None if there is no room for them."""
    for units in range(1, UNITS + 1):
        layout = side_layout(units, total, code, backoff_db, loss)
        if layout.symbols <= SIDE_SHARE * total and layout.capacity >= bits:
            return units
    return None


# --- bits to symbols --------------------------------------------------------------------------------------------


def send_bits(bits: np.ndarray, layout: SideLayout, key: int) -> torch.Tensor:
    """Bits (at most ``layout.capacity``) and their CRC-32 to symbols ``[layout.symbols]`` complex64 of power 1.

    Args:
        key: CRC-32 of the class tables: a map of another model fails at the receiver.
    """
    body = np.zeros(layout.capacity, np.uint8)
    body[: len(bits)] = bits
    every = torch.from_numpy(np.concatenate([body, _crc(body, key)]))
    coded, at = [], 0
    for info, length in zip(layout.info, layout.coded):
        code = ldpc_code(info, length, layout.order.bit_length() - 1)
        coded.append(code.encode(every[None, at : at + info])[0])
        at += info
    word = torch.cat(coded)
    return map_bits(word ^ _scrambler(len(word)), layout.order)


def receive_bits(
    symbols: torch.Tensor, noise_var: torch.Tensor, layout: SideLayout, key: int
) -> np.ndarray | None:
    """Received symbols ``[layout.symbols]`` to the bits ``[layout.capacity]``; None if the CRC fails."""
    ratios = soft_demap(symbols, noise_var, layout.order).flatten()
    ratios = ratios * (1 - 2 * _scrambler(len(ratios)).float())
    found, at = [], 0
    for info, length in zip(layout.info, layout.coded):
        code = ldpc_code(info, length, layout.order.bit_length() - 1)
        found.append(code.decode(ratios[None, at : at + length])[0][0])
        at += length
    every = torch.cat(found).numpy().astype(np.uint8)
    body = every[:-_CRC_BITS]
    return body if (every[-_CRC_BITS:] == _crc(body, key)).all() else None


def _crc(bits: np.ndarray, key: int) -> np.ndarray:
    value = zlib.crc32(np.packbits(bits).tobytes(), key)
    return np.unpackbits(np.array([value], ">u4").view(np.uint8))


@cached_tensors(16)
def _scrambler(bits: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(_SCRAMBLER_SEED).integers(0, 2, bits, dtype=np.int8))


# --- the map to bits --------------------------------------------------------------------------------------------


def activities(tables: list[torch.Tensor]) -> list[np.ndarray]:
    """A class's mean variance a coefficient as a context number, ``[classes]`` a size, by integers alone."""
    scale = torch.round(closed.level_variances() * 2.0**30).long()
    bounds = torch.round(
        torch.exp2(
            (_ACTIVITY_LOW + _ACTIVITY_LEVELS * torch.arange(1, ACTIVITIES - 1).double())
            / closed.LEVELS_PER_OCTAVE
        )
        * 2.0**30
    ).long()
    out = []
    for table in tables:
        # the sum, not the mean: a division would round
        total = scale[table.long() - closed.LEVEL_MIN].sum(dim=1)
        out.append((total[:, None] >= bounds * table.shape[1]).sum(dim=1).numpy())
    return out


def default_map(rows: int, columns: int) -> BlockMap:
    """The map that needs no side information: class 0, blocks of 32 pixels where they fit, smaller at the edges."""
    size = np.full((rows, columns), len(closed.SIZES) - 1, np.int8)
    for number in (2, 1):
        step = closed.SIZES[number] // closed.CELL
        size[: rows // step * step, : columns // step * step] = number
    sizes = torch.from_numpy(size)[None]
    return BlockMap(sizes, torch.zeros_like(sizes, dtype=torch.int16))


class MapCoder:
    """Maps to bits and back, by the counts of one codec.

    Args:
        tables: class tables. usage: counts ``[BANDS, classes + 1]`` a size. contexts: ``[CONTEXTS, classes + 1]``.
    """

    def __init__(self, tables, usage, contexts):
        self._activity = [list(map(int, values)) for values in activities(tables)]
        self._usage = [u.numpy().astype(np.float64) + 0.5 for u in usage]
        likelihood = [c.numpy().astype(np.float64) + 0.5 for c in contexts]
        self._likelihood = [c / c.sum(axis=0, keepdims=True) for c in likelihood]
        self._models: dict = {}

    def __deepcopy__(self, memo) -> "MapCoder":
        # it never changes but for its cache of models, which cannot be copied
        return self

    def encode(self, blocks: BlockMap, code: int) -> np.ndarray:
        """The bits of a map of one picture."""
        size, kind = blocks.size[0].tolist(), blocks.kind[0].tolist()
        coder = _constriction().stream.queue.RangeEncoder()
        band = code // CODES_PER_BAND

        def visit(number: int, row: int, column: int, context: int) -> int:
            whole = size[row][column] == number
            symbol = kind[row][column] if whole else len(self._activity[number])
            coder.encode(symbol, self._model(number, band, context))
            return symbol

        self._walk(len(size), len(size[0]), visit)
        return np.unpackbits(coder.get_compressed().astype(">u4").view(np.uint8))

    def decode(self, bits: np.ndarray, rows: int, columns: int, code: int) -> BlockMap:
        """The inverse of :meth:`encode`; zeros after the end of the bits do not matter."""
        words = np.packbits(np.pad(bits, (0, -len(bits) % 32))).view(">u4").astype(np.uint32)
        coder = _constriction().stream.queue.RangeDecoder(words)
        band = code // CODES_PER_BAND

        def visit(number: int, row: int, column: int, context: int) -> int:
            return coder.decode(self._model(number, band, context))

        return self._walk(rows, columns, visit)

    def count(self, blocks: BlockMap, contexts: list[torch.Tensor]) -> None:
        """Adds the contexts of a map of one picture to ``[CONTEXTS, classes + 1]`` counts a size."""
        size, kind = blocks.size[0].tolist(), blocks.kind[0].tolist()

        def visit(number: int, row: int, column: int, context: int) -> int:
            whole = size[row][column] == number
            symbol = kind[row][column] if whole else len(self._activity[number])
            contexts[number][context, symbol] += 1
            return symbol

        self._walk(len(size), len(size[0]), visit)

    def _model(self, number: int, band: int, context: int):
        key = (number, band, context)
        if key not in self._models:
            weight = self._usage[number][band] * self._likelihood[number][context]
            if closed.SIZES[number] == closed.CELL:
                weight = weight[:-1]
            self._models[key] = _constriction().stream.model.Categorical(weight / weight.max(), perfect=False)
        return self._models[key]

    def _walk(self, rows: int, columns: int, visit) -> BlockMap:
        """Visits the nodes in Z-order; ``visit`` gives the symbol of each, of which the map is made."""
        size = [[-1] * columns for _ in range(rows)]
        kind = [[0] * columns for _ in range(rows)]
        activity = [[-1] * columns for _ in range(rows)]

        def node(number: int, row: int, column: int) -> None:
            step = closed.SIZES[number] // closed.CELL
            if row >= rows or column >= columns:
                return
            fits = row + step <= rows and column + step <= columns
            symbol = -1
            if fits:
                symbol = visit(number, row, column, _context(size, activity, number, row, column, step))
            if not fits or symbol == len(self._activity[number]):
                half = step // 2
                for down, across in ((0, 0), (0, half), (half, 0), (half, half)):
                    node(number + 1, row + down, column + across)
                return
            own = self._activity[number][symbol]
            for r in range(row, row + step):
                size[r][column : column + step] = [number] * step
                kind[r][column : column + step] = [symbol] * step
                activity[r][column : column + step] = [own] * step

        root = closed.ROOT // closed.CELL
        for row in range(0, rows, root):
            for column in range(0, columns, root):
                node(0, row, column)
        return BlockMap(
            torch.tensor(size, dtype=torch.int8)[None], torch.tensor(kind, dtype=torch.int16)[None]
        )


def _context(size, activity, number: int, row: int, column: int, step: int) -> int:
    total = seen = finer = 0
    if column:
        for r in (row, row + step - 1):
            total, seen = total + activity[r][column - 1], seen + 1
        finer += size[row][column - 1] > number
    if row:
        for c in (column, column + step - 1):
            total, seen = total + activity[row - 1][c], seen + 1
        finer += size[row - 1][column] > number
    return finer * ACTIVITIES + (total // seen if seen else ACTIVITIES - 1)


@functools.cache
def _constriction():
    try:
        import constriction
    except ImportError:
        raise MissingError(
            "the content-adaptive codec codes its side information with constriction: pip install constriction."
        ) from None
    return constriction
