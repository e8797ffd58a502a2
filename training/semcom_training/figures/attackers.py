# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn: from what is received to the picture and its class, for each cipher.

A ciphertext-only attacker holds the public encoder, makes pairs of pictures and what would be received of them with key
streams drawn anew for each, and trains a network on them. A white-box inverter has no training: it searches the picture
whose latents are nearest to what it receives (model inversion, after Chen et al., MIEA 2023).
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
import typer
from torch import nn

from semcom.experiments.runner import Cell, Experiment, sources
from semcom.experiments.table import markdown_table, page
from semcom.kinds.sets import load_cifar10, load_cifar10_labels
from semcom.payload.quantised import payload, uniform
from semcom.security import ring
from semcom.system import zoo
from semcom.system.zoo import LoadedModel
from semcom_training.data import data_root

CLASSES = 10
CIPHERS = ("none", "scramble", "ring 16", "ring")
SNR_DB = (0.0, 10.0, 20.0)
TRAINED, INVERSION, COLOUR = "trained, ciphertext only", "model inversion", "the mean colour"
HELD_OUT, INVERTED, SEARCH_STEPS = 500, 4, 100


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds cifar10; else SEMCOM_DATA.")] = None,
    model: Annotated[str, typer.Option(help="Name or card of a model.")] = "cifar-1-12",
    pairs: Annotated[
        int, typer.Option(min=1, help="Of training pictures and what is received of them.")
    ] = 20_000,
    steps: Annotated[int, typer.Option(min=1, help="Of training, 128 pairs each.")] = 3000,
) -> Experiment:
    """Attackers who learn: docs/figures/security_attackers.{csv,md}; a training a cipher."""
    loaded = zoo.load(model)
    weights = (loaded.sha256, sources("semcom.security", "semcom_training.figures.attackers"))
    cells = [Cell((loaded.card.name, cipher), weights=weights) for cipher in CIPHERS]
    own = functools.partial(measure, data=str(data_root(data)), model=model)
    return Experiment("security_attackers", own, cells, {"pairs": pairs, "steps": steps})


def measure(cell: Cell, pairs: int, steps: int, data: str, model: str) -> dict[str, Any]:
    """One cipher: PSNR and class accuracy of the attackers, the mean colour's PSNR on the same pictures, and minutes."""
    _, cipher = cell.arm
    loaded = zoo.load(model)
    (pictures, labels), (others, classes) = _labelled(data, "train", pairs), _labelled(data, "test", HELD_OUT)
    latents, unseen = _encoded(loaded, pictures, 10.0), _encoded(loaded, others, 10.0)
    began = time.process_time()
    net = trained_attacker(str(cipher), latents, pictures, labels, steps)
    minutes = (time.process_time() - began) / 60
    scores = [gained(net, str(cipher), unseen, others, classes, snr_db) for snr_db in SNR_DB]
    some, generator = others[:INVERTED], torch.Generator().manual_seed(3)
    received = intercepted(str(cipher), unseen[:INVERTED], SNR_DB[-1], generator)
    found = inverted(loaded, received, (32, 32), 10.0, SEARCH_STEPS)
    return {
        "trained": scores,
        "inverted_db": psnr(found, some),
        "colour_db": [psnr(mean_colours(each), each) for each in (others, some)],
        "minutes": minutes,
    }


def _labelled(data: str, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first pictures ``[n, 3, 32, 32]`` in 0..1 and their classes ``[n]``."""
    folder = data_root(data) / "cifar10"
    pictures = torch.from_numpy(load_cifar10(folder, split)[:count].copy()).permute(0, 3, 1, 2).float() / 255
    return pictures.contiguous(), torch.from_numpy(load_cifar10_labels(folder, split)[:count])


@torch.inference_mode()
def _encoded(model: LoadedModel, pictures: torch.Tensor, snr_db: float) -> torch.Tensor:
    return torch.cat([model.codec.encode(some, snr_db) for some in pictures.split(250)]).clone()


def rows(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """One row a cipher, attacker and SNR; the mean colour beside the pictures of each attacker."""
    out = []
    for cell, result in found:
        model, cipher = cell.arm
        tried = [
            (TRAINED, snr, *score, result["colour_db"][0]) for snr, score in zip(SNR_DB, result["trained"])
        ]
        tried.append((INVERSION, SNR_DB[-1], result["inverted_db"], None, result["colour_db"][1]))
        names = "attacker", "snr_db", "psnr_db", "accuracy", "colour_db"
        own = {"model": model, "cipher": cipher, "minutes": result["minutes"]}
        out += [own | dict(zip(names, one, strict=True)) for one in tried]
    return out


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: PSNR and class accuracy by cipher and attacker."""
    shown = [
        [
            *(row["cipher"], row["attacker"], f"{row['snr_db']:g}", float(row["psnr_db"])),
            *(float(row["colour_db"]), "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}"),
        ]
        for row in rows
    ]
    minutes, own = [row["minutes"] for row in rows], experiment.settings
    return page(
        "Attackers who learn",
        markdown_table(
            ["cipher", "attacker", "SNR in dB", "PSNR in dB", f"that of {COLOUR}", "class accuracy"], shown
        ),
        f"Model {rows[0]['model']}, CIFAR-10. The trained attackers had {own['pairs']:,} pairs of training pictures and "
        f"what is received of them, key streams drawn anew each time, {own['steps']:,} steps of 128 pairs at 0 to 20 "
        f"dB, no known plaintext, {min(minutes):.1f} to {max(minutes):.1f} minutes of CPU each: a larger budget may get "
        f"more. Measured on {HELD_OUT:,} test pictures. Inversion: {SEARCH_STEPS} steps of Adam on {INVERTED} test "
        "pictures, by the public encoder. Chance is 10 %. 'ring' is of analog latents, 'ring 16' of labels at order 16.",
        made_by=made_by,
    )


def intercepted(cipher: str, latents: torch.Tensor, snr_db, generator: torch.Generator) -> torch.Tensor:
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
    """What is received ``[B, k]`` to a picture ``[B, 3, H, W]`` in 0..1 and scores ``[B, CLASSES]``. It is given symbols
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
        picture, scores = net(intercepted(cipher, latents[some], snr_db, generator))
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
    picture, scores = net(intercepted(cipher, latents, snr_db, torch.Generator().manual_seed(9)))
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
