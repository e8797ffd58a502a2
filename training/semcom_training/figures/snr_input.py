# SPDX-License-Identifier: GPL-3.0-or-later
"""Who should be given the SNR: both ends (encoder by feedback), the decoder alone, or none. One training each."""

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from semcom.adaptation import closed_loop as loop
from semcom.codec.image.linres import SNR_INPUTS
from semcom.experiments.runner import Cell, Experiment, grid
from semcom.experiments.table import markdown_table, page
from semcom.system import zoo
from semcom_training import train
from semcom_training.data import data_root
from semcom_training.export import evaluation_images
from semcom_training.figures.short import NOTE, SNR_DB, short_recipe, static_psnr_db
from semcom_training.recipe import Recipe

DOPPLER = 0.02  # cycles a burst
TITLES = {"both": "both ends", "decoder": "the decoder alone", "none": "none (erasures are known)"}
#: who is given the SNR, and whether the encoder gets it by feedback
ARMS = ("both", True), ("both", False), ("decoder", False), ("none", False)
_NOTE = (
    NOTE
    + """. Static columns: the SNR given is the true one. Fading: Rayleigh, mean 12 dB,
Doppler {doppler} cycles a burst, one picture a burst; with feedback the encoder gets the estimate of the burst before
(0.4 dB off, through `SnrTracker`), without it assumes 10 dB. These networks are small and were trained for minutes."""
)


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds cifar10; else SEMCOM_DATA.")] = None,
    trainings: Annotated[Path, typer.Option(help="Folder of the trained models.")] = Path("runs/snr_input"),
    steps: int = 1200,
    seeds: int = 3,
    images: int = 1000,
) -> Experiment:
    """Who should be given the SNR: docs/figures/snr_input.{csv,png,md}; nine trainings of a few minutes on one core.

    Trainings are kept, too, and go on where they were stopped.
    """
    own = functools.partial(measure, data=str(data_root(data)), trainings=str(trainings))
    cells = grid(SNR_INPUTS, seeds=range(1, seeds + 1))
    return Experiment("snr_input", own, cells, {"steps": steps, "images": images})


def recipe_of(ends: str, seed: int, steps: int) -> Recipe:
    """The recipe of one training."""
    arguments = {"widths": [48], "decoder_blocks": [3], "snr_input": ends}
    return short_recipe(f"{ends}-{seed}", arguments, seed, steps)


def measure(cell: Cell, steps: int, images: int, data: str, trainings: str) -> dict[str, dict[str, float]]:
    """PSNR in dB at each SNR, and over fading with and without feedback; the model is trained unless it is there."""
    recipe = recipe_of(cell.arm, cell.seed, steps)
    folder = Path(trainings) / recipe.name
    if not (folder / f"{recipe.name}.json").is_file():
        folder = train.run(recipe, data_root(data), Path(trainings), threads=1)
    model = zoo.load(folder)
    _, pictures = evaluation_images(recipe_of("both", cell.seed, steps), data_root(data), images)
    trace_db = loop.rayleigh_db(len(pictures), 12.0, DOPPLER, cell.seed)
    sent = np.stack([np.asarray(pixels) for _, pixels in pictures])
    fading = {}
    for feedback in (feedback for ends, feedback in ARMS if ends == cell.arm):
        arm = loop.closed_loop(1, seed=cell.seed) if feedback else loop.open_loop(10.0)
        fading[str(feedback)] = float(loop.psnr_db(model, sent, trace_db, arm, cell.seed).mean())
    return {"static": static_psnr_db(model, pictures), "fading": fading}


def rows(found) -> list[dict]:
    """One row an arm, seed and place of measurement."""
    return [
        {"given_to": ends, "feedback": feedback, "seed": cell.seed, "at": at, "psnr_db": psnr}
        for ends, feedback in ARMS
        for cell, result in found
        if cell.arm == ends
        for at, psnr in (result["static"] | {"fading": result["fading"][str(feedback)]}).items()
    ]


def over_seeds(rows: list[dict], arm: tuple[str, bool], at: str) -> np.ndarray:
    """PSNR in dB of each seed. A table read from its file has words for truth."""
    return np.array(
        [
            row["psnr_db"]
            for row in rows
            if (row["given_to"], str(row["feedback"]), row["at"]) == (arm[0], str(arm[1]), at)
        ]
    )


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    columns = [*(f"{snr} dB" for snr in SNR_DB), "fading"]
    lines = [[_words(arm), *(_cell(rows, arm, column) for column in columns)] for arm in ARMS]
    # without feedback the static columns are those of the row before
    lines[1][1:-1] = [""] * len(SNR_DB)
    recipe = recipe_of("both", 1, experiment.settings["steps"])
    note = _NOTE.format(
        width=recipe.arguments["widths"][0],
        steps=recipe.steps,
        batch=recipe.batch,
        seeds=len({row["seed"] for row in rows}),
        images=experiment.settings["images"],
        doppler=DOPPLER,
    )
    return page("Who is given the SNR", markdown_table(["given to", *columns], lines), note, made_by=made_by)


def _words(arm: tuple[str, bool]) -> str:
    snr_input, feedback = arm
    how = " (encoder by feedback)" if feedback else ", no feedback" if snr_input == "both" else ""
    return TITLES[snr_input] + how


def _cell(rows: list[dict], arm: tuple[str, bool], column: str) -> str:
    mine, off = (
        over_seeds(rows, arm, column),
        over_seeds(rows, arm, column) - over_seeds(rows, ARMS[0], column),
    )
    if arm == ARMS[0]:
        return f"{mine.mean():.2f}"
    spread = off.std(ddof=1) if len(off) > 1 else 0.0
    return f"{mine.mean():.2f} ({off.mean():+.2f} ± {spread:.2f})"
