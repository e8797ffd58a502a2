# SPDX-License-Identifier: GPL-3.0-or-later
"""How the SNR enters a network: the ways that codecs of planes take as their argument ``conditioning``.

====================  ===============================================================================================
``af``                a gate a channel from features and SNR (:class:`~semcom.codec.layers.attention.AttentionFeature`)
``scale``             a gain a channel that is linear in the SNR (:class:`SnrScale`)
``film``              a gain and an offset a channel, linear in the SNR (:class:`SnrFusion`)
``map``               planes beside the received ones, the weight of every latent; the encoder is blind
``map+denoise``       ``map``, and a network before the decoder that takes noise off the planes (:class:`Denoiser`)
``query``             one window attention at each end with queries that depend on the SNR (:class:`QueryAttention`)
``none``              nothing: both ends are blind
====================  ===============================================================================================
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.layers.convolution import Conv3x3, leaky
from semcom.errors import ConfigError
from semcom.parsing import did_you_mean, shown

CONDITIONINGS = ("af", "scale", "film", "map", "map+denoise", "query", "none")
SNR_SCALE_DB = 20.0  # the SNR as an input of about 1


def check_conditioning(architecture: str, conditioning: str) -> None:
    """Raises ConfigError: there is no such way, in the words of an architecture."""
    if conditioning not in CONDITIONINGS:
        near = did_you_mean(conditioning, CONDITIONINGS) if isinstance(conditioning, str) else ""
        raise ConfigError(
            f"{architecture}: conditioning is one of {', '.join(CONDITIONINGS)}, not {shown(conditioning)}.{near}"
        )


def sees_map(conditioning: str) -> bool:
    """Whether the weights of the latents are all that the decoder knows of the SNR."""
    return conditioning in ("map", "map+denoise")


def conditioner(conditioning: str, channels: int) -> "AttentionFeature | SnrScale | SnrFusion | None":
    """What stands after a convolution of so many channels, called with (features, SNR); None: nothing does."""
    if conditioning == "af":
        return AttentionFeature(channels)
    if conditioning == "scale":
        return SnrScale(channels)
    return SnrFusion(channels) if conditioning == "film" else None


class SnrScale(nn.Module):
    """Multiplies each channel by w SNR / 20 dB + b, two parameters a channel; the identity at the start.

    After S. Xie et al., "Hypernetwork-based adaptation" of 2024, which multiplies what a convolution gives, so that its
    weights become (w SNR + b) W. There w and b start in U(-1, 1) and the SNR is taken as it is, in dB: at 20 dB gains
    would start anywhere within +-21.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(channels))
        self.offset = nn.Parameter(torch.ones(channels))

    def factors(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """Features ``[B, c, h, w]`` and SNR ``[B]`` in dB to the factor of each channel, ``[B, c, 1, 1]``."""
        snr = snr_db[:, None].to(features.dtype) / SNR_SCALE_DB
        return (snr * self.slope + self.offset)[..., None, None]

    def forward(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """The features, scaled; of the same shape."""
        return features * self.factors(features, snr_db)


class SnrFusion(nn.Module):
    """Scale and shift of each channel by one light fully connected layer of the SNR; the identity at the start.

    Perez, Strub, de Vries, Dumoulin, Courville, "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018
    (arXiv:1709.07871), eq. 2, with a generator of one layer.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.dense = nn.Linear(1, 2 * channels)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """``[B, c, h, w]`` and SNR ``[B]`` in dB to the same shape."""
        scale, shift = self.dense(snr_db[:, None].to(x.dtype) / SNR_SCALE_DB)[..., None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class Denoiser(nn.Module):
    """Planes less an estimate of the noise in them: z' = z w + D([z w, w]), where D is a small residual network.

    Ding, Shen, He, Li, "SNR-Adaptive Deep Joint Source-Channel Coding for Wireless Image Transmission", ICASSP 2021,
    where one constant plane, the estimated SNR, stands beside the received ones. Here it is the weight w of each latent,
    which over a flat channel is constant, too. D is zero at the start.

    Args:
        channels: real planes; half as many weights stand beside them.
        width: feature channels of D.
    """

    def __init__(self, channels: int, width: int = 32, blocks: int = 2):
        super().__init__()
        self.inward = Conv3x3(channels + channels // 2, width)
        self.first = nn.ModuleList(Conv3x3(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(Conv3x3(width, width) for _ in range(blocks))
        self.outward = Conv3x3(width, channels)
        for layer in (*self.second, self.outward):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, weighted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Planes times their weights ``[B, c, h, w]`` and weights ``[B, c/2, h, w]`` to planes of the same shape."""
        x = self.inward(torch.cat([weighted, weights], dim=1))
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(leaky(first(x)))
        return weighted + self.outward(x)


class QueryAttention(nn.Module):
    """Attention within windows whose queries depend on the SNR, added to its input; it adds nothing at the start.

    After Zhang and Tao, "SNR-EQ-JSCC" of 2025: an embedding of the SNR is added to what attention sees, in the place of
    positions, and queries become q' = a q + b with a > 0, so that the ranking of keys stays and attention is the
    flatter or the sharper by the SNR. There a is kept from 0 by ReLU and a penalty in the loss; a softplus, which is
    above 0 by itself, needs no penalty.

    Args:
        window: cells a side of a window. What lies beyond the plane's border is attended to by nobody.
    """

    def __init__(self, channels: int, window: int = 4):
        super().__init__()
        self.window, self.heads = window, math.gcd(channels, 4)
        self.embedding = nn.Linear(1, channels)
        self.project_in = nn.Linear(channels, 3 * channels)
        self.project_out = nn.Linear(channels, channels)
        self.query = nn.Linear(1, 2)
        for layer in (self.project_out, self.query):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.query.bias[:1], math.log(math.e - 1))  # softplus gives 1

    def forward(self, x: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """``[B, c, h, w]`` and SNR ``[B]`` in dB to the same shape."""
        height, width = x.shape[-2:]
        snr = snr_db[:, None].to(x.dtype) / SNR_SCALE_DB
        tokens = self._cut(x + self.embedding(snr)[..., None, None])
        there = self._cut(x.new_ones(1, 1, height, width))
        windows = tokens.shape[0] // len(x)
        mask = (there[..., 0] > 0)[:, None, None].repeat(len(x), 1, 1, 1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.project_in(tokens).chunk(3, dim=-1)
        )
        gain, offset = self.query(snr).repeat_interleave(windows, dim=0)[:, :, None, None].chunk(2, dim=1)
        out = F.scaled_dot_product_attention(F.softplus(gain) * query + offset, key, value, attn_mask=mask)
        return x + self._joined(self.project_out(out.transpose(1, 2).flatten(2)), height, width)

    def multiply_accumulates(self, height: int, width: int) -> int:
        """Of the two products of queries, keys and values, for one plane."""
        cells = math.prod(-(-side // self.window) * self.window for side in (height, width))
        return 2 * cells * self.window**2 * self.project_out.in_features

    def _cut(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, c, h, w]`` to windows ``[B * windows, cells, c]``, with zeros beyond the border."""
        n = self.window
        x = F.pad(x, (0, -x.shape[-1] % n, 0, -x.shape[-2] % n))
        x = x.unflatten(2, (-1, n)).unflatten(4, (-1, n))
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)

    def _joined(self, windows: torch.Tensor, height: int, width: int) -> torch.Tensor:
        n = self.window
        rows, columns = -(-height // n), -(-width // n)
        x = windows.unflatten(0, (-1, rows, columns)).unflatten(3, (n, n))
        x = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return x[..., :height, :width]
