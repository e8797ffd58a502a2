# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised latents against analog ones: PSNR over SNR at every order, by codebook and by the codec's training."""

import functools
from functools import partial
from typing import Annotated

import typer

from semcom.channel.symbols import symbol_channel
from semcom.experiments.evaluate import evaluate, summarise
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.kinds.sets import load_cifar10
from semcom.modulation import ORDERS, constellation
from semcom.payload.quantised import DigitalMode, over
from semcom.system import zoo
from semcom_training.data import data_root

CIFAR, KODAK = "CIFAR-10", "Kodak"
#: what a codec was trained for
FROZEN, ALL_ORDERS = "analog", "all orders"
TRAINED_FOR = {"cifar-1-12": FROZEN, "cifar-1-12-digital": ALL_ORDERS, "photo-1-12": FROZEN}
SNR_DB = [0, 5, 10, 15, 20]
_NOTE = """\
AWGN behind a perfect modem, one latent a symbol (rho = 1/12 always). Mean PSNR in dB of {cifar} CIFAR-10 test images and
{kodak} Kodak images, the same noise for every row; in brackets the difference from the first row. *Trained for analog*:
`cifar-1-12` and `photo-1-12` as they are, only codebooks differ. *Trained for all orders*: `cifar-1-12-digital`, one
codec that met analog latents and every order in training. Learned codebooks: `python -m semcom_training.codebooks`, on
the codec's own training pictures."""


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds cifar10 and kodak; else SEMCOM_DATA.")] = None,
    cifar: int = 500,
    kodak: int = 24,
    kodak_orders: str = "16,64,256",
) -> Experiment:
    """Quantised latents against analog ones: docs/figures/digital.{csv,png,md}."""
    few = tuple(int(order) for order in kodak_orders.split(","))
    cells = []
    for name, images, model, snrs, orders in (
        (CIFAR, cifar, "cifar-1-12", SNR_DB, ORDERS),
        (CIFAR, cifar, "cifar-1-12-digital", SNR_DB, ORDERS),
        (KODAK, kodak, "photo-1-12", [10], few),
    ):
        loaded = zoo.load(model)
        for snr in snrs:
            cells.append(Cell((name, images, model, "", 0), snr, weights=(loaded.sha256,)))
            for codebook, books in loaded.codebooks.items():
                weights = loaded.sha256, books.sha256
                cells += [
                    Cell((name, images, model, codebook, order), snr, weights=weights) for order in orders
                ]
    return Experiment("digital", partial(measure, data=str(data_root(data))), cells)


def measure(cell: Cell, data: str) -> dict:
    """Mean PSNR in dB of a set, and of how many images."""
    name, count, model, codebook, order = cell.arm
    loaded, channel = _model(model), symbol_channel("awgn")
    if order:
        channel = over(channel, DigitalMode(order, 0, codebook), loaded.codebooks[codebook])
    images = _images(name, data)[:count]
    rows = evaluate(loaded, images, cell.point, channel=channel, with_ms_ssim=False)
    return {"psnr_db": summarise(rows)[0]["psnr_db"], "images": len(images)}


_model = functools.lru_cache(4)(zoo.load)


@functools.lru_cache(2)
def _images(name: str, data: str) -> list:
    root = data_root(data)
    if name == CIFAR:
        return [(str(n), x) for n, x in enumerate(load_cifar10(root / "cifar10", "test"))]
    return [(path.name, read_picture(path).pixels) for path in list_pictures(root / "kodak")]


def rows(found) -> list[dict]:
    """Each cell beside analog latents of the codec that was trained for them, same set and SNR."""
    analog = {
        (cell.arm[0], cell.point): result["psnr_db"]
        for cell, result in found
        if not cell.arm[4] and TRAINED_FOR[cell.arm[2]] == FROZEN
    }
    return [
        {
            "set": name,
            "images": result["images"],
            "model": model,
            "trained_for": TRAINED_FOR[model],
            "codebook": codebook,
            "order": order,
            "snr_db": cell.point,
            "psnr_db": result["psnr_db"],
            "from_analog_db": result["psnr_db"] - analog[name, cell.point],
        }
        for cell, result in found
        for name, _, model, codebook, order in [cell.arm]
    ]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    columns = {f"CIFAR, {snr} dB": (CIFAR, snr) for snr in SNR_DB} | {"Kodak, 10 dB": (KODAK, 10)}
    kinds = dict.fromkeys((row["trained_for"], row["codebook"], row["order"]) for row in rows)
    lines = [
        [kind[0], _words(*kind[1:]), *(_cell(rows, kind, *place) for place in columns.values())]
        for kind in kinds
    ]
    table = markdown_table(["codec trained for", "latents", *columns], lines)
    count = {row["set"]: row["images"] for row in rows}
    note = _NOTE.format(cifar=count.get(CIFAR, 0), kodak=count.get(KODAK, 0))
    return page("Digital latents", table, note, made_by=made_by)


def _words(codebook: str, order: int) -> str:
    return f"{constellation(order).name}, {codebook}" if order else "analog"


def _cell(rows: list[dict], kind: tuple, name: str, snr_db: float) -> str:
    for row in rows:
        here = row["trained_for"], row["codebook"], row["order"], row["set"], row["snr_db"]
        if here == (*kind, name, snr_db):
            off = row["from_analog_db"]
            return f"{row['psnr_db']:.2f}" + (f" ({off:+.2f})" if kind != (FROZEN, "", 0) else "")
    return ""
