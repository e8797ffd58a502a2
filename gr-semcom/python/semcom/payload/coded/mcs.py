# SPDX-License-Identifier: GPL-3.0-or-later
"""Modulation and coding schemes of the separation link, where each begins to work, and how headers name them.

The thresholds are measured: mcs_thresholds.csv, which ``scripts/separation_figures.py thresholds`` writes.
"""

import csv
import functools
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources

from semcom.errors import ConfigError
from semcom.modulation import constellation

ADAPTIVE = "adaptive"
_TAG = 0x2B  # the eight highest bits of a header's model_hash, which a codec's hash is unlikely to share
_CODEC_BITS, _MCS_BITS, _SPARE_BITS = 4, 5, 5


@dataclass(frozen=True)
class Mcs:
    """One scheme: points of the constellation and the rate of the code, CRC counted as information."""

    order: int
    rate: Fraction

    @property
    def name(self) -> str:
        """Such as ``16-3/4``."""
        return f"{self.order}-{self.rate}"

    @property
    def bits(self) -> int:
        """Coded bits a symbol."""
        return constellation(self.order).bits

    @property
    def efficiency(self) -> float:
        """Information bits a symbol."""
        return self.bits * float(self.rate)


# in the order of their efficiency; the place of each is on the air
TABLE = tuple(
    Mcs(order, Fraction(rate))
    for order, rate in (
        *((4, "1/5"), (4, "1/3"), (4, "1/2"), (4, "2/3"), (16, "2/5"), (16, "1/2"), (16, "2/3"), (16, "3/4")),
        *((64, "2/3"), (64, "3/4"), (64, "5/6"), (256, "3/4"), (256, "5/6")),
    )
)


def named(name: str) -> Mcs:
    """The scheme of a name.

    Raises:
        ConfigError: none of that name; those that there are are listed.
    """
    for mcs in TABLE:
        if mcs.name == name:
            return mcs
    raise ConfigError(
        f"there is no modulation and coding scheme '{name}': take {ADAPTIVE} or one of "
        f"{', '.join(mcs.name for mcs in TABLE)} (points of the constellation, rate of the code)."
    )


def threshold_db(mcs: Mcs, block_symbols: int, blocks: int = 1) -> float:
    """Es/N0 in dB from which a picture of ``blocks`` blocks of so many symbols is decoded, as measured.

    The block error rate is at most 1 in 100 there for a single block, 1 in 1000 where there are several. Of the
    measured block lengths the next shorter one counts, which is never the better one.
    """
    lengths = sorted({length for name, length in _thresholds() if name == mcs.name})
    length = max((length for length in lengths if length <= block_symbols), default=lengths[0])
    return _thresholds()[mcs.name, length][0 if blocks == 1 else 1]


@functools.cache
def _thresholds() -> dict[tuple[str, int], tuple[float, float]]:
    """(name, symbols a block) to the SNRs in dB at block error rates of 1e-2 and 1e-3."""
    text = (resources.files("semcom.payload.coded") / "mcs_thresholds.csv").read_text()
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        (row["mcs"], int(row["symbols"])): (
            float(row["snr_db_at_1e-2"]),
            float(row["snr_db_at_1e-3"]),
        )
        for row in rows
    }


def pack(codec: int, mcs: Mcs) -> int:
    """What a burst header's 22 bits of ``model_hash`` hold in mode ``MODE_CODED``: tag, codec, scheme.

    Args:
        codec: place in ``source.FORMATS``.
    """
    named = (_TAG << _CODEC_BITS | codec) << _MCS_BITS | TABLE.index(mcs)
    return named << _SPARE_BITS


def unpack(model_hash: int) -> tuple[int, Mcs] | None:
    """The inverse of :func:`pack`: (codec, scheme); None if the field is none of ours."""
    named = model_hash >> _SPARE_BITS
    codec, place = named >> _MCS_BITS & (1 << _CODEC_BITS) - 1, named & (1 << _MCS_BITS) - 1
    if place >= len(TABLE) or pack(codec, TABLE[place]) != model_hash:
        return None
    return codec, TABLE[place]
