# SPDX-License-Identifier: GPL-3.0-or-later
"""ADJSCC and its non-adaptive twin BDJSCC, layer for layer as the authors published them."""

import torch
from torch import nn

from semcom.codec.base import Codec
from semcom.codec.layers.stages import Stage, down, up
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB


@register_architecture("adjscc")
class ADJSCC(Codec):
    """Xu et al., "Wireless Image Transmission Using Deep Source Channel Coding With Attention Modules", IEEE
    TCSVT 2022 (arXiv:2012.00533), figure 3 and the authors' code (alexxu1988/ADJSCC).

    Five convolutions 9/5/5/5/5 (the first two with stride 2), GDN after every one, PReLU and AF after the
    first four; the decoder mirrors them with IGDN and ends with a sigmoid. At rho = 1/6 (16 channels) it has
    10,758,191 parameters.

    Args:
        channels: real planes sent (16 for rho = 1/6, 8 for 1/12).
        filters: width of the inner layers; the paper has 256.
    """

    attention = True

    def __init__(self, channels: int = 16, filters: int = 256, *, snr_range_db=RANGE_DB):
        super().__init__(channels, 4, snr_range_db)
        f = filters
        shapes = [(3, f, 9, 2), (f, f, 5, 2), (f, f, 5, 1), (f, f, 5, 1), (f, channels, 5, 1)]
        self.encoder = self._chain(down, shapes, inverse=False)
        shapes = [(channels, f, 5, 1), (f, f, 5, 1), (f, f, 5, 1), (f, f, 5, 2), (f, 3, 9, 2)]
        self.decoder = self._chain(up, shapes, inverse=True)

    def _chain(self, convolution, shapes, inverse):
        last = len(shapes) - 1
        return nn.ModuleList(
            Stage(convolution(*shape), inverse, n == last, self.attention) for n, shape in enumerate(shapes)
        )

    def encode_planes(self, images, snr_db):
        x = images
        for stage in self.encoder:
            x = stage(x, snr_db)
        return x

    def decode_planes(self, planes, weights, snr_db):
        x = planes  # the paper's decoder takes no weights: an erased latent is 0
        for stage in self.decoder:
            x = stage(x, snr_db)
        return torch.sigmoid(x)


@register_architecture("bdjscc")
class BDJSCC(ADJSCC):
    """The paper's basic model: ADJSCC without the AF modules, blind to the SNR. 10,690,351 parameters at 1/6."""

    attention = False
