# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes over a given number of symbols: blocks with a CRC each, LDPC, scrambling, QAM; and back by soft demapping."""

import binascii
from dataclasses import dataclass

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError
from semcom.modulation import map_bits
from semcom.payload.coded.base_graph import MAX_INFO_BITS
from semcom.payload.coded.ldpc import LdpcCode, ldpc_code
from semcom.payload.coded.mcs import TABLE, Mcs, threshold_db
from semcom.security import ring

CRC_BITS = 16
MAX_BLOCK_SYMBOLS = 2048
_SCRAMBLER_SEED = 38212


@dataclass(frozen=True)
class Layout:
    """How ``symbols`` payload symbols of a picture are cut into blocks, and what they hold.

    Blocks are as long as the code allows, at most ``MAX_BLOCK_SYMBOLS``, and differ by at most one symbol.

    Raises:
        ConfigError: too few symbols for a CRC and a byte.
    """

    symbols: int
    mcs: Mcs

    def __post_init__(self):
        if self.payload_bytes < 1:
            raise ConfigError(
                f"{self.symbols} symbols of {self.mcs.name} hold no byte beside the CRC: take a larger picture, "
                f"another model, or a scheme of higher rate."
            )

    @property
    def blocks(self) -> int:
        room = min(MAX_BLOCK_SYMBOLS, int(MAX_INFO_BITS[1] / self.mcs.efficiency))
        return -(-self.symbols // room)

    @property
    def block_symbols(self) -> list[int]:
        """Symbols of each block; the longer ones come first."""
        each, more = divmod(self.symbols, self.blocks)
        return [each + (number < more) for number in range(self.blocks)]

    def info_bits(self, block_symbols: int) -> int:
        """Information bits of a block, its CRC included."""
        return min(round(block_symbols * self.mcs.efficiency), MAX_INFO_BITS[1])

    @property
    def payload_bytes(self) -> int:
        """Bytes a picture, what a source codec may spend."""
        return sum(self.info_bits(symbols) - CRC_BITS for symbols in self.block_symbols) // 8

    def code(self, block_symbols: int) -> LdpcCode:
        return ldpc_code(self.info_bits(block_symbols), block_symbols * self.mcs.bits, self.mcs.bits)

    def runs(self) -> list[tuple[int, int]]:
        """(number of blocks, symbols of each) of the neighbours of one length."""
        lengths = self.block_symbols
        return [(lengths.count(length), length) for length in dict.fromkeys(lengths)]


def choose(snr_db: float, symbols: int) -> Mcs:
    """The scheme of highest efficiency that works for a picture of so many symbols; the most robust if none does.

    Those that hold no byte in so few symbols are left out.

    Args:
        snr_db: Es/N0 in dB as the transmitter knows it.

    Raises:
        ConfigError: no scheme holds a byte.
    """
    holding = [mcs for mcs in TABLE if _holds(mcs, symbols)]
    # in words, of the one that holds the most
    most_robust = holding[0] if holding else Layout(symbols, TABLE[-1]).mcs
    return next((mcs for mcs in reversed(holding) if works(mcs, symbols, snr_db)), most_robust)


def works(mcs: Mcs, symbols: int, snr_db: float) -> bool:
    """Whether a scheme gets a picture of so many symbols through at an Es/N0 in dB.

    Raises:
        ConfigError: it holds no byte in so few.
    """
    layout = Layout(symbols, mcs)
    return threshold_db(mcs, min(layout.block_symbols), layout.blocks) <= snr_db


def _holds(mcs: Mcs, symbols: int) -> bool:
    try:
        return Layout(symbols, mcs).payload_bytes > 0
    except ConfigError:
        return False


def send(payload: bytes, layout: Layout) -> torch.Tensor:
    """Bytes to symbols ``[k]`` complex64 of mean power 1 (on average over payloads).

    Raises:
        ConfigError: more bytes than the layout holds.
    """
    if len(payload) > layout.payload_bytes:
        raise ConfigError(f"{len(payload)} bytes do not fit a payload of {layout.payload_bytes}")
    bits = np.unpackbits(np.frombuffer(payload.ljust(layout.payload_bytes, b"\x00"), np.uint8))
    coded, at = [], 0
    for count, symbols in layout.runs():
        room = layout.info_bits(symbols) - CRC_BITS
        some = bits[at : at + count * room]
        some = np.pad(some, (0, count * room - len(some))).reshape(count, room)
        at += count * room
        info = np.concatenate([some, _crc(some)], axis=1)
        coded.append(layout.code(symbols).encode(torch.from_numpy(info)).flatten())
    flips = _scrambler(layout.symbols * layout.mcs.bits)
    return map_bits(torch.cat(coded) ^ flips, layout.mcs.order)


def receive(
    symbols: torch.Tensor, noise_var: torch.Tensor, layout: Layout, steps: torch.Tensor | None = None
) -> bytes | None:
    """Received symbols to bytes, zeros after their end included; None if a block fails its CRC.

    Args:
        symbols: ``[k]`` complex, equalised. noise_var: ``[k]``, inf where erased. steps: ``[k, 2]`` of a key stream that
            was added (``security.ring``); None: none was.
    """
    ratios = ring.soft_demap(symbols, noise_var, steps, layout.mcs.order).flatten()
    ratios *= 1 - 2 * _scrambler(len(ratios)).float()
    bits, at = [], 0
    for count, length in layout.runs():
        take = count * length * layout.mcs.bits
        info, _ = layout.code(length).decode(ratios[at : at + take].view(count, -1))
        at += take
        body, crc = info.numpy()[:, :-CRC_BITS], info.numpy()[:, -CRC_BITS:]
        if (_crc(body) != crc).any():
            return None
        bits.append(body.ravel())
    return np.packbits(np.concatenate(bits)[: 8 * layout.payload_bytes].astype(np.uint8)).tobytes()


def _crc(bits: np.ndarray) -> np.ndarray:
    """CRC-16/CCITT of bit rows ``[B, n]``, zeros added to whole bytes, as bits ``[B, 16]``."""
    rows = np.packbits(bits.astype(np.uint8), axis=1)
    values = np.array([binascii.crc_hqx(row.tobytes(), 0xFFFF) for row in rows], dtype=">u2")
    return np.unpackbits(values.view(np.uint8).reshape(-1, 2), axis=1)


@cached_tensors(16)
def _scrambler(bits: int) -> torch.Tensor:
    """A fixed random sequence, so that zeros after a payload's end are symbols like any others. int8 ``[bits]``."""
    return torch.from_numpy(np.random.default_rng(_SCRAMBLER_SEED).integers(0, 2, bits, dtype=np.int8))
