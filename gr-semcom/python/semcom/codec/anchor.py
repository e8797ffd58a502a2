# SPDX-License-Identifier: GPL-3.0-or-later
"""The anchor: a base station's encoder and the decoder it is trained with before any user is."""

from itertools import pairwise

from torch import nn

from semcom.codec.base import Codec
from semcom.codec.decoders import KERNEL, AttentionDecoder, widths_upwards
from semcom.codec.stages import Stage, down


class Anchor(Codec):
    """An attention encoder (convolution + GDN + PReLU + AF a stage) and its mirror, the ``attention`` family.

    Stage 1 of anchor-aided multi-user semantic communication trains the two together; users' decoders are then
    trained against the encoder, which stays as it is. ``decoder`` is a user decoder like any other.

    Args:
        channels, stride, width, depth: as in :class:`semcom.codec.decoders.UserDecoder`.

    Raises:
        ConfigError: as there.
    """

    name = "anchor"

    def __init__(self, channels: int, stride: int, width: int, depth: int):
        super().__init__(channels, stride)
        self.decoder = AttentionDecoder(channels, stride, width, depth)
        flat = [channels] + [
            width
        ] * depth  # the nodes of the decoder's chain; the encoder's are the same, back
        shapes = [
            (a, b, KERNEL, 2)
            for a, b in pairwise([3, *widths_upwards(width, self.decoder.doublings)[:0:-1], flat[-1]])
        ]
        shapes += [(a, b, KERNEL, 1) for a, b in pairwise(flat[::-1])]
        last = len(shapes) - 1
        self.encoder = nn.ModuleList(Stage(down(*s), False, n == last, True) for n, s in enumerate(shapes))

    def encode_planes(self, images, snr_db):
        x = images
        for stage in self.encoder:
            x = stage(x, snr_db)
        return x

    def decode_planes(self, planes, weights, snr_db):
        return self.decoder.decode_planes(planes, weights, snr_db)
