# SPDX-License-Identifier: GPL-3.0-or-later
"""A key stream added to what is sent, on a ring: levels of digital latents, analog latents modulo their range.

A place on a ring, moved by a step drawn uniformly over all of it, is uniform whatever it was: what is sent does not
depend on the picture (Shannon's one-time pad, with a ChaCha20 stream for the pad). Neighbours stay neighbours but at
the ends, so that small errors stay small. Of a square constellation the rings are its levels of I and of Q, of BPSK and
8PSK the circle itself; of analog latents the range [-A, A) of each axis (``semcom.channel.modulo``).

The receiver does not decide: it has the likelihood of every point, and puts the points back to where they came from.
"""

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.channel.modulo import HALF_RANGE, bound, fold, opened
from semcom.errors import ConfigError
from semcom.modulation import bit_ratios, constellation
from semcom.modulation import soft_demap as plain_soft_demap
from semcom.security.cipher import key_stream

ANALOG = 0
_OFF_POINT = 1e-3  # how far a symbol may be from a point of its constellation before it is none
_LEAST_NOISE = 1e-9
_CHUNK = 1 << 16  # likelihoods at once: tables of a large picture are never held whole


def steps(stream_key: bytes, count: int) -> torch.Tensor:
    """Steps of ``count`` symbols as shares of their rings, ``[count, 2]`` float32, multiples of 2^-24 in [0, 1)."""
    drawn = np.frombuffer(key_stream(stream_key, 8 * count), "<u4").reshape(count, 2)
    return torch.from_numpy((drawn >> 8).astype(np.float32) * np.float32(2.0**-24))


def add(symbols: torch.Tensor, stream_key: bytes, order: int, scale: float) -> torch.Tensor:
    """Payload symbols ``[k]`` of an item with its key stream added, of mean power 1.

    Args:
        order: of their constellation; ``ANALOG``: latents. scale: what they are multiplied with first, after which they
            are points of it, or latents of power 1.

    Raises:
        ConfigError: they are no such points.
    """
    symbols = symbols.to(torch.complex64) * scale
    return add_steps(symbols, steps(stream_key, len(symbols)).to(symbols.device), order)


def add_steps(symbols: torch.Tensor, steps_taken: torch.Tensor, order: int) -> torch.Tensor:
    """As ``add``, of points or latents ``[k]``, with steps ``[k, 2]``."""
    if order == ANALOG:
        return fold(bound(symbols) + torch.view_as_complex(steps_taken) * (2 * HALF_RANGE))
    ring = _ring(order).to(symbols.device)
    distances, places = torch.cdist(_elements(symbols, ring)[None], ring[None])[0].min(dim=1)
    if float(distances.max()) > _OFF_POINT:
        raise ConfigError(
            f"symbols that are no points of order {order} cannot have a key stream added: use cipher scramble"
        )
    return _joined(ring[(places + _drawn(steps_taken, ring)) % len(ring)])


def take_off(
    symbols: torch.Tensor, noise_var: torch.Tensor, steps_taken: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of ``add`` for analog latents: received ``[B, k]``, noise ``[B, k]`` (inf: erased), steps
    ``[B, k, 2]``, to latents and their noise as a decoder takes them."""
    moved = torch.view_as_complex(steps_taken.contiguous()) * (2 * HALF_RANGE)
    return opened(fold(symbols.to(torch.complex64) - moved), noise_var)


def likelihood(
    symbols: torch.Tensor, noise_var: torch.Tensor, steps_taken: torch.Tensor, order: int
) -> torch.Tensor:
    """Log-likelihood of the label of every element, up to a constant: of I and of Q, or of the symbol as a whole.

    Args:
        symbols, noise_var: ``[B, k]`` as received. steps_taken: ``[B, k, 2]``.

    Returns:
        ``[B, n, L]``: n = 2 k and L = sqrt(order) of square constellations, else k and ``order``.
    """
    ring, places = _ring(order).to(symbols.device), _places(order).to(symbols.device)
    elements, each = _elements(symbols.reshape(-1), ring), 2 // ring.shape[1]
    noise = noise_var.reshape(-1).repeat_interleave(each)[:, None].clamp_min(_LEAST_NOISE)
    scores = (2 * elements @ ring.T - ring.square().sum(dim=1)) / noise
    # the label at place p was sent from the place that its step leads to
    moved = (places + _drawn(steps_taken.reshape(-1, 2), ring)[:, None]) % len(ring)
    return scores.gather(1, moved).reshape(len(symbols), -1, len(ring))


def soft_demap(
    symbols: torch.Tensor, noise_var: torch.Tensor, steps_taken: torch.Tensor | None, order: int
) -> torch.Tensor:
    """As ``modulation.soft_demap``: ``[..., k, m]`` of the bits that symbols ``[..., k]`` had before the key stream.

    Args:
        steps_taken: ``[..., k, 2]``; None: none was added.
    """
    if steps_taken is None:
        return plain_soft_demap(symbols, noise_var, order)
    rows = symbols.reshape(1, -1), noise_var.reshape(1, -1), steps_taken.reshape(1, -1, 2)
    chunks = zip(*(row.split(_CHUNK, dim=1) for row in rows), strict=True)
    ratios = torch.cat([bit_ratios(likelihood(*some, order)[0]) for some in chunks])
    return ratios.reshape(*symbols.shape, constellation(order).bits)


def _drawn(shares: torch.Tensor, ring: torch.Tensor) -> torch.Tensor:
    """Steps of elements in points, ``[n]``, of shares ``[k, 2]``: of two rings a symbol both, of one the first."""
    return ((shares.reshape(-1) if ring.shape[1] == 1 else shares[:, 0]) * len(ring)).long()


def _elements(symbols: torch.Tensor, ring: torch.Tensor) -> torch.Tensor:
    """Symbols ``[k]`` as what goes round a ring: ``[2 k, 1]`` or ``[k, 2]``."""
    return torch.view_as_real(symbols).reshape(-1, ring.shape[1])


def _joined(elements: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(elements.reshape(-1, 2).contiguous())


@cached_tensors()
def _ring(order: int) -> torch.Tensor:
    """The points of one ring in their order round it, ``[L, D]``."""
    table = constellation(order).table
    return table[_way(table)]


@cached_tensors()
def _places(order: int) -> torch.Tensor:
    """Where on the ring each label is, ``[L]``."""
    return _way(constellation(order).table).argsort()


def _way(table: torch.Tensor) -> torch.Tensor:
    """Labels in their order round the ring."""
    if table.shape[1] == 1:
        return table[:, 0].argsort()
    return (torch.atan2(table[:, 1], table[:, 0]) % (2 * torch.pi)).argsort()
