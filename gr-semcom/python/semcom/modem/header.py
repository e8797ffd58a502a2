# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst header of frame version 3: fields, bits, and a code that fails at a lower SNR than the payload.

160 bits (144 of fields, 16 of CRC) are cut into 20 bytes; each byte is one word of the first-order Reed-Muller
code RM(1, 7) (biorthogonal, 128 chips, distance 64), which a single matrix product decodes by maximum likelihood.
The 2,560 chips are interleaved and repeated to fill the header's QPSK symbols.

The CRC also covers the longest burst of the sender's profile, which is not sent: how many bursts an item has follows
from it, and a receiver of another profile must not cut the item otherwise.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError, HeaderError
from semcom.modem import sequences
from semcom.modulation import ORDERS

VERSION = 3
KIND_IMAGE = 0
MODE_LATENTS = 0  # payload: one complex latent a subcarrier
# payload: labels of quantised latents, one mode a constellation of ``modulation.ORDERS``
DIGITAL_MODES = (1, 2, 3, 4, 5, 6)
MODE_CODED = 7  # payload: bits of a source and channel code (separation); model_hash names both
MODE_HYBRID = 8  # payload: coded bits of a picture, then analog latents of what they leave over
MODES = (MODE_LATENTS, *DIGITAL_MODES, MODE_CODED, MODE_HYBRID)
MAX_BITS_PER_LATENT = 8

# cipher: nothing; signed by a second block; signed, and the payload's symbols scrambled by a key; signed, and a key
# stream added to them on a ring
OPEN, SIGNED, SCRAMBLED, ADDED = 0, 1, 2, 3
KEYED = (SIGNED, SCRAMBLED, ADDED)
UNSIGNED = "bursts without a tag: this link has a key, and they were sent without it"

MAX_SIDE = 2**13 - 1
SENDERS = 2**4
MAX_LATENTS = 2**22 - 1
MAX_BURSTS = 2**9

LINK_HASH_BITS = 10
CRC_BITS = 16
_LONGEST_BITS = 11
_WORD_BITS, _WORD_CHIPS = 8, 128


@dataclass(frozen=True, kw_only=True)
class BurstHeader:
    """What a receiver must know of a burst before it can use the latents in it.

    Attributes:
        image_id: number of the item, 0..65535; ``sender`` and this name it. burst_index: which of its bursts; how many
            there are follows from ``latent_count`` and the profile.
        height, width: of a picture, pixels; of another kind of item its two numbers.
        latent_count: complex payload symbols of all bursts. model_hash: 22 bits naming the codec.
        link_hash: names the transmitter's link profile; 0: it has none. mode: what the payload is, of ``MODES``.
        kind: what the item is; 0: a picture. sender: number of the transmitter, 0..15.
        side: 20 bits that only the codec understands; of a part of an item where it begins, say.
        waveform: 0, OFDM. cipher: 0; otherwise the header is followed by a block of authentication
            (``second_block``), and of 2 and 3 the key hides the payload too (``security``).

    Raises:
        HeaderError: a field out of its range; nothing is sent with a header that could not be read back.
    """

    FIELDS: ClassVar[tuple[tuple[str, int], ...]] = (  # name, bits
        ("version", 3),
        ("mode", 4),
        ("kind", 3),
        ("sender", 4),
        ("image_id", 16),
        ("burst_index", 9),
        ("height", 13),
        ("width", 13),
        ("latent_count", 22),
        ("model_hash", 22),
        ("link_hash", LINK_HASH_BITS),
        ("side", 20),
        ("waveform", 3),
        ("cipher", 2),
    )
    READ: ClassVar[int] = VERSION  # the version that ``check`` takes

    image_id: int
    burst_index: int
    height: int
    width: int
    latent_count: int
    model_hash: int
    link_hash: int = 0
    mode: int = MODE_LATENTS
    kind: int = KIND_IMAGE
    sender: int = 0
    side: int = 0
    waveform: int = 0
    cipher: int = 0
    version: int = VERSION

    def __post_init__(self):
        for name, bits in self.FIELDS:
            value = getattr(self, name)
            if not 0 <= value < 2**bits:
                raise HeaderError(f"burst header: {name} is {value}, outside 0..{2**bits - 1}")

    @property
    def order(self) -> int:
        """Points of the payload's constellation; 0 where the payload is no labels of latents."""
        return order_of(self.mode)

    @property
    def number(self) -> int:
        """What names a burst among those of a session: sender, item, part and place in it."""
        item = (self.sender << 16 | self.image_id) << 20 | self.side
        return (item << 22 | self.latent_count) << 9 | self.burst_index

    @property
    def most_latents(self) -> int:
        """More payload symbols than these a picture of this size and mode cannot have; of other kinds: any number."""
        if self.kind != KIND_IMAGE:
            return MAX_LATENTS
        spread = MAX_BITS_PER_LATENT if self.mode in DIGITAL_MODES else 1  # a bit a symbol at worst
        return min(MAX_LATENTS, 3 * spread * (self.height + 64) * (self.width + 64))

    def check(
        self,
        max_latents_per_burst: int,
        modes: Collection[int] = MODES,
        kinds: Collection[int] | None = None,
        ciphers: Collection[int] = (OPEN,),
    ) -> None:
        """Refuses a header that passed its CRC but cannot be served; called before anything is allocated.

        Args:
            modes: payload modes that this receiver reads. kinds: of items; None: any. ciphers: those it has a key for.

        Raises:
            HeaderError: version of another release, a waveform, cipher, kind or mode not read here, or sizes that
                contradict each other.
        """
        if self.version != self.READ:
            raise HeaderError(
                f"burst of frame version {self.version}, this receiver reads version {self.READ}"
            )
        if self.waveform:
            raise HeaderError(f"burst of waveform {self.waveform}, this receiver reads waveform 0 (OFDM)")
        if self.cipher not in ciphers:
            raise HeaderError(_not_this_cipher(self.cipher, ciphers))
        if kinds is not None and self.kind not in kinds:
            raise HeaderError(
                f"item of kind {self.kind} is unknown to this receiver, which reads kinds "
                f"{', '.join(map(str, sorted(kinds)))} (0: pictures)"
            )
        if self.mode not in modes:
            raise HeaderError(
                f"payload mode {self.mode} ({describe(self.mode)}) is unknown to this receiver, which reads "
                f"{', '.join(describe(mode) for mode in sorted(modes))}"
            )
        if not (self.height and self.width and self.latent_count):
            raise HeaderError(f"burst header with an empty {'item' if self.kind else 'picture'}")
        bursts = -(-self.latent_count // max_latents_per_burst)
        if self.burst_index >= bursts:
            raise HeaderError(f"burst {self.burst_index} of {bursts} cannot be")
        if self.latent_count > self.most_latents:
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
    names = {
        MODE_LATENTS: "analog latents",
        MODE_CODED: "coded bits",
        MODE_HYBRID: "coded bits and latents of the rest",
    }
    return names.get(mode, "of a later release")


def _not_this_cipher(cipher: int, ciphers: Collection[int]) -> str:
    if cipher == OPEN:
        return UNSIGNED
    if OPEN in ciphers:
        return f"burst of cipher {cipher}: it is sealed or signed with a key, and this receiver has none"
    return f"burst of cipher {cipher}, which this release does not know"


def crc16(bits: np.ndarray) -> np.ndarray:
    """CRC-16/CCITT of bit rows ``[B, n]`` as bit rows ``[B, 16]`` (a linear map: one matrix product modulo 2)."""
    return (bits @ _crc_matrix(bits.shape[1]) + _crc_offset(bits.shape[1])) % 2


def _crc_long_division(bits) -> np.ndarray:
    register = 0xFFFF
    for bit in bits:
        register = ((register << 1) ^ (0x1021 if (register >> 15) ^ int(bit) else 0)) & 0xFFFF
    return np.array([register >> i & 1 for i in range(15, -1, -1)], dtype=np.int64)


@lru_cache(maxsize=4)
def _crc_offset(n: int) -> np.ndarray:
    return _crc_long_division(np.zeros(n, dtype=np.int64))


@lru_cache(maxsize=4)
def _crc_matrix(n: int) -> np.ndarray:
    return np.stack([_crc_long_division(row) ^ _crc_offset(n) for row in np.eye(n, dtype=np.int64)])


@lru_cache(maxsize=1)
def _hadamard() -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < _WORD_CHIPS:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


@lru_cache(maxsize=8)
def _rate_match(code_chips: int, chips_on_air: int) -> tuple[np.ndarray, np.ndarray]:
    """Which code chip each chip on the air repeats, and the +-1 sequence that scrambles it."""
    order = np.concatenate(
        [
            sequences.permutation(code_chips, sequences.SEED_CHIPS + turn)
            for turn in range(-(-chips_on_air // code_chips))
        ]
    )[:chips_on_air]
    sign = np.sign(sequences.qpsk(chips_on_air, sequences.SEED_CHIPS).real)
    return order, sign


@cached_tensors(8)
def _decoder(code_chips: int, chips_on_air: int, device, dtype):
    order, sign = _rate_match(code_chips, chips_on_air)
    return (
        torch.as_tensor(order.copy(), device=device),
        torch.as_tensor(sign, device=device, dtype=dtype),
        torch.as_tensor(_hadamard(), device=device, dtype=dtype),
    )


class HeaderCode:
    """Headers of one frame version to symbols and back.

    Args:
        header: ``BurstHeader`` or what an older version has in its place.
        longest: payload symbols of a burst at most, by the profile; None: the version does not cover them.
    """

    def __init__(self, header: type[BurstHeader], longest: int | None):
        self._header, self._longest = header, longest
        self.bits = sum(bits for _, bits in header.FIELDS) + CRC_BITS

    @cached_property
    def chips(self) -> int:
        """Of the code, before they are repeated to fill the symbols."""
        return self.bits // _WORD_BITS * _WORD_CHIPS

    def header(self, burst_count: int, **fields) -> BurstHeader:
        """A header of this version; ``burst_count`` is for those that carry it. Raises HeaderError."""
        return self._header(**fields)

    def pack(self, headers: list[BurstHeader]) -> np.ndarray:
        """Headers to bits with CRC, ``[B, bits]`` int64 of 0/1."""
        columns = []
        for name, bits in self._header.FIELDS:
            values = np.array([getattr(h, name) for h in headers], dtype=np.int64)
            columns.append(values[:, None] >> np.arange(bits - 1, -1, -1) & 1)
        body = np.concatenate(columns, axis=1)
        return np.concatenate([body, self._crc(body)], axis=1)

    def _crc(self, body: np.ndarray) -> np.ndarray:
        return crc16(body if self._longest is None else _with_longest(body, self._longest))

    def unpack(self, bits: np.ndarray) -> list[BurstHeader | None]:
        """Bits ``[B, bits]`` to headers; None where the CRC fails."""
        body, crc = bits[:, :-CRC_BITS], bits[:, -CRC_BITS:]
        good = (self._crc(body) == crc).all(axis=1)
        return self._headers(body, good)

    def unpack_others(self, bits: np.ndarray) -> list[tuple[BurstHeader, int] | None]:
        """Headers whose CRC is that of a profile with other longest bursts, with the payload symbols of those."""
        if self._longest is None:
            return [None] * len(bits)
        body, crc = bits[:, :-CRC_BITS], bits[:, -CRC_BITS:]
        left = (crc16(_with_longest(body, 0)) ^ crc) @ _CRC_WEIGHTS
        longest = [_longest_by_crc(body.shape[1]).get(int(code)) for code in left]
        headers = self._headers(body, [n is not None for n in longest])
        return [
            None if header is None or n is None else (header, n)
            for header, n in zip(headers, longest, strict=True)
        ]

    def _headers(self, body: np.ndarray, wanted) -> list[BurstHeader | None]:
        """Headers of the rows ``[B, bits]`` that are wanted ``[B]``; None for the others."""
        columns, at = {}, 0
        for name, width in self._header.FIELDS:
            columns[name] = (body[:, at : at + width] @ (1 << np.arange(width - 1, -1, -1))).tolist()
            at += width
        return [
            self._header(**{name: column[row] for name, column in columns.items()}) if wanted[row] else None
            for row in range(len(body))
        ]

    def encode(self, bits: np.ndarray, symbols: int) -> np.ndarray:
        """Header bits ``[B, bits]`` to unit-power QPSK symbols ``[B, symbols]`` complex128."""
        air = rm_encode(bits, 2 * symbols)
        return (air[:, 0::2] + 1j * air[:, 1::2]) / np.sqrt(2)

    def decode(self, soft: torch.Tensor) -> tuple[list[BurstHeader | None], torch.Tensor]:
        """Maximum-likelihood decoding of received header symbols.

        Args:
            soft: ``[B, symbols]`` complex, matched-filter outputs (conj(H) Y / noise), in the order of ``encode``.

        Returns:
            Headers (None where the CRC fails) and the bits as decoded, ``[B, bits]``.
        """
        air = torch.view_as_real(soft).flatten(1)
        bits = _rm_bits(air, self.chips)
        return self.unpack(bits.cpu().numpy()), bits


def rm_encode(bits: np.ndarray, chips_on_air: int) -> np.ndarray:
    """Bits ``[B, n]``, n a multiple of 8, to chips +-1 ``[B, chips_on_air]``: RM(1, 7), interleaved, repeated."""
    words = bits.reshape(len(bits), -1, _WORD_BITS)
    rows = words[..., 1:] @ (1 << np.arange(_WORD_BITS - 2, -1, -1))
    chips = (_hadamard()[rows] * (1 - 2 * words[..., :1])).reshape(len(bits), -1)
    order, sign = _rate_match(chips.shape[1], chips_on_air)
    return chips[:, order] * sign


def rm_list(air: np.ndarray, code_chips: int, most: int) -> list[list[bytes]]:
    """Soft chips ``[B, chips_on_air]`` to up to ``most`` words of bytes a row, the likeliest first: of the others each
    has the second best in one place, the places in the order of their doubt."""
    scores = _rm_scores(torch.from_numpy(air), code_chips)
    values, found = torch.cat([scores, -scores], dim=-1).topk(2, dim=-1)
    rows = []
    for doubt, bytes_ in zip(
        (values[..., 0] - values[..., 1]).argsort(dim=-1).tolist(), found.tolist(), strict=True
    ):
        best = [first for first, _ in bytes_]
        row = [bytes(best)]
        for place in doubt[: most - 1]:
            row.append(bytes([*best[:place], bytes_[place][1], *best[place + 1 :]]))
        rows.append(row)
    return rows


def _rm_scores(air: torch.Tensor, code_chips: int) -> torch.Tensor:
    order, sign, hadamard = _decoder(code_chips, air.shape[1], air.device, air.dtype)
    chips = air.new_zeros(len(air), code_chips).index_add(1, order, air * sign)
    return chips.view(len(air), -1, _WORD_CHIPS) @ hadamard


def _rm_bits(air: torch.Tensor, code_chips: int) -> torch.Tensor:
    scores = _rm_scores(air, code_chips)
    rows = scores.abs().argmax(-1, keepdim=True)
    negative = scores.gather(-1, rows) < 0
    shifts = torch.arange(_WORD_BITS - 2, -1, -1, device=air.device)
    return torch.cat([negative.long(), rows >> shifts & 1], dim=-1).flatten(1)


_CRC_WEIGHTS = 1 << np.arange(CRC_BITS - 1, -1, -1)


def _with_longest(body: np.ndarray, longest: int) -> np.ndarray:
    tail = longest >> np.arange(_LONGEST_BITS - 1, -1, -1) & 1
    return np.concatenate([body, np.broadcast_to(tail, (len(body), _LONGEST_BITS))], axis=1)


@lru_cache(maxsize=2)
def _longest_by_crc(body_bits: int) -> dict[int, int]:
    """What so many payload symbols add to a CRC, which is linear, turned round."""
    body = np.zeros((1, body_bits), dtype=np.int64)
    none = crc16(_with_longest(body, 0))
    return {int((crc16(_with_longest(body, n)) ^ none)[0] @ _CRC_WEIGHTS): n for n in range(1, 2**10 + 1)}


@lru_cache(maxsize=16)
def code_of(longest: int) -> HeaderCode:
    """The code of version 3 under a profile whose bursts have at most so many payload symbols."""
    return HeaderCode(BurstHeader, longest)
