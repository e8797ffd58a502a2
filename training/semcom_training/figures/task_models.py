# SPDX-License-Identifier: GPL-3.0-or-later
"""The task models that ship, over the symbol channel and over the modem: error rates, symbols, airtime a picture."""

import functools
from functools import partial
from typing import Annotated

import torch
import typer

from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds import sets
from semcom.kinds.sets import load_cifar10, load_cifar10_labels
from semcom.modem import Modem
from semcom.system import zoo
from semcom_training import frozen
from semcom_training.data import data_root

MODELS = (
    "cifar-task-backbone",
    "cifar-deepjscc-8",
    "cifar-deepjscc-8-fisher",
    "cifar-vl-vfe",
    "cifar-vl-vfe-fisher",
    "cifar-dt-jscc",
    "cifar-dt-jscc-fisher",
)
SNR_DB = [0.0, 10.0, 20.0]
SYMBOL, MODEM = "symbol channel", "modem"
_PACKED = 1000


def plan(
    data: Annotated[str, typer.Option(help="Folder with cifar10; else SEMCOM_DATA.")] = None, draws: int = 10
) -> Experiment:
    """The task models that ship: docs/figures/task_models.{csv,md}."""
    cells = [
        Cell((model, way), snr, weights=(zoo.load(model).sha256,))
        for model in MODELS
        for way in (SYMBOL, MODEM)
        for snr in SNR_DB
    ]
    return Experiment("task_models", partial(measure, data=str(data_root(data))), cells, {"draws": draws})


@functools.lru_cache(1)
def _test(backbone: str, data: str):
    """Features of the test split by the backbone that all of them share, and the classes."""
    folder = data_root(data) / "cifar10"
    images = torch.from_numpy(load_cifar10(folder, "test").transpose(0, 3, 1, 2).copy())
    codec = zoo.load(backbone).codec
    return frozen._features(codec, images), torch.from_numpy(load_cifar10_labels(folder, "test"))


def measure(cell: Cell, draws: int, data: str) -> dict:
    """Error rate of a model, its standard error, symbols and samples a picture."""
    (model, way), snr_db = cell.arm, cell.point
    codec = zoo.load(model).codec
    features, labels = _test(MODELS[0], data)
    channel = "modem" if way == MODEM else "awgn"
    wrong = frozen.error_rate(codec, features, labels, snr_db, channel, draws)
    sends = draws * len(labels)
    with torch.no_grad():
        symbols = codec.send_features(features, snr_db).values.shape[1]
    return {
        "set": f"{sets.title(data_root(data) / 'cifar10', len(labels))} test",
        "sends": sends,
        "error_percent": 100 * wrong,
        "standard_error": 100 * (wrong * (1 - wrong) / sends) ** 0.5,
        "symbols": symbols,
        "samples_alone": _samples(symbols),
        "samples_packed": _samples(_PACKED * symbols) / _PACKED,
        "backoff_db": codec.backoff_db,
    }


def _samples(symbols: int) -> int:
    """Of all bursts of an item of so many payload symbols, with preamble and header."""
    return Modem().plan(symbols).airtime_samples


def rows(found) -> list[dict]:
    """One row a cell."""
    return [
        {"model": cell.arm[0], "way": cell.arm[1], "snr_db": cell.point} | result for cell, result in found
    ]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    names = list(dict.fromkeys(r["model"] for r in rows))
    errors, air = [], []
    for name in names:
        for way in (SYMBOL, MODEM):
            some = [r for r in rows if (r["model"], r["way"]) == (name, way)]
            errors.append(
                [f"`{name}`", way, *(f"{r['error_percent']:.2f} ±{r['standard_error']:.2f}" for r in some)]
            )
        last = some[-1]
        counts = "/".join(str(r["symbols"]) for r in some)
        air.append(
            [f"`{name}`", counts, f"{last['backoff_db']:.2f}", last["samples_alone"], last["samples_packed"]]
        )
    sends = rows[0]["sends"]
    note = (
        f"Per cent wrong of {rows[0]['set']}, {sends:,} sends a number, ± the standard error of as many independent "
        f"sends. *Modem*: the latents of all pictures one after the other as samples of OFDM bursts over AWGN, "
        f"equalised, noise variances as the receiver estimates them; where bursts start is known."
    )
    head = ["model", "over", *(f"{snr:g} dB" for snr in SNR_DB)]
    sizes = [
        "model",
        "symbols a picture at " + "/".join(f"{snr:g}" for snr in SNR_DB) + " dB",
        "peak SNR over Es/N0, dB",
        "samples of a burst for one picture",
        f"samples a picture, {_PACKED} in one item",
    ]
    return page(
        "Task models that ship",
        note,
        markdown_table(head, errors),
        "## Airtime, with preamble and header",
        markdown_table(sizes, air),
        made_by=made_by,
    )
