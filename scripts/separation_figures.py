# SPDX-License-Identifier: GPL-3.0-or-later
"""What the separation link's code does: the thresholds it adapts by, and its waterfalls.

.venv/bin/python scripts/separation_figures.py thresholds   writes semcom/payload/coded/mcs_thresholds.csv
.venv/bin/python scripts/separation_figures.py waterfall    docs/figures/ldpc.{csv,png,md}
"""

import functools
import math
from pathlib import Path

import typer
from tables import FIGURES

from semcom import files
from semcom.experiments import style, table, waterfall
from semcom.experiments.command import Figure, Out, Workers, command_of, measure
from semcom.payload.coded import mcs as schemes

COMMAND = ".venv/bin/python scripts/separation_figures.py"
THRESHOLDS = Path(schemes.__file__).with_name("mcs_thresholds.csv")
REFERENCE = table.read_csv(FIGURES / "ldpc_reference.csv")
app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


def plan():
    """Block error rates beside those of the other implementation, at its points (docs/figures/ldpc_reference.csv)."""
    return waterfall.points(REFERENCE)


def draw(rows: list[dict], experiment=None):
    figure, ((axes,),) = style.panels(width=8, height=4.8)
    for number, key in enumerate(dict.fromkeys((row["mcs"], row["symbols"]) for row in rows)):
        some = [row for row in rows if (row["mcs"], row["symbols"]) == key]
        for column, line, name in (("bler", "o-", "ours"), ("reference_bler", "x--", "Sionna")):
            rates = [row[column] or math.nan for row in some]
            label = f"{key[0]}, {key[1]} symbols, {name}"
            axes.semilogy(
                [row["snr_db"] for row in some], rates, line, color=style.colour(number), label=label
            )
    axes.set(xlabel="Es/N0 in dB", ylabel="block error rate")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="outside right upper", frameon=False)
    return figure


FIGURE = Figure(
    "ldpc",
    f"{COMMAND} waterfall",
    plan,
    functools.partial(waterfall.rows, reference=REFERENCE),
    lambda rows, experiment, made_by: waterfall.text(rows, made_by),
    draw,
    {"bler": table.fixed(5), "reference_bler": table.fixed(5)},
)
app.command("waterfall")(command_of(FIGURE, FIGURES))


@app.command()
def thresholds(out: Out = Path("runs/separation"), workers: Workers = 1, path: Path = THRESHOLDS) -> None:
    """Measure where each scheme begins to work and write the table that adaptation uses."""
    found = measure(waterfall.thresholds(out), out, workers)
    names = "mcs", "symbols", "snr_db_at_1e-2", "snr_db_at_1e-3"
    rows = [(*cell.arm, f"{result['usual_db']:g}", f"{result['rare_db']:g}") for cell, result in found]
    about = (
        "# Es/N0 in dB (AWGN, known noise power) from which the block error rate is at most 1e-2 and 1e-3\n"
    )
    text = table.csv_text([dict(zip(names, row, strict=True)) for row in rows])
    typer.echo(files.write_text(path, f"{about}# Made by `{COMMAND} thresholds`.\n{text}"))


if __name__ == "__main__":
    app()
