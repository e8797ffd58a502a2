# SPDX-License-Identifier: GPL-3.0-or-later
"""A DeepJSCC classifier: a few bounded reals, noise, a small decoder; plain, or with a regulariser of its posterior."""

import torch
from torch import nn

from semcom.codec.names import register_architecture
from semcom.codec.task.latent import TaskCodec, perceptron
from semcom.equivalent_snr import RANGE_DB


@register_architecture("task-deepjscc")
class DeepJSCCClassifier(TaskCodec):
    """z = tanh(norm(linear(features))), decoded by two hidden layers.

    The decoder is not given the noise: q(y | z) is one function, as the Fisher regulariser wants it. What was lost is 0.

    Args:
        classes: of the result. dimensions: reals a picture, two a symbol. width: of the backbone. hidden: of the
            decoder's layers. side: pixels that pictures are scaled to.
    """

    def __init__(
        self,
        classes: int = 10,
        dimensions: int = 8,
        width: int = 24,
        hidden: int = 128,
        side: int = 32,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(classes, dimensions, width, side, snr_range_db)
        self.project = nn.Linear(self.backbone.features, dimensions)
        # of the encoder: folds into the linear map
        self.norm = nn.BatchNorm1d(dimensions)
        self.head = perceptron(dimensions, hidden, hidden, classes)

    def encode_features(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.norm(self.project(features)).float())

    def logits(self, z: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return self.head(z)
