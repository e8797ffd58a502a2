# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures made unlike themselves before they are sent, and themselves again after: DeepJESCC, a research mode.

After Xu, Ai, Chen, Wang and Rodrigues, "Deep Joint Source-Channel Coding for Image Transmission with Visual Protection"
(IEEE TCCN 2023, arXiv:2111.03234): protection P, transmission, deprotection D. It hides pictures from who carries
them out the transmission, and is no cipher: who has D, or pairs of pictures and what P made of them, has the
pictures (docs/figures/jescc.md). Layers and weights of the losses are this project's, for the paper has its own.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import BaseCodec, Codec, Latents, check_images
from semcom.codec.image.linres import ResidualBlock
from semcom.codec.layers.convolution import Conv3x3, leaky, shuffled, unshuffled
from semcom.codec.layers.stages import zeroed
from semcom.codec.names import ARCHITECTURES, register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError

BLOCK = 16  # pixels a side of what the linear path mixes


@dataclass
class Seen:
    """What the transmission sees of a batch in training: ``protected``, P's pictures ``[B, 3, h, w]``, 0..1; and
    ``received``, those that it delivers."""

    protected: torch.Tensor
    received: torch.Tensor | None = None


class Disguise(nn.Module):
    """Pictures ``[B, 3, h, w]``, sides multiples of ``BLOCK``, to others of that size: a linear map of each block's
    colours, rows and columns, and a residual network of two scales, whose output starts at zero.

    The map starts as a negative with every block mirrored in both directions, its own inverse: that has the range and
    the smoothness of pictures, so that a codec of pictures carries it, and next to no similarity with the picture.

    Args:
        width: features.
    """

    def __init__(self, width: int):
        super().__init__()
        self.colours = nn.Parameter(-torch.eye(3))
        self.rows, self.columns = (nn.Parameter(torch.eye(BLOCK).flip(0)) for _ in range(2))
        self.enter = Conv3x3(12, width)
        self.fine_block = ResidualBlock(width)
        self.down = nn.Conv2d(4 * width, width, 1)
        self.coarse_blocks = nn.ModuleList([ResidualBlock(width), ResidualBlock(width)])
        self.up = nn.Conv2d(width, 4 * width, 1)
        self.leave = Conv3x3(width, 12)
        zeroed(self.leave)

    def forward(self, images: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        x = images - 0.5
        blocks = x.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
        mapped = torch.einsum("bcriko,dc->bdriko", blocks, self.colours)
        mapped = torch.einsum("bdriko,ji->bdrjko", mapped, self.rows)
        mapped = torch.einsum("bdrjko,po->bdrjkp", mapped, self.columns)
        fine = self.fine_block(leaky(self.enter(unshuffled(x, 2))), snr_db)
        coarse = leaky(self.down(unshuffled(fine, 2)))
        for block in self.coarse_blocks:
            coarse = block(coarse, snr_db)
        fine = fine + shuffled(self.up(coarse), 2)
        return 0.5 + mapped.flatten(4, 5).flatten(2, 3) + shuffled(self.leave(fine), 2)


@register_architecture("protected")
class Protected(BaseCodec):
    """Another codec, which may be trained already and stays as it is, between P and D.

    The transmission is ``backbone``, the name under which cards share tensors with the model that they are from.

    Args:
        inner: architecture of the transmission, one that sends planes. arguments: its own.
        width: features of P and D each.

    Raises:
        ConfigError: an architecture that sends no planes, or whose stride does not divide ``BLOCK``.
    """

    def __init__(self, inner: str = "linres", arguments=None, width: int = 48, *, snr_range_db=RANGE_DB):
        super().__init__(snr_range_db)
        made = ARCHITECTURES.get(inner)
        if made is None or not issubclass(made, Codec):
            raise ConfigError(f"protected: 'inner' is an architecture that sends planes, not {inner!r}.")
        self.backbone = made(**(arguments or {}), snr_range_db=snr_range_db)
        if BLOCK % self.backbone.stride:
            raise ConfigError(f"protected: the stride of '{inner}' must divide {BLOCK}.")
        self.protection, self.deprotection = Disguise(width), Disguise(width)

    @property
    def rho(self) -> float:
        return self.backbone.rho

    @property
    def side_width(self) -> int:
        return self.backbone.side_width

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        return self.backbone.latent_count(*whole_blocks(height, width), rho)

    def protect(self, images: torch.Tensor, snr_db) -> torch.Tensor:
        """P: images ``[B, 3, H, W]``, 0..1, to pictures of whole blocks, 0..1, which the transmission gets.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty.
        """
        check_images(images)
        height, width = images.shape[-2:]
        rows, columns = whole_blocks(height, width)
        if (rows, columns) != (height, width):
            images = F.pad(images, (0, columns - width, 0, rows - height), mode="replicate")
        return self.protection(images, self._clamped(self._per_image(snr_db, images))).clamp(0, 1)

    def deprotect(self, received: torch.Tensor, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """D: what the transmission delivered, ``[B, 3, h, w]``, to images ``[B, 3, H, W]``."""
        snr = self._clamped(self._per_image(snr_db, received))
        images = self.deprotection(received, snr)[..., : size[0], : size[1]]
        return images if self.training else images.clamp(0, 1)

    def send(self, images: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        protected = self.protect(images, snr_db)
        latents = self.backbone.send(protected, snr_db, rho=rho)
        return replace(latents, shared=Seen(protected)) if in_memory else latents

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        received = self.backbone.receive(latents, snr_db, whole_blocks(*size))
        if isinstance(latents.shared, Seen):
            latents.shared.received = received
        return self.deprotect(received, snr_db, size)

    def encode(self, images: torch.Tensor, snr_db) -> torch.Tensor:
        return self.backbone.encode(self.protect(images, snr_db), snr_db)

    def decode(self, latents: torch.Tensor, snr_db, size: tuple[int, int], noise_var=None) -> torch.Tensor:
        received = self.backbone.decode(latents, snr_db, whole_blocks(*size), noise_var)
        return self.deprotect(received, snr_db, size)


def whole_blocks(height: int, width: int) -> tuple[int, int]:
    """A size with its sides raised to multiples of ``BLOCK``."""
    return -(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK
