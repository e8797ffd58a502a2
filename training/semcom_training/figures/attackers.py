# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn: from what is heard to the picture and its class, for each cipher.

A ciphertext-only attacker holds the public encoder, makes pairs of pictures and what would be heard of them with key
streams drawn anew for each, and trains a network on them. A white-box inverter has no training: it searches the picture
whose latents are nearest to what it hears (model inversion, after Chen et al., MIEA 2023).
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from semcom.experiments.runner import Cell, Experiment
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
TRAINED, INVERSION = "trained, ciphertext only", "model inversion"
MEAN_COLOUR, MEAN_OF_INVERTED = "the mean colour of each picture", "the mean colour of each of those inverted"
MEAN_PICTURE = "the mean of the training pictures"
_HELD_OUT, _INVERTED, _SEARCH_STEPS, _ENCODED_AT_DB = 500, 4, 100, 10.0

Data = Annotated[str, typer.Option(help="Folder that holds cifar10; else SEMCOM_DATA.")]


def plan(
    data: Data = None,
    model: Annotated[str, typer.Option(help="That is attacked.")] = "cifar-1-12",
    pairs: Annotated[int, typer.Option(min=1, help="That each attacker is trained on.")] = 20_000,
    steps: Annotated[int, typer.Option(min=1, help="Of each attacker's training, 128 pairs each.")] = 3000,
) -> Experiment:
    """Attackers who learn, for each cipher: docs/figures/security_attackers.{csv,md,png}."""
    cells = [Cell(cipher, weights=(zoo.card(model).weights_sha256,)) for cipher in (*CIPHERS, "means")]
    own = functools.partial(measure, data=str(data_root(data)))
    return Experiment("security_attackers", own, cells, {"model": model, "pairs": pairs, "steps": steps})


def measure(cell: Cell, model: str, pairs: int, steps: int, data: str) -> list[dict]:
    """What attackers of a cipher get; of "means" what nobody needs to hear anything for."""
    pictures, labels = labelled(data, "train", pairs)
    others, classes = labelled(data, "test", _HELD_OUT)
    if cell.arm == "means":
        known = {
            MEAN_COLOUR: psnr(mean_colours(others), others),
            MEAN_PICTURE: psnr(pictures.mean(0).expand_as(others), others),
            MEAN_OF_INVERTED: psnr(mean_colours(others[:_INVERTED]), others[:_INVERTED]),
        }
        return [_row("any", name, None, value, None, None) for name, value in known.items()]
    attacked, cipher = zoo.load(model), str(cell.arm)
    began = time.process_time()
    net = trained_attacker(cipher, encoded(attacked, pictures), pictures, labels, steps)
    minutes, unseen, found = (time.process_time() - began) / 60, encoded(attacked, others), []
    for snr_db in SNR_DB:
        got = gained(net, cipher, unseen, others, classes, snr_db)
        found.append(_row(cipher, TRAINED, snr_db, *got, minutes))
    received = heard(cipher, unseen[:_INVERTED], SNR_DB[-1], torch.Generator().manual_seed(3))
    guesses = inverted(attacked, received, tuple(others.shape[2:]), _ENCODED_AT_DB, _SEARCH_STEPS)
    return [*found, _row(cipher, INVERSION, SNR_DB[-1], psnr(guesses, others[:_INVERTED]), None, None)]


def _row(cipher, attacker, snr_db, psnr_db, accuracy, minutes) -> dict:
    return {
        "cipher": cipher,
        "attacker": attacker,
        "snr_db": snr_db,
        "psnr_db": psnr_db,
        "accuracy": accuracy,
        "cpu_minutes": minutes,
    }


def labelled(data: str, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """CIFAR's first pictures ``[n, 3, 32, 32]`` in 0..1 and their classes ``[n]``."""
    folder = Path(data) / "cifar10"
    pictures = torch.from_numpy(load_cifar10(folder, split)[:count].copy()).permute(0, 3, 1, 2).float() / 255
    return pictures.contiguous(), torch.from_numpy(load_cifar10_labels(folder, split)[:count])


@torch.inference_mode()
def encoded(model: LoadedModel, pictures: torch.Tensor) -> torch.Tensor:
    """Latents ``[n, k]`` of the pictures."""
    return torch.cat([model.codec.encode(some, _ENCODED_AT_DB) for some in pictures.split(250)]).clone()


def rows(found) -> list[dict]:
    """One row a cipher, attacker and SNR."""
    return [row for _, result in found for row in result]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: what the attackers got, and the budget that they had."""
    settings = experiment.settings
    lines = [
        [
            row["cipher"],
            row["attacker"],
            "-" if row["snr_db"] is None else f"{row['snr_db']:g}",
            f"{row['psnr_db']:.2f}",
            "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}",
        ]
        for row in rows
    ]
    took = [row["cpu_minutes"] for row in rows if row["cpu_minutes"] is not None]
    budget = (
        f"Model {settings['model']}, CIFAR-10. **Budget**: each trained attacker had {settings['pairs']:,} pairs of "
        f"training pictures and what is heard of them, key streams drawn anew each time, {settings['steps']:,} steps of "
        f"128 pairs at 0 to 20 dB, no known plaintext, {min(took):.1f} to {max(took):.1f} minutes of CPU "
        f"each; measured on {_HELD_OUT:,} test pictures. A larger one may get more. Inversion: {_SEARCH_STEPS} steps of "
        f"Adam on {_INVERTED} test pictures, by the public encoder."
    )
    note = (
        "Chance is 10 %. Who hears nothing does best with the mean of all pictures; the mean colour of each is a little "
        "more than that. 'ring' is of analog latents, 'ring 16' of labels at order 16."
    )
    head = ["cipher", "attacker", "SNR in dB", "PSNR in dB", "class accuracy"]
    return page("Attackers who learn", budget, markdown_table(head, lines), note, made_by=made_by)


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
