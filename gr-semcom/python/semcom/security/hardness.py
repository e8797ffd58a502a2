# SPDX-License-Identifier: GPL-3.0-or-later
"""How hard a learning-with-errors problem is, by the core-SVP method: what a cipher made of one would promise.

Alkim, Ducas, Poeppelmann and Schwabe, "Post-quantum key exchange: a new hope" (USENIX Security 2016), section 6.3: the
primal attack finds the secret with BKZ of the least block size b for which

    sigma sqrt(b) <= delta(b)^(2 b - d - 1) q^(m / d),    d = m + n + 1,

with m samples of the attacker's choice and delta(b) = ((pi b)^(1/b) b / (2 pi e))^(1 / (2 (b - 1))). One call of its
oracle in dimension b costs 2^(0.292 b) (sieving); everything else is left out in the defender's disfavour.
"""

import math

from semcom import settings

SIEVING = 0.292  # log2 of the cost of sieving a dimension (Becker, Ducas, Gama and Laarhoven, SODA 2016)
_LEAST_BLOCK = 40  # below, delta is not described by the formula, and nothing is secure anyway


def core_svp_bits(dimension: int, modulus: int, sigma: float, samples: int | None = None) -> float:
    """Bits of security of LWE against the primal attack; secret and error of one standard deviation.

    Args:
        dimension: n, of the secret. modulus: q. sigma: standard deviation of each of its entries and of each error.
        samples: that an attacker can have, at most; None: 2 n.

    Raises:
        ConfigError: a value that cannot be.
    """
    return SIEVING * block_size(dimension, modulus, sigma, samples)


def block_size(dimension: int, modulus: int, sigma: float, samples: int | None = None) -> int:
    """The BKZ block size of the attack; arguments and errors as of ``core_svp_bits``. ``_LEAST_BLOCK`` or more."""
    settings.require(
        "LWE",
        dimension=(dimension, isinstance(dimension, int) and 16 <= dimension <= 4096, "16 to 4096"),
        modulus=(modulus, isinstance(modulus, int) and 2 <= modulus <= 2**32, "2 to 2^32"),
        sigma=(sigma, 0 < sigma < modulus, "above 0 and below the modulus"),
        samples=(samples, samples is None or 1 <= samples <= 2**16, "1 to 65536"),
    )
    most = 2 * dimension if samples is None else samples
    low, high = _LEAST_BLOCK, 2 * (dimension + most)
    while low < high:  # a larger block never does worse
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _succeeds(middle, dimension, modulus, sigma, most) else (middle + 1, high)
        )
    return low


def _succeeds(block: int, dimension: int, modulus: int, sigma: float, most: int) -> bool:
    delta = math.log2((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) / (2 * (block - 1))
    wanted = math.log2(sigma) + math.log2(block) / 2
    return any(
        wanted <= delta * (2 * block - d - 1) + math.log2(modulus) * (d - dimension - 1) / d
        for d in range(dimension + 2, dimension + most + 2)
    )
