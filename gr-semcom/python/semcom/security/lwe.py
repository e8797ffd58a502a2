# SPDX-License-Identifier: GPL-3.0-or-later
"""Public-key encryption of latents by learning with errors: a research mode, after DeepJSCEC.

Tung and Gunduz, "Deep joint source-channel and encryption coding" (ICC 2023): with A public, S and E small, B = S A + E,
a picture's numbers m are sent as c0 = m + e1 - B u and c1 = A u + e2 modulo q, with u, e1, e2 small; the holder of S has
c0 + S c1 = m + e1 + S e2 - E u. The compound noise is small beside q, so a codec bears it as it bears a channel's.

What differs from the public code of that paper: n = 640 instead of 192 (more than 140 bits by
``hardness.core_svp_bits`` instead of 27); u, e1 and e2 are drawn for each picture, never twice; c1 is sent
(``semcom.system.lattice``). What stays weak: it is no scheme that was analysed (no CCA security: whoever may ask for
decryptions learns S), and it costs 960 bytes of coded bits a picture. For a link, agree on a key
(``security.agreement``) and use cipher ring.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from semcom import settings
from semcom.security.cipher import key_stream

DIMENSION, MODULUS, SIGMA = 640, 4093, 1.0
SEED_BYTES = 32
_REACH = 8  # of an error, in sigma: beyond, a table of 32 bits has nothing


@dataclass(frozen=True, eq=False)
class PublicKey:
    """seed: of A. masked: B, ``[rows, DIMENSION]`` int16 in 0..q-1; rows: numbers a picture at most."""

    seed: bytes
    masked: np.ndarray


@dataclass(frozen=True, eq=False)
class SecretKey:
    """small: S, ``[rows, DIMENSION]`` int8."""

    small: np.ndarray


def compound_sigma() -> float:
    """Standard deviation of what the key's holder has beside m: e1 + S e2 - E u."""
    variance = SIGMA**2 + 1 / 12  # of a rounded normal number
    return (variance + 2 * DIMENSION * variance**2) ** 0.5


def make_keys(rows: int) -> tuple[PublicKey, SecretKey]:
    """A new pair, for up to ``rows`` numbers a picture. Raises ConfigError: less than 1, or more than 2^16."""
    settings.require("LWE", rows=(rows, isinstance(rows, int) and 1 <= rows <= 2**16, "1 to 65536"))
    seed, small = os.urandom(SEED_BYTES), _errors((rows, DIMENSION))
    masked = (_product(small, _matrix(seed)) + _errors((rows, DIMENSION))) % MODULUS
    return PublicKey(seed, masked.astype(np.int16)), SecretKey(small.astype(np.int8))


def encrypt(numbers: np.ndarray, key: PublicKey) -> tuple[np.ndarray, np.ndarray]:
    """Numbers ``[m]`` int64 modulo q to c0 ``[m]`` and c1 ``[DIMENSION]``; each call draws u, e1 and e2 anew.

    Raises:
        ConfigError: more numbers than the key has rows.
    """
    count = len(numbers)
    settings.require(
        "LWE", numbers=(count, 1 <= count <= len(key.masked), f"1 to {len(key.masked)} of this key")
    )
    u = _errors((DIMENSION,))
    c0 = (numbers + _errors((count,)) - _product(key.masked[:count], u)) % MODULUS
    return c0, (_product(_matrix(key.seed), u) + _errors((DIMENSION,))) % MODULUS


def pad(c1: np.ndarray, count: int, key: SecretKey) -> np.ndarray:
    """S c1, which the holder of the key adds to c0 ``[count]``, in 0..q-1."""
    return _product(key.small[:count], c1) % MODULUS


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of whole numbers, by the fast product of floating ones: exact, as the sums stay below 2^53."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


@lru_cache(maxsize=2)
def _matrix(seed: bytes) -> np.ndarray:
    """A ``[DIMENSION, DIMENSION]`` of a seed, uniform modulo q: 12 bits at a time, those of q and above left out."""
    wanted = DIMENSION**2
    stream = hashlib.shake_256(b"gr-semcom lattice" + seed).digest(2 * wanted * 11 // 10)
    drawn = np.frombuffer(stream, "<u2") & 4095
    return drawn[drawn < MODULUS][:wanted].astype(np.int64).reshape(DIMENSION, DIMENSION)


def _errors(shape: tuple[int, ...]) -> np.ndarray:
    """Rounded N(0, sigma^2), int64, from the system's random numbers: the place in a table of 32 bits."""
    drawn = np.frombuffer(key_stream(os.urandom(32), 4 * int(np.prod(shape))), "<u4")
    return (np.searchsorted(_table(), drawn, side="right") - _REACH).reshape(shape)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """The distribution function at -8.5, -7.5, ..., in 2^32."""
    from statistics import NormalDist

    edges = np.arange(-_REACH, _REACH) + 0.5
    return np.array([round(NormalDist(0, SIGMA).cdf(edge) * 2**32) for edge in edges], np.uint64)
