# SPDX-License-Identifier: GPL-3.0-or-later
"""The stage that ADJSCC, the anchor and its users are made of, the convolutions in it, and layers that start as zero."""

import torch
from torch import nn

from semcom.codec.layers.conditioning import conditioner
from semcom.codec.layers.gdn import GDN


class Stage(nn.Module):
    """Convolution, (I)GDN, then, but for the last stage of a chain, PReLU per channel and AF or what stands for it.

    Args:
        convolution: from :func:`down` or :func:`up`.
        inverse: IGDN, as decoders have it.
        last: neither PReLU nor AF follows.
        conditioning: how the SNR enters (``conditioning.CONDITIONINGS``).
    """

    convolution: nn.Conv2d | nn.ConvTranspose2d

    def __init__(
        self,
        convolution: nn.Conv2d | nn.ConvTranspose2d,
        inverse: bool,
        last: bool,
        conditioning: str = "af",
    ):
        super().__init__()
        channels = convolution.out_channels
        self.convolution = convolution
        self.gdn = GDN(channels, inverse)
        self.prelu = None if last else nn.PReLU(channels)
        self.attention = None if last else conditioner(conditioning, channels)

    def forward(self, x: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """``[B, c, h, w]`` and SNR ``[B]`` in dB to ``[B, c', h', w']``."""
        x = self.gdn(self.convolution(x))
        if self.prelu is not None:
            x = self.prelu(x)
        return x if self.attention is None else self.attention(x, snr_db)


def zeroed(layer: nn.Module) -> None:
    """Sets all parameters of a layer to zero, so that it adds nothing before training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def down(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Convolution that divides height and width by ``stride``."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def up(inputs: int, outputs: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """Transposed convolution that multiplies height and width by ``stride``."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)
