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
from semcom.modulation.demap import soft_demap

__all__ = [
    "ORDERS",
    "Constellation",
    "constellation",
    "map_bits",
    "map_labels",
    "pack_bits",
    "soft_demap",
    "unpack_bits",
]
