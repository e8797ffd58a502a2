# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame version 2: what a replay of its recordings needs, and how today's receiver recognises its bursts.

Stations neither send nor read it. Nothing here changes: recordings must replay to the last bit
(``tests/capture/test_frame_version_2.py``).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from semcom.errors import HeaderError
from semcom.modem import header, sequences
from semcom.modem.header import LINK_HASH_BITS, BurstHeader, HeaderCode

VERSION = 2
HEADER_SYMBOLS, _TODAY = 6, 7  # by default, then and now
_SEED_INTERLEAVE = 14


@dataclass(frozen=True, kw_only=True)
class HeaderV2(BurstHeader):
    """120 bits of fields; kind, sender, side, waveform and cipher are 0. It carries the number of bursts.

    Raises:
        HeaderError: a field out of its range.
    """

    FIELDS: ClassVar[tuple[tuple[str, int], ...]] = (
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
    READ: ClassVar[int] = VERSION

    burst_count: int
    version: int = VERSION

    def __post_init__(self):
        super().__post_init__()
        for name in ("kind", "sender", "side", "waveform", "cipher"):
            if getattr(self, name):
                raise HeaderError(f"a burst header of frame version 2 has no {name}")

    def check(self, max_latents_per_burst, modes=header.MODES, kinds=None, ciphers=(header.OPEN,)) -> None:
        """As ``BurstHeader.check``; the number of bursts must be that of the latents. Raises HeaderError."""
        super().check(max_latents_per_burst, modes, kinds, ciphers)
        if self.burst_count != -(-self.latent_count // max_latents_per_burst):
            raise HeaderError(f"{self.latent_count} latents do not make {self.burst_count} bursts")


class _Code(HeaderCode):
    def header(self, burst_count: int, **fields) -> HeaderV2:
        return HeaderV2(burst_count=burst_count, **fields)


CODE = _Code(HeaderV2, None)


def header_symbols(today: int) -> int:
    """Header symbols that a link had which has so many today: others than the default stand in its profile."""
    return HEADER_SYMBOLS if today == _TODAY else today


def as_recorded(modem: dict[str, Any]) -> dict[str, Any]:
    """The modem's sizes of a link, as a dictionary of any version, as they were under frame version 2."""
    symbols = header_symbols(modem.get("header_symbols", _TODAY))
    return modem | {"frame_version": VERSION, "header_symbols": symbols}


def as_flown(modem: dict[str, Any]) -> dict[str, Any]:
    """The modem's sizes of a link, as a dictionary of any version (of 2 where it does not say), as they are today."""
    if modem.get("frame_version", VERSION) != VERSION:
        return modem
    symbols = modem.get("header_symbols", HEADER_SYMBOLS)
    return modem | {
        "frame_version": header.VERSION,
        "header_symbols": _TODAY if symbols == HEADER_SYMBOLS else symbols,
    }


def interleaving(count: int) -> np.ndarray:
    """Where each payload symbol of a picture comes from, ``[count]`` int64: a table drawn anew for each length."""
    return sequences.permutation(count, _SEED_INTERLEAVE)


def quarter_turns(count: int) -> np.ndarray:
    """The scrambling sequence, ``[count]`` complex128, drawn anew for each length."""
    return sequences.qpsk(count, sequences.SEED_SCRAMBLE)
