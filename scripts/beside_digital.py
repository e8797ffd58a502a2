# SPDX-License-Identifier: GPL-3.0-or-later
"""Where DeepJSCC wins and where the digital link does, in one figure, for the README.

    .venv/bin/python scripts/beside_digital.py --data DIV2K_VALID_256

measures `photo-adaptive` over the modem on the pictures of docs/figures/compare_photo.csv; without --data the table that
is there is drawn again. All else is drawn from the tables of `semcom compare` (docs/separation.md has their commands).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.rival.compare import ADAPTIVE, ANALOG, BARE, FILE
from semcom.kinds.pictures import Picture
from semcom.kinds.sets import Taking, read_set
from semcom.link import LinkConfig, simulate

MODEL, NAME = "photo-adaptive", "beside_digital"
FIXED = ("16-3/4", "16-1/2")  # schemes, of CIFAR-10 and of photographs


def curve(rows: list[dict], scheme: str, accounting: str | None = None) -> tuple[list, list]:
    """SNRs and mean PSNRs of a scheme in a table of ``semcom compare``."""
    some = [row for row in rows if (row["scheme"], row["accounting"]) == (scheme, accounting)]
    return [row["snr_db"] for row in some], [row["psnr_db"] for row in some]


def measure(data: Path, beside: list[dict]) -> list[dict]:
    """``MODEL`` on the pictures and at the SNRs of a table of ``semcom compare``."""
    some = [Picture(*each) for each in read_set(data, Taking(limit=int(beside[0]["pictures"])))]
    rows = []
    for snr_db in curve(beside, ANALOG)[0]:
        psnr = [row.psnr_db for row in simulate(some, LinkConfig(MODEL, snr_db, lpips=False))]
        rows.append(
            {"model": MODEL, "snr_db": snr_db, "pictures": len(psnr), "psnr_db": float(np.mean(psnr))}
        )
        print(f"{snr_db:g} dB: {rows[-1]['psnr_db']:.2f} dB", flush=True)
    return rows


def draw(small: list[dict], photos: list[dict], own: list[dict]):
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


def main(
    data: Annotated[Path | None, typer.Option("--data", help="Folder of compare_photo's pictures.")] = None,
):
    small, photos = (table.read_csv(FIGURES / f"compare_{name}.csv") for name in ("cifar", "photo"))
    if data is not None:
        table.write_csv(FIGURES / f"{NAME}.csv", measure(data, photos), table.fixed(4))
    own = table.read_csv(FIGURES / f"{NAME}.csv")
    print(style.write_figure(FIGURES / f"{NAME}.png", draw(small, photos, own)))


if __name__ == "__main__":
    typer.run(main)
