# SPDX-License-Identifier: GPL-3.0-or-later
"""Analog latents under addition modulo a range, as a codec sees it: what is sent says nothing of what is in it.

Each axis x of a latent is bounded, to c(x) = b A erf(x / (w sigma sqrt 2)), and sent as fold(c(x) + s), s uniform over
the range [-A, A) and known to both ends. That is uniform whatever x is (a one-time pad on the circle), and of power 1 a
symbol with A = sqrt(3/2). The receiver takes s off, folds, and takes the mean and variance of x given that. What it
costs: what is sent fills its range evenly instead of as a Gaussian, and what noise carries over the edge comes back at
the other end. Codecs that were trained for it (channel ``modulo``) lose less; docs/security.md has the figures.
"""

import torch

from semcom.cached import cached_tensors
from semcom.channel.awgn import awgn, noise_power

HALF_RANGE = 1.5**0.5  # A: then two axes of uniform values have power 1
_SHARE, _WIDTH = 0.8, 1.5  # b and w: measured on latents of cifar-1-12, from 0.7 to 0.95 and 1 to 2
_SIGMA = 0.5**0.5  # of an axis of latents of power 1
# how latents lie: most within 0.8 sigma, some far out (kurtosis 4.8)
_PRIOR = ((1 / 0.8, 0.8), (0.1 / 2, 2.0))
_PLACES, _REACH = 81, 5.0  # of x, up to so many sigma
_LEAST_TRUST = 0.02  # of what is received: below, it is lost
_CHUNK = 1 << 15  # axes at once: [chunk, places] stays small


def fold(values: torch.Tensor) -> torch.Tensor:
    """Complex values with each axis moved by a multiple of the range into [-A, A]. Its gradient is 1."""
    return torch.view_as_complex(_folded(torch.view_as_real(values)))


def bound(latents: torch.Tensor) -> torch.Tensor:
    """Latents of power 1 with each axis compressed into [-b A, b A]."""
    return torch.view_as_complex(_bounded(torch.view_as_real(latents)))


def opened(folded: torch.Tensor, noise_var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Received values ``[B, k]``, the key stream taken off, to latents and noise variances as a decoder takes them.

    Mean m and variance v of the latent given the value become the latent m / (1 - v) of noise variance v / (1 - v), as
    of quantised latents (``semcom.payload.quantised.quantiser.posterior``). Differentiable.
    """
    shape = folded.shape
    axes = torch.view_as_real(folded.contiguous()).reshape(-1)
    noise = noise_var.reshape(-1).repeat_interleave(2)
    parts = [_moments(*some) for some in zip(axes.split(_CHUNK), noise.split(_CHUNK), strict=True)]
    mean, variance = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    variance = variance.view(-1, 2).sum(dim=1)
    trust = (1 - variance).clamp(_LEAST_TRUST, 1 - 1e-6)
    latents = torch.view_as_complex(mean.view(-1, 2)) / trust
    lost = noise_var.reshape(-1).isinf()
    latents = torch.where(lost, torch.zeros_like(latents), latents)
    return latents.view(shape), torch.where(lost, torch.inf, 1 / trust - 1).view(shape)


def modulo_channel(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """White noise at Es/N0 = snr_db on latents ``[B, k]`` that are sent folded: received and noise ``[B, k]``.

    The added key stream is uniform and drops out where it is taken off: what is left of it is which values fold.
    """
    n0 = noise_power(snr_db, like=x)
    n0 = n0[:, None] if n0.dim() else n0
    return opened(fold(awgn(bound(x), snr_db, generator)), n0.expand_as(x.real))


def _folded(axes: torch.Tensor) -> torch.Tensor:
    return axes - 2 * HALF_RANGE * torch.round(axes.detach() / (2 * HALF_RANGE))


def _bounded(axes: torch.Tensor) -> torch.Tensor:
    return _SHARE * HALF_RANGE * torch.erf(axes / (_WIDTH * _SIGMA * 2**0.5))


def _moments(axes: torch.Tensor, noise_var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of x given its folded value ``[n]`` and the noise of the complex symbol ``[n]``."""
    places, bounded, log_prior = (each.to(axes) for each in _table(axes.dtype))
    away = _folded(axes[:, None] - bounded)
    weights = (log_prior - away.square() / noise_var.clamp_min(1e-6)[:, None]).softmax(dim=1)
    mean = weights @ places
    return mean, (weights @ places.square() - mean.square()).clamp_min(0)


@cached_tensors()
def _table(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    places = torch.linspace(-_REACH, _REACH, _PLACES, dtype=torch.float64) * _SIGMA
    prior = torch.stack(
        [weight * torch.exp(-((places / (width * _SIGMA)) ** 2) / 2) for weight, width in _PRIOR]
    ).sum(0)
    return places.to(dtype), _bounded(places).to(dtype), prior.log().to(dtype)
