# SPDX-License-Identifier: GPL-3.0-or-later
"""A model trained for how pictures look (LPIPS) beside one trained for PSNR: four measures over SNR, one trained for by
neither (DISTS), as in figures 4 and 5 of Xu et al. (adaptive DeepJSCC)."""

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from semcom import perceptual
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds import quality
from semcom.system import zoo
from semcom_training.data import data_root, image_files, read_image
from semcom_training.figures.adaptive import received

MODELS = ("photo-adaptive", "photo-adaptive-lpips")
SNR_DB = (1.0, 4.0, 10.0, 20.0)
#: name in the table, heading, digits
MEASURES = {"psnr_db": "PSNR (dB)", "ms_ssim": "MS-SSIM", "lpips_alex": "LPIPS, AlexNet", "dists": "DISTS"}

Data = Annotated[str, typer.Option(help="Folder that holds kodak and lpips-vgg; else SEMCOM_DATA.")]


def plan(
    data: Data = None, every: Annotated[int, typer.Option(help="Take every n-th picture.")] = 1
) -> Experiment:
    """How pictures look, by training: docs/figures/perceptual.{md,csv,png}."""
    cells = [Cell((model,), snr, weights=(zoo.load(model).sha256,)) for model in MODELS for snr in SNR_DB]
    own = functools.partial(measure, data=str(data_root(data)))
    return Experiment("perceptual", own, cells, {"every": every})


def delivered(model: str, pixels: torch.Tensor, number: int, snr_db: float) -> np.ndarray:
    """Picture ``number``, uint8 ``[1, 3, H, W]``, as it comes over AWGN, uint8 ``[H, W, 3]``."""
    return received(zoo.load(model).codec, pixels, number, snr_db)[0].permute(1, 2, 0).numpy()


def pictures(data: str | Path, every: int = 1) -> list[torch.Tensor]:
    """Kodak's, uint8 ``[1, 3, H, W]``."""
    return [read_image(path)[None] for path in image_files(data_root(data) / "kodak")[::every]]


@torch.inference_mode()
def measure(cell: Cell, every: int, data: str) -> dict[str, float]:
    """Means over the pictures, by measure."""
    # complains of weights that are absent before anything is decoded
    perceptual.load("dists", folder=data)
    found = []
    for number, pixels in enumerate(pictures(data, every)):
        image, truth = delivered(*cell.arm, pixels, number, cell.point), pixels[0].permute(1, 2, 0).numpy()
        looks = [quality.lpips(image, truth, name, data) for name in ("lpips-alex", "dists")]
        found.append((quality.psnr(image, truth), quality.ms_ssim(image, truth), *looks))
    return dict(zip(MEASURES, np.mean(found, axis=0).tolist(), strict=True))


def rows(found) -> list[dict]:
    """One row a model and SNR."""
    return [{"model": cell.arm[0], "snr_db": cell.point, **values} for cell, values in found]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: a table a measure, and by how much the second model is better or worse."""
    plain, tuned = ({row["snr_db"]: row for row in rows if row["model"] == model} for model in MODELS)
    parts = []
    for name, heading in MEASURES.items():
        digits = 2 if name == "psnr_db" else 4
        lines = [
            [f"`{model}`", *(f"{row[name]:.{digits}f}" for row in values.values())]
            for model, values in zip(MODELS, (plain, tuned), strict=True)
        ]
        changes = (
            (tuned[snr][name] - plain[snr][name], tuned[snr][name] / plain[snr][name] - 1) for snr in plain
        )
        lines.append(
            ["difference", *(f"{by:+.2f}" if digits == 2 else f"{part:+.1%}" for by, part in changes)]
        )
        parts += [f"## {heading}", markdown_table(["", *(f"{snr:g} dB" for snr in plain)], lines)]
    few = (
        f"One Kodak picture in {experiment.settings['every']}"
        if experiment.settings["every"] > 1
        else "Kodak"
    )
    about = (
        f"{few}, rho = 1/12, AWGN on symbols, the map coded in them; means over the pictures. MS-SSIM: more is better; "
        "LPIPS and DISTS: less is. `photo-adaptive-lpips` was trained for LPIPS with AlexNet beside the log of the "
        "error, neither for DISTS."
    )
    strip = "![one picture by both models](perceptual_strip.jpg)"
    return page(
        "Trained for how pictures look",
        about,
        "![four measures](perceptual.png)",
        strip,
        *parts,
        made_by=made_by,
    )
