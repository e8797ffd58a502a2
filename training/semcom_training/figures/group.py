# SPDX-License-Identifier: GPL-3.0-or-later
"""Which SNR a transmitter should allocate for when one burst serves a group of users at different SNRs.

The receivers differ, the burst is one: map, order and powers follow from one allocation SNR, while each user's decoder
is given its own SNR and, by the header, that of the allocation.
"""

import functools
import itertools
from typing import Annotated

import numpy as np
import torch
import typer

from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.system import zoo
from semcom_training.data import data_root, image_files, read_image
from semcom_training.figures.adaptive import psnr

GROUPS_DB = {
    "5, 10, 15": (5, 10, 15),
    "0, 10, 20": (0, 10, 20),
    "0, 5, 10, 15, 20": (0, 5, 10, 15, 20),
}


def share_served(snrs_db, share: float) -> float:
    """The highest of the users' SNRs that this share of them has, at least."""
    return sorted(snrs_db, reverse=True)[int(np.ceil(share * len(snrs_db))) - 1]


RULES = {
    "weakest": min,
    "mean in dB": lambda snrs_db: float(np.mean(snrs_db)),
    "80 % served": lambda snrs_db: share_served(snrs_db, 0.8),
    "half served": lambda snrs_db: share_served(snrs_db, 0.5),
    "strongest": max,
}


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds kodak; else SEMCOM_DATA.")] = None,
    model: Annotated[
        str, typer.Option(help="A content-adaptive model, or a user of one.")
    ] = "photo-adaptive",
    every: Annotated[int, typer.Option(help="Take every n-th picture.")] = 8,
) -> Experiment:
    """The allocation SNR of a group: docs/figures/group.{md,csv}."""
    weights = (zoo.load(model).sha256,)
    pairs = {(rule(snrs), snr) for snrs in GROUPS_DB.values() for rule in RULES.values() for snr in snrs}
    pairs |= {(float(snr), snr) for snrs in GROUPS_DB.values() for snr in snrs}
    cells = [Cell((f"{allocated:.2f}",), snr, weights=weights) for allocated, snr in sorted(pairs)]
    own = functools.partial(measure, data=str(data_root(data)))
    return Experiment("group", own, cells, {"model": model, "every": every})


@torch.inference_mode()
def measure(cell: Cell, model: str, every: int, data: str) -> float:
    """Mean PSNR of a user at one SNR where it was allocated for another."""
    images = [read_image(path)[None] for path in image_files(data_root(data) / "kodak")[::every]]
    return psnr(zoo.load(model).codec, images, float(cell.point), float(cell.arm[0]))


def rows(found) -> list[dict]:
    """One row a cell."""
    return [{"allocated_db": float(c.arm[0]), "snr_db": c.point, "psnr_db": value} for c, value in found]


def lost_db(rows: list[dict], snrs_db, rule) -> tuple[float, float, float]:
    """Allocation SNR of a group by a rule; PSNR lost beside an allocation of each user's own: mean, and worst user's."""
    value = {(round(row["allocated_db"], 2), row["snr_db"]): row["psnr_db"] for row in rows}
    at = round(float(rule(snrs_db)), 2)
    lost = [value[float(snr), snr] - value[at, snr] for snr in snrs_db]
    return at, float(np.mean(lost)), max(lost)


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    lines = []
    for (group, snrs), (name, rule) in itertools.product(GROUPS_DB.items(), RULES.items()):
        at, mean, worst = lost_db(rows, snrs, rule)
        lines.append([group, name, f"{at:.1f}", f"{mean:.2f}", f"{worst:.2f}"])
    head = ["users' SNRs dB", "rule", "allocated for dB", "mean loss dB", "worst user's loss dB"]
    about = (
        f"One Kodak picture in {experiment.settings['every']}, rho = 1/12, AWGN on symbols, the map coded in them. Loss "
        f"of PSNR beside a burst of each user's own, allocated for its SNR."
    )
    title = f"One burst for a group of users of `{experiment.settings['model']}`: which SNR to allocate for"
    return page(title, about, markdown_table(head, lines), made_by=made_by)
