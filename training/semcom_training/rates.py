# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of rates in a model's card: how well a target is predicted, and the margin that keeps its promise.

python -m semcom_training.rates photo-adaptive --data photos_train/bsds500 --only val
python -m semcom_training.rates photo-adaptive --data photos_valid/div2k_valid_256 --check
python -m semcom_training.rates photo-adaptive --data photos_valid/div2k_valid_256 --refine --count 4

``--refine`` sends pictures in two parts and once. Without ``--check`` and ``--refine`` the table is measured and goes
into the card; with ``--check`` the card's own is held against other pictures.
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
from semcom.system.rates import table_of
from semcom.terminal import Commands

_PARTS, _SNRS_DB = ((1 / 48, 1 / 24), (1 / 24, 1 / 12), (1 / 12, 1 / 6)), (1.0, 10.0, 19.0)
app = typer.Typer(cls=Commands, help=__doc__, add_completion=False)


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
    refine: Annotated[
        bool, typer.Option("--refine", help="PSNR of pictures in two parts, and sent once at the same rate.")
    ] = False,
) -> None:
    torch.set_num_threads(1)
    loaded = zoo.load(model)
    files = [path for path in list_pictures(data) if path.name.startswith(only)][:count]
    if not files:
        raise ConfigError(f"{data}: no picture whose name begins with '{only}'.")
    table = table_of(loaded.card) if check else None
    squares = crops([read_picture(path).pixels for path in files], len(files), side, 1, 0)
    if refine:
        for first, whole in _PARTS:
            for snr_db in _SNRS_DB:
                both = [rates.refined_psnr_db(loaded, pixels, snr_db, first, whole) for pixels in squares]
                print(f"1/{1 / first:.0f} to 1/{1 / whole:.0f}, {snr_db:g} dB: {_row(np.mean(both, axis=0))}")
        return
    trial = rates.try_out(loaded, squares, seed=2 if check else 1)
    if table is None:
        table = rates.measure(trial, f"{data.name} {only}, {side}x{side} squares")
        path = zoo.card_path(model)
        rates.store(loaded.card, table).write(path)
        print(
            f"{path}: mean error {table.mean_error_db} dB of pictures left out of the fit, margin {table.quantile} sigma"
        )
        return
    found = rates.check(trial, table)
    print(f"{len(files)} pictures")
    print(f"mean error {found.error_db.mean():.2f} dB; by rate {_row(found.error_db)}")
    print(f"mean PSNR by rate {_row(found.true_db)}")
    print(f"below their target {found.below:.1%}")
    print(f"mean rho {found.rho:.4f}, of an oracle {found.oracle_rho:.4f}")


def _row(values) -> str:
    return " ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    app()
