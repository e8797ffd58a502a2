# SPDX-License-Identifier: GPL-3.0-or-later
"""What task codecs share: real latents within +-1, their way onto complex symbols and back, and two words for an SNR.

The papers state a *peak* SNR: P / sigma^2 with peak power P = 1 and noise of variance sigma^2 per REAL dimension. Two
dimensions ride on one symbol, scaled by one constant of the model, so that

    Es/N0 = peak SNR - backoff_db,    backoff_db = -10 log10(mean of z^2) >= 0,

and a figure's "20 dB" is an Es/N0 of 20 dB at most.
"""

import torch
import torch.nn.functional as F
from torch import nn

from semcom.channel.awgn import complex_normal
from semcom.codec.base import BaseCodec, Latents, check_images
from semcom.codec.task.posterior import SoftmaxPosterior
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ImageError
from semcom.kinds import LABEL


def pair(z: torch.Tensor, scale=1.0) -> torch.Tensor:
    """Reals ``[B, k]`` to complex ``[B, ceil(k / 2)]``: neighbours are I and Q of a symbol, an odd k is padded by 0."""
    z = F.pad(z.float(), (0, z.shape[1] % 2)) * scale
    return torch.view_as_complex(z.reshape(len(z), -1, 2).contiguous())


def unpair(symbols: torch.Tensor, dimensions: int, scale=1.0) -> torch.Tensor:
    """The inverse of :func:`pair`: ``[B, k]``."""
    return torch.view_as_real(symbols).flatten(1)[:, :dimensions] / scale


def peak_noise_variance(peak_snr_db) -> torch.Tensor:
    """sigma^2 per real dimension of a peak SNR in dB, for peak power 1: 0.1 at 10 dB, 0.01 at 20 dB."""
    return 10 ** (-torch.as_tensor(peak_snr_db, dtype=torch.float32) / 10)


def peak_channel(
    z: torch.Tensor, peak_snr_db, generator: torch.Generator | None = None, fading: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The papers' channel: reals ``[B, k]`` within +-1 plus noise, and its variance, ``[B, k]`` both.

    Args:
        peak_snr_db: 10 log10(1 / sigma^2), a number or ``[B]``.
        fading: slow Rayleigh: one h of CN(0, 1) a row, equalised by a receiver that knows it, z + n / abs(h).
    """
    variance = peak_noise_variance(peak_snr_db).to(z).expand(len(z))[:, None]
    if fading:
        gain = complex_normal(
            (len(z), 1), like=torch.empty(0, dtype=torch.complex64, device=z.device), generator=generator
        )
        variance = variance / gain.abs().square().clamp_min(1e-12)
    variance = variance.expand(z.shape)
    noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    return z + variance.sqrt() * noise, variance


class Backbone(nn.Module):
    """Pictures ``[B, 3, side, side]`` (0..1) to features ``[B, 4 width]``: three convolutional stages and a global
    maximum. The first convolution halves the size, which is what a CPU can train."""

    def __init__(self, width: int):
        super().__init__()
        w = width
        self.first = nn.Conv2d(3, w, 4, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(w)
        self.blocks = nn.ModuleList(
            [_Convolution(w, 2 * w), _Residual(2 * w), _Convolution(2 * w, 4 * w), _Residual(4 * w)]
        )
        self.features = 4 * w

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first_norm(self.first(4 * (images - 0.5))))
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (0, 2):
                x = F.max_pool2d(x, 2)
        return x.amax(dim=(2, 3))


class _Convolution(nn.Module):
    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.convolution(x)))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = _Convolution(width, width), _Convolution(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them. No batch normalisation: a Fisher trace is that of one item
    (``semcom.codec.task.posterior``)."""
    layers: list[nn.Module] = []
    for width_in, width in zip(widths, widths[1:]):
        layers += [nn.Linear(width_in, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class TaskCodec(BaseCodec):
    """Pictures to the logits of ``classes``, over ``dimensions`` reals, two a symbol.

    A subclass implements :meth:`encode_features` and :meth:`logits`; one of discrete symbols overrides
    :meth:`send_features`, :meth:`reals` and :meth:`as_sent` instead of the first.

    Power: values are within +-1 and scaled by one constant of the model, which holds the mean power of the symbols at 1
    over many pictures. Nothing is normalised per picture: with so few dimensions the class would leak into the gain. The
    constant carries no gradient: the limit that a training feels is the peak, as in the papers.

    Args:
        classes: of the result. dimensions: reals a picture. width: of :class:`Backbone`; 0: there is none, and the
            subclass makes features itself.
        side: pixels that a picture is scaled to first.

    Raises:
        ConfigError: fewer than two classes, no dimensions, or a side that the encoder cannot halve.
    """

    mean_square: torch.Tensor
    #: the decoder, all that logits come from
    head: nn.Module
    result = LABEL
    quantisable = False
    power = "peak"

    def __init__(self, classes: int, dimensions: int, width: int, side: int = 32, snr_range_db=RANGE_DB):
        super().__init__(snr_range_db)
        if classes < 2 or dimensions < 1 or side < 8 or side % 8 or width < 0:
            raise ConfigError(
                f"{self.name}: at least 2 classes, 1 symbol and a side that 8 divides, not {classes}, {dimensions}, "
                f"{side}."
            )
        self.classes, self.dimensions, self.side = classes, dimensions, side
        self.symbols = -(-dimensions // 2)
        #: mean square of the reals sent, a padded one as 0, as training saw it
        self.register_buffer("mean_square", torch.tensor(0.5))
        if width:
            self.backbone = Backbone(width)

    @property
    def rho(self) -> float:
        """Complex symbols a value of a picture of ``side`` pixels."""
        return self.symbols / (3 * self.side**2)

    @property
    def peak_power(self) -> float:
        """The most that the power of a symbol can be, where the mean is 1."""
        return float(1 / self.mean_square)

    @property
    def backoff_db(self) -> float:
        """Peak SNR of a dimension over Es/N0 of a symbol, in dB."""
        return float(-10 * self.mean_square.log10())

    @property
    def scale(self) -> torch.Tensor:
        """Of a real value on its symbol: s0 = 1 / sqrt(2 mean of z^2)."""
        return (2 * self.mean_square).clamp_min(1e-6).rsqrt()

    def symbol_snr_db(self, peak_snr_db):
        """Es/N0 in dB of a peak SNR per real dimension, a number or a tensor."""
        return peak_snr_db + 10 * self.mean_square.log10()

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

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures ``[B, 3, side, side]`` to features ``[B, F]``: what a training may keep, where it is frozen."""
        return self.backbone(images)

    def encode_features(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """Features and Es/N0 ``[B]`` in dB to reals ``[B, k]`` within +-1."""
        raise NotImplementedError

    def logits(self, z: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        """Received reals ``[B, k]`` (0 where lost) and the noise variance of each (inf: lost) to logits ``[B, C]``."""
        raise NotImplementedError

    def send(self, images: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """Images ``[B, 3, H, W]`` (0..1) to symbols ``[B, symbols]`` of mean power 1 over many images, not of each.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty.
            ConfigError: another rate.
        """
        check_images(images)
        self.latent_count(images.shape[-2], images.shape[-1], rho)
        if images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        return self.send_features(self.features(images), snr_db, in_memory=in_memory)

    def send_features(self, features: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """As :meth:`send`, of what :meth:`features` gave."""
        z = self.encode_features(features, self._clamped(self._per_image(snr_db, features)))
        self._count_power(z)
        return Latents(pair(z, self.scale))

    def _count_power(self, z: torch.Tensor) -> None:
        """In training: keeps the mean square of what is sent, ``[B, k]``."""
        if self.training:
            share = z.shape[1] / (z.shape[1] + z.shape[1] % 2)
            self.mean_square.lerp_(share * z.detach().square().mean().float(), 0.1)

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """Received symbols, with ``noise_var`` (inf: lost), to logits ``[B, classes]``.

        Raises:
            ImageError: the number of symbols, or the size, is not this model's.
        """
        self._check_received(latents, size)
        return self.logits(*self.reals(latents))

    def _check_received(self, latents: Latents, size: tuple[int, int]) -> None:
        count = latents.values.shape[1]
        if not self.admits(count, (self.classes, 1)) or tuple(size) not in (
            (self.classes, 1),
            (self.side, self.side),
        ):
            raise ImageError(
                f"{count} symbols of size {tuple(size)} are no label of {self.classes} classes: this codec sends "
                f"{self.symbols}."
            )

    def reals(self, latents: Latents) -> tuple[torch.Tensor, torch.Tensor]:
        """Received symbols to reals ``[B, k]``, 0 where lost, and the noise variance of each (inf: lost)."""
        variance = (latents.noise / (2 * self.scale.square())).repeat_interleave(2, 1)[:, : self.dimensions]
        z = unpair(latents.values, self.dimensions, self.scale)
        return torch.where(torch.isinf(variance), 0.0, z), variance

    def posterior(self, latents: Latents) -> tuple[SoftmaxPosterior, torch.Tensor, torch.Tensor]:
        """Of symbols as received: q(y | z) for the noise at hand; received z ``[B, k]``; noise variance of each."""
        z, variance = self.reals(latents)
        return SoftmaxPosterior(lambda point: self.logits(point, variance), self.head), z, variance

    def as_sent(self, latents: Latents) -> torch.Tensor:
        """The point ``[B, k]`` of the decoder's input that was sent, with its gradient."""
        return unpair(latents.values, self.dimensions, self.scale)
