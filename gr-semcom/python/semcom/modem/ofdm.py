# SPDX-License-Identifier: GPL-3.0-or-later
"""Subcarriers to samples and back, unitary, so that SNR is the same number on both sides."""

import torch


def carrier_numbers(active: int) -> torch.Tensor:
    """Signed subcarrier numbers, -active/2 .. -1, 1 .. active/2, as float64 ``[active]``."""
    half = active // 2
    return torch.cat([torch.arange(-half, 0), torch.arange(1, half + 1)]).double()


def modulate(grid: torch.Tensor, fft_size: int, cp_samples: int) -> torch.Tensor:
    """OFDM symbols to samples.

    Args:
        grid: ``[..., S, active]`` complex subcarrier values.

    Returns:
        ``[..., S * (fft_size + cp_samples)]``; a grid of power 1 gives samples of power active / fft_size.
    """
    half = grid.shape[-1] // 2  # in FFT order: DC, carriers 1.., the empty edges, carriers ..-1
    gap = grid.new_zeros(*grid.shape[:-1], fft_size - grid.shape[-1] - 1)
    dc = grid.new_zeros(*grid.shape[:-1], 1)
    spectrum = torch.cat([dc, grid[..., half:], gap, grid[..., :half]], dim=-1)
    samples = torch.fft.ifft(spectrum, norm="ortho")
    return torch.cat([samples[..., fft_size - cp_samples :], samples], dim=-1).flatten(-2)


def demodulate(samples: torch.Tensor, active: int, fft_size: int, cp_samples: int) -> torch.Tensor:
    """Samples of whole OFDM symbols ``[..., S * (fft_size + cp_samples)]`` to subcarriers ``[..., S, active]``."""
    symbols = samples.unflatten(-1, (-1, fft_size + cp_samples))[..., cp_samples:]
    spectrum = torch.fft.fft(symbols, norm="ortho")
    half = active // 2
    return torch.cat([spectrum[..., fft_size - half :], spectrum[..., 1 : half + 1]], dim=-1)
