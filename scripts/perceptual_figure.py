# SPDX-License-Identifier: GPL-3.0-or-later
"""A model trained for how pictures look: .venv/bin/python scripts/perceptual_figure.py --data FOLDER --every 4

``scripts/perceptual_strip.py`` draws one picture beside it.
"""

from tables import FIGURES

from semcom.experiments import style
from semcom.experiments.command import Figure, main
from semcom_training.figures import perceptual


def draw(rows: list[dict], experiment=None):
    figure, lines = style.panels(2, 2, 3.6, 2.7)
    panels = [axes for line in lines for axes in line]
    for axes, (name, heading) in zip(panels, perceptual.MEASURES.items(), strict=True):
        for number, model in enumerate(perceptual.MODELS):
            own = [row for row in rows if row["model"] == model]
            points = [row["snr_db"] for row in own], [row[name] for row in own]
            axes.plot(*points, marker="o", markersize=3, label=model, color=style.colour(number))
        axes.set(xlabel="Es/N0 (dB)", ylabel=heading)
    panels[0].legend(fontsize=7, frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/perceptual_figure.py --data FOLDER --every 4"
FIGURE = Figure("perceptual", COMMAND, perceptual.plan, perceptual.rows, perceptual.text, draw)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
