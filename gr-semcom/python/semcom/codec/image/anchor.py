# SPDX-License-Identifier: GPL-3.0-or-later
"""The anchor: a base station's encoder and the decoder it is trained with before any user is."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Codec
from semcom.codec.image.decoders import KERNEL, AttentionDecoder, widths_upwards
from semcom.codec.image.linres import block_dct
from semcom.codec.layers.stages import Stage, down, zeroed
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB


class AnchorEncoder(nn.Module):
    """A chain of stages from pixels to planes, beside a linear path of one 3x3 convolution if there is one."""

    def __init__(self, stages: list[Stage], channels: int, stride: int, linear: bool):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.stride = stride
        self.linear = nn.Conv2d(3 * stride**2, channels, 3, padding=1) if linear else None
        if self.linear is not None:
            # it starts as a block DCT, the chain as zero
            zeroed(self.linear)
            zeroed(stages[-1].convolution)
            with torch.no_grad():
                self.linear.weight[:, :, 1, 1] = block_dct(channels, stride)

    def forward(self, images: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """``[B, 3, H, W]`` in 0..1, sides whole multiples of the stride, and SNR ``[B]`` in dB to planes."""
        x = images
        for stage in self.stages:
            x = stage(x, snr_db)
        if self.linear is None:
            return x
        return x + self.linear(F.pixel_unshuffle(images - 0.5, self.stride))


@register_architecture("anchor")
class Anchor(Codec):
    """An attention encoder (convolution + GDN + PReLU + AF a stage) and its mirror, the ``attention`` family.

    Stage 1 of anchor-aided multi-user semantic communication trains the two together; users' decoders are then
    trained against the encoder, which stays as it is. ``decoder`` is a user decoder like any other.

    Args:
        channels, stride, width, depth: as in :class:`semcom.codec.image.decoders.UserDecoder`.
        linear: give encoder and decoder a linear path each, which their networks correct (as there).

    Raises:
        ConfigError: as there.
    """

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
        self.decoder = AttentionDecoder(channels, stride, width, depth, linear, snr_range_db=snr_range_db)
        # the nodes of the decoder's chain; the encoder's are the same, reversed
        flat = [channels] + [width] * depth
        shapes = [
            (a, b, KERNEL, 2)
            for a, b in pairwise([3, *widths_upwards(width, self.decoder.doublings)[:0:-1], flat[-1]])
        ]
        shapes += [(a, b, KERNEL, 1) for a, b in pairwise(flat[::-1])]
        last = len(shapes) - 1
        stages = [Stage(down(*s), False, n == last) for n, s in enumerate(shapes)]
        self.encoder = AnchorEncoder(stages, channels, stride, linear)

    def encode_planes(self, images, snr_db):
        return self.encoder(images, snr_db)

    def decode_planes(self, planes, weights, snr_db):
        return self.decoder.decode_planes(planes, weights, snr_db)
