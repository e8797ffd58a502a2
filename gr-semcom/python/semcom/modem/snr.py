# SPDX-License-Identifier: GPL-3.0-or-later
"""Data-aided SNR estimation from known symbols, near the Cramer-Rao bound, with its standard error.

Model: y_i = r_i + w_i, w_i ~ CN(0, s2), with r_i the channel times the known symbol, fitted to the same y by ``dof``
complex parameters. For a flat channel (dof = 1) the maximum-likelihood estimate of g = |h|^2 / s2 has, in nepers,

    E[ln g_ml] = ln g + E1(N g) - psi(N - 1) + ln N,

since |h_ml|^2 is noncentral and the residual central chi-square: the bias in dB is removed exactly by the digamma
term (E1 is negligible from N g of 5 on). The bound is std(10 log10 g) >= 10/ln 10 sqrt(2/(g N) + 1/N).
"""

import math
from dataclasses import dataclass

import torch

from semcom.equivalent_snr import equivalent_snr
from semcom.errors import ConfigError

_DB = 10 / math.log(10)
_FLOOR = 1e-3  # -30 dB: below it an estimate means only that no signal is there
_CEILING = 1e6  # 60 dB: above it there is no measurable noise


@dataclass(frozen=True)
class SnrEstimate:
    """Es/N0 in dB and its standard error in dB, tensors ``[B]``."""

    snr_db: torch.Tensor
    stderr_db: torch.Tensor


def fit_flat(received: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Least-squares fit of one complex gain: the reference h_ml * known, ``[B, N]``."""
    gain = (received * known.conj()).sum(-1, keepdim=True) / known.abs().square().sum(-1, keepdim=True)
    return gain * known


def estimate_snr(
    received: torch.Tensor, reference: torch.Tensor, dof: float | torch.Tensor = 1
) -> SnrEstimate:
    """SNR of known symbols, flat or frequency selective.

    Over a selective channel the figure is the equivalent SNR: that of the flat channel with the same mean MMSE
    error, so it is also what a decoder should be given.

    Args:
        received: ``[B, N]`` complex, known symbols as received.
        reference: ``[B, N]`` complex, the fitted channel times the known symbols (``fit_flat`` for one gain).
        dof: complex parameters fitted to ``received`` to make ``reference``, a number or ``[B]``.

    Returns:
        ``SnrEstimate`` with ``[B]`` tensors; -30 to 60 dB, never NaN for finite input.

    Raises:
        ConfigError: fewer known symbols than fitted parameters plus one.
    """
    count = received.shape[-1]
    dof = torch.as_tensor(dof, dtype=received.real.dtype, device=received.device)
    free = count - dof
    if bool((free < 1).any()):
        raise ConfigError(
            f"SNR of {count} known symbols with {float(dof.max()):.0f} fitted parameters: give more pilots"
        )
    tiny = torch.finfo(dof.dtype).tiny
    residual = (received - reference).abs().square().sum(-1)
    # exp(E ln) of a chi-square with 2*free degrees: makes the estimate unbiased in dB
    noise = (residual / torch.exp(torch.digamma(free))).clamp_min(tiny)
    power = reference.abs().square() - ((dof - 1).clamp_min(0) / count * noise).unsqueeze(-1)
    gains = (power / noise.unsqueeze(-1)).clamp(_FLOOR, 1e12)
    g = equivalent_snr(1 / gains).clamp(_FLOOR, _CEILING)
    return SnrEstimate(_DB * g.log(), _DB * (2 / (g * count) + 1 / free).sqrt())


def cramer_rao_db(snr_db: torch.Tensor, count: int) -> torch.Tensor:
    """Smallest standard deviation in dB of an unbiased estimate from ``count`` known symbols, unknown gain."""
    g = 10 ** (torch.as_tensor(snr_db) / 10)
    return _DB * (2 / (g * count) + 1 / count).sqrt()
