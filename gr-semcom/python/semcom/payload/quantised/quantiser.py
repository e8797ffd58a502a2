# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to labels and back to posteriors: the nearest entry one way, the posterior mean and variance the other."""

import torch

from semcom.payload.quantised.codebook import Codebook, alphabet, nearest

_LEAST_WEIGHT = 0.02  # below: as good as lost
_CHUNK = 1 << 16  # elements at once: tables of [chunk, L] stay small


def split(latents: torch.Tensor, book: Codebook) -> torch.Tensor:
    """Complex ``[B, k]`` to what a table takes: ``[B, n, D]``, I and Q apart where D = 1 (then n = 2k)."""
    return torch.view_as_real(latents).reshape(len(latents), -1, book.points.shape[1])


def join(elements: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`split`: ``[B, n, D]`` to complex ``[B, k]``."""
    return torch.view_as_complex(elements.reshape(len(elements), -1, 2).contiguous())


def quantise(latents: torch.Tensor, book: Codebook) -> torch.Tensor:
    """Labels of latents ``[B, k]`` of power 1, table by table: int64 ``[B, n]`` (n = 2k where I and Q are apart)."""
    return nearest(split(latents, book), book.points)


def quantise_to_power(latents: torch.Tensor, book: Codebook, steps: int = 16) -> torch.Tensor:
    """As :func:`quantise`, of the latents times a factor a row for which the symbols' mean power is nearest to 1.

    The power grows with the factor wherever entries further out have stronger points, so bisection finds it. Points
    of constant modulus need none.
    """
    elements, points = split(latents, book), alphabet(book.bits).to(latents.real)
    power = points.square().sum(dim=1) * (2 if points.shape[1] == 1 else 1) * book.gain**2
    if float(power.max() - power.min()) < 1e-4:
        return nearest(elements, book.points)
    low, high = (torch.full((len(latents), 1, 1), edge).to(points) for edge in (0.5, 2.0))
    for _ in range(steps):
        middle = (low * high).sqrt()
        strong = power[nearest(elements * middle, book.points)].mean(dim=1)[:, None, None] > 1
        low, high = torch.where(strong, low, middle), torch.where(strong, middle, high)
    return nearest(elements * low, book.points)


def posterior(log_likelihood: torch.Tensor, book: Codebook) -> tuple[torch.Tensor, torch.Tensor]:
    """What was sent, given the likelihood of every label: latents and noise variances as a decoder takes them.

    A decoder weighs a latent of noise variance s2 by 1 / (1 + s2), the MMSE weight of a Gaussian of power 1. Posterior
    mean m and variance v are handed over as the latent m / (1 - v) of noise variance v / (1 - v), so that weighing gives
    back the mean; for ever finer codebooks that is what analog transmission gives.

    Args:
        log_likelihood: ``[B, n, L]`` of each element's labels, up to a constant.

    Returns:
        latents: complex ``[B, k]``. noise_var: ``[B, k]``, ``inf`` where nothing is known.
    """
    rows = log_likelihood.shape[0]
    weights = (log_likelihood + book.log_prior).softmax(dim=-1)
    mean = weights @ book.values
    power = weights @ (book.values.square().sum(dim=1) + book.spread)
    variance = (power - mean.square().sum(dim=-1)).reshape(rows, -1, 2 // book.points.shape[1]).sum(dim=-1)
    trust = (1 - variance).clamp(_LEAST_WEIGHT, 1 - 1e-6)
    mean = join(mean)
    lost = (trust == _LEAST_WEIGHT) & (mean.abs() < _LEAST_WEIGHT)
    return mean / trust, torch.where(lost, torch.inf, 1 / trust - 1)


def symbol_likelihood(symbols: torch.Tensor, noise_var: torch.Tensor, book: Codebook) -> torch.Tensor:
    """Log-likelihood of every label where a label is one symbol: ``[B, k]`` and its noise to ``[B, n, L]``."""
    points = book.gain * alphabet(book.bits).to(symbols.real)
    elements = split(symbols, book)
    noise = noise_var.repeat_interleave(elements.shape[1] // symbols.shape[1], dim=1)[..., None]
    return (2 * elements @ points.T - points.square().sum(dim=1)) / noise.clamp_min(1e-9)


def bit_likelihood(ratios: torch.Tensor, book: Codebook) -> torch.Tensor:
    """Log-likelihood of every label from its bits' ratios ln P(0) / P(1): ``[B, n, bits]`` to ``[B, n, L]``."""
    width = book.element_bits
    labels = torch.arange(2**width, device=ratios.device)
    bits = labels[:, None] >> torch.arange(width - 1, -1, -1, device=ratios.device) & 1
    return -ratios @ bits.to(ratios.dtype).T


def chunked_posterior(elements_of, count: int, book: Codebook) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`posterior` over slices of the latents, so that no table of all labels of a large picture is ever held.

    Args:
        elements_of: (first, last latent) -> log-likelihood ``[B, n, L]`` of those. count: latents a row.
    """
    step = max(1, _CHUNK // len(book.points))
    parts = [posterior(elements_of(at, min(at + step, count)), book) for at in range(0, count, step)]
    return torch.cat([p[0] for p in parts], dim=1), torch.cat([p[1] for p in parts], dim=1)
