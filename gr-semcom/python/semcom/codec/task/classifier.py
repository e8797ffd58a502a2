# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to a class over the air: what is sent is what the class needs, not the picture.

Task-oriented communication after Shao, Mao, Zhang, "Learning Task-Oriented Communication for Edge Inference: An
Information Bottleneck Approach", IEEE JSAC 2022 (arXiv:2102.04170): a small encoder, a few dimensions, a classifier
behind the channel, one loss.
"""

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Latents, latent_weights
from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.names import register_architecture
from semcom.codec.task.latent import TaskCodec
from semcom.equivalent_snr import RANGE_DB


@register_architecture("classifier")
class Classifier(TaskCodec):
    """A picture to the logits of ``classes``, over ``symbols`` complex symbols, encoder and decoder given the noise.

    Args:
        classes: of the result. symbols: complex symbols a picture, whatever its size (it is scaled to ``side`` first).
        width: feature channels of the first of three stages; the next have two and four times as many.

    Raises:
        ConfigError: fewer than two classes, or no symbols.
    """

    def __init__(
        self, classes: int = 10, symbols: int = 32, width: int = 32, side: int = 32, *, snr_range_db=RANGE_DB
    ):
        super().__init__(classes, 2 * symbols, 0, side, snr_range_db)
        stages, width_in = [], 3
        for factor in (1, 2, 4):
            stages.append(_Stage(width_in, factor * width))
            width_in = factor * width
        self.stages = nn.ModuleList(stages)
        self.attention = AttentionFeature(width_in)
        self.project = nn.Linear(width_in * (side // 8) ** 2 // 4, 2 * symbols)
        self.head = nn.Sequential(
            nn.Linear(3 * symbols, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes)
        )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        x = images - 0.5
        for stage in self.stages:
            x = stage(x)
        return x

    def encode_features(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        x = self.attention(features, snr_db)
        return torch.tanh(self.project(F.avg_pool2d(x, 2).flatten(1)).float())

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """Received symbols, with ``noise_var`` (inf: lost), and their MMSE weights to logits ``[B, classes]``.

        Raises:
            ImageError: the number of symbols, or the size, is not this model's.
        """
        self._check_received(latents, size)
        weights = latent_weights(latents.noise)
        seen = torch.where(weights > 0, latents.values, 0) * weights
        return self.head(torch.cat([seen.real, seen.imag, weights], dim=1).float())


class _Stage(nn.Module):
    """Half the size: a convolution, and a residual one."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x)))
        return F.max_pool2d(F.relu(x + self.second_norm(self.second(x))), 2)
