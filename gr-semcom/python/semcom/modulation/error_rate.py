# SPDX-License-Identifier: GPL-3.0-or-later
"""Bit and symbol error rates of each constellation, in closed form, under hard decisions for the nearest point.

Every rate is a sum of terms w I(g, phi), where I is 1/pi times the integral of exp(-g snr / sin^2 t) for t from 0
to phi (Craig, MILCOM 1991): I(g, pi/2) is Q(sqrt(2 g snr)), and a product of two Q functions is two shorter integrals
(Simon and Alouini, Digital Communication over Fading Channels, chapter 4). Its mean over Rayleigh fading is phi/pi -
sqrt(c / (1 + c)) / pi atan(sqrt((1 + c) / c) tan phi) with c = g snr (their appendix 5A; its derivative shows it).
Bit errors of Gray labelled QAM: Cho and Yoon, IEEE Trans. Commun. 50 (2002) 1074, eqs. 14 and 16.
"""

import functools
import math

import numpy as np
import torch

from semcom.errors import ConfigError
from semcom.modulation.constellation import constellation

CHANNELS = ("awgn", "rayleigh")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_SEARCH_DB = (-100.0, 200.0)
_Terms = tuple[tuple[float, float, float], ...]  # weight, g, phi <= pi / 2


def ber(order: int, snr_db: float | torch.Tensor, channel: str = "awgn") -> torch.Tensor:
    """Bit error rate.

    Args:
        snr_db: Es/N0 of a symbol in dB, of any shape; the mean Es/N0 on "rayleigh".
        channel: "awgn", or "rayleigh": flat fading, known to the receiver.

    Returns:
        float64 of the shape of ``snr_db``.

    Raises:
        ConfigError: no such order or channel.
    """
    return _rate(_bit_terms(constellation(order).order), snr_db, channel)


def ser(order: int, snr_db: float | torch.Tensor, channel: str = "awgn") -> torch.Tensor:
    """Symbol error rate; arguments, shapes and errors as of ``ber``."""
    return _rate(_symbol_terms(constellation(order).order), snr_db, channel)


@functools.lru_cache(maxsize=256)  # a search takes 10 ms
def snr_for_ber(order: int, rate: float, channel: str = "awgn") -> float:
    """Es/N0 in dB at which the bit error rate is ``rate``: the inverse of ``ber``.

    Raises:
        ConfigError: no such order or channel, or a rate that is not between 0 and 0.5.
    """
    if not 0 < rate < 0.5:
        raise ConfigError(f"a bit error rate must lie between 0 and 0.5, not {rate!r}.")
    low, high = _SEARCH_DB
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if ber(order, middle, channel) > rate else (low, middle)
    return high


def _rate(terms: _Terms, snr_db: float | torch.Tensor, channel: str) -> torch.Tensor:
    if channel not in CHANNELS:
        raise ConfigError(f"error rates: no channel {channel!r}: take one of {', '.join(CHANNELS)}.")
    integral = _craig if channel == "awgn" else _craig_faded
    snr = 10 ** (torch.as_tensor(snr_db, dtype=torch.float64) / 10)
    return sum((weight * integral(g * snr, phi) for weight, g, phi in terms), torch.zeros_like(snr))


def _craig(c: torch.Tensor, phi: float) -> torch.Tensor:
    if phi == math.pi / 2:
        return torch.special.erfc(c.sqrt()) / 2
    angles = torch.as_tensor(phi / 2 * (_NODES + 1))
    weights = torch.as_tensor(_WEIGHTS) * phi / (2 * math.pi)
    return ((-c[..., None] / angles.sin().square()).exp() * weights).sum(-1)


def _craig_faded(c: torch.Tensor, phi: float) -> torch.Tensor:
    root = (c / (1 + c)).sqrt()
    return (phi - root * torch.atan2(torch.full_like(c, math.sin(phi)), root * math.cos(phi))) / math.pi


@functools.cache
def _bit_terms(order: int) -> _Terms:
    if order == 2:
        return ((1.0, 1.0, math.pi / 2),)
    if order == 8:
        # two bits are the signs of I and Q, the third is a product of signs on axes turned by 45 degrees
        near, far = math.sin(math.pi / 8) ** 2, math.cos(math.pi / 8) ** 2
        three = ((1.0, near, math.pi / 2), (1.0, far, math.pi / 2), *_product(-1.0, near, far))
        return tuple((2 / 3 * weight, g, phi) for weight, g, phi in three)
    side, terms = math.isqrt(order), []
    bits = side.bit_length() - 1
    for bit in range(1, bits + 1):
        for i in range(side - side // 2**bit):
            sign = (-1) ** (i * 2 ** (bit - 1) // side)
            count = 2 ** (bit - 1) - math.floor(i * 2 ** (bit - 1) / side + 0.5)
            terms.append((2 * sign * count / (side * bits), (2 * i + 1) ** 2 * _gain(order), math.pi / 2))
    return tuple(terms)


@functools.cache
def _symbol_terms(order: int) -> _Terms:
    if order == 2:
        return _bit_terms(2)
    if order == 8:
        # Craig's integral up to 7 pi / 8, which is twice to pi / 2 less to pi / 8
        g = math.sin(math.pi / 8) ** 2
        return ((2.0, g, math.pi / 2), (-1.0, g, math.pi / 8))
    # an axis fails with 2 (1 - 1 / side) Q
    inner = 2 * (1 - 1 / math.isqrt(order))
    g = _gain(order)
    return ((2 * inner, g, math.pi / 2), *_product(-(inner**2), g, g))


def _gain(order: int) -> float:
    """g of the distance from a point to the nearest decision boundary."""
    return 3 / (2 * (order - 1))


def _product(weight: float, first: float, second: float) -> _Terms:
    """The terms of weight Q(sqrt(2 first snr)) Q(sqrt(2 second snr))."""
    return tuple(
        (weight / 2, one, math.atan(math.sqrt(one / other)))
        for one, other in ((first, second), (second, first))
    )
