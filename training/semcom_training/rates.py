# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of rates in a model's card: how well a target is predicted, and the margin that keeps its promise.

::

    python -m semcom_training.rates photo-adaptive --data photos_train/bsds500 --only val_
        --fit photos_train/bsds500/train_ --fit photos_train/imagenet1k:3
    python -m semcom_training.rates photo-adaptive --data photos_valid/div2k_valid_256 --check
    python -m semcom_training.rates photo-adaptive --data photos_valid/div2k_valid_256 --refine --count 4

Without ``--check`` and ``--refine`` the table is measured and goes into the card: a correction of the closed form is
fitted to the pictures of ``--fit``, those of ``--data`` choose how strongly and calibrate the promise. With ``--check``
the card's own is held against other pictures, at 0, 4, ... 20 dB in turn. ``--refine`` sends pictures in two parts and
once. What was sent is kept (``--out``), and the same command goes on.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from semcom.adaptation import rates
from semcom.errors import ConfigError
from semcom.experiments import command
from semcom.experiments.runner import Cell, Experiment
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.system import zoo
from semcom.system.rates import table_of
from semcom.terminal import Commands

_PARTS, _SNRS_DB = ((1 / 48, 1 / 24), (1 / 24, 1 / 12), (1 / 12, 1 / 6)), (1.0, 10.0, 19.0)
_IN_TURN_DB, _RANGE_DB = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0), (0.0, 20.0)
app = typer.Typer(cls=Commands, help=__doc__, add_completion=False)


@dataclass(frozen=True)
class Pictures:
    """Squares of photographs.

    Attributes:
        files: of the photographs, one a square. side: pixels. in_turn: SNRs in turn; else drawn, one a picture.
        every: of the ratios those that each picture is sent at: all, or half of them, the others of the next.
    """

    files: tuple[Path, ...]
    side: int
    in_turn: bool = False
    every: int = 1

    def square(self, number: int) -> np.ndarray:
        pixels, random = read_picture(self.files[number]).pixels, np.random.default_rng(number)
        if min(pixels.shape[:2]) < self.side:
            raise ConfigError(
                f"{self.files[number]}: no square of {self.side} pixels fits into it; see --side."
            )
        row, column = (int(random.integers(0, length - self.side + 1)) for length in pixels.shape[:2])
        return np.ascontiguousarray(pixels[row : row + self.side, column : column + self.side])

    def snr_db(self, number: int, pixels: np.ndarray) -> float:
        if self.in_turn:
            return _IN_TURN_DB[number % len(_IN_TURN_DB)]
        return float(np.random.default_rng(rates.seed_of(pixels)).uniform(*_RANGE_DB))


def sent(cell: Cell, *, model: str, side: int, in_turn: bool, every: int, pictures: Pictures) -> dict:
    """A picture at its SNR and ratios; twice where only decoding predicts."""
    loaded, number = zoo.load(model), int(cell.point)
    pixels = pictures.square(number)
    snr_db, rhos = pictures.snr_db(number, pixels), rates.ratios_at(loaded, pixels.shape[:2])
    draws = 1 if loaded.codec.forecast(pixels, snr_db, rhos) is not None else 2
    kept = [at % every == number % every for at in range(len(rhos))]
    found = [rates.sent_db(loaded, pixels, snr_db, rhos, draw, kept) for draw in range(draws)]
    return {"snr_db": snr_db, "true_db": found[0], "again_db": found[-1] if draws == 2 else None}


def experiment(model: str, pictures: Pictures) -> Experiment:
    """Every picture sent at its SNR."""
    files = pictures.files
    cells = [
        Cell((file.parent.name, file.name), number, weights=(zoo.load(model).sha256,))
        for number, file in enumerate(files)
    ]
    settings = {"model": model, "side": pictures.side, "in_turn": pictures.in_turn, "every": pictures.every}
    return Experiment("rates", functools.partial(sent, pictures=pictures), cells, settings)


def trial(model: str, groups: list[Pictures], out: Path) -> rates.RateTrial:
    """All groups' pictures as they were sent and as they are predicted; what is not kept in ``out`` is sent now."""
    loaded, squares, found = zoo.load(model), [], []
    for pictures in groups:
        found += [result for _, result in command.measure(experiment(model, pictures), out)]
        squares += [pictures.square(number) for number in range(len(pictures.files))]
    true, again = (np.array([one[key] for one in found], float) for key in ("true_db", "again_db"))
    snr_db = np.array([one["snr_db"] for one in found])
    return rates.trial_of(loaded, squares, snr_db, true, rates.ratios_at(loaded, squares[0].shape[:2]), again)


def files_of(place: str, count: int) -> tuple[Path, ...]:
    """FOLDER[/PREFIX][:EVERY] as at most ``count`` files.

    Raises:
        ConfigError: there are none.
    """
    folder, _, every = place.partition(":")
    path, prefix = Path(folder), ""
    if not path.is_dir():
        path, prefix = path.parent, path.name
    if every and not every.isdecimal() or every == "0":
        raise ConfigError(
            f"--fit {place}: what follows the colon is a whole number, as in FOLDER:3 for every third."
        )
    found = [file for file in list_pictures(path) if file.name.startswith(prefix)][:: int(every or 1)][:count]
    if not found:
        raise ConfigError(f"{path}: no picture whose name begins with '{prefix}'.")
    return tuple(found)


@app.command()
def main(
    model: str,
    data: Annotated[Path, typer.Option(help="Folder of photographs.")],
    only: Annotated[str, typer.Option(help="Files whose names begin so.")] = "",
    fit: Annotated[
        list[str],
        typer.Option(metavar="FOLDER[/PREFIX][:EVERY]", help="Photographs that the correction is fitted to."),
    ] = [],  # noqa: B006
    count: Annotated[int, typer.Option(min=1, help="Pictures, at most.")] = 100,
    fit_count: Annotated[int, typer.Option(min=1, help="Of each --fit, at most.")] = 200,
    side: Annotated[int, typer.Option(min=32, help="Pixels a side of the squares cut out of them.")] = 256,
    check: Annotated[
        bool, typer.Option("--check", help="Hold the card's table against these pictures.")
    ] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="PSNR of pictures in two parts, and sent once at the same rate.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of what was measured.")] = Path("runs/rates"),
) -> None:
    torch.set_num_threads(1)
    loaded = zoo.load(model)
    pictures = Pictures(files_of(str(data / only), count), side, in_turn=check)
    if refine:
        squares = [pictures.square(number) for number in range(len(pictures.files))]
        for first, whole in _PARTS:
            for snr_db in _SNRS_DB:
                both = [rates.refined_psnr_db(loaded, pixels, snr_db, first, whole) for pixels in squares]
                print(f"1/{1 / first:.0f} to 1/{1 / whole:.0f}, {snr_db:g} dB: {_row(np.mean(both, axis=0))}")
        return
    if check:
        table = table_of(loaded.card)
        found = rates.check(trial(model, [pictures], out), table)
        print(f"{len(pictures.files)} pictures")
        print(f"mean error {found.error_db.mean():.2f} dB; by rate {_row(found.error_db)}")
        print(f"mean PSNR by rate {_row(found.true_db)}")
        print(f"below their target {found.below:.1%}")
        print(f"mean rho {found.rho:.4f}, of an oracle {found.oracle_rho:.4f}")
        return
    groups = [Pictures(files_of(place, fit_count), side, every=2) for place in fit]
    fitted = trial(model, groups, out) if groups else None
    names = " and ".join(f"{len(group.files)} of {group.files[0].parent.name}" for group in groups)
    sets = np.repeat(np.arange(len(groups)), [len(group.files) for group in groups])
    table = rates.measure(
        trial(model, [pictures], out),
        f"{data.name} {only}, {side}x{side} squares",
        fitted,
        f"{names} squares",
        sets,
    )
    path = zoo.card_path(model)
    rates.store(loaded.card, table).write(path)
    print(
        f"{path}: mean error {table.mean_error_db} dB of pictures not fitted to, margin {table.quantile} sigma"
    )


def _row(values) -> str:
    return " ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    app()
