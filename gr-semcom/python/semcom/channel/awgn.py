# SPDX-License-Identifier: GPL-3.0-or-later
"""White Gaussian noise with the one SNR convention of the project."""

import torch


def complex_normal(shape, *, like: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draws CN(0, 1) of the given shape with the dtype and device of ``like`` (complex)."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def awgn(x: torch.Tensor, snr_db, generator: torch.Generator | None = None) -> torch.Tensor:
    """Adds CN(0, N0), N0 = 10^(-SNR/10): the SNR is Es/N0 for symbols of mean power 1.

    Args:
        x: complex symbols or samples, ``[B, ...]``; a mean power of 1 is the caller's business.
        snr_db: Es/N0 in dB, a number or ``[B]`` (one value per row).
        generator: source of randomness, on the device of ``x``.

    Returns:
        ``x`` plus noise, same shape. Noise power is N0 per complex symbol (N0/2 a real dimension).
    """
    n0 = noise_power(snr_db, like=x)
    n0 = n0.reshape(n0.shape + (1,) * (x.dim() - n0.dim()))
    return x + n0.sqrt() * complex_normal(x.shape, like=x, generator=generator)


def noise_power(snr_db, *, like: torch.Tensor) -> torch.Tensor:
    """N0 for a given Es/N0 in dB, as a real tensor with the precision and device of ``like``."""
    snr = torch.as_tensor(snr_db, dtype=like.real.dtype, device=like.device)
    return 10 ** (-snr / 10)
