# SPDX-License-Identifier: GPL-3.0-or-later
"""Who should be told the SNR: both ends (encoder by feedback), the decoder alone, or none. One training each.

.venv/bin/python scripts/snr_input_figure.py --data FOLDER      # docs/figures/snr_input.{csv,png,md}

Trainings are kept below runs/snr_input and go on where they were stopped.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from tables import FIGURES, write_table

from semcom.adaptation import closed_loop as loop
from semcom.codec.image.linres import SNR_INPUTS
from semcom.experiments.evaluate import evaluate, summarise
from semcom.system import zoo
from semcom_training import train
from semcom_training.data import data_root
from semcom_training.export import evaluation_images
from semcom_training.recipe import Recipe, load_recipe

COMMAND = "scripts/snr_input_figure.py --data FOLDER"
SNR_DB = [0, 1, 4, 7, 10, 13, 16, 20]
DOPPLER = 0.02  # cycles a burst
TITLES = {
    "both": "both ends",
    "decoder": "the decoder alone",
    "none": "none (erasures are known)",
}
COLOURS = {"both": "#1f6f8b", "decoder": "#e9a23b", "none": "#c8553d"}
_NOTE = """\
CIFAR-10, rho = 1/12, LinRes of width {width}, {steps} steps of {batch} images for each arm and seed: same batches, SNRs
and noise. Mean of {seeds} seeds; in brackets the difference from the first row and its standard deviation over seeds.
PSNR in dB on {images} test images. Static columns: whoever is told is told the truth. Fading: Rayleigh, mean 12 dB,
Doppler {doppler} cycles a burst, one picture a burst; with feedback the encoder hears the estimate of the burst before
(0.4 dB off, through `SnrTracker`), without it assumes 10 dB. These networks are small and were trained for minutes."""


def recipe_of(told: str, seed: int, steps: int) -> Recipe:
    base = load_recipe("cifar-1-12")
    arguments = {"channels": 8, "widths": [48], "encoder_blocks": [2], "decoder_blocks": [3]}
    return dataclasses.replace(
        base,
        name=f"{told}-{seed}",
        arguments=arguments | {"snr_input": told},
        steps=steps,
        warmup_steps=50,
        log_every=steps,
        seed=seed,
    )


def trained(told: str, seed: int, steps: int, root: Path, out: Path) -> zoo.LoadedModel:
    """The arm's model, trained now unless it is there."""
    recipe = recipe_of(told, seed, steps)
    folder = out / recipe.name
    if not (folder / f"{recipe.name}.json").is_file():
        folder = train.run(recipe, root, out, threads=1)
    return zoo.load(folder)


def measure(model: zoo.LoadedModel, images: list, feedback: bool, seed: int) -> dict[str, float]:
    """PSNR in dB at each SNR, and over fading."""
    rows = summarise(evaluate(model, images, SNR_DB, with_ms_ssim=False))
    out = {f"{row['snr_db']:g} dB": row["psnr_db"] for row in rows}
    trace_db = loop.rayleigh_db(len(images), 12.0, DOPPLER, seed)
    tell = loop.closed_loop(1, seed=seed) if feedback else loop.open_loop(10.0)
    sent = np.stack([np.asarray(pixels) for _, pixels in images])
    return out | {"fading": float(loop.psnr_db(model, sent, trace_db, tell, seed).mean())}


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds cifar10.")],
    out: Path = Path("runs/snr_input"),
    steps: int = 1200,
    seeds: int = 3,
    images: int = 1000,
) -> None:
    """Trains what is missing (nine trainings of a few minutes on one core) and writes the figure."""
    torch.set_num_threads(1)
    root = data_root(data)
    arms = [("both", True), ("both", False), ("decoder", False), ("none", False)]
    figures: dict[tuple, list[dict]] = {arm: [] for arm in arms}
    for seed in range(1, seeds + 1):
        _, pictures = evaluation_images(recipe_of("both", seed, steps), root, images)
        for told, feedback in arms:
            figures[told, feedback].append(
                measure(trained(told, seed, steps, root, out), pictures, feedback, seed)
            )
    write_csv(figures)
    recipe = recipe_of("both", 1, steps)
    note = _NOTE.format(
        width=recipe.arguments["widths"][0],
        steps=steps,
        batch=recipe.batch,
        seeds=seeds,
        images=images,
        doppler=DOPPLER,
    )
    columns = [*(f"{snr} dB" for snr in SNR_DB), "fading"]
    rows = [
        [words(arm), *(cell(figures, arm, column) for column in columns)]
        for arm in arms
        if arm != ("both", False)
    ]
    silent = [words(("both", False)), *("" for _ in SNR_DB), cell(figures, ("both", False), "fading")]
    rows.insert(1, silent)
    write_table("snr_input", "Who is told the SNR", COMMAND, ["told", *columns], rows, note)
    draw(figures)


def words(arm: tuple) -> str:
    told, feedback = arm
    return TITLES[told] + (
        " (encoder by feedback)" if feedback else ", no feedback" if told == "both" else ""
    )


def cell(figures, arm: tuple, column: str) -> str:
    best = np.array([run[column] for run in figures["both", True]])
    mine = np.array([run[column] for run in figures[arm]])
    if arm == ("both", True):
        return f"{mine.mean():.2f}"
    return f"{mine.mean():.2f} ({(mine - best).mean():+.2f} ± {(mine - best).std(ddof=1):.2f})"


def write_csv(figures) -> None:
    with (FIGURES / "snr_input.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["told", "feedback", "seed", "at", "psnr_db"])
        for (told, feedback), runs in figures.items():
            for seed, run in enumerate(runs, 1):
                writer.writerows([told, feedback, seed, at, round(psnr, 4)] for at, psnr in run.items())


def draw(figures) -> None:
    figure = Figure(figsize=(8, 4.6), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots()
    best = {at: np.array([run[at] for run in figures["both", True]]) for at in figures["both", True][0]}
    for told in SNR_INPUTS:
        runs = figures[told, told == "both"]
        lines = np.array(
            [[run[f"{snr} dB"] - best[f"{snr} dB"][n] for snr in SNR_DB] for n, run in enumerate(runs)]
        )
        axes.plot(SNR_DB, lines.mean(0), "o-", color=COLOURS[told], label=f"told: {TITLES[told]}")
        axes.fill_between(SNR_DB, lines.min(0), lines.max(0), color=COLOURS[told], alpha=0.18, lw=0)
    axes.set(xlabel="SNR (dB)", ylabel="PSNR beside both ends told (dB)")
    axes.set_title(f"Who is told the SNR: mean and range of {len(runs)} seeds", loc="left")
    axes.grid(color="#dddddd", lw=0.6)
    axes.legend(frameon=False)
    figure.savefig(FIGURES / "snr_input.png")


if __name__ == "__main__":
    typer.run(main)
