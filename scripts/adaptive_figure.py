# SPDX-License-Identifier: GPL-3.0-or-later
"""What the content-adaptive codec bears: .venv/bin/python scripts/adaptive_figure.py --data FOLDER --every 4"""

from tables import FIGURES

from semcom.experiments import style
from semcom.experiments.command import Figure, main
from semcom_training.figures import adaptive

SHOWN = {"belief": "true SNR - allocation SNR (dB)", "loss": "share of symbols lost", "rate": "rho"}


def draw(rows: list[dict], experiment=None):
    figure, (line,) = style.panels(1, len(SHOWN), 3.7, 3.6)
    for axes, (table, label) in zip(line, SHOWN.items()):
        for number, arm in enumerate(dict.fromkeys(row["arm"] for row in rows if row["table"] == table)):
            some = [row for row in rows if (row["table"], row["arm"]) == (table, arm)]
            points = [row["x"] for row in some], [row["value"] for row in some]
            axes.plot(*points, marker="o", markersize=3, label=arm, color=style.colour(number))
        axes.set(xlabel=label, ylabel="PSNR (dB)")
        axes.legend(fontsize=7, frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/adaptive_figure.py --data FOLDER --every 4"
FIGURE = Figure("adaptive", COMMAND, adaptive.plan, adaptive.rows, adaptive.text, draw)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
