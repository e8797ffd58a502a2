# SPDX-License-Identifier: GPL-3.0-or-later
"""Bits to symbols and back: constellations, soft demapping, error rates. No GNU Radio in here."""

from semcom.modulation.constellation import (
    ORDERS,
    Constellation,
    constellation,
    map_bits,
    map_labels,
    pack_bits,
    unpack_bits,
)
from semcom.modulation.demap import bit_ratios, soft_demap
from semcom.modulation.error_rate import ber, ser, snr_for_ber

__all__ = [
    "ORDERS",
    "Constellation",
    "ber",
    "bit_ratios",
    "constellation",
    "map_bits",
    "map_labels",
    "pack_bits",
    "ser",
    "snr_for_ber",
    "soft_demap",
    "unpack_bits",
]
