# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn: from what is heard to the picture and its class, for each cipher.

A ciphertext-only attacker holds the public encoder, makes pairs of pictures and what would be heard of them with key
streams drawn anew for each, and trains a network on them. A white-box inverter has no training: it searches the picture
whose latents are nearest to what it hears (model inversion, after Chen et al., MIEA 2023).
"""

from collections.abc import Callable

import torch
from torch import nn

from semcom.payload.quantised import payload, uniform
from semcom.security import ring
from semcom.system.zoo import LoadedModel

CLASSES = 10


def heard(cipher: str, latents: torch.Tensor, snr_db, generator: torch.Generator) -> torch.Tensor:
    """What is on the air of latents ``[B, k]`` under a cipher, with noise of ``snr_db`` (one, or ``[B]``): ``[B, k]``.

    Args:
        cipher: "none"; "scramble"; "ring", of analog latents; "ring 16", of their labels at order 16. Key streams are
            drawn by the generator, uniform as those of ChaCha20 and never the same twice.
    """
    shape = latents.shape
    if cipher == "scramble":
        order = torch.rand(shape, generator=generator).argsort(dim=1)
        turns = torch.randint(0, 4, shape, generator=generator)
        mirrored = torch.rand(shape, generator=generator) < 0.5
        latents = latents.gather(1, order) * torch.tensor([1, 1j, -1, -1j])[turns]
        latents = torch.where(mirrored, latents.conj(), latents)
    elif cipher == "ring":
        steps = torch.rand((*shape, 2), generator=generator)
        latents = ring.add_steps(latents, steps, ring.ANALOG)
    elif cipher == "ring 16":
        points, _ = payload.send_points(latents, 16, uniform().of(4))
        flat = points.flatten()
        latents = ring.add_steps(flat, torch.rand((len(flat), 2), generator=generator), 16).view(shape)
    noise = torch.randn(shape, dtype=latents.dtype, generator=generator)
    power = 10 ** (-torch.as_tensor(snr_db, dtype=torch.float32) / 20)
    return latents + (power[:, None] if power.dim() else power) * noise


class Attacker(nn.Module):
    """What is heard ``[B, k]`` to a picture ``[B, 3, H, W]`` in 0..1 and scores ``[B, CLASSES]``. It is given symbols
    in their order, and their magnitudes sorted, which is what scrambling leaves."""

    def __init__(self, symbols: int, size: tuple[int, int], width: int = 1024):
        super().__init__()
        self._size = size
        self.body = nn.Sequential(
            nn.Linear(4 * symbols, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.picture, self.scores = nn.Linear(width, 3 * size[0] * size[1]), nn.Linear(width, CLASSES)

    def forward(self, received: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = torch.view_as_real(received).flatten(1)
        found = self.body(torch.cat([parts, parts.abs().sort(dim=1).values], dim=1))
        return (0.5 + self.picture(found)).view(-1, 3, *self._size), self.scores(found)


def trained_attacker(
    cipher: str,
    latents: torch.Tensor,
    pictures: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    seed: int = 0,
) -> Attacker:
    """An attacker of pairs ``[n, k]``, ``[n, 3, H, W]``, ``[n]``, at 0 to 20 dB, batches of 128."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Attacker(latents.shape[1], tuple(pictures.shape[2:]))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(0, len(latents), (128,), generator=generator)
        snr_db = 20 * torch.rand(128, generator=generator)
        picture, scores = net(heard(cipher, latents[some], snr_db, generator))
        loss = 10 * (picture - pictures[some]).square().mean()
        loss = loss + 0.1 * nn.functional.cross_entropy(scores, labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def gained(
    net: Attacker,
    cipher: str,
    latents: torch.Tensor,
    pictures: torch.Tensor,
    labels: torch.Tensor,
    snr_db: float,
) -> tuple[float, float]:
    """PSNR in dB and class accuracy of an attacker on pictures that it has not seen."""
    picture, scores = net(heard(cipher, latents, snr_db, torch.Generator().manual_seed(9)))
    return psnr(picture, pictures), float((scores.argmax(dim=1) == labels).float().mean())


def psnr(decoded: torch.Tensor, pictures: torch.Tensor) -> float:
    """Mean over pictures ``[B, 3, H, W]`` in 0..1, rounded to 8 bits, in dB."""
    error = ((decoded.clamp(0, 1) * 255).round() / 255 - pictures).square().mean(dim=(1, 2, 3))
    return float((-10 * error.clamp_min(1e-10).log10()).mean())


def mean_colours(pictures: torch.Tensor) -> torch.Tensor:
    """Each picture as its mean colour: what a receiver has who knows nothing else."""
    return pictures.mean(dim=(2, 3), keepdim=True).expand_as(pictures)


def inverted(
    model: LoadedModel,
    received: torch.Tensor,
    size: tuple[int, int],
    snr_db: float,
    steps: int,
    say: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """Pictures ``[B, 3, H, W]`` whose latents are nearest to ``received`` ``[B, k]``, by Adam from grey."""
    guess = torch.zeros(len(received), 3, *size, requires_grad=True)
    optimiser = torch.optim.Adam([guess], 0.1)
    for _ in range(steps):
        latents = model.codec.encode(guess.sigmoid(), snr_db)
        loss = (latents - received).abs().square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if say:
            say(float(loss))
    return guess.detach().sigmoid()
