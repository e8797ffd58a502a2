# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst header: fields, bits, and a code strong enough never to be the cliff.

136 bits (120 of fields, 16 of CRC) are cut into 17 bytes; each byte is one word of the first-order Reed-Muller
code RM(1, 7) (biorthogonal, 128 chips, distance 64), which a single matrix product decodes by maximum likelihood.
The 2,176 chips are interleaved and repeated to fill the header's QPSK symbols.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError, HeaderError
from semcom.modem import sequences
from semcom.modulation import ORDERS

VERSION = 2
MODE_LATENTS = 0  # payload: one complex latent a subcarrier
DIGITAL_MODES = (
    1,
    2,
    3,
    4,
    5,
    6,
)  # payload: labels of quantised latents, on a constellation of so many points:
MODE_CODED = 7  # payload: bits of a source and channel code (separation); model_hash names both
MODES = (MODE_LATENTS, *DIGITAL_MODES, MODE_CODED)
MAX_BITS_PER_LATENT = 8

MAX_SIDE = 2**13 - 1
MAX_LATENTS = 2**22 - 1

LINK_HASH_BITS = 10

_FIELDS = (  # name, bits
    ("version", 3),
    ("mode", 3),
    ("image_id", 16),
    ("burst_index", 9),
    ("burst_count", 9),
    ("height", 13),
    ("width", 13),
    ("latent_count", 22),
    ("model_hash", 22),
    ("link_hash", LINK_HASH_BITS),
)
HEADER_BITS = sum(bits for _, bits in _FIELDS) + 16
_WORD_BITS, _WORD_CHIPS = 8, 128
_WORDS = HEADER_BITS // _WORD_BITS
HEADER_CHIPS = _WORDS * _WORD_CHIPS


@dataclass(frozen=True)
class BurstHeader:
    """What a receiver must know of a burst before it can use the latents in it.

    ``link_hash`` names the transmitter's link profile; 0: it has none.

    Raises:
        HeaderError: a field out of its range; nothing is sent with a header that could not be read back.
    """

    image_id: int
    burst_index: int
    burst_count: int
    height: int
    width: int
    latent_count: int
    model_hash: int
    link_hash: int = 0
    mode: int = MODE_LATENTS
    version: int = VERSION

    def __post_init__(self):
        for name, bits in _FIELDS:
            value = getattr(self, name)
            if not 0 <= value < 2**bits:
                raise HeaderError(f"burst header: {name} is {value}, outside 0..{2**bits - 1}")

    @property
    def order(self) -> int:
        """Points of the payload's constellation; 0 where the payload is no labels of latents."""
        return order_of(self.mode)

    def check(self, max_latents_per_burst: int, modes: Collection[int] = MODES) -> None:
        """Refuses a header that passed its CRC but cannot be served; called before anything is allocated.

        Args:
            modes: payload modes that this receiver reads.

        Raises:
            HeaderError: version of another release, a mode not read here, or sizes that contradict each other.
        """
        if self.version != VERSION:
            raise HeaderError(f"burst of frame version {self.version}, this receiver reads version {VERSION}")
        if self.mode not in modes:
            raise HeaderError(
                f"payload mode {self.mode} ({describe(self.mode)}) is unknown to this receiver, which reads "
                f"{', '.join(describe(mode) for mode in sorted(modes))}"
            )
        if not (self.height and self.width and self.latent_count and self.burst_count):
            raise HeaderError("burst header with an empty picture")
        if self.burst_index >= self.burst_count:
            raise HeaderError(f"burst {self.burst_index} of {self.burst_count} cannot be")
        if self.burst_count != -(-self.latent_count // max_latents_per_burst):
            raise HeaderError(f"{self.latent_count} latents do not make {self.burst_count} bursts")
        spread = MAX_BITS_PER_LATENT if self.mode in DIGITAL_MODES else 1  # a bit a symbol at worst
        if self.latent_count > 3 * spread * (self.height + 64) * (self.width + 64):
            raise HeaderError(
                f"{self.latent_count} latents are too many for {self.height}x{self.width} pixels"
            )


def mode_of(order: int) -> int:
    """The payload mode of a constellation of ``order`` points; 0: analog latents.

    Raises:
        ConfigError: no such constellation.
    """
    if order == 0:
        return MODE_LATENTS
    if order not in ORDERS:
        raise ConfigError(
            f"modulation order {order!r} is unknown; choose one of {', '.join(map(str, ORDERS))}, or 0 for analog"
        )
    return DIGITAL_MODES[ORDERS.index(order)]


def order_of(mode: int) -> int:
    """Points of a payload mode's constellation; 0 where the payload is no labels of latents."""
    return ORDERS[mode - DIGITAL_MODES[0]] if mode in DIGITAL_MODES else 0


def describe(mode: int) -> str:
    """A payload mode in words."""
    if mode in DIGITAL_MODES:
        return f"digital latents of order {order_of(mode)}"
    return "coded bits" if mode == MODE_CODED else "analog latents"


def crc16(bits: np.ndarray) -> np.ndarray:
    """CRC-16/CCITT of bit rows ``[B, n]`` as bit rows ``[B, 16]`` (a linear map: one matrix product modulo 2)."""
    return (bits @ _crc_matrix(bits.shape[1]) + _crc_offset(bits.shape[1])) % 2


def _crc_long_division(bits) -> np.ndarray:
    register = 0xFFFF
    for bit in bits:
        register = ((register << 1) ^ (0x1021 if (register >> 15) ^ int(bit) else 0)) & 0xFFFF
    return np.array([register >> i & 1 for i in range(15, -1, -1)], dtype=np.int64)


@lru_cache(maxsize=2)
def _crc_offset(n: int) -> np.ndarray:
    return _crc_long_division(np.zeros(n, dtype=np.int64))


@lru_cache(maxsize=2)
def _crc_matrix(n: int) -> np.ndarray:
    return np.stack([_crc_long_division(row) ^ _crc_offset(n) for row in np.eye(n, dtype=np.int64)])


def pack(headers: list[BurstHeader]) -> np.ndarray:
    """Headers to bits with CRC, ``[B, HEADER_BITS]`` int64 of 0/1."""
    columns = []
    for name, bits in _FIELDS:
        values = np.array([getattr(h, name) for h in headers], dtype=np.int64)
        columns.append(values[:, None] >> np.arange(bits - 1, -1, -1) & 1)
    body = np.concatenate(columns, axis=1)
    return np.concatenate([body, crc16(body)], axis=1)


def unpack(bits: np.ndarray) -> list[BurstHeader | None]:
    """Bits ``[B, HEADER_BITS]`` to headers; None where the CRC fails."""
    body, crc = bits[:, :-16], bits[:, -16:]
    good = (crc16(body) == crc).all(axis=1)
    values, at = {}, 0
    for name, width in _FIELDS:
        values[name] = body[:, at : at + width] @ (1 << np.arange(width - 1, -1, -1))
        at += width
    return [
        BurstHeader(**{name: int(values[name][row]) for name in values}) if good[row] else None
        for row in range(len(bits))
    ]


@lru_cache(maxsize=1)
def _hadamard() -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < _WORD_CHIPS:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


@lru_cache(maxsize=4)
def _rate_match(chips_on_air: int) -> tuple[np.ndarray, np.ndarray]:
    """Which code chip each chip on the air repeats, and the +-1 sequence that scrambles it."""
    order = np.concatenate(
        [
            sequences.permutation(HEADER_CHIPS, sequences.SEED_CHIPS + turn)
            for turn in range(-(-chips_on_air // HEADER_CHIPS))
        ]
    )[:chips_on_air]
    sign = np.sign(sequences.qpsk(chips_on_air, sequences.SEED_CHIPS).real)
    return order, sign


def encode(bits: np.ndarray, symbols: int) -> np.ndarray:
    """Header bits ``[B, HEADER_BITS]`` to unit-power QPSK symbols ``[B, symbols]`` complex128."""
    words = bits.reshape(len(bits), _WORDS, _WORD_BITS)
    rows = words[..., 1:] @ (1 << np.arange(_WORD_BITS - 2, -1, -1))
    chips = (_hadamard()[rows] * (1 - 2 * words[..., :1])).reshape(len(bits), HEADER_CHIPS)
    order, sign = _rate_match(2 * symbols)
    air = chips[:, order] * sign
    return (air[:, 0::2] + 1j * air[:, 1::2]) / np.sqrt(2)


@cached_tensors(8)
def _decoder(chips_on_air: int, device, dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    order, sign = _rate_match(chips_on_air)
    return (
        torch.as_tensor(order.copy(), device=device),
        torch.as_tensor(sign, device=device, dtype=dtype),
        torch.as_tensor(_hadamard(), device=device, dtype=dtype),
    )


def decode(soft: torch.Tensor) -> tuple[list[BurstHeader | None], torch.Tensor]:
    """Maximum-likelihood decoding of received header symbols.

    Args:
        soft: ``[B, symbols]`` complex, matched-filter outputs (conj(H) Y / noise), in the order of ``encode``.

    Returns:
        Headers (None where the CRC fails) and the bits as decoded, ``[B, HEADER_BITS]``.
    """
    air = torch.view_as_real(soft).flatten(1)
    order, sign, hadamard = _decoder(air.shape[1], air.device, air.dtype)
    chips = air.new_zeros(len(air), HEADER_CHIPS).index_add(1, order, air * sign)
    scores = chips.view(-1, _WORDS, _WORD_CHIPS) @ hadamard
    rows = scores.abs().argmax(-1, keepdim=True)
    negative = scores.gather(-1, rows) < 0
    shifts = torch.arange(_WORD_BITS - 2, -1, -1, device=air.device)
    bits = torch.cat([negative.long(), rows >> shifts & 1], dim=-1).flatten(1)
    return unpack(bits.cpu().numpy()), bits
