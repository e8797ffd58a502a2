# SPDX-License-Identifier: GPL-3.0-or-later
"""Generalised divisive normalisation and its approximate inverse."""

import torch
import torch.nn.functional as F
from torch import nn


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2); with ``inverse`` the multiplication instead (IGDN).

    Balle, Laparra, Simoncelli, "Density Modeling of Images using a Generalized Normalization Transformation",
    ICLR 2016 (arXiv:1511.06281), eq. 3 with the exponents 2 and 1/2. Beta stays above 1e-6 and gamma above 0
    whatever the optimiser does, because both are stored as square roots and squared on use.
    """

    BETA_MIN = 1e-6

    def __init__(self, channels: int, inverse: bool = False):
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        self.gamma_root = nn.Parameter(torch.eye(channels) * 0.1**0.5 + 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as ``x``, ``[B, c, h, w]``."""
        gamma = self.gamma_root.square()[:, :, None, None]
        norm = F.conv2d(x.square(), gamma, self.beta_root.square() + self.BETA_MIN)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())
