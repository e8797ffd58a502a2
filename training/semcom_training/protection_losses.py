# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of DeepJESCC (``semcom.codec.image.protected``), beside that of its pictures: registered with the others."""

import torch
from torch.nn import functional as F

from semcom import perceptual
from semcom.codec.image.protected import Protected, Seen
from semcom.errors import ConfigError
from semcom_training.losses import Transmission, register_loss

#: of the batch, of whose pictures features are compared: they cost as much as all the rest
SHARE = 0.25


@register_loss("inversion", of="transmission")
def inversion(batch: Transmission) -> torch.Tensor:
    """Mean squared error of the transmission: between P's pictures and those that it delivers."""
    seen = _seen(batch, "inversion")
    return (seen.protected - seen.received).square().mean()


@register_loss("protection", of="transmission")
def protection(batch: Transmission, bound: float = 0.5) -> torch.Tensor:
    """What is lacking of a distance of ``bound`` between features of a picture and of what P made of it."""
    seen = _seen(batch, "protection")
    return _lacking(batch.wanted, seen.protected, bound)


@register_loss("protection-received", of="transmission")
def protection_received(batch: Transmission, bound: float = 0.5) -> torch.Tensor:
    """As ``protection``, of what the transmission delivers."""
    seen = _seen(batch, "protection-received")
    return _lacking(batch.wanted, seen.received, bound)


@register_loss("structure", of="transmission")
def structure(batch: Transmission) -> torch.Tensor:
    """SSIM between a picture and what P made of it, squared: its negative is no protection. Not of the paper."""
    protected = _seen(batch, "structure").protected
    height, width = batch.wanted.shape[-2:]
    return ssim(protected[..., :height, :width], batch.wanted).square().mean()


def ssim(pictures: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """SSIM of pictures ``[B, 3, H, W]`` in 0..1, ``[B]``, -1 to 1 (Wang et al. 2004: Gaussian windows of 11 pixels).

    Raises:
        ConfigError: pictures below 11 pixels a side.
    """
    if (side := min(references.shape[-2:])) < 11:
        raise ConfigError(f"SSIM compares windows of 11 pixels: pictures of {side} are too small for it.")
    from torchmetrics.functional.image import structural_similarity_index_measure  # 2 s to import

    return structural_similarity_index_measure(
        pictures.float(), references.float(), data_range=1.0, reduction="none"
    )


def _lacking(images: torch.Tensor, others: torch.Tensor, bound: float) -> torch.Tensor:
    """max(0, bound - LPIPS), mean over a share of the batch; bounded, for a distance without an end would be all that
    is trained for. Small pictures are enlarged to the least that AlexNet takes."""
    height, width = images.shape[-2:]
    some = slice(max(1, round(SHARE * len(images))))
    pair = images[some], others[some, :, :height, :width]
    if min(height, width) < perceptual.MIN_SIDE:
        scale = perceptual.MIN_SIDE / min(height, width)
        pair = tuple(F.interpolate(x, scale_factor=scale, mode="bilinear") for x in pair)
    distance = perceptual.load("lpips-alex", images.device)
    return (bound - distance(pair[1], pair[0])).clamp_min(0).mean()


def _seen(batch: Transmission, name: str) -> Seen:
    seen = batch.sent.shared
    if not isinstance(batch.codec, Protected) or not isinstance(seen, Seen):
        raise ConfigError(f"loss '{name}' is of architecture 'protected' alone, not of '{batch.codec.name}'.")
    return seen
