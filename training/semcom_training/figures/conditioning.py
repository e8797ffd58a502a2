# SPDX-License-Identifier: GPL-3.0-or-later
"""How the SNR enters a network: every ``conditioning`` of a small ``linres``, trained alike. One training each."""

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from semcom.codec.layers.conditioning import CONDITIONINGS
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.system import zoo
from semcom_training import train
from semcom_training.compare import count_macs
from semcom_training.data import data_root
from semcom_training.export import evaluation_images, export_checkpoint
from semcom_training.figures.short import NOTE, SNR_DB, short_recipe, static_psnr_db
from semcom_training.recipe import Recipe

TITLES = {
    "af": "AF (Xu 2022)",
    "scale": "scale, a hypernetwork (Xie 2024)",
    "film": "FiLM (Perez 2018)",
    "map": "map",
    "map+denoise": "map and denoiser (Ding 2021)",
    "query": "query (SNR-EQ, Zhang 2025)",
    "none": "none (erasures are known)",
}
_NOTE = (
    NOTE
    + """; nothing was chosen on them. Multiply-accumulates (MMAC: millions) are
those of encoder and decoder for a picture of 32x32; `beside none` is what the arm adds. **The decoder of every arm but
none sees the weight of each latent**, so that `map` is what they all have, and the others show what a second way adds to
it. **These networks are small and their training is short, half a minute of one core each**: how fast an arm learns
counts, too, and that differs between seeds. So this says what an arm costs, not which is best: after 1,200 steps of
a larger one ([snr_input.md](snr_input.md)) AF at the decoder alone and AF at both ends are within 0.02 dB."""
)


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds cifar10; else SEMCOM_DATA.")] = None,
    trainings: Annotated[Path, typer.Option(help="Folder of the trained models.")] = Path(
        "runs/conditioning/trainings"
    ),
    steps: int = 300,
    seeds: int = 3,
    images: int = 500,
) -> Experiment:
    """How the SNR enters a network: docs/figures/conditioning.{csv,png,md}; 21 trainings of half a minute of a core.

    Trainings are kept, too, and go on where they were stopped.
    """
    own = functools.partial(measure, data=str(data_root(data)), trainings=str(trainings))
    # seed by seed: what was stopped is a table of fewer seeds
    cells = [Cell(arm, None, seed) for seed in range(1, seeds + 1) for arm in CONDITIONINGS]
    return Experiment("conditioning", own, cells, {"steps": steps, "images": images})


def recipe_of(conditioning: str, seed: int, steps: int) -> Recipe:
    """The recipe of one training."""
    arguments = {"widths": [32], "decoder_blocks": [2], "conditioning": conditioning}
    return short_recipe(f"{conditioning.replace('+', '-')}-{seed}", arguments, seed, steps)


def measure(cell: Cell, steps: int, images: int, data: str, trainings: str) -> dict:
    """PSNR in dB at each SNR, parameters, multiply-accumulates; the model is trained unless it is there."""
    recipe = recipe_of(cell.arm, cell.seed, steps)
    folder = Path(trainings) / f"{steps}-steps" / recipe.name
    if not (folder / f"{recipe.name}.json").is_file():
        folder = train.run(recipe, data_root(data), folder.parent, threads=1, export=False)
        export_checkpoint(folder / "checkpoint.pt", folder, measure=False)
    model = zoo.load(folder)
    _, pictures = evaluation_images(recipe, data_root(data), images)
    return {
        "psnr_db": static_psnr_db(model, pictures),
        "parameters": model.card.parameters,
        "macs": sum(count_macs(model.codec, (32, 32))),
    }


def rows(found) -> list[dict]:
    """One row an arm and seed."""
    return [
        {"conditioning": cell.arm, "seed": cell.seed}
        | {"parameters": result["parameters"], "macs": result["macs"]}
        | result["psnr_db"]
        for cell, result in found
    ]


def over_seeds(rows: list[dict], conditioning: str, column: str) -> np.ndarray:
    """What stands in a column for each seed."""
    return np.array([row[column] for row in rows if row["conditioning"] == conditioning])


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    columns = [f"{snr} dB" for snr in SNR_DB]
    lines, costs = [], []
    for arm in CONDITIONINGS:
        lines.append([TITLES[arm], *(_cell(rows, arm, column) for column in columns)])
        parameters, macs = (int(over_seeds(rows, arm, name)[0]) for name in ("parameters", "macs"))
        none = [int(over_seeds(rows, "none", name)[0]) for name in ("parameters", "macs")]
        mean = [
            np.mean([_off(rows, arm, column).mean() for column in part]) for part in (columns, columns[2:6])
        ]
        costs.append(
            [f"`{arm}`", f"{parameters:,}", f"{parameters - none[0]:,}"]
            + [f"{macs / 1e6:.2f}", f"{(macs - none[1]) / 1e6:.3f}"]
            + [f"{off:+.3f}" for off in mean]
        )
    recipe = recipe_of("af", 1, experiment.settings["steps"])
    note = _NOTE.format(
        width=recipe.arguments["widths"][0],
        steps=recipe.steps,
        batch=recipe.batch,
        seeds=len({row["seed"] for row in rows}),
        images=experiment.settings["images"],
    )
    head = ["conditioning", "parameters", "beside none", "MMAC", "beside none"]
    head += ["PSNR beside AF, mean of 0 to 20 dB", "of 4 to 13 dB"]
    return page(
        "How the SNR enters a network",
        markdown_table(["conditioning", *columns], lines),
        markdown_table(head, costs),
        note,
        made_by=made_by,
    )


def _off(rows: list[dict], arm: str, column: str) -> np.ndarray:
    return over_seeds(rows, arm, column) - over_seeds(rows, CONDITIONINGS[0], column)


def _cell(rows: list[dict], arm: str, column: str) -> str:
    mine, off = over_seeds(rows, arm, column).mean(), _off(rows, arm, column)
    if arm == CONDITIONINGS[0]:
        return f"{mine:.2f}"
    spread = off.std(ddof=1) if len(off) > 1 else 0.0
    return f"{mine:.2f} ({off.mean():+.2f} ± {spread:.2f})"
