# SPDX-License-Identifier: GPL-3.0-or-later
"""Where DeepJSCC wins and where the digital link does, in one figure, for the README.

    .venv/bin/python scripts/beside_digital.py --data FOLDER

measures `photo-adaptive` over the modem on the pictures of docs/figures/compare_photo.csv; all else is drawn from the
tables of `semcom compare` (docs/separation.md has their commands).
"""

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom.experiments.rival.compare import ADAPTIVE, ANALOG, BARE, FILE
from semcom.experiments.runner import Cell, Experiment
from semcom.kinds.pictures import Picture
from semcom.kinds.sets import Taking, read_set
from semcom.link import LinkConfig, simulate
from semcom.system import zoo

MODEL = "photo-adaptive"
FIXED = ("16-3/4", "16-1/2")  # schemes, of CIFAR-10 and of photographs


def compared(name: str) -> list[dict]:
    return table.read_csv(FIGURES / f"compare_{name}.csv")


def curve(rows: list[dict], scheme: str, accounting: str | None = None) -> tuple[list, list]:
    """SNRs and mean PSNRs of a scheme in a table of ``semcom compare``."""
    some = [row for row in rows if (row["scheme"], row["accounting"]) == (scheme, accounting)]
    return [row["snr_db"] for row in some], [row["psnr_db"] for row in some]


def plan(data: Annotated[Path, typer.Option(help="Folder of compare_photo's pictures.")]) -> Experiment:
    """DeepJSCC beside the digital link: docs/figures/beside_digital.{csv,md,png}."""
    photos, weights = compared("photo"), (zoo.load(MODEL).sha256,)
    cells = [
        Cell((MODEL, int(photos[0]["pictures"])), float(snr), weights=weights)
        for snr in curve(photos, ANALOG)[0]
    ]
    return Experiment("beside_digital", functools.partial(measure, data=str(data)), cells)


def measure(cell: Cell, data: str) -> float:
    """Mean PSNR in dB over the modem."""
    model, count = cell.arm
    some = [Picture(*each) for each in read_set(Path(data), Taking(limit=count))]
    config = LinkConfig(model, cell.point, lpips=False)
    return float(np.mean([row.psnr_db for row in simulate(some, config)]))


def rows(found) -> list[dict]:
    names = "model", "snr_db", "pictures", "psnr_db"
    return [
        dict(zip(names, (cell.arm[0], cell.point, cell.arm[1], psnr_db), strict=True))
        for cell, psnr_db in found
    ]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    head = ["", *(f"{row['snr_db']:g} dB" for row in rows)]
    return table.page(
        "DeepJSCC beside the digital link",
        "![PSNR over the SNR](beside_digital.png)",
        table.markdown_table(head, [[f"`{rows[0]['model']}`", *(float(row["psnr_db"]) for row in rows)]]),
        f"{rows[0]['pictures']} pictures over the modem, mean PSNR in dB. The other curves are those of "
        "[compare_cifar.md](compare_cifar.md) and [compare_photo.md](compare_photo.md).",
        made_by=made_by,
    )


def draw(own: list[dict], experiment=None):
    small, photos = compared("cifar"), compared("photo")
    figure, ((left, right),) = style.panels(1, 2, width=4.9, height=3.7)
    digital, file, ours, others = style.COLOURS[0], style.FAINT, style.COLOURS[1], style.COLOURS[4]
    left.plot(*curve(small, ANALOG), "o-", color=ours, label="DeepJSCC (cifar-1-12)")
    right.plot(
        [row["snr_db"] for row in own],
        [row["psnr_db"] for row in own],
        "o-",
        color=ours,
        label=f"DeepJSCC ({MODEL})",
    )
    right.plot(*curve(photos, ANALOG), "s-", color=others, markersize=4, label="DeepJSCC (photo-1-12)")
    for axes, rows in ((left, small), (right, photos)):
        axes.plot(*curve(rows, ADAPTIVE, BARE), "-", color=digital, label="digital, adaptive, no header")
        axes.plot(*curve(rows, ADAPTIVE, FILE), "--", color=file, label="digital, adaptive, file header")
        low, high = axes.get_ylim()
        axes.plot(
            *curve(rows, f"separation, {FIXED[axes is right]}", BARE),
            ":",
            color=style.INK,
            label=f"digital, always {FIXED[axes is right]}",
        )
        # what is lost is far below: the mean colour
        axes.set_ylim(low, high)
        axes.set(xlabel="SNR, Es/N0 in dB", ylabel="PSNR in dB, mean of the pictures")
        axes.legend(frameon=False, fontsize=8)
    left.set_title(f"CIFAR-10, 32x32, {small[0]['pictures']:g} pictures", loc="left", fontsize=10)
    right.set_title(f"photographs, 256x256, {photos[0]['pictures']:g} pictures", loc="left", fontsize=10)
    return figure


COMMAND = ".venv/bin/python scripts/beside_digital.py --data FOLDER"
FIGURE = Figure("beside_digital", COMMAND, plan, rows, text, draw, table.fixed(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
