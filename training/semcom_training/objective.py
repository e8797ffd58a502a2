# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss of one batch: encode, pass the channel, decode, compare."""

from dataclasses import replace

import torch
from torch import nn

from semcom.codec.base import Codec
from semcom.errors import ConfigError
from semcom_training.losses import Transmission, loss
from semcom_training.recipe import Recipe

_STALE_DB = 4.0  # standard deviation of what a stale report of the SNR is off by


class Objective(nn.Module):
    """A codec and what a recipe asks of it, as one module, for DDP synchronises what goes through ``forward``.

    In stage user the anchor's encoder is not trained: no gradient is computed for it.
    """

    def __init__(self, codec: Codec, recipe: Recipe):
        super().__init__()
        self.codec = codec
        self.encoder_learns = recipe.stage == "anchor"
        self.send = recipe.make_channel()
        self.side_lost_fraction = recipe.side_lost_fraction
        self.compare = loss(recipe.loss)
        self.peak = recipe.snr_of == "peak"
        modules = dict(codec.named_modules())
        for name in recipe.frozen:
            if not name or name not in modules:
                there = ", ".join(name for name in modules if name and "." not in name)
                raise ConfigError(
                    f"recipe '{recipe.name}': there is no module {name!r} to freeze: there are {there}."
                )
            modules[name].requires_grad_(False)
        self.frozen = tuple(recipe.frozen)

    def train(self, mode: bool = True):
        super().train(mode)
        if not self.encoder_learns:
            self.codec.anchor.eval()
        for name, module in self.codec.named_modules():
            if name in self.frozen:
                module.eval()
        return self

    def forward(
        self, images, snr_db, believed_db, generator, rho=None, wanted=None, done: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``[B, 3, H, W]`` in 0..1 to the loss and the mean figure of the result (PSNR in dB, share correct).

        Args:
            snr_db: ``[B]`` of the channel. believed_db: ``[B]`` what the encoder is given.
            generator: of the channel's noise. rho: the bandwidth ratio, where the codec has a choice.
            wanted: what should come out; None: the images.
            done: share of the training that is behind, for losses whose weight rises.
        """
        if self.peak:
            snr_db, believed_db = (self.codec.symbol_snr_db(snr) for snr in (snr_db, believed_db))
        with torch.set_grad_enabled(self.encoder_learns and torch.is_grad_enabled()):
            sent = self.codec.send(images, believed_db, rho=rho, in_memory=True)
        if self.side_lost_fraction:
            lost = torch.rand(len(images), generator=generator) < self.side_lost_fraction
            sent = self.codec.forget(sent, lost.to(images.device))
        got = self.send(sent.values, snr_db, generator)
        received = replace(sent, values=got.latents, noise_var=got.noise_var)
        size = self.codec.result_size((images.shape[-2], images.shape[-1]))
        decoded = self.codec.receive(received, got.snr_db, size)
        wanted = images if wanted is None else wanted
        figure = self.codec.result.figures(decoded.detach(), wanted).mean()
        transmission = Transmission(self.codec, sent, received, decoded, wanted, generator)
        return self.compare(decoded, wanted, sent, transmission, done), figure


def draw_snr(recipe: Recipe, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """SNR in dB of each of ``count`` images, and what its encoder is given: in some images a value a few dB off."""
    uniform = torch.rand(count, 2, generator=generator)
    if recipe.snr_db:
        snr = torch.tensor(recipe.snr_db)[(uniform[:, 0] * len(recipe.snr_db)).long()]
    else:
        snr = recipe.snr_low_db + (recipe.snr_high_db - recipe.snr_low_db) * uniform[:, 0] ** recipe.snr_skew
    off = _STALE_DB * torch.randn(count, generator=generator)
    return snr, torch.where(uniform[:, 1] < recipe.stale_fraction, snr + off, snr)
