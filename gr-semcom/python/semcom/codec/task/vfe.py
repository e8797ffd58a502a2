# SPDX-License-Identifier: GPL-3.0-or-later
"""Variational feature encoding: dimensions that a task does not need are driven to zero, and not sent.

J. Shao, Y. Mao, J. Zhang, "Learning Task-Oriented Communication for Edge Inference: An Information Bottleneck
Approach", IEEE JSAC 2022 (arXiv:2102.04170): VFE, and VL-VFE, whose gate is a monotone function of the noise.
"""

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Latents
from semcom.codec.names import register_architecture
from semcom.codec.task.latent import TaskCodec, pair, perceptron
from semcom.equivalent_snr import RANGE_DB

#: a dimension whose gate is below it is not sent
THRESHOLD = 1e-2
#: least magnitude of a value: the regulariser takes the logarithm of sigma / |z|
SMALLEST = 1e-2
_GATE_WIDTH = 16
_LARGEST_SIGMA = 3.0


class Gate(nn.Module):
    """sigma ``[B]`` to mu ``[B, k]``: decreasing along k, increasing in sigma, so that what is above the threshold is a
    prefix whose length grows with the noise.

    Weights enter as their magnitudes, tanh after each layer, no bias: every output rises with sigma. mu_j is the sum of
    outputs j and after.
    """

    def __init__(self, dimensions: int):
        super().__init__()
        widths = (1, _GATE_WIDTH, _GATE_WIDTH, _GATE_WIDTH, dimensions)
        self.weights = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(width, width_in)) for width_in, width in zip(widths, widths[1:])
        )

    def forward(self, sigma: torch.Tensor) -> torch.Tensor:
        x = sigma[:, None]
        for weight in self.weights:
            x = torch.tanh(F.linear(x, weight.abs()))
        return x.flip(1).cumsum(dim=1).flip(1).clamp_min(1e-4)


class Fixed(nn.Module):
    """The gate of VFE: a free value a dimension, whatever the noise."""

    def __init__(self, dimensions: int):
        super().__init__()
        self.mu = nn.Parameter(torch.full((dimensions,), 0.05))

    def forward(self, sigma: torch.Tensor) -> torch.Tensor:
        return self.mu.abs().clamp_min(1e-4).expand(len(sigma), -1)


@register_architecture("vl-vfe")
class VariationalEncoder(TaskCodec):
    """z = tanh(mu(sigma) * a(x)); what is sent is the prefix of dimensions whose gate is open, whole symbols.

    How many symbols came is in the burst's header, and is all that a receiver goes by: the two ends know sigma from
    estimates of their own, and lengths that each derived from its own would differ. Pictures that are sent in one call
    take the longest of their prefixes. Of a static model (``variable`` false) what is not sent need not be a prefix, and
    all dimensions go on the air.

    Args:
        classes, width, hidden, side: as of ``task-deepjscc``. dimensions: of the longest code. variable: the length
            follows the noise (VL-VFE); else the gate is constant (VFE).
    """

    def __init__(
        self,
        classes: int = 10,
        dimensions: int = 64,
        width: int = 24,
        hidden: int = 64,
        variable: bool = True,
        side: int = 32,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(classes, dimensions, width, side, snr_range_db)
        self.variable = variable
        self.gate = Gate(dimensions) if variable else Fixed(dimensions)
        self.squash = nn.Linear(self.backbone.features, 64)
        self.direction = nn.Parameter(torch.randn(dimensions, 65) / 8)
        self.head = _Head(dimensions, hidden, classes)

    def sigma(self, snr_db: torch.Tensor) -> torch.Tensor:
        """Noise of a real dimension ``[B]``, its standard deviation, of Es/N0 in dB."""
        peak = snr_db - 10 * self.mean_square.log10()
        return 10 ** (-peak / 20)

    def active(self, snr_db: torch.Tensor) -> torch.Tensor:
        """How many dimensions are sent at Es/N0 ``[B]`` in dB, at least 1."""
        opened = self.gate(self.sigma(self._clamped(snr_db))) > THRESHOLD
        return opened.sum(dim=1).clamp_min(1)

    def admits(self, count: int, size: tuple[int, int]) -> bool:
        fits = 1 <= count <= self.symbols if self.variable else count == self.symbols
        return fits and size == (self.classes, 1)

    def encode_features(self, features: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(self.squash(features)).float()
        x = 64 * x / (x.norm(dim=1, keepdim=True) + 1e-6)
        rows = torch.tanh(self.direction)
        rows = torch.where(rows >= 0, rows.clamp_min(1e-3), rows.clamp_max(-1e-3))
        rows = F.normalize(rows, dim=1)
        a = F.linear(x, rows[:, :-1], rows[:, -1])
        z = torch.tanh(self.gate(self.sigma(snr_db)) * a)
        # sign(0) is 0 and would leave a value at 0, whose logarithm is not finite
        return torch.where(z >= 0, z.clamp_min(SMALLEST), z.clamp_max(-SMALLEST))

    def send_features(self, features: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """As of every codec; outside training cut to the longest prefix of the batch. ``count``: symbols of each row."""
        snr_db = self._clamped(self._per_image(snr_db, features))
        z = self.encode_features(features, snr_db)
        if not self.variable:
            self._count_power(z)
            return Latents(pair(z, self.scale))
        count = -(-self.active(snr_db) // 2)
        if self.training:
            sent = self._kept(count, z.shape[1])
            self.mean_square.lerp_((z.detach().square() * sent).sum().float() / sent.sum(), 0.1)
            return Latents(pair(z, self.scale), count)
        longest = int(count.max())
        return Latents(pair(z, self.scale)[:, :longest], count)

    @staticmethod
    def _kept(count: torch.Tensor, dimensions: int) -> torch.Tensor:
        """Which dimensions ``[B, k]`` are among the first ``count`` ``[B]`` symbols."""
        return torch.arange(dimensions, device=count.device) < 2 * count[:, None]

    def reals(self, latents: Latents) -> tuple[torch.Tensor, torch.Tensor]:
        missing = self.symbols - latents.values.shape[1]
        values = F.pad(latents.values, (0, missing))
        noise = F.pad(latents.noise, (0, missing), value=torch.inf)
        z, variance = super().reals(Latents(values, noise_var=noise))
        if latents.count is not None and self.variable:
            kept = self._kept(latents.count, self.dimensions)
            z, variance = torch.where(kept, z, 0.0), torch.where(kept, variance, torch.inf)
        return z, variance

    def as_sent(self, latents: Latents) -> torch.Tensor:
        z = super().as_sent(latents)
        z = F.pad(z, (0, self.dimensions - z.shape[1]))
        if latents.count is not None and self.variable:
            z = torch.where(self._kept(latents.count, self.dimensions), z, 0.0)
        return z

    def logits(self, z: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return self.head(z, variance)


class _Head(nn.Module):
    """The decoder sees the noise of each dimension, embedded and averaged over those that came."""

    def __init__(self, dimensions: int, hidden: int, classes: int):
        super().__init__()
        self.noise = perceptron(1, _GATE_WIDTH, _GATE_WIDTH)
        self.latent = perceptron(dimensions, hidden, 64)
        self.classes = perceptron(64 + _GATE_WIDTH, hidden, classes)

    def forward(self, z: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        came = torch.isfinite(variance)
        sigma = torch.where(came, variance, 1.0).sqrt().clamp(1e-3, _LARGEST_SIGMA)
        each = self.noise(sigma[..., None]) * came[..., None]
        noise = each.sum(dim=1) / came.sum(dim=1, keepdim=True).clamp_min(1)
        return self.classes(F.relu(torch.cat([self.latent(z), noise], dim=1)))
