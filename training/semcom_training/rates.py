# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of rates in a model's card: how well a target is predicted, and the margin that keeps its promise.

python -m semcom_training.rates photo-adaptive --data photos_train/bsds500 --only val_
python -m semcom_training.rates photo-adaptive --data photos_valid/div2k_valid_256 --check

Without ``--check`` the table is measured and goes into the card; with it the card's own is held against other pictures.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from semcom.adaptation import rates
from semcom.adaptation.closed_loop import crops
from semcom.errors import ConfigError
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.system import zoo
from semcom.system.rates import RateTable
from semcom.terminal import Commands

app = typer.Typer(cls=Commands, help=__doc__, add_completion=False)
_TARGETS = 32  # a picture, in a check


@app.command()
def main(
    model: str,
    data: Annotated[Path, typer.Option(help="Folder of photographs.")],
    only: Annotated[str, typer.Option(help="Files whose names begin so.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Pictures, at most.")] = 100,
    side: Annotated[int, typer.Option(min=32, help="Pixels a side of the squares cut out of them.")] = 256,
    check: Annotated[
        bool, typer.Option("--check", help="Hold the card's table against these pictures.")
    ] = False,
) -> None:
    torch.set_num_threads(1)
    loaded = zoo.load(model)
    files = [path for path in list_pictures(data) if path.name.startswith(only)][:count]
    if not files:
        raise ConfigError(f"{data}: no picture whose name begins with '{only}'.")
    table = RateTable(**loaded.card.rates) if check and loaded.card.rates else None
    if check and table is None:
        raise ConfigError(
            f"the card of {loaded.card.name} has no table of rates: measure it first, without --check."
        )
    squares = crops([read_picture(path).pixels for path in files], len(files), side, 1, 0)
    trial = rates.try_out(loaded, squares, seed=2 if check else 1)
    if table is None:
        table = rates.measure(trial, f"{data.name} {only}, {side}x{side} squares")
        path = zoo.card_path(model)
        rates.store(loaded.card, table).write(path)
        print(
            f"{path}: mean error {table.mean_error_db} dB of pictures left out of the fit, margin {table.quantile} sigma"
        )
        return
    expected = rates.corrected(trial, np.array(table.correction))
    error = np.abs(trial.true_db - expected)
    low, high = trial.true_db[:, :1], trial.true_db[:, -1:]
    targets = low + (high - low) * np.random.default_rng(0).uniform(0, 1, (len(files), _TARGETS))
    rhos = np.array(trial.rhos)
    below, sent, needed = [], [], []
    for target in targets.T:
        missed, at = rates.missed(trial.true_db, expected - table.margin_db, target)
        below.append(missed.mean())
        sent.append(rhos[at].mean())
        needed.append(rhos[rates.missed(trial.true_db, trial.true_db, target)[1]].mean())
    print(f"{len(files)} pictures, {_TARGETS} targets each")
    print(
        f"mean error {error.mean():.2f} dB; by rate "
        + " ".join(f"{value:.2f}" for value in error.mean(axis=0))
    )
    print("mean PSNR by rate " + " ".join(f"{value:.2f}" for value in trial.true_db.mean(axis=0)))
    print(f"below their target {np.mean(below):.1%}")
    print(f"mean rho {np.mean(sent):.4f}, of an oracle {np.mean(needed):.4f}")


if __name__ == "__main__":
    app()
