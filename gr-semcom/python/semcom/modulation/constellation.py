# SPDX-License-Identifier: GPL-3.0-or-later
"""The constellations: M-PSK up to 8 points, square M-QAM above, all Gray labelled and of mean power 1.

Points and labels are GNU Radio's own (``constellation_bpsk``, ``constellation_8psk`` and ``qam_constellation`` with Gray
code; a test holds both together), scaled to mean power 1 where GNU Radio's mean amplitude is 1. A label's bits are
read most significant first. In a square constellation the first half of them chooses I and the second half Q, each a
Gray labelled amplitude.
"""

from dataclasses import dataclass

import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError

ORDERS = (2, 4, 8, 16, 64, 256)
_NAMES = {2: "BPSK", 4: "QPSK", 8: "8PSK"}
_8PSK_LABELS = (0, 4, 5, 1, 3, 7, 6, 2)  # anticlockwise from 22.5 degrees


@dataclass(frozen=True, eq=False)
class Constellation:
    """One constellation.

    Attributes:
        order: number of points M. bits: log2 M, carried by a symbol. name: as people call it, "16QAM".
        points: complex64 ``[M]`` in the order of their labels, mean power 1.
        levels: amplitudes of I, and of Q, in the order of their half of the label, ``[sqrt(M)]``; None where the
            constellation is not square.
    """

    order: int
    bits: int
    name: str
    points: torch.Tensor
    levels: torch.Tensor | None

    @property
    def table(self) -> torch.Tensor:
        """Entries by label in real dimensions, ``[L, D]``: the amplitudes where square (D = 1), else the points."""
        return torch.view_as_real(self.points) if self.levels is None else self.levels[:, None]


@cached_tensors()
def constellation(order: int) -> Constellation:
    """The constellation of ``order`` points; made once, so treat its tensors as read-only.

    Raises:
        ConfigError: no such order.
    """
    if order not in ORDERS:
        raise ConfigError(
            f"modulation order {order!r} does not exist here: take one of {', '.join(map(str, ORDERS))}."
        )
    order = int(order)
    bits, levels = order.bit_length() - 1, None
    if order == 2:
        points = torch.tensor([-1 + 0j, 1 + 0j])
    elif order == 8:
        angles = torch.pi / 8 + torch.pi / 4 * torch.arange(8, dtype=torch.float64)
        points = torch.empty(8, dtype=torch.complex128)
        points[list(_8PSK_LABELS)] = torch.polar(torch.ones_like(angles), angles)
    else:
        levels = _gray_levels(bits // 2)
        points = torch.complex(levels.repeat_interleave(len(levels)), levels.repeat(len(levels)))
        levels = levels.to(torch.float32)
    name = _NAMES.get(order, f"{order}QAM")
    return Constellation(order, bits, name, points.to(torch.complex64), levels)


def map_labels(labels: torch.Tensor, order: int) -> torch.Tensor:
    """Symbols of labels.

    Args:
        labels: whole numbers 0..M-1 of any shape.

    Returns:
        complex64 of the same shape and device.
    """
    return constellation(order).points.to(labels.device)[labels.long()]


def map_bits(bits: torch.Tensor, order: int) -> torch.Tensor:
    """Symbols of bits.

    Args:
        bits: 0 and 1, ``[..., n * m]`` with m = log2 M bits a symbol.

    Returns:
        complex64 ``[..., n]``.

    Raises:
        ConfigError: the bits do not fill whole symbols, or no such order.
    """
    return map_labels(pack_bits(bits, constellation(order).bits), order)


def pack_bits(bits: torch.Tensor, width: int) -> torch.Tensor:
    """Labels of ``width`` bits each, int64 ``[..., n]`` from ``[..., n * width]``, most significant bit first.

    Raises:
        ConfigError: the bits do not fill whole labels.
    """
    if bits.shape[-1] % width:
        raise ConfigError(
            f"{bits.shape[-1]} bits do not fill labels of {width} bits: add bits up to a multiple."
        )
    return (bits.reshape(*bits.shape[:-1], -1, width).long() << _shifts(width, bits.device)).sum(-1)


def unpack_bits(labels: torch.Tensor, width: int) -> torch.Tensor:
    """Bits of labels, int64 ``[..., n * width]`` from ``[..., n]``: the inverse of ``pack_bits``."""
    return (labels.long()[..., None] >> _shifts(width, labels.device) & 1).flatten(-2)


def _shifts(width: int, device: torch.device) -> torch.Tensor:
    return torch.arange(width - 1, -1, -1, device=device)


def _gray_levels(bits: int) -> torch.Tensor:
    """2^bits evenly spaced amplitudes, float64, in the order of their Gray labels; I and Q together have power 1."""
    count = 2**bits
    place = torch.arange(count)
    levels = torch.empty(count, dtype=torch.float64)
    levels[place ^ place >> 1] = 2.0 * place.double() - (count - 1)
    return levels / (2 * (count**2 - 1) / 3) ** 0.5
