# SPDX-License-Identifier: GPL-3.0-or-later
"""The hybrid of coded bits and latents: what it gains by each share of coded bits."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.sets import Taking, read_set
from semcom.system import zoo
from semcom.system.hybrid import SHARE_STEPS, Hybrid
from semcom.system.make import make

LATENTS, BITS, BEST = "latents alone", "bits alone", "best of all"


def plan(
    data: Annotated[Path, typer.Option(help="Folder of pictures.")],
    every: Annotated[int, typer.Option(min=1, help="Take every n-th picture.")] = 1,
    model: Annotated[str, typer.Option(help="Name of a content-adaptive model.")] = "photo-adaptive",
    share: Annotated[list[int], typer.Option(help="Of coded bits, in 1/32.")] = [2, 4, 8, 16, 30],  # noqa: B006
    snr_db: list[float] = [0.0, 10.0, 20.0],  # noqa: B006
) -> Experiment:
    """The hybrid by the share of its coded bits: docs/figures/hybrid_shares.{csv,md}."""
    cells = [Cell((model,), snr, weights=(zoo.load(model).sha256,)) for snr in snr_db]
    own = functools.partial(measure, data=str(data))
    return Experiment("hybrid_shares", own, cells, {"every": every, "shares": list(share)})


def measure(cell: Cell, every: int, shares: list[int], data: str) -> list[dict[str, float]]:
    """PSNR in dB by share, of each picture; in noise of a fixed seed, over the symbol channel, coded bits arrive."""
    system = make(cell.arm[0], Hybrid())
    pictures = [pixels for _, pixels in read_set(Path(data), Taking())][::every]
    return [
        {
            str(share): float(reached)
            for share, (_, reached) in system.tried(pixels, cell.point, shares).items()
        }
        for pixels in pictures
    ]


def rows(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """Means over the pictures: latents alone, bits alone, the best of both and of one share for each picture, of all."""
    out = []
    for cell, pictures in found:
        ends = "0", str(SHARE_STEPS)
        between = [
            share for share in dict.fromkeys(s for each in pictures for s in each) if share not in ends
        ]
        values = {LATENTS: [each[ends[0]] for each in pictures], BITS: [each[ends[1]] for each in pictures]}
        for share in sorted(between, key=int):
            chosen = [[each[s] for s in (*ends, share) if s in each] for each in pictures]
            values[f"best with {share}/{SHARE_STEPS}"] = [max(some) for some in chosen]
        values[BEST] = [max(each.values()) for each in pictures]
        for way, psnr_db in values.items():
            own = {"model": cell.arm[0], "snr_db": cell.point, "pictures": len(pictures), "way": way}
            out.append(own | {"psnr_db": float(np.mean(psnr_db))})
    return out


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: a line an SNR."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines: dict[float, dict[str, float]] = {}
    for row in rows:
        lines.setdefault(row["snr_db"], {})[row["way"]] = float(row["psnr_db"])
    return page(
        "The hybrid by the share of its coded bits",
        f"`{rows[0]['model']}` and HEVC, {rows[0]['pictures']} pictures, mean PSNR in dB. The base has the scheme of "
        "`adaptive`; a share is tried where it holds an encoding. Once a picture and SNR, in noise of a fixed seed, "
        "over the symbol channel; coded bits are taken to arrive.",
        markdown_table(
            ["SNR", *ways],
            [[f"{snr:g} dB", *(own.get(way, "-") for way in ways)] for snr, own in lines.items()],
        ),
        made_by=made_by,
    )
