# SPDX-License-Identifier: GPL-3.0-or-later
"""What no separation link with a given source codec can exceed: the bits of the capacity, free of errors."""

import math

import numpy as np

from semcom.codec.image import source
from semcom.codec.image.source import coded_picture
from semcom.kinds.pictures import mean_colour


def capacity_bytes(symbols: int, snr_db: float) -> int:
    """Whole bytes that ``symbols`` complex symbols carry over white Gaussian noise at capacity, k log2(1 + SNR) bits."""
    return int(symbols * math.log2(1 + 10 ** (snr_db / 10))) // 8


def at_capacity(
    pixels: np.ndarray, symbols: int, snr_db: float, name: str, header_bytes: int = 0
) -> tuple[np.ndarray, bool]:
    """The best picture, uint8 ``[H, W, 3]``, of source codec ``name`` at capacity, and whether one fits at all.

    Where none fits it is the mean colour.
    """
    best = coded_picture(pixels, name).best(capacity_bytes(symbols, snr_db) - header_bytes)
    decoded = source.decode(best[1], best[0], pixels.shape[:2]) if best else None
    return (mean_colour(pixels), False) if decoded is None else (decoded, True)
