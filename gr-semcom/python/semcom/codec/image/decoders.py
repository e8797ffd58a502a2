# SPDX-License-Identifier: GPL-3.0-or-later
"""Four families of user decoder: receivers that decode what one shared encoder sends, each in its own way.

They follow the users of anchor-aided multi-user semantic communication: attention, convolutional, residual
and VGG-style. Two things are common to all here and not from the paper. Each sees, beside every latent times
its MMSE weight, the weights themselves (as ``linres`` does), so that faded and lost latents are marked;
and feature channels halve as height and width double, so that no stage costs much more than the others.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Decoder
from semcom.codec.layers.conditioning import SnrFusion
from semcom.codec.layers.gdn import GDN
from semcom.codec.layers.stages import Stage, up, zeroed
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError

KERNEL = 5
BN_MOMENTUM = 0.02  # batches are small and SNRs differ: statistics over the last 50 of them


class UserDecoder(Decoder):
    """A decoder without an encoder: a chain of blocks from the latent grid to pixels, sigmoid at the end.

    Args:
        channels: real planes received, as the encoder sends them.
        stride: pixels per side of a grid cell, a power of 2; one stage doubles height and width.
        width: feature channels on the latent grid.
        depth: capacity on the latent grid; each family says what it counts.
        linear: add a linear path, one 3x3 convolution from the latents to pixel blocks, which the family's own
            network corrects. Not in the paper; it suits an encoder that has one itself (``linres``), and short
            trainings.

    Raises:
        ConfigError: a stride that is no power of 2 from 2 on, a width or depth out of range.
    """

    least_depth = 0

    def __init__(
        self,
        channels: int,
        stride: int,
        width: int,
        depth: int,
        linear: bool = False,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(channels, stride, snr_range_db)
        if stride < 2 or stride & (stride - 1):
            raise ConfigError(
                f"stride = {stride}: decoders double height and width at each stage, so it must be 2, 4, 8 ..."
            )
        if width < 1 or depth < self.least_depth:
            raise ConfigError(
                f"decoder '{self.name}': width must be at least 1 and depth at least {self.least_depth}, not "
                f"{width} and {depth}."
            )
        inputs = channels + channels // 2  # weighted planes and their weights
        self.blocks = nn.ModuleList(self.make_blocks(inputs, width, depth))
        self.linear = nn.Conv2d(inputs, 3 * stride**2, 3, padding=1) if linear else None
        if self.linear is not None:
            # the network starts as mid-grey, the linear path as zero
            zeroed(self.linear)
            zeroed(self.blocks[-1].get_submodule("convolution"))

    def make_blocks(self, inputs: int, width: int, depth: int) -> list[nn.Module]:
        """The chain from ``inputs`` planes to 3; each takes (x, snr_db)."""
        raise NotImplementedError

    @property
    def doublings(self) -> int:
        """How often height and width double on the way."""
        return self.stride.bit_length() - 1

    def decode_planes(self, planes, weights, snr_db):
        seen = torch.cat([planes * torch.cat([weights, weights], dim=1), weights], dim=1)
        x = seen
        for block in self.blocks:
            x = block(x, snr_db)
        image = torch.sigmoid(x)
        return image if self.linear is None else image + F.pixel_shuffle(self.linear(seen), self.stride)


def widths_upwards(width: int, doublings: int) -> list[int]:
    """Feature channels on the grids of 1, 2, 4 ... times the latent grid's resolution, without the last (pixels)."""
    return [max(width >> n, 4) for n in range(doublings)]


class _ToPixels(nn.Module):
    """The last transposed convolution: twice the resolution, three colours."""

    def __init__(self, width: int):
        super().__init__()
        self.convolution = up(width, 3, KERNEL, 2)

    def forward(self, x, snr_db):
        return self.convolution(x)


@register_architecture("attention")
class AttentionDecoder(UserDecoder):
    """Transposed convolution + IGDN + PReLU + AF a stage: the mirror of an attention encoder (ADJSCC).

    ``depth`` counts the stages on the latent grid; the doubling stages, the last with IGDN alone, come on top.
    """

    def make_blocks(self, inputs, width, depth):
        widths = widths_upwards(width, self.doublings)
        flat = [inputs] + [width] * depth
        shapes = [(a, b, KERNEL, 1) for a, b in pairwise(flat)]
        shapes += [(a, b, KERNEL, 2) for a, b in pairwise([flat[-1], *widths[1:], 3])]
        last = len(shapes) - 1
        return [Stage(up(*shape), True, n == last) for n, shape in enumerate(shapes)]


class _ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.convolution = up(inputs, outputs, KERNEL, stride)
        self.gdn = GDN(outputs, inverse=True)
        self.prelu = nn.PReLU(outputs)
        self.fusion = SnrFusion(outputs)

    def forward(self, x, snr_db):
        return self.fusion(self.prelu(self.gdn(self.convolution(x))), snr_db)


@register_architecture("conv")
class ConvDecoder(UserDecoder):
    """Transposed convolution + IGDN + PReLU a block, the SNR fused into each by a light fully connected layer.

    ``depth`` counts the blocks on the latent grid.
    """

    def make_blocks(self, inputs, width, depth):
        flat = [inputs] + [width] * depth
        upwards = [flat[-1], *widths_upwards(width, self.doublings)[1:]]
        blocks = [_ConvBlock(a, b, 1) for a, b in pairwise(flat)]
        blocks += [_ConvBlock(a, b, 2) for a, b in pairwise(upwards)]
        return [*blocks, _ToPixels(upwards[-1])]


class _ResidualBlock(nn.Module):
    """Transposed convolution + BN + PReLU, convolution + BN, and a skip (1x1, upsampled where the block does)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.first = up(inputs, outputs, 3, stride)
        self.first_norm = nn.BatchNorm2d(outputs, momentum=BN_MOMENTUM)
        self.prelu = nn.PReLU(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(outputs, momentum=BN_MOMENTUM)
        self.skip = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, snr_db):
        branch = self.second_norm(self.second(self.prelu(self.first_norm(self.first(x)))))
        if self.skip is not None:
            x = self.skip(x)
        if self.stride > 1:
            x = F.interpolate(x, scale_factor=self.stride, mode="nearest")
        return x + branch


@register_architecture("resnet")
class ResNetDecoder(UserDecoder):
    """Residual blocks: transposed convolution + BN + PReLU, convolution + BN, skip.

    ``depth`` counts the blocks, all but the last log2(stride) - 1 of which (they double the resolution) work on
    the latent grid; the paper has five. Its only SNR input are the weights of the latents.
    """

    least_depth = 1

    def make_blocks(self, inputs, width, depth):
        widths = widths_upwards(width, self.doublings)
        flat = depth - (self.doublings - 1)
        if flat < 1:
            raise ConfigError(
                f"decoder 'resnet': stride {self.stride} needs a depth of at least {self.doublings}, not {depth}."
            )
        blocks = [_ResidualBlock(a, b, 1) for a, b in pairwise([inputs] + [width] * flat)]
        blocks += [_ResidualBlock(a, b, 2) for a, b in pairwise(widths)]
        return [*blocks, _ToPixels(widths[-1])]


class _VGGBlock(nn.Module):
    """Two transposed convolutions, average pooling (3x3, every pixel), PReLU, then the SNR fused in."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = up(inputs, outputs, 3, stride)
        self.second = up(outputs, outputs, 3, 1)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.prelu = nn.PReLU(outputs)
        self.fusion = SnrFusion(outputs)

    def forward(self, x, snr_db):
        return self.fusion(self.prelu(self.pool(self.second(self.first(x)))), snr_db)


@register_architecture("vgg")
class VGGDecoder(UserDecoder):
    """Blocks of two transposed convolutions, average pooling and PReLU with the SNR fused in.

    A transposed convolution and a sigmoid end it. ``depth`` counts the blocks on the latent grid.
    """

    def make_blocks(self, inputs, width, depth):
        flat = [inputs] + [width] * depth
        upwards = [flat[-1], *widths_upwards(width, self.doublings)[1:]]
        blocks = [_VGGBlock(a, b, 1) for a, b in pairwise(flat)]
        blocks += [_VGGBlock(a, b, 2) for a, b in pairwise(upwards)]
        return [*blocks, _ToPixels(upwards[-1])]
