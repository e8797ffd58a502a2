# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJESCC measured: what its user gets, what the transmission sees, and what an attacker makes of that.

The attacker has pairs of pictures and what was made of them, which whoever can have pictures protected has. He knows
neither P nor D: a linear map of blocks by least squares, and a network of D's own layers for what that lacks.
"""

import functools
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torch.nn import functional as F

from semcom.channel.symbols import awgn_channel
from semcom.codec.base import BaseCodec, Latents
from semcom.codec.image.protected import BLOCK, Disguise, Protected
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.sets import load_cifar10
from semcom.system import zoo
from semcom_training.data import data_root
from semcom_training.figures.attackers import mean_colours, psnr
from semcom_training.protection_losses import ssim

PLAIN, MODEL = "cifar-1-6", "cifar-1-6-jescc"
SNR_DB = (0.0, 4.0, 10.0, 16.0, 20.0)
#: what is measured, and what it is in words
ARMS = {
    "plain": f"`{PLAIN}`, nothing protected",
    "user": f"`{MODEL}`: who has D",
    "sent": "what P gives to the transmission, as it is",
    "delivered": "what the transmission delivers, as it is",
    "attacker-sent": "attacker: D' of pairs, reads what P gives",
    "attacker-delivered": "attacker: D' of pairs, reads what is delivered",
    "mean": "the mean colour",
}
_LINEAR_PAIRS, _RIDGE, _PROTECT_AT_DB = 2000, 1e-3, 10.0

Data = Annotated[str, typer.Option(help="Folder that holds cifar10; else SEMCOM_DATA.")]


def plan(
    data: Data = None,
    model: Annotated[str, typer.Option(help="Name or card of the model.")] = MODEL,
    pictures: Annotated[int, typer.Option(min=1, help="Of the test split.")] = 1000,
    pairs: Annotated[int, typer.Option(min=1, help="That the attackers have, of the training split.")] = 4000,
    steps: Annotated[int, typer.Option(min=0, help="Of the attackers' networks, 32 pairs each.")] = 200,
) -> Experiment:
    """DeepJESCC and who attacks it: docs/figures/jescc.{md,csv}."""
    weights = zoo.card(PLAIN).weights_sha256, zoo.card(model).weights_sha256
    cells = [Cell(arm, weights=weights) for arm in ARMS]
    own = functools.partial(measure, data=str(data_root(data)), model=model)
    return Experiment("jescc", own, cells, {"pictures": pictures, "pairs": pairs, "steps": steps})


def measure(cell: Cell, pictures: int, pairs: int, steps: int, data: str, model: str) -> list[dict]:
    """PSNR in dB and SSIM at each SNR."""
    plain, codec = zoo.load(PLAIN).codec, zoo.load(model).codec
    test, found = cifar(data, "test", pictures), []
    attack = None
    if str(cell.arm).startswith("attacker"):
        attack = attacker(codec, cifar(data, "train", pairs), steps, cell.arm == "attacker-delivered")
    for snr_db in SNR_DB:
        with torch.inference_mode():
            if cell.arm == "mean":
                got = mean_colours(test)
            elif cell.arm == "plain":
                got = across(plain, test, snr_db)
            elif cell.arm == "user":
                got = across(codec, test, snr_db)
            else:
                got = seen(codec, test, snr_db, str(cell.arm).endswith("delivered"))
                got = got if attack is None else attack(got).clamp(0, 1)
            likeness = torch.cat([ssim(a, b) for a, b in zip(got.split(250), test.split(250), strict=True)])
            found.append({"snr_db": snr_db, "psnr_db": psnr(got, test), "ssim": float(likeness.mean())})
    return found


def cifar(data: str, split: str, count: int) -> torch.Tensor:
    """The first pictures, ``[n, 3, 32, 32]`` in 0..1."""
    pictures = torch.from_numpy(load_cifar10(Path(data) / "cifar10", split)[:count].copy())
    return (pictures.permute(0, 3, 1, 2).float() / 255).contiguous()


def across(codec: BaseCodec, images: torch.Tensor, snr_db: float, seed: int = 0) -> torch.Tensor:
    """Images over AWGN, as the codec gives them back."""
    generator, got = torch.Generator().manual_seed(seed), []
    for some in images.split(250):
        values, noise = awgn_channel(codec.send(some, snr_db).values, snr_db, generator)
        got.append(codec.receive(Latents(values, noise_var=noise), snr_db, tuple(images.shape[2:])))
    return torch.cat(got)


def seen(
    codec: Protected, images: torch.Tensor, snr_db: float, delivered: bool, seed: int = 0
) -> torch.Tensor:
    """What the transmission gets of images, or what it delivers over AWGN."""
    protected = torch.cat([codec.protect(some, snr_db) for some in images.split(250)])
    return across(codec.backbone, protected, snr_db, seed) if delivered else protected


class Attacker(nn.Module):
    """What is seen ``[B, 3, h, w]`` to pictures: a linear map of blocks, and a network without start values of its own.

    Args:
        seen, images: pairs, of which the linear map is the least-squares one.
    """

    def __init__(self, seen: torch.Tensor, images: torch.Tensor):
        super().__init__()
        x, y = (blocks_of(some - 0.5).flatten(0, 1).double() for some in (seen, images))
        gram = x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        self.register_buffer("linear", torch.linalg.solve(gram, x.T @ y).float())
        self.network = Disguise(48)
        with torch.no_grad():  # the shipped start is P's, which he does not know
            self.network.colours.zero_()

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        height, width = seen.shape[2:]
        mapped = blocks_of(seen - 0.5) @ self.linear
        first = F.fold(mapped.transpose(1, 2), (height, width), BLOCK, stride=BLOCK)
        ten_db = torch.full((len(seen),), 10.0)
        return first + self.network(first + 0.5, ten_db)


def blocks_of(images: torch.Tensor) -> torch.Tensor:
    """``[B, 3, h, w]`` to ``[B, blocks, 3 * BLOCK^2]``."""
    return F.unfold(images, BLOCK, stride=BLOCK).transpose(1, 2)


def attacker(codec: Protected, images: torch.Tensor, steps: int, delivered: bool, seed: int = 0) -> Attacker:
    """Trained on pairs of ``images`` and what is seen of them, delivered at 0 to 20 dB or as P gives it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        parts = images.chunk(len(SNR_DB)) if delivered else [images]
        found = [
            seen(codec, part, snr_db if delivered else _PROTECT_AT_DB, delivered, seed + 1)
            for part, snr_db in zip(parts, SNR_DB, strict=False)
        ]
    pairs = torch.cat(found).clone()
    order = torch.randperm(len(images), generator=generator)
    some = order[:_LINEAR_PAIRS]
    net = Attacker(pairs[some], images[some]).train()
    if not steps:
        return net.eval()
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    for _ in range(steps):
        picked = torch.randint(len(images), (32,), generator=generator)
        loss = (net(pairs[picked]) - images[picked]).square().mean((1, 2, 3)).add(3e-5).log().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def rows(found) -> list[dict]:
    """One row an arm and SNR."""
    return [{"arm": cell.arm, **row} for cell, result in found for row in result]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    head = ["", *(f"{snr:g} dB" for snr in SNR_DB)]
    of = {(row["arm"], row["snr_db"]): row for row in rows}
    tables = [
        markdown_table(
            head, [[words, *(f"{of[arm, s][key]:.{digits}f}" for s in SNR_DB)] for arm, words in ARMS.items()]
        )
        for key, digits in (("psnr_db", 2), ("ssim", 3))
    ]
    settings = experiment.settings
    note = (
        f"{settings['pictures']:,} test pictures of CIFAR-10, AWGN on symbols, the networks told the SNR. **It is no "
        f"cipher**: D is the key, whoever has it has the pictures, and whoever has pairs makes one: the attackers had "
        f"{settings['pairs']:,} pairs of training pictures and what P or the transmission made of them, "
        f"{settings['steps']:,} steps of 32 pairs, and knew neither P nor D."
    )
    return page(
        "DeepJESCC, and who attacks it",
        note,
        "## PSNR in dB",
        tables[0],
        "## SSIM",
        tables[1],
        made_by=made_by,
    )
