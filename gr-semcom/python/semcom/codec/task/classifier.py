# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to a class over the air: what is sent is what the class needs, not the picture.

Task-oriented communication after Shao, Mao, Zhang, "Learning Task-Oriented Communication for Edge Inference: An
Information Bottleneck Approach", IEEE JSAC 2022 (arXiv:2102.04170): a small encoder, a few dimensions, a classifier
behind the channel, one loss.
"""

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import BaseCodec, Latents, latent_weights
from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ImageError
from semcom.kinds import LABEL


@register_architecture("classifier")
class Classifier(BaseCodec):
    """A picture to the logits of ``classes``, over ``symbols`` complex symbols.

    Power: symbols are ``tanh`` of what the encoder makes, times one constant of the model, which holds their mean power
    at 1 over many pictures. Nothing is normalised per picture: with so few dimensions the class would leak into the
    gain.

    Args:
        classes: of the result. symbols: complex symbols a picture, whatever its size (it is scaled to ``side`` first).
        width: feature channels of the first of three stages; the next have two and four times as many.

    Raises:
        ConfigError: fewer than two classes, or no symbols.
    """

    mean_square: torch.Tensor
    result = LABEL
    quantisable = False
    power = "peak"

    def __init__(
        self, classes: int = 10, symbols: int = 32, width: int = 32, side: int = 32, *, snr_range_db=RANGE_DB
    ):
        super().__init__(snr_range_db)
        if classes < 2 or symbols < 1 or side % 8:
            raise ConfigError(
                f"classifier: at least 2 classes, 1 symbol and a side that 8 divides, not {classes}, {symbols}, {side}."
            )
        self.classes, self.symbols, self.side = classes, symbols, side
        stages, width_in = [], 3
        for factor in (1, 2, 4):
            stages.append(_Stage(width_in, factor * width))
            width_in = factor * width
        self.stages = nn.ModuleList(stages)
        self.attention = AttentionFeature(width_in)
        self.project = nn.Linear(width_in * (side // 8) ** 2 // 4, 2 * symbols)
        #: mean square of the bounded values, as training saw it
        self.register_buffer("mean_square", torch.tensor(0.5))
        self.head = nn.Sequential(
            nn.Linear(3 * symbols, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes)
        )

    @property
    def rho(self) -> float:
        """Complex symbols a value of a picture of ``side`` pixels."""
        return self.symbols / (3 * self.side**2)

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        """Complex symbols, the same for every size."""
        if rho is not None and abs(rho - self.rho) > 1e-6:
            raise ConfigError(self._no_other_ratio(rho))
        return self.symbols

    def result_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Number of classes, and 1."""
        return self.classes, 1

    def admits(self, count: int, size: tuple[int, int]) -> bool:
        return count == self.symbols and size == (self.classes, 1)

    def send(self, images: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """Images ``[B, 3, H, W]`` (0..1) to symbols ``[B, symbols]`` of mean power 1 over many images, not of each.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty.
            ConfigError: another rate.
        """
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise ImageError(
                f"images have shape {list(images.shape)}; an encoder takes [B, 3, H, W] with H, W >= 1."
            )
        self.latent_count(images.shape[-2], images.shape[-1], rho)
        if images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        x = images - 0.5
        for stage in self.stages:
            x = stage(x)
        x = self.attention(x, self._clamped(self._per_image(snr_db, images)))
        values = torch.tanh(self.project(F.avg_pool2d(x, 2).flatten(1)).float())
        mean_square = self.mean_square
        if self.training:
            mean_square = values.square().mean()
            self.mean_square.lerp_(mean_square.detach(), 0.1)
        values = values * (2 * mean_square).clamp_min(1e-6).rsqrt()
        return Latents(torch.view_as_complex(values.view(len(values), self.symbols, 2)))

    @property
    def peak_power(self) -> float:
        """The most that the power of a symbol can be, where the mean is 1."""
        return float(1 / self.mean_square)

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """Received symbols, with ``noise_var`` (inf: lost), to logits ``[B, classes]``.

        Raises:
            ImageError: the number of symbols, or the size, is not this model's.
        """
        if latents.values.shape[1] != self.symbols or tuple(size) not in (
            (self.classes, 1),
            (self.side, self.side),
        ):
            raise ImageError(
                f"{latents.values.shape[1]} symbols of size {tuple(size)} are no label of {self.classes} classes: this "
                f"codec sends {self.symbols}."
            )
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
