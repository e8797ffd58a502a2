# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of frame version 3 beside that of version 2: .venv/bin/python scripts/header_figure.py [--scale 0.1]"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from tables import write_table

from semcom.experiments import headers
from semcom.experiments.command import Out, Workers, measure


def main(
    scale: Annotated[float, typer.Option(min=0.001, help="Share of the trials.")] = 1.0,
    out: Out = Path("runs/header"),
    workers: Workers = 1,
) -> None:
    torch.set_num_threads(1)
    write_table(
        "header",
        "The burst header of frame versions 2 and 3",
        "scripts/header_figure.py" + (f" --scale {scale:g}" if scale != 1 else ""),
        ["what", "version 2 (17 words in 6 symbols)", "version 3 (20 words in 7 symbols)"],
        headers.rows(measure(headers.plan(scale), out, workers)) + headers.cost_rows(),
        "A receiver of version 3 looks for version 2 in what failed its own CRC at first look; what it knows is not "
        "looked at again. Times are CPU of one thread, median, in turn within one run.",
    )


if __name__ == "__main__":
    typer.run(main)
