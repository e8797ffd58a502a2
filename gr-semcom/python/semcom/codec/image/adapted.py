# SPDX-License-Identifier: GPL-3.0-or-later
"""A decoder adapted to one transmitter: the distortion of its amplifier and modulator is cancelled before decoding."""

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import BaseCodec, Decoder
from semcom.codec.image.distortion import TERMS, PayloadGrid, distortion_terms
from semcom.equivalent_snr import equivalent_snr_db
from semcom.modem.profile import ModemProfile
from semcom.modem.v2 import as_flown

PASSES = 2
_LEAST_POWER = 0.01  # prior power of a latent whose neighbours have none beyond their noise
_LEAST_SHARE = 0.05  # of the given noise variance, assumed to remain at the least


class Canceller(nn.Module):
    """Takes distortion out of received latents, in a few passes of measured coefficients.

    Each pass estimates what was sent (the latents cleaned so far, weighted by the power around them), computes the
    polynomial terms of the estimated samples (``semcom.codec.image.distortion``) without what of them is proportional to
    the estimate, and subtracts their weighted sum from the latents as received. So it removes no signal, and noise only
    by chance.

    Args:
        modem: of the bursts.
    """

    coefficients: torch.Tensor
    limit: torch.Tensor
    removed: torch.Tensor

    def __init__(self, modem: ModemProfile):
        super().__init__()
        self.modem = modem
        self.register_buffer("coefficients", torch.zeros(PASSES, TERMS, 2))
        #: power of a sample beyond which terms do not grow, and noise variance that is gone after each pass
        self.register_buffer("limit", torch.tensor(16.0))
        self.register_buffer("removed", torch.zeros(PASSES))

    def forward(
        self,
        latents: torch.Tensor,
        noise_var: torch.Tensor,
        grid: tuple[int, int] | None = None,
        passes: int = PASSES,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Received latents and noise variances (inf: lost), ``[B, k]`` both, to the same with less distortion.

        Args:
            grid: rows and columns of the latent grid; None: latents have no neighbours, and power 1 each.
            passes: the first so many only.
        """
        cleaned, left = latents, noise_var
        for turn in range(passes):
            weights = torch.view_as_complex(self.coefficients[turn].float())
            cleaned = latents - torch.einsum("t,tbk->bk", weights, self.terms(cleaned, left, grid))
            left = torch.maximum(noise_var - self.removed[turn], _LEAST_SHARE * noise_var)
        return cleaned.masked_fill(torch.isinf(noise_var), 0), left

    def terms(
        self, cleaned: torch.Tensor, noise_var: torch.Tensor, grid: tuple[int, int] | None
    ) -> torch.Tensor:
        """What each term puts on the latents ``[B, k]``, without what is proportional to them: ``[terms, B, k]``."""
        estimate = local_wiener(cleaned, noise_var, grid)
        air = PayloadGrid(self.modem, estimate.shape[1], estimate.device)
        terms = torch.stack(
            [air.take(t) for t in distortion_terms(air.put(estimate), self.modem, self.limit)]
        )
        power = estimate.abs().square().sum(-1).clamp_min(1e-9)
        shares = (terms * estimate.conj()).sum(-1) / power
        return terms - shares[..., None] * estimate


def modem_of_card(modem: dict | None) -> dict:
    """Fields of the ``ModemProfile`` that a card names. Those of frame version 2 did not name it; their links go on in
    today's."""
    return modem if modem and "frame_version" in modem else as_flown(modem or {})


def local_wiener(
    latents: torch.Tensor, noise_var: torch.Tensor, grid: tuple[int, int] | None
) -> torch.Tensor:
    """Wiener estimate of what was sent, with a local prior: latents ``[B, k]`` times P / (P + noise variance).

    P is the power that neighbours of the same plane (3 x 3) have beyond their noise: flat parts of a picture have
    small latents, and what is received there is mostly noise. Without a grid P is 1.
    """
    lost = torch.isinf(noise_var)
    if grid is None:
        return latents.masked_fill(lost, 0) / (1 + noise_var)
    power = latents.real.square() + latents.imag.square() - noise_var
    maps = torch.stack([power.masked_fill(lost, 0), (~lost).to(power.dtype)], dim=1).unflatten(2, (-1, *grid))
    sums = F.avg_pool2d(maps.flatten(1, 2), 3, stride=1, padding=1, divisor_override=1).unflatten(1, (2, -1))
    around = (sums[:, 0] / sums[:, 1].clamp_min(1)).flatten(1).clamp_min(_LEAST_POWER)
    weights = torch.where(lost, torch.zeros_like(around), around / (around + noise_var))
    return latents.masked_fill(lost, 0) * weights


class Adapted(Decoder):
    """A decoder behind a :class:`Canceller`: what fine-tuning on a capture makes of a user's decoder.

    It has the SNR range of the decoder inside.

    Args:
        decoder: what decodes the cleaned latents. modem: sizes of the air interface; the defaults where none.
    """

    name = "adapted"

    def __init__(self, decoder: Decoder, modem: dict | None = None):
        super().__init__(decoder.channels, decoder.stride, decoder.snr_range_db)
        self.decoder = decoder
        self.canceller = Canceller(ModemProfile(**modem_of_card(modem)))

    def _decode(self, latents, snr_db, size, noise_var=None, scale=1.0):
        if noise_var is None:
            snr = self._per_image(snr_db, latents)
            noise_var = (10 ** (-snr / 10))[:, None].expand(latents.shape)
        cleaned, left = self.canceller(latents, noise_var.to(latents.real.dtype), self.grid(*size))
        return self.decoder._decode(cleaned, equivalent_snr_db(left), size, left, scale)

    def decode_planes(self, planes, weights, snr_db):
        return self.decoder.decode_planes(planes, weights, snr_db)


def over(codec: BaseCodec, modem: ModemProfile) -> BaseCodec:
    """A codec, in place, for latents of bursts of ``modem``: a recording's frame version may not be today's."""
    for part in codec.modules():
        if isinstance(part, Canceller):
            part.modem = modem
    return codec


def without_encoder(codec: Decoder) -> Decoder:
    """A codec stripped of its encoder's parts (those named so), in place: what a receiver alone needs."""
    for part in [name for name, _ in codec.named_children() if "encoder" in name]:
        delattr(codec, part)
    return codec
