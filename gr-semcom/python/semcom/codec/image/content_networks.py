# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of the content-adaptive codec, and what they are given of each 8x8 cell."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.image import allocation as closed
from semcom.codec.image.allocation import BlockMap
from semcom.codec.image.linres import ResidualBlock
from semcom.codec.layers.convolution import Conv3x3, leaky, shuffled, unshuffled
from semcom.codec.layers.stages import zeroed

EMBEDDING = 16
#: brings planes to about 1
PICTURE_SCALE = 5.0
#: what a receiver knows of each cell: its class, error and what was not sent by zones, base layer's error, power
RECEIVER_CELLS = EMBEDDING + 4 * closed.ZONES + 2
_SMALLEST = 1e-7  # variance a pixel, added before a logarithm or a root
#: deviation of the error where the map is unknown
_UNKNOWN = 0.05
#: root mean square of a correction in units of the error expected there, above which it is not believed
_MOST_DEVIATIONS = 3.0


class Trunk(nn.Module):
    """A residual network on grids of 1/4 and 1/8 of the resolution, with what is known of each 8x8 cell as features.

    What it adds is in units of the error that the closed form expects there, which spans two decades from 0 to 20 dB.
    Its last convolution starts at zero, so an untrained codec is the closed form alone.

    Args:
        widths: feature channels at 1/4 and 1/8. blocks: residual blocks there. cells: channels known of a cell.
    """

    def __init__(self, widths, blocks, cells: int):
        super().__init__()
        outer, inner = widths
        self.picture_in = Conv3x3(48, outer)
        self.down = nn.Conv2d(4 * outer, inner, 1)
        self.cells_in = nn.Conv2d(cells, inner, 1)
        self.inner_blocks = nn.ModuleList(ResidualBlock(inner) for _ in range(blocks[1]))
        self.up = nn.Conv2d(inner, 4 * outer, 1)
        self.outer_blocks = nn.ModuleList(ResidualBlock(outer) for _ in range(blocks[0]))
        self.picture_out = Conv3x3(outer, 48)
        zeroed(self.picture_out)

    def forward(self, picture, cells, deviation, snr_db) -> torch.Tensor:
        """Planes ``[B, 3, H, W]`` to a correction of the same shape.

        Args:
            cells: what is known of each, ``[B, C, H/8, W/8]``. deviation: of the error expected there, ``[B, 3, ...]``.
            snr_db: ``[B]``.
        """
        fine = self.picture_in(unshuffled(picture, 4).mul_(PICTURE_SCALE))
        x = self.down(leaky(unshuffled(fine, 2))) + self.cells_in(cells)
        for block in self.inner_blocks:
            x = block(x, snr_db)
        x = fine + shuffled(self.up(leaky(x)), 2)
        for block in self.outer_blocks:
            x = block(x, snr_db)
        return in_units_of(shuffled(self.picture_out(leaky(x)), 4), deviation)


def in_units_of(planes: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Planes ``[B, 3, H, W]`` times the deviation ``[B, 3, H/8, W/8]`` of their cells."""
    cells = planes.unflatten(3, (-1, closed.CELL)).unflatten(2, (-1, closed.CELL))
    return (cells * deviation[:, :, :, None, :, None]).flatten(2, 3).flatten(3, 4)


def believable(correction: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """A network's correction ``[B, 3, H, W]``, 0 where it is far beyond the deviation ``[B, 3, H/8, W/8]`` of the error.

    In neighbourhoods of 5x5 cells of photographs its root mean square is at most 1.5 deviations. Of pictures that no
    network saw, such as areas of one colour at high SNR, it can be thousands, where the linear estimate is nearly exact.
    """
    cells = (F.avg_pool2d(correction.square(), closed.CELL) / deviation.square()).mean(dim=1, keepdim=True)
    # also where it is no number
    wild = ~(F.avg_pool2d(cells, 5, 1, 2, count_include_pad=False) <= _MOST_DEVIATIONS**2)
    if not wild.any():
        return correction
    cells = correction.unflatten(3, (-1, closed.CELL)).unflatten(2, (-1, closed.CELL))
    return cells.masked_fill(wild[:, :, :, None, :, None], 0.0).flatten(2, 3).flatten(3, 4)


@dataclass(frozen=True)
class Front:
    """What the closed form makes of received symbols: all that a receiver's network is given beside the SNR.

    picture: the linear estimate, planes ``[B, 3, H, W]``. cells: what is known of each, ``[B, RECEIVER_CELLS, H/8,
    W/8]``. deviation: of the error expected there, ``[B, 3, H/8, W/8]``.
    """

    picture: torch.Tensor
    cells: torch.Tensor
    deviation: torch.Tensor

    def __iter__(self):
        return iter((self.picture, self.cells, self.deviation))


def deviation_of(zones: torch.Tensor, blocks: BlockMap) -> torch.Tensor:
    """Deviation of the error of a pixel ``[B, 3, rows, columns]`` from its variance in the zones of a cell."""
    luma, chroma = zones.split(closed.ZONES, dim=1)
    chroma = chroma.sum(dim=1, keepdim=True) / 2
    variance = torch.cat([luma.sum(dim=1, keepdim=True), chroma, chroma], dim=1)
    return torch.where(blocks.size[:, None] < 0, _UNKNOWN, (variance + _SMALLEST).sqrt())


def as_feature(variance: torch.Tensor) -> torch.Tensor:
    """Variances a pixel as numbers of about -1..1: decades about 1e-4, halved."""
    return 0.5 * torch.log10(variance + _SMALLEST) + 2
