# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of one picture by both models: .venv/bin/python scripts/perceptual_strip.py --data FOLDER"""

from pathlib import Path
from typing import Annotated

import typer
from tables import FIGURES

from semcom.experiments.rival import compare, plot
from semcom.experiments.style import write_figure
from semcom_training.figures import perceptual

SIDE = 256


def main(
    data: perceptual.Data = None,
    number: Annotated[int, typer.Option(min=0, help="Number of the picture, from 0.")] = 18,
    snr_db: list[float] = [1.0, 4.0, 10.0],  # noqa: B006
    out: Path = FIGURES / "perceptual_strip.jpg",
) -> None:
    """The middle of one picture as both models deliver it, beside the original."""
    pixels = perceptual.pictures(data or "")[number]
    top, left = ((side - SIDE) // 2 for side in pixels.shape[-2:])
    part = slice(top, top + SIDE), slice(left, left + SIDE)
    scores = [
        compare.Score(
            model,
            "",
            snr,
            1,
            0.0,
            0.0,
            None,
            1.0,
            "",
            (perceptual.delivered(model, pixels, number, snr)[part],),
        )
        for model in perceptual.MODELS
        for snr in snr_db
    ]
    strip = plot.strip(scores, pixels[0].permute(1, 2, 0).numpy()[part])
    typer.echo(write_figure(out, strip, pil_kwargs={"quality": 88}))


if __name__ == "__main__":
    typer.run(main)
