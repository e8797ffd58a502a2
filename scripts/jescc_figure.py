# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJESCC, and who attacks it: .venv/bin/python scripts/jescc_figure.py --data FOLDER"""

from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import jescc


def draw(rows: list[dict], experiment=None):
    figure, ((axes,),) = style.panels(width=8, height=4.6)
    for number, (arm, words) in enumerate(jescc.ARMS.items()):
        own = [row for row in rows if row["arm"] == arm]
        axes.plot(
            [row["snr_db"] for row in own],
            [row["psnr_db"] for row in own],
            marker="o",
            markersize=3,
            label=words.replace("`", ""),
            color="grey" if arm == "mean" else style.colour(number),
        )
    axes.set(xlabel="Es/N0 (dB)", ylabel="PSNR (dB)")
    axes.legend(fontsize=7, frameon=False)
    return figure


# the size of the one that is committed
COMMAND = ".venv/bin/python scripts/jescc_figure.py --data FOLDER --pictures 300 --pairs 2000 --steps 150"
FIGURE = Figure("jescc", COMMAND, jescc.plan, jescc.rows, jescc.text, draw, table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
