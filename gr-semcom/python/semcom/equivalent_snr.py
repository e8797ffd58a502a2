# SPDX-License-Identifier: GPL-3.0-or-later
"""One SNR for latents that are not all equally noisy: the input of AF modules, and what the receiver estimates.

A latent of power 1 with noise variance s2 has the MMSE error e = s2 / (1 + s2); that of an erased one (``inf``) is 1.
The equivalent SNR is that of the uniform channel with the same mean error m: (1 - m) / m.
"""

import torch

RANGE_DB = (-20.0, 60.0)  # so that it stays finite when all or nothing is lost
_SMALLEST_ERROR = 1e-9


def mmse_error(noise_var: torch.Tensor) -> torch.Tensor:
    """MMSE error of latents of power 1, any shape; 0 without noise, 1 for an erasure (``inf``)."""
    return 1 / (1 + 1 / noise_var)


def equivalent_snr(noise_var: torch.Tensor) -> torch.Tensor:
    """``[..., k]`` noise variances to the equivalent SNR ``[...]``, a ratio of powers."""
    error = mmse_error(noise_var).mean(dim=-1).clamp_min(_SMALLEST_ERROR)
    return (1 - error) / error


def equivalent_snr_db(noise_var: torch.Tensor) -> torch.Tensor:
    """``equivalent_snr`` in dB, bounded to -20..60."""
    return (10 * torch.log10(equivalent_snr(noise_var))).clamp(*RANGE_DB)


def rescale(noise_var: torch.Tensor, snr_db: torch.Tensor | float) -> torch.Tensor:
    """Noise variances ``[..., k]`` scaled so that about ``snr_db`` ``[...]`` is their equivalent SNR; their ratios stay.

    Exact for a uniform channel, close where the SNR given is close to theirs already: one step, not an iteration.
    """
    snr_db = torch.as_tensor(snr_db, dtype=noise_var.dtype, device=noise_var.device)
    return noise_var * (10 ** (-snr_db / 10) * equivalent_snr(noise_var))[..., None]
