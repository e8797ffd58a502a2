# SPDX-License-Identifier: GPL-3.0-or-later
"""Training speed, and the share of the time outside the network: docs/figures/training_speed.md and .csv.

.venv/bin/python scripts/training_speed.py --data FOLDER                  # one CPU core
.venv/bin/python scripts/training_speed.py --data FOLDER --device cuda    # one GPU
"""

import dataclasses
import time
from pathlib import Path

import torch
import typer
from tables import FIGURES, write_table

from semcom.experiments.table import write_csv
from semcom_training.budget import time_step
from semcom_training.machine import hardware, make_fabric
from semcom_training.recipe import load_recipe
from semcom_training.train import prepare

MODEM = {"name": "modem", "delay_samples": 16, "carrier_offset": 1e-4, "backoff_db": 6.0}
CASES = (
    ("photo-1-12", None),
    ("photo-1-12", MODEM),
    ("photo-1-12-conv", None),
    ("photo-1-12-conv", MODEM),
    ("attention-1-12", None),
    ("cifar-1-12", None),
)
COLUMNS = (
    "recipe",
    "channel",
    "batch",
    "images/s",
    "step ms",
    "drawing ms",
    "channel ms",
    "optimiser ms",
    "outside the network",
)


def main(data: Path = typer.Option(..., help="Folder of data."), device: str = "cpu", repeats: int = 15):
    """Times steps of recipes as they ship; on the CPU in seconds of one core's time, whatever else runs there."""
    torch.set_num_threads(1)
    fabric = make_fabric(device)
    clock = time.perf_counter if fabric.device.type == "cuda" else time.process_time
    rows = []
    for name, channel in CASES:
        recipe = load_recipe(name)
        recipe = dataclasses.replace(recipe, channel=channel) if channel else recipe
        t = time_step(prepare(recipe, data, fabric), repeats, clock)
        ms = [f"{1e3 * seconds:.1f}" for seconds in (t.total, t.data, t.channel, t.optimiser)]
        kind = "modem" if channel else recipe.channel
        rows.append(
            [name, kind, recipe.batch, f"{recipe.batch / t.total:.1f}", *ms, f"{t.share_outside:.1%}"]
        )
        print(*rows[-1])
    stem = "training_speed" if device == "cpu" else f"training_speed_{device}"
    of = "CPU time of one thread" if device == "cpu" else "wall-clock time"
    write_table(
        stem,
        f"Training speed: {hardware(fabric.device)}",
        f"scripts/training_speed.py --data FOLDER --device {device}",
        COLUMNS,
        rows,
        f"In {of}, medians of {repeats} steps. Beside the whole step in ms: drawing pictures and crops; the channel "
        "with its gradient (modem: OFDM, 17 taps of multipath, carrier offset, a Rapp amplifier); optimiser and "
        "averaged weights. The last column is the share of these three together, the rest is encoder, decoder and "
        "loss, forward and backward.",
    )
    write_csv(FIGURES / f"{stem}.csv", [dict(zip(COLUMNS, row, strict=True)) for row in rows])


if __name__ == "__main__":
    typer.run(main)
