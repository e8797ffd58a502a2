# SPDX-License-Identifier: GPL-3.0-or-later
"""3x3 convolutions and moves between resolutions that use what a CPU has where no gradient is asked for.

torch's dense 3x3 convolution runs near a core's peak already: only fewer multiplications make it faster. NNPACK, which
comes with torch, has Winograd's algorithm (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016, arXiv:1509.09308). What it rounds is some 5e-6 of a feature's deviation.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

#: cells of a plane from which Winograd's algorithm is the faster one
LEAST_CELLS = 2048
#: cells that are computed at once, about: they bound NNPACK's memory, and fit a core's cache
STRIP_CELLS = 2**14
#: NNPACK computes so many rows of them at once
_TILE_ROWS = 6


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the size, ``[B, inputs, h, w]`` to ``[B, outputs, h, w]``.

    With gradients, on other devices, in other precisions and on small planes it is torch's own. Else each picture is
    computed for itself, whatever else is in its batch, and in strips, so that memory beside the result is bounded.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _winograd_serves(x):
            return super().forward(x)
        if len(x) == 1:
            return self._winograd(x)
        return torch.cat([self._winograd(picture) for picture in x.split(1)])

    def _winograd(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[2:]
        if height * width <= 2 * STRIP_CELLS:
            return torch._nnpack_spatial_convolution(picture, self.weight, self.bias, 1)
        out = picture.new_empty(1, self.out_channels, height, width)
        rows = max(STRIP_CELLS // width // _TILE_ROWS, 2) * _TILE_ROWS
        for first in range(0, height, rows):
            last, above = min(first + rows, height), max(first - 1, 0)
            # with a row of neighbours at either side, whose own results are wrong at a cut and left out
            strip = picture[:, :, above : min(last + 1, height)]
            strip = torch._nnpack_spatial_convolution(strip, self.weight, self.bias, 1)
            out[:, :, first:last] = strip[:, :, first - above : last - above]
        return out


_torchs_own = False


@contextmanager
def torchs_own_convolutions() -> Iterator[None]:
    """Inside, every convolution is torch's own: what the others are measured against."""
    global _torchs_own
    before, _torchs_own = _torchs_own, True
    try:
        yield
    finally:
        _torchs_own = before


def _winograd_serves(x: torch.Tensor) -> bool:
    return (
        _inference_on_cpu(x)
        and x.dtype == torch.float32
        and x.shape[2] * x.shape[3] >= LEAST_CELLS
        and not _torchs_own
        and not torch.is_autocast_enabled("cpu")
        and _nnpack()
    )


def _inference_on_cpu(x: torch.Tensor) -> bool:
    # whoever traces, exports or compiles a network wants the operations themselves
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or traced)


@functools.cache
def _nnpack() -> bool:
    # asking also starts it: its convolutions fail before
    return torch._nnpack_available()


def unshuffled(x: torch.Tensor, step: int) -> torch.Tensor:
    """``F.pixel_unshuffle``, bit by bit, in a third of its time on a CPU."""
    if not _inference_on_cpu(x):
        return F.pixel_unshuffle(x, step)
    batch, channels, height, width = x.shape
    out = x.new_empty(batch, channels, step, step, height // step, width // step)
    for row in range(step):
        for column in range(step):
            out[:, :, row, column] = x[:, :, row::step, column::step]
    return out.flatten(1, 3)


def shuffled(x: torch.Tensor, step: int) -> torch.Tensor:
    """``F.pixel_shuffle``, bit by bit, in a third of its time on a CPU."""
    if not _inference_on_cpu(x):
        return F.pixel_shuffle(x, step)
    parts = x.unflatten(1, (-1, step, step))
    batch, channels, _, _, height, width = parts.shape
    out = x.new_empty(batch, channels, height * step, width * step)
    for row in range(step):
        for column in range(step):
            out[:, :, row::step, column::step] = parts[:, :, row, column]
    return out


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.1; without gradients in place, so only of what nobody else needs."""
    return F.leaky_relu(x, 0.1, inplace=not torch.is_grad_enabled())
