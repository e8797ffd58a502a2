# SPDX-License-Identifier: GPL-3.0-or-later
"""Discrete task-oriented JSCC: every slot is one of K codewords, sent as one symbol of K-PSK.

S. Xie, S. Ma, M. Ding, Y. Shi, M. Tang, Y. Wu, "Robust Information Bottleneck for Task-Oriented Communication With
Digital Modulation", IEEE JSAC 2023 (arXiv:2209.10382).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Latents
from semcom.codec.names import register_architecture
from semcom.codec.task.latent import TaskCodec, perceptron
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ModelError

RECEPTIONS = ("soft", "hard")
_TEMPERATURE = 0.5
_MOST_CODEWORDS = 256


@dataclass(frozen=True)
class Sampled:
    """What a training knows of both ends. scores: ``[B, slots, K]`` logits of the codewords. onehot: ``[B, slots, K]``
    what was sent, with the gradient of the relaxed choice."""

    scores: torch.Tensor
    onehot: torch.Tensor


def psk_points(order: int) -> torch.Tensor:
    """The ``order`` points of PSK, complex ``[order]`` of power 1, neighbours by angle."""
    return torch.polar(torch.ones(order), 2 * math.pi * torch.arange(order) / order)


def psk_transitions(order: int, snr_db, bins: int = 4096) -> torch.Tensor:
    """P(j | i) ``[..., order, order]`` of nearest-point reception at Es/N0 in dB: the phase density, integrated.

    The density of the phase t of 1 + n is exp(-g) / 2 pi + sqrt(g / pi) cos t exp(-g sin^2 t) Q(-sqrt(2 g) cos t), g
    being the Es/N0 (Proakis, Digital Communications, 4.3-9).
    """
    g = 10 ** (torch.as_tensor(snr_db, dtype=torch.float64)[..., None] / 10)
    # midpoints, a whole number of them a sector, from half a sector below the sent point on
    a_sector = -(-bins // order)
    t = (torch.arange(order * a_sector, dtype=torch.float64) + 0.5) / a_sector * 2 * math.pi / order
    t = t - math.pi / order
    upper = 0.5 * torch.erfc(-g.sqrt() * t.cos())
    density = (-g).exp() / (2 * math.pi) + (g / math.pi).sqrt() * t.cos() * (-g * t.sin() ** 2).exp() * upper
    shift = density.reshape(*density.shape[:-1], order, a_sector).mean(dim=-1) * 2 * math.pi / order
    shift = shift / shift.sum(dim=-1, keepdim=True)
    steps = torch.arange(order)
    return shift[..., (steps[None, :] - steps[:, None]) % order]


@register_architecture("dt-jscc")
class DiscreteClassifier(TaskCodec):
    """Scores of codewords a slot, the best one sent by PSK, codewords decoded by two hidden layers.

    In training the choice is a hard Gumbel-softmax; the decoder's input is the codeword received, with the gradient
    straight through the channel. What was lost is the mean codeword.

    Args:
        classes, width, hidden, side: as of ``task-deepjscc``. slots: complex symbols a picture. codewords: of the book,
            and points of the PSK. depth: reals of a codeword. reception: ``soft``: the decoder gets the expected
            codeword given what was received; ``hard``: the nearest one.

    Raises:
        ConfigError: fewer than two codewords, or another reception.
    """

    points: torch.Tensor

    def __init__(
        self,
        classes: int = 10,
        slots: int = 16,
        codewords: int = 8,
        depth: int = 8,
        width: int = 24,
        hidden: int = 128,
        reception: str = "soft",
        side: int = 32,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(classes, 2 * slots, width, side, snr_range_db)
        if not 2 <= codewords <= _MOST_CODEWORDS or depth < 1 or reception not in RECEPTIONS:
            raise ConfigError(
                f"dt-jscc: 2 to {_MOST_CODEWORDS} codewords of at least 1 real, reception {' or '.join(RECEPTIONS)}, "
                f"not {codewords}, {depth}, {reception!r}."
            )
        self.slots, self.codewords, self.depth, self.reception = slots, codewords, depth, reception
        self.project = nn.Linear(self.backbone.features, slots * depth)
        self.book = nn.Parameter((2 * torch.rand(codewords, depth) - 1) / codewords)
        self.head = perceptron(slots * depth, hidden, hidden, classes)
        self.register_buffer("points", torch.view_as_real(psk_points(codewords)), persistent=False)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, slots, K]`` of the codewords."""
        x = self.project(features).unflatten(1, (self.slots, self.depth))
        return (x @ self.book.T).float() / self.depth**0.5

    def send_features(self, features: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """As of every codec; ``shared`` is :class:`Sampled` where the other end is in this memory."""
        scores = self.scores(features)
        if self.training:
            onehot = F.gumbel_softmax(scores, _TEMPERATURE, hard=True)
        else:
            onehot = F.one_hot(scores.argmax(dim=2), self.codewords).to(scores)
        symbols = torch.view_as_complex((onehot @ self.points).contiguous())
        return Latents(symbols, shared=Sampled(scores, onehot) if in_memory else None)

    def received_onehot(self, latents: Latents) -> torch.Tensor:
        """Probabilities of the codewords ``[B, slots, K]`` given what was received; lost: all the same."""
        noise = latents.noise
        values = torch.where(torch.isinf(noise), 0, latents.values)
        away = (torch.view_as_real(values)[:, :, None] - self.points).square().sum(dim=-1)
        metric = -away / torch.where(torch.isinf(noise), 1e9, noise).clamp_min(1e-6)[..., None]
        if self.reception == "soft":
            return metric.softmax(dim=2)
        hard = F.one_hot(metric.argmax(dim=2), self.codewords).to(metric)
        return torch.where(torch.isinf(noise)[..., None], 1 / self.codewords, hard)

    def reals(self, latents: Latents) -> tuple[torch.Tensor, torch.Tensor]:
        """Codewords received ``[B, slots * depth]``, and a noise variance that says only what was lost."""
        onehot = self.received_onehot(latents)
        if isinstance(latents.shared, Sampled):
            sent = latents.shared.onehot
            onehot = sent + (onehot - sent).detach()
        variance = latents.noise.repeat_interleave(self.depth, 1)
        return (onehot @ self.book).flatten(1), variance

    def as_sent(self, latents: Latents) -> torch.Tensor:
        """Codewords sent ``[B, slots * depth]``. Raises ModelError where they are not in this memory."""
        if not isinstance(latents.shared, Sampled):
            raise ModelError("what dt-jscc sent is known where it was sent with in_memory only.")
        return (latents.shared.onehot @ self.book).flatten(1)

    def logits(self, z: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return self.head(z)

    def perplexity(self, features: torch.Tensor) -> float:
        """exp of the entropy of the codewords in use over slots and pictures: 1 (collapsed) to K."""
        used = F.one_hot(self.scores(features).argmax(dim=2), self.codewords).float().mean(dim=(0, 1))
        return float(torch.exp(-(used * used.clamp_min(1e-12).log()).sum()))
