# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixed sequences both ends know: training symbols, pilots, scrambling, interleaving.

Those of a fixed length come from numpy's ``RandomState``, whose stream numpy has frozen for good: transmitter and
receiver may run different versions of everything. Those as long as a picture are computed place by place.
"""

import math
from functools import lru_cache

import numpy as np

_QPSK = np.exp(1j * np.pi / 4 * np.array([1, 3, 5, 7]))


def short_training(period: int) -> np.ndarray:
    """One period of the short training pattern: a Zadoff-Chu sequence, constant modulus. ``[period]``."""
    n = np.arange(period)
    return np.exp(-1j * np.pi * n * (n + period % 2) / period)


def long_training(carriers: int) -> np.ndarray:
    """The long training symbol on its subcarriers: random QPSK, ``[carriers]``.

    Random, not a chirp: a chirp shifted in frequency is a chirp shifted in time, and the long training has to separate a
    carrier offset from its alias one short-training line away.
    """
    return qpsk(carriers, SEED_LONG_TRAINING)


@lru_cache(maxsize=8)
def qpsk(count: int, seed: int) -> np.ndarray:
    """``count`` unit-modulus QPSK symbols for pilots, fill and scrambling; read-only ``[count]``."""
    symbols = _QPSK[np.random.RandomState(seed).randint(0, 4, count)]
    symbols.setflags(write=False)
    return symbols


def quarter_turns(count: int) -> np.ndarray:
    """Unit-modulus QPSK symbols that scramble an item's latents, ``[count]`` complex128; a prefix of any longer one."""
    return _QPSK[_mixed(np.arange(count, dtype=np.uint32) ^ np.uint32(SEED_SCRAMBLE << 24)) >> np.uint32(30)]


def interleaving(count: int) -> np.ndarray:
    """Where each of ``count`` payload symbols of an item comes from: a bijection of 0..count-1, ``[count]`` int64.

    A Feistel network over the cells (row, column) of the smallest rectangle about as high as wide that holds ``count``:
    rounds shift the row by a function of the column, and the column by one of the row, modulo height and width. The few
    places beyond ``count`` go through it again until they fall below it (cycle walking; Black and Rogaway, CT-RSA 2002).
    O(count), and the functions are as short as a row.
    """
    width = math.isqrt(count - 1) + 1
    height = -(-count // width)
    draws = _mixed(np.arange(1, 2 * _ROUNDS * width + 1, dtype=np.uint32)).reshape(2, _ROUNDS, width)
    rounds = list(zip(draws[0] % np.uint32(height), draws[1] % np.uint32(width), strict=True))
    row = np.repeat(np.arange(height, dtype=np.uint32), width)[:count]
    column = np.tile(np.arange(width, dtype=np.uint32), height)[:count]
    order = _feistel(row, column, rounds, height, width)
    beyond = np.flatnonzero(order >= count)
    while len(beyond):
        order[beyond] = again = _feistel(*np.divmod(order[beyond], np.uint32(width)), rounds, height, width)
        beyond = beyond[again >= count]
    return order.astype(np.int64)


def _feistel(row: np.ndarray, column: np.ndarray, rounds, height: int, width: int) -> np.ndarray:
    """Numbers of the cells that (row, column) go to, all ``[n]`` uint32."""
    for of_column, of_row in rounds:
        row = row + of_column[column]
        # a modulo of what is below twice the modulus: unsigned numbers below it wrap to large ones
        row = np.minimum(row, row - np.uint32(height))
        column = column + of_row[row]
        column = np.minimum(column, column - np.uint32(width))
    return row * np.uint32(width) + column


def _mixed(values: np.ndarray) -> np.ndarray:
    """Numbers that look drawn, one for each of ``values``, uint32 (the finaliser of MurmurHash3)."""
    values = values ^ values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    return values ^ values >> np.uint32(16)


@lru_cache(maxsize=8)
def permutation(count: int, seed: int) -> np.ndarray:
    """A fixed permutation of ``count`` positions; read-only ``[count]`` int64."""
    order = np.random.RandomState(seed).permutation(count)
    order.setflags(write=False)
    return order


_ROUNDS = 2  # each of two shifts
SEED_PILOTS, SEED_FILL, SEED_SCRAMBLE, SEED_CHIPS = 11, 12, 13, 100
SEED_LONG_TRAINING = 584  # of 3,000 seeds the one with the lowest peak power, 6.4 dB
