# SPDX-License-Identifier: GPL-3.0-or-later
"""Soft demapping: what each received symbol says about its bits.

A log-likelihood ratio is ln P(bit = 0) - ln P(bit = 1), all labels alike, the noise CN(0, noise_var). By default
the nearest point of either kind stands for the sum over all ("max-log"). For Gray labels that is piecewise linear in
I and Q (Tosato and Bisaglia, ICC 2002), so that no distance is ever computed: with levels at +-1/2, +-3/2, ... +-(K-1/2)
the sign bit has -2 sign(y) r (|y| - (r - 1) / 2) over the noise power, r = min(floor(|y|) + 1, K), and folding y to
|y| - K/2 makes the next bit the sign bit of half as many levels.
"""

import math

import numpy as np
import torch

from semcom.errors import ConfigError
from semcom.modulation.constellation import Constellation, constellation, unpack_bits

_CHUNK_SYMBOLS = 32768  # larger leaves the cache, smaller costs calls
_EXACT_CHUNK = 4096
_LEAST_NOISE = 1e-9  # keeps the ratios of a noiseless symbol finite


def soft_demap(
    symbols: torch.Tensor, noise_var: torch.Tensor | float, order: int, exact: bool = False
) -> torch.Tensor:
    """Log-likelihood ratios of the bits of received symbols.

    Args:
        symbols: complex64 ``[..., n]`` as equalised: a sent point plus noise.
        noise_var: power of the complex noise of each, ``[..., n]`` or one number; infinity marks an erasure.
        exact: the sum over all points instead of the nearest ones; slower, and differentiable.

    Returns:
        float32 ``[..., n, m]``, m = log2 ``order``, above 0 where bit 0 is likelier; 0 for erasures.

    Raises:
        ConfigError: no such order, or a noise variance that is negative or NaN or of another shape.
    """
    shape = constellation(order)
    scale = _inverse(noise_var, symbols)
    flat, scale = symbols.reshape(-1), scale.reshape(-1)
    if exact:
        parts = zip(flat.split(_EXACT_CHUNK), scale.split(_EXACT_CHUNK), strict=True)
        ratios = [_exact(some, weight, shape) for some, weight in parts]
        out = torch.cat(ratios) if ratios else scale.new_zeros(0, shape.bits)
    else:
        out = torch.empty(len(flat), shape.bits, dtype=scale.dtype, device=flat.device)
        step = _CHUNK_SYMBOLS if flat.device.type == "cpu" else max(len(flat), 1)
        kernel = {2: _bpsk, 8: _8psk}.get(shape.order, _square)
        with torch.no_grad():
            for start in range(0, len(flat), step):
                some = slice(start, start + step)
                kernel(flat[some], scale[some], shape, out[some])
    return out.reshape(*symbols.shape, shape.bits)


def _inverse(noise_var: torch.Tensor | float, symbols: torch.Tensor) -> torch.Tensor:
    noise_var = torch.as_tensor(noise_var, dtype=symbols.real.dtype, device=symbols.device)
    if not (noise_var >= 0).all():
        raise ConfigError("soft demapping: a noise variance is negative or NaN; each must be 0 or more.")
    try:
        noise_var = noise_var.expand(symbols.shape)
    except RuntimeError:
        raise ConfigError(
            f"soft demapping: noise variances of shape {list(noise_var.shape)} do not fit symbols of shape"
            f" {list(symbols.shape)}: give one number, or one a symbol."
        ) from None
    return 1 / noise_var.clamp(min=_LEAST_NOISE)


def _bpsk(symbols: torch.Tensor, scale: torch.Tensor, _: Constellation, out: torch.Tensor) -> None:
    torch.mul(symbols.real, scale, out=out[:, 0]).mul_(-4)


def _8psk(symbols: torch.Tensor, scale: torch.Tensor, _: Constellation, out: torch.Tensor) -> None:
    """Bits: |Q| > |I|, Q < 0, I < 0. All points have power 1, so distances differ by 2 Re(y x*) alone."""
    cos, sin = 2 * math.cos(math.pi / 8), 2 * math.sin(math.pi / 8)
    i, q = symbols.real * scale, symbols.imag * scale
    _put(i.abs().sub_(q.abs()).mul_(cos - sin), out[:, 0])
    for column, along, across in ((1, q, i.abs()), (2, i, q.abs())):
        likely = torch.maximum(cos * along + sin * across, sin * along + cos * across)
        unlikely = torch.maximum(sin * across - cos * along, cos * across - sin * along)
        _put(likely.sub_(unlikely), out[:, column])


def _square(symbols: torch.Tensor, scale: torch.Tensor, shape: Constellation, out: torch.Tensor) -> None:
    assert shape.levels is not None, "a square constellation has levels"
    half = shape.bits // 2
    spacing = 2 * shape.levels.max().item() / (2**half - 1)
    values = torch.view_as_real(symbols).flatten() / -spacing  # I, Q, I, Q: both axes are alike
    scale = scale * (2 * spacing**2)
    scale = torch.view_as_real(torch.complex(scale, scale)).flatten()
    out = out.view(-1, half)
    work, steps = torch.empty_like(values), torch.empty_like(values)
    for bit in range(half):
        levels = 2 ** (half - 1 - bit)  # on either side of the fold
        if bit:
            values.abs_().sub_(levels)
        _put(_sign_bit(values, levels, work, steps).mul_(scale), out[:, bit])


def _sign_bit(values: torch.Tensor, levels: int, work: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """sign(y) r (|y| - (r - 1) / 2) for levels 1 apart, in ``work``; ``values`` stay as they are."""
    if levels == 1:
        return work.copy_(values)
    torch.abs(values, out=work)
    torch.floor(work, out=steps).clamp_(max=levels - 1)  # r - 1
    work.sub_(steps, alpha=0.5)
    torch.addcmul(work, work, steps, out=work)
    return torch.copysign(work, values, out=work)


def _put(values: torch.Tensor, column: torch.Tensor) -> None:
    """Copies into a column of a row-major table, four times as fast by numpy as by torch."""
    if column.device.type == "cpu":
        np.copyto(column.numpy(), values.numpy())
    else:
        column.copy_(values)


def _exact(symbols: torch.Tensor, scale: torch.Tensor, shape: Constellation) -> torch.Tensor:
    if shape.levels is None:
        points = shape.points.to(symbols.device)
        return bit_ratios(-(symbols[:, None] - points).abs().square() * scale[:, None])
    levels = shape.levels.to(symbols.device)
    axes = [
        bit_ratios(-(part[:, None] - levels).square() * scale[:, None])
        for part in (symbols.real, symbols.imag)
    ]
    return torch.cat(axes, -1)


def bit_ratios(likelihood: torch.Tensor) -> torch.Tensor:
    """Log-likelihood ratios ``[n, m]`` of the bits of labels, of which ``[n, 2^m]`` has the log-likelihood of each."""
    labels = likelihood.shape[-1]
    bits = labels.bit_length() - 1
    is_one = unpack_bits(torch.arange(labels, device=likelihood.device)[:, None], bits).bool()
    by_bit = [
        likelihood[:, ~is_one[:, bit]].logsumexp(-1) - likelihood[:, is_one[:, bit]].logsumexp(-1)
        for bit in range(bits)
    ]
    return torch.stack(by_bit, -1)
