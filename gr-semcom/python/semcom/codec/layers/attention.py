# SPDX-License-Identifier: GPL-3.0-or-later
"""The attention-feature (AF) module, which makes one network fit every SNR."""

import torch
from torch import nn


class AttentionFeature(nn.Module):
    """Scales each channel by a factor in 0..1 computed from the features and the SNR.

    Xu, Ai, Chen, Yang, Sun, Rodrigues, "Wireless Image Transmission Using Deep Source Channel Coding With
    Attention Modules", IEEE TCSVT 2022 (arXiv:2012.00533), section III-B: global average pooling, the SNR in
    dB concatenated as it is, a dense layer to c/16 with ReLU, a dense layer to c with sigmoid,
    multiplication.
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 1)
        self.squeeze = nn.Linear(channels + 1, hidden)
        self.excite = nn.Linear(hidden, channels)

    def factors(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """Features ``[B, c, h, w]`` and SNR ``[B]`` in dB to the factor of each channel, ``[B, c, 1, 1]``."""
        context = torch.cat([features.mean(dim=(2, 3)), snr_db[:, None].to(features.dtype)], dim=1)
        factor = torch.sigmoid(self.excite(torch.relu(self.squeeze(context))))
        return factor[:, :, None, None]

    def forward(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """The features, scaled; of the same shape."""
        return features * self.factors(features, snr_db)
