# SPDX-License-Identifier: GPL-3.0-or-later
"""ADJSCC and its non-adaptive twin BDJSCC, layer for layer as the authors published them."""

import torch
from torch import nn

from semcom.codec.base import Codec
from semcom.codec.layers.conditioning import Denoiser, QueryAttention, check_conditioning, sees_map
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
        conditioning: how the SNR enters (``semcom.codec.layers.conditioning``); the paper has AF. With a map the weights
            of the latents are given to the decoder beside the planes.

    Raises:
        ConfigError: there is no such conditioning.
    """

    def __init__(
        self, channels: int = 16, filters: int = 256, conditioning: str = "af", *, snr_range_db=RANGE_DB
    ):
        check_conditioning("adjscc", conditioning)
        super().__init__(channels, 4, snr_range_db)
        self.conditioning = conditioning
        seen = channels + channels // 2 if sees_map(conditioning) else channels
        f = filters
        shapes = [(3, f, 9, 2), (f, f, 5, 2), (f, f, 5, 1), (f, f, 5, 1), (f, channels, 5, 1)]
        self.encoder = self._chain(down, shapes, inverse=False)
        shapes = [(seen, f, 5, 1), (f, f, 5, 1), (f, f, 5, 1), (f, f, 5, 2), (f, 3, 9, 2)]
        self.decoder = self._chain(up, shapes, inverse=True)
        if conditioning == "map+denoise":
            self.denoiser = Denoiser(channels)
        if conditioning == "query":
            self.encoder_query, self.decoder_query = QueryAttention(f), QueryAttention(f)

    def _chain(self, convolution, shapes, inverse):
        last = len(shapes) - 1
        return nn.ModuleList(
            Stage(convolution(*shape), inverse, n == last, self.conditioning)
            for n, shape in enumerate(shapes)
        )

    def encode_planes(self, images, snr_db):
        x = images
        for stage in self.encoder[:-1]:
            x = stage(x, snr_db)
        if self.conditioning == "query":
            x = self.encoder_query(x, snr_db)
        return self.encoder[-1](x, snr_db)

    def decode_planes(self, planes, weights, snr_db):
        x = planes  # the paper's decoder takes no weights: an erased latent is 0
        if self.conditioning == "map+denoise":
            x = self.denoiser(x * torch.cat([weights, weights], dim=1), weights)
        if sees_map(self.conditioning):
            x = torch.cat([x, weights], dim=1)
        x = self.decoder[0](x, snr_db)
        if self.conditioning == "query":
            x = self.decoder_query(x, snr_db)
        for stage in self.decoder[1:]:
            x = stage(x, snr_db)
        return torch.sigmoid(x)


@register_architecture("bdjscc")
class BDJSCC(ADJSCC):
    """The paper's basic model: ADJSCC without the AF modules, blind to the SNR. 10,690,351 parameters at 1/6."""

    def __init__(self, channels: int = 16, filters: int = 256, *, snr_range_db=RANGE_DB):
        super().__init__(channels, filters, "none", snr_range_db=snr_range_db)
