# SPDX-License-Identifier: GPL-3.0-or-later
"""This project's own codec: a learned linear analog transform, corrected by residual networks."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Codec, latent_weights
from semcom.codec.image.allocation import LEVEL_MIN, largest, level_histogram, level_of, water_filling
from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.layers.conditioning import (
    Denoiser,
    QueryAttention,
    SnrFusion,
    check_conditioning,
    conditioner,
)
from semcom.codec.layers.convolution import Conv3x3, leaky, shuffled, unshuffled
from semcom.codec.layers.stages import zeroed
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError

SNR_INPUTS = ("both", "decoder", "none")
_ASSUMED_DB = 10.0  # by an end without the SNR as input


class ResidualBlock(nn.Module):
    """x + AF(conv(act(conv(x)))) with two dense 3x3 convolutions; the second starts at zero, so the block
    starts as the identity and deep chains train from the first step. Other ways of ``conditioning`` stand for AF."""

    def __init__(self, width: int, conditioning: str = "af"):
        super().__init__()
        self.first = Conv3x3(width, width)
        self.second = Conv3x3(width, width)
        self.attention = conditioner(conditioning, width)
        zeroed(self.second)

    def forward(self, x: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        branch = self.second(leaky(self.first(x)))
        if self.attention is None:
            return x + branch
        if isinstance(self.attention, SnrFusion):
            return x + self.attention(branch, snr_db)
        return torch.addcmul(x, branch, self.attention.factors(branch, snr_db))


class _Gains(AttentionFeature):
    """AF whose factors lie in 0..2 and are 1 at the start."""

    def __init__(self, channels: int):
        super().__init__(channels)
        zeroed(self.excite)

    def factors(self, features, snr_db):
        return 2 * super().factors(features, snr_db)


def _gains(conditioning: str, channels: int) -> nn.Module | None:
    """What gives planes of a linear path their gains for the SNR, 1 at the start; None: nothing does."""
    return _Gains(channels) if conditioning == "af" else conditioner(conditioning, channels)


class _Blocks(nn.Module):
    def __init__(self, width: int, count: int, conditioning: str = "af"):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, conditioning) for _ in range(count))

    def forward(self, x, snr_db):
        for block in self.blocks:
            x = block(x, snr_db)
        return x


@register_architecture("linres")
class LinRes(Codec):
    """Linear transform plus residual correction, fully convolutional, SNR-adaptive by AF modules.

    Encoder and decoder are each the sum of a linear path (one 3x3 convolution between blocks of stride x
    stride pixels and the latents; the encoder's starts as a block DCT) and a residual network, whose output
    starts at zero. AF modules on the linear path (twice their output, so 1 at the start) give each latent plane
    its gain for the SNR, as the best power allocation of a linear transmission depends on it. So training
    starts as a linear analog transmission and spends its time on what that cannot do. All convolutions are
    3x3 and work on grids of 1/4 (``widths[0]``) and, with a second width, 1/8 of the resolution
    (``widths[1]``), where dense convolutions run near a CPU's peak; nothing is computed at full resolution.

    The decoder sees each latent times its MMSE weight, and the weights themselves, so the noise of each
    latent and erasures are known to it, not only the mean SNR.

    Args:
        channels: real planes sent (8 for rho = 1/12 at stride 4; 32 at stride 8).
        widths: feature channels of the grids, finest first; one width: stride 4, two: stride 8.
        encoder_blocks, decoder_blocks: residual blocks on each grid, in the order of ``widths``.
        snr_input: which ends are given the SNR: both, the decoder alone, or none; the others always assume 10 dB. With
            none the decoder still knows which latents were lost.
        conditioning: how it enters (``semcom.codec.layers.conditioning``). The decoder of every one but none sees the
            weights of the latents, so that a map is what all of them have, and ``map`` is that alone.
    """

    def __init__(
        self,
        channels: int,
        widths=(96,),
        encoder_blocks=(4,),
        decoder_blocks=(6,),
        snr_input: str = "both",
        conditioning: str = "af",
        *,
        snr_range_db=RANGE_DB,
    ):
        widths, encoder_blocks, decoder_blocks = tuple(widths), tuple(encoder_blocks), tuple(decoder_blocks)
        if not len(widths) == len(encoder_blocks) == len(decoder_blocks) or len(widths) not in (1, 2):
            raise ConfigError(
                "linres takes one or two widths, and as many encoder_blocks and decoder_blocks."
            )
        if snr_input not in SNR_INPUTS:
            raise ConfigError(f"linres: snr_input is one of {', '.join(SNR_INPUTS)}, not {snr_input!r}.")
        check_conditioning("linres", conditioning)
        super().__init__(channels, 4 * 2 ** (len(widths) - 1), snr_range_db)
        self.snr_input = "none" if conditioning == "none" else snr_input
        self.conditioning = conditioning
        pixels = 3 * self.stride**2
        inner = widths[-1]
        seen = channels + channels // 2  # weighted planes and their weights

        self.linear_encoder = Conv3x3(pixels, channels)
        self.encoder_in = Conv3x3(48, widths[0])
        self.encoder_stages = nn.ModuleList(
            _Blocks(w, n, conditioning) for w, n in zip(widths, encoder_blocks)
        )
        self.encoder_down = nn.Conv2d(4 * widths[0], inner, 1) if len(widths) == 2 else None
        self.encoder_out = Conv3x3(inner, channels)

        self.linear_decoder = Conv3x3(channels, pixels)
        self.decoder_in = Conv3x3(seen, inner)
        self.decoder_stages = nn.ModuleList(
            _Blocks(w, n, conditioning) for w, n in zip(widths[::-1], decoder_blocks[::-1])
        )
        self.decoder_up = nn.Conv2d(inner, 4 * widths[0], 1) if len(widths) == 2 else None
        self.decoder_out = Conv3x3(widths[0], 48)
        self.encoder_gains = _gains(conditioning, channels)
        self.decoder_gains = _gains(conditioning, channels)
        if conditioning == "map+denoise":
            self.denoiser = Denoiser(channels)
        if conditioning == "query":
            self.encoder_query, self.decoder_query = QueryAttention(inner), QueryAttention(inner)
        self._start_linear()

    def _start_linear(self):
        basis = block_dct(self.channels, self.stride)
        with torch.no_grad():
            for layer in (self.linear_encoder, self.linear_decoder, self.encoder_out, self.decoder_out):
                zeroed(layer)
            self.linear_encoder.weight[:, :, 1, 1] = basis
            # latents come at mean power 1; pixels of a block around mid-grey have an rms of about 0.25
            self.linear_decoder.weight[:, :, 1, 1] = 0.25 * basis.T / basis.square().sum(dim=1)

    @torch.no_grad()
    def start_from(self, images: torch.Tensor, snr_db: float = 10.0) -> None:
        """Sets the linear path to the best linear code of blocks of the stride, measured on images ``[N, 3, H, W]``.

        Principal components, powers by water-filling and MMSE gains at ``snr_db`` (Lee and Petersen, "Optimal Linear
        Coding for Vector Channels", IEEE Trans. Commun. 1976), with planes at mean power 1 a complex latent.
        """
        height, width = (side // self.stride * self.stride for side in images.shape[-2:])
        blocks = F.pixel_unshuffle(images[..., :height, :width] - 0.5, self.stride)
        vectors = blocks.permute(0, 2, 3, 1).flatten(0, 2).double()
        variance, basis = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
        variance, basis = variance.flip(0)[: self.channels], basis.flip(1)[:, : self.channels].T
        levels = level_of(variance.clamp_min(1e-9))[None]
        histogram = level_histogram(levels)
        noise = torch.tensor([10 ** (-snr_db / 10)])
        choice = largest(histogram, torch.tensor([self.channels]))
        powers, _ = water_filling(histogram, choice, torch.tensor([float(self.channels)]), noise)
        power = powers[0, levels[0].long() - LEVEL_MIN].clamp_min(0.05)
        gain = (power / power.mean() / variance / 2).sqrt()
        known = power / (power + noise) * (1 + noise)
        self.linear_encoder.weight[:, :, 1, 1] = (gain[:, None] * basis).float()
        self.linear_decoder.weight[:, :, 1, 1] = (basis.T * (known / gain)).float()

    def encode_planes(self, images, snr_db):
        if self.snr_input != "both":
            snr_db = torch.full_like(snr_db, _ASSUMED_DB)
        x = images - 0.5
        planes = self.linear_encoder(unshuffled(x, self.stride))
        if self.encoder_gains is not None:
            planes = self.encoder_gains(planes, snr_db)
        x = self.encoder_stages[0](self.encoder_in(unshuffled(x, 4)), snr_db)
        if self.encoder_down is not None:
            x = self.encoder_stages[1](self.encoder_down(unshuffled(x, 2)), snr_db)
        if self.conditioning == "query":
            x = self.encoder_query(x, snr_db)
        return planes + self.encoder_out(x)

    def decode_planes(self, planes, weights, snr_db):
        if self.snr_input == "none":
            snr_db = torch.full_like(snr_db, _ASSUMED_DB)
            weights = (weights > 0) * latent_weights(torch.full_like(weights, 10 ** (-_ASSUMED_DB / 10)))
        seen = planes * torch.cat([weights, weights], dim=1)
        if self.conditioning == "map+denoise":
            seen = self.denoiser(seen, weights)
        gained = seen if self.decoder_gains is None else self.decoder_gains(seen, snr_db)
        image = shuffled(self.linear_decoder(gained), self.stride)
        x = self.decoder_in(torch.cat([seen, weights], dim=1))
        if self.conditioning == "query":
            x = self.decoder_query(x, snr_db)
        x = self.decoder_stages[0](x, snr_db)
        if self.decoder_up is not None:
            x = self.decoder_stages[1](shuffled(self.decoder_up(x), 2), snr_db)
        return 0.5 + image + shuffled(self.decoder_out(x), 4)


def block_dct(channels: int, stride: int) -> torch.Tensor:
    """The ``channels`` DCT vectors of a ``stride`` x ``stride`` colour block that matter most.

    ``[channels, 3*stride^2]``

    Frequencies are ranked by the variance lambda of a 1/f^2 spectrum, with chrominance 12 dB below luminance,
    and scaled by lambda^(-1/4), the best power allocation of linear analog transmission (Lee and Petersen,
    1976). Columns are in the order of ``pixel_unshuffle``: colour, row, column.
    """
    n = torch.arange(stride)
    dct = torch.cos(math.pi * (n[None, :] + 0.5) * n[:, None] / stride)
    dct = dct / dct.norm(dim=1, keepdim=True)
    colours = torch.tensor([[0.577, 0.577, 0.577], [-0.408, -0.408, 0.816], [0.707, -0.707, 0.0]])
    u = n.float()
    variance = 1 / (0.25 + u[:, None] ** 2 + u[None, :] ** 2)
    variance = torch.tensor([1.0, 0.06, 0.06])[:, None, None] * variance
    vectors = torch.einsum("ck,uy,vx->cuvkyx", colours, dct, dct).reshape(-1, 3 * stride**2)
    order = variance.flatten().argsort(descending=True, stable=True)[:channels]
    if channels > len(vectors):
        raise ConfigError(f"channels = {channels} is more than the {len(vectors)} values of a block.")
    return vectors[order] * variance.flatten()[order, None] ** -0.25
