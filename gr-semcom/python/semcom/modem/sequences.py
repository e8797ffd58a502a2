# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixed sequences both ends know: training symbols, pilots, scrambling, interleaving.

They come from numpy's ``RandomState``, whose stream numpy has frozen for good: transmitter and receiver may run
different versions of everything.
"""

from functools import lru_cache

import numpy as np

_QPSK = np.exp(1j * np.pi / 4 * np.array([1, 3, 5, 7]))


def short_training(period: int) -> np.ndarray:
    """One period of the short training pattern: a Zadoff-Chu sequence, constant modulus. ``[period]``."""
    n = np.arange(period)
    return np.exp(-1j * np.pi * n * (n + period % 2) / period)


def long_training(carriers: int) -> np.ndarray:
    """The long training symbol on its subcarriers: random QPSK, ``[carriers]``.

    Random, not a chirp: a chirp shifted in frequency is a chirp shifted in time, and the long training has to tell a
    carrier offset from its alias one short-training line away.
    """
    return qpsk(carriers, SEED_LONG_TRAINING)


@lru_cache(maxsize=8)
def qpsk(count: int, seed: int) -> np.ndarray:
    """``count`` unit-modulus QPSK symbols for pilots, fill and scrambling; read-only ``[count]``."""
    symbols = _QPSK[np.random.RandomState(seed).randint(0, 4, count)]
    symbols.setflags(write=False)
    return symbols


@lru_cache(maxsize=8)
def permutation(count: int, seed: int) -> np.ndarray:
    """A fixed permutation of ``count`` positions; read-only ``[count]`` int64."""
    order = np.random.RandomState(seed).permutation(count)
    order.setflags(write=False)
    return order


SEED_PILOTS, SEED_FILL, SEED_SCRAMBLE, SEED_INTERLEAVE, SEED_CHIPS = 11, 12, 13, 14, 100
SEED_LONG_TRAINING = 584  # of 3,000 seeds the one with the lowest peak power, 6.4 dB
