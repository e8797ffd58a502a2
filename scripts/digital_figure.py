# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised latents against analog ones: PSNR over SNR at every order, by codebook and by the codec's training.

.venv/bin/python scripts/digital_figure.py --data FOLDER      # docs/figures/digital.{csv,png,md}

What is measured is kept below runs/digital and not measured again, until a codec or its codebooks change.
"""

import csv
import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.figure import Figure
from tables import FIGURES, write_table

from semcom.channel.symbols import symbol_channel
from semcom.experiments.evaluate import evaluate, summarise
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.modulation import ORDERS, constellation
from semcom.payload.quantised import DigitalMode, over
from semcom.system import zoo
from semcom_training.data import data_root, load_cifar10

COMMAND = "scripts/digital_figure.py --data FOLDER"
CIFAR, KODAK = "CIFAR-10", "Kodak"
FROZEN, ALL_ORDERS = "analog", "all orders"  # what a codec was trained for
SNR_DB = [0, 5, 10, 15, 20]
COLOURS = ["#8a8a8a", "#c8553d", "#e9a23b", "#7a9e3b", "#1f6f8b", "#5b3d8b"]
_NOTE = """\
AWGN behind a perfect modem, one latent a symbol (rho = 1/12 always). Mean PSNR in dB of {cifar} CIFAR-10 test images and
{kodak} Kodak images, the same noise for every row; in brackets the difference from the first row. *Trained for analog*:
`cifar-1-12` and `photo-1-12` as they are, only codebooks differ. *Trained for all orders*: `cifar-1-12-digital`, one
codec that met analog latents and every order in training. Learned codebooks: `python -m semcom_training.codebooks`, on
the codec's own training pictures."""


def measured(model, images, what: str, snr_db: float, channel, keep: Path) -> float:
    """Mean PSNR in dB; taken from ``keep`` where it has been measured with this codec and these codebooks."""
    key = json.dumps([what, model.sha256[:12], len(images), snr_db])
    known = dict(json.loads(line) for line in keep.read_text().splitlines()) if keep.is_file() else {}
    if key not in known:
        rows = evaluate(model, images, snr_db, channel=channel, with_ms_ssim=False)
        known[key] = summarise(rows)[0]["psnr_db"]
        with keep.open("a") as out:
            out.write(json.dumps([key, known[key]]) + "\n")
    return known[key]


def sweep(name: str, trained_for: str, model, images, snrs: list, orders: tuple, keep: Path) -> list[dict]:
    """One row for analog latents and one for each codebook and order at each SNR."""
    awgn = symbol_channel("awgn")
    rows = []
    for snr_db in snrs:
        psnr = measured(model, images, f"{name} analog", snr_db, awgn, keep)
        rows.append({"codebook": "", "order": 0, "snr_db": snr_db, "psnr_db": psnr})
        for codebook, books in model.codebooks.items():
            for order in orders:
                channel = over(awgn, DigitalMode(order, 0, codebook), books)
                psnr = measured(model, images, f"{name} {books.sha256[:12]} {order}", snr_db, channel, keep)
                rows.append({"codebook": codebook, "order": order, "snr_db": snr_db, "psnr_db": psnr})
    about = {"set": name, "trained_for": trained_for, "model": model.card.name, "images": len(images)}
    return [about | row for row in rows]


def with_differences(rows: list[dict]) -> list[dict]:
    """Each row beside analog latents of the codec that was trained for them, same set and SNR."""
    analog = {
        (r["set"], r["snr_db"]): r["psnr_db"] for r in rows if not r["order"] and r["trained_for"] == FROZEN
    }
    return [row | {"from_analog_db": row["psnr_db"] - analog[row["set"], row["snr_db"]]} for row in rows]


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds cifar10 and kodak.")],
    out: Path = Path("runs/digital"),
    cifar: int = 500,
    kodak: int = 24,
    kodak_orders: str = "16,64,256",
) -> None:
    """Measures what is missing and writes the figure."""
    torch.set_num_threads(1)
    root = data_root(data)
    out.mkdir(parents=True, exist_ok=True)
    keep = out / "measured.jsonl"
    few = tuple(int(order) for order in kodak_orders.split(","))
    tests = [(str(n), x) for n, x in enumerate(load_cifar10(root / "cifar10", "test")[:cifar])]
    rows = sweep(CIFAR, FROZEN, zoo.load("cifar-1-12"), tests, SNR_DB, ORDERS, keep)
    rows += sweep(CIFAR, ALL_ORDERS, zoo.load("cifar-1-12-digital"), tests, SNR_DB, ORDERS, keep)
    photos = [(path.name, read_picture(path).pixels) for path in list_pictures(root / "kodak")[:kodak]]
    rows += sweep(KODAK, FROZEN, zoo.load("photo-1-12"), photos, [10], few, keep)
    rows = with_differences(rows)
    write(rows, _NOTE.format(cifar=len(tests), kodak=len(photos)))
    draw(rows)


def write(rows: list[dict], note: str) -> None:
    with (FIGURES / "digital.csv").open("w", newline="") as file:
        fields = [
            "set",
            "images",
            "model",
            "trained_for",
            "codebook",
            "order",
            "snr_db",
            "psnr_db",
            "from_analog_db",
        ]
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(
            {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        )
    columns = [f"CIFAR, {snr} dB" for snr in SNR_DB] + ["Kodak, 10 dB"]
    places = [(CIFAR, snr) for snr in SNR_DB] + [(KODAK, 10)]
    kinds = dict.fromkeys((row["trained_for"], row["codebook"], row["order"]) for row in rows)
    table = [[kind[0], words(*kind[1:]), *(cell(rows, kind, *place) for place in places)] for kind in kinds]
    write_table(
        "digital", "Digital latents", COMMAND, ["codec trained for", "latents", *columns], table, note
    )


def words(codebook: str, order: int) -> str:
    return f"{constellation(order).name}, {codebook}" if order else "analog"


def cell(rows: list[dict], kind: tuple, name: str, snr_db: float) -> str:
    for row in rows:
        here = row["trained_for"], row["codebook"], row["order"], row["set"], row["snr_db"]
        if here == (*kind, name, snr_db):
            off = row["from_analog_db"]
            return f"{row['psnr_db']:.2f}" + (f" ({off:+.2f})" if kind != (FROZEN, "", 0) else "")
    return ""


def draw(rows: list[dict]) -> None:
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    some = [row for row in rows if row["set"] == CIFAR]
    for axes, trained_for in zip(panels, (FROZEN, ALL_ORDERS), strict=True):
        draw_codec(axes, [row for row in some if row["trained_for"] == trained_for])
        name = next(row["model"] for row in some if row["trained_for"] == trained_for)
        axes.set(xlabel="SNR (Es/N0), dB", title=f"{name}: trained for {trained_for}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("PSNR, dB (CIFAR-10, rho = 1/12)")
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(FIGURES / "digital.png", dpi=120)


def draw_codec(axes, rows: list[dict]) -> None:
    """One codec: solid the learned codebooks, dashed the uniform ones."""

    def line(codebook, order, **style):
        points = [
            (r["snr_db"], r["psnr_db"]) for r in rows if (r["codebook"], r["order"]) == (codebook, order)
        ]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, **style)

    line("", 0, color="black", linewidth=2, label="analog")
    for order, colour in zip(ORDERS[::-1], COLOURS[::-1], strict=True):
        line("uniform", order, color=colour, linestyle="--", label=f"{constellation(order).name}, uniform")
        if any(row["codebook"] == "learned" for row in rows):
            line("learned", order, color=colour, label=f"{constellation(order).name}, learned")


if __name__ == "__main__":
    typer.run(main)
