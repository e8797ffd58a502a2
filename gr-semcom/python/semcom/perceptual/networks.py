# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks whose features LPIPS and DISTS compare, and the two distances themselves."""

import torch
from torch import nn
from torch.nn import functional as F

from semcom.autocast import without_autocast

MIN_SIDE = 64  # below it AlexNet's last map is a point or two
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet; the constants of LPIPS for -1..1 are these for 0..1
_DEVIATION = (0.229, 0.224, 0.225)
_LPIPS_EPS = 1e-10
_DISTS_C = 1e-6


class AlexNet(nn.Module):
    """The five convolutions of AlexNet as torchvision has it; taps after each ReLU."""

    channels = (64, 192, 384, 256, 256)

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        taps, x = [], images
        for number, convolution in enumerate(self.convolutions):
            x = F.max_pool2d(x, 3, 2) if number in (1, 2) else x
            x = convolution(x).relu()
            taps.append(x)
        return taps


class Vgg16(nn.Module):
    """The thirteen convolutions of VGG-16; taps after the last ReLU of each of the five stages."""

    channels = (64, 128, 256, 512, 512)
    _DEPTHS = (2, 2, 3, 3, 3)

    def __init__(self):
        super().__init__()
        widths = [width for width, depth in zip(self.channels, self._DEPTHS) for _ in range(depth)]
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(i, o, 3, padding=1) for i, o in zip([3, *widths], widths)]
        )

    def forward(self, images: torch.Tensor, pool=lambda x: F.max_pool2d(x, 2)) -> list[torch.Tensor]:
        taps, x, rest = [], images, iter(self.convolutions)
        for stage, depth in enumerate(self._DEPTHS):
            x = pool(x) if stage else x
            for _ in range(depth):
                x = next(rest)(x).relu()
            taps.append(x)
        return taps


class _Distance(nn.Module):
    def forward(self, images: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Two batches ``[B, 3, H, W]`` in 0..1 to ``[B]``, computed in float32 also under autocast.

        Differentiable in both; nothing of the network is trained. Sides below ``MIN_SIDE`` give a figure that says
        nothing.
        """
        with without_autocast(images):
            return self.distance(images.float(), references.float())

    @staticmethod
    def _normalised(images: torch.Tensor) -> torch.Tensor:
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
        return (images - mean) / deviation


class Lpips(_Distance):
    """LPIPS, version 0.1 (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018,
    eq. 1): features of unit length at every place, squared differences weighted by channel, means over places, summed
    over the taps. 0 for equal pictures.

    Args:
        network: :class:`AlexNet` or :class:`Vgg16`.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.heads = nn.ParameterList([torch.zeros(count) for count in network.channels])

    def distance(self, images: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        total = 0
        taps = (self.network(self._normalised(some)) for some in (images, references))
        for head, ours, theirs in zip(self.heads, *taps, strict=True):
            apart = (_unit_length(ours) - _unit_length(theirs)).square()
            total = total + torch.einsum("c,bchw->b", head, apart) / apart[0, 0].numel()
        return total


class Dists(_Distance):
    """DISTS (Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", 2020): of
    pixels and VGG-16's features, pooled by Hanning windows of their squares, compares each channel's mean (texture)
    and its covariance (structure). 0 for equal pictures.
    """

    def __init__(self):
        super().__init__()
        self.network = Vgg16()
        count = 3 + sum(Vgg16.channels)
        self.alpha, self.beta = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(count))

    def distance(self, images: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        ours, theirs = (
            [some, *self.network(self._normalised(some), _hanning_pool)] for some in (images, references)
        )
        similarities = [_texture_and_structure(x, y) for x, y in zip(ours, theirs, strict=True)]
        texture, structure = (torch.cat(some, dim=1) for some in zip(*similarities))
        return 1 - (texture @ self.alpha + structure @ self.beta) / (self.alpha.sum() + self.beta.sum())


def _unit_length(features: torch.Tensor) -> torch.Tensor:
    # vector_norm has a gradient of 0 where all channels are 0; a square root of a sum has none
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + _LPIPS_EPS)


def _hanning_pool(features: torch.Tensor) -> torch.Tensor:
    """The root of the squares' weighted mean in windows of 3x3, at every second place."""
    window = features.new_tensor([0.25, 0.5, 0.25])
    kernel = (window[:, None] * window).expand(features.shape[1], 1, 3, 3)
    power = F.conv2d(features.square(), kernel, stride=2, padding=1, groups=features.shape[1])
    return (power + 1e-12).sqrt()


def _texture_and_structure(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of features ``[B, C, H, W]`` two similarities ``[B, C]``."""
    x_mean, y_mean = x.mean((2, 3)), y.mean((2, 3))
    x_off, y_off = x - x_mean[..., None, None], y - y_mean[..., None, None]
    texture = (2 * x_mean * y_mean + _DISTS_C) / (x_mean.square() + y_mean.square() + _DISTS_C)
    variances = x_off.square().mean((2, 3)) + y_off.square().mean((2, 3))
    structure = (2 * (x_off * y_off).mean((2, 3)) + _DISTS_C) / (variances + _DISTS_C)
    return texture, structure
