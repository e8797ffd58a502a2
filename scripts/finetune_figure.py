# SPDX-License-Identifier: GPL-3.0-or-later
"""What fine-tuning on a capture wins back: .venv/bin/python scripts/finetune_figure.py --data FOLDER"""

from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import finetune


def draw(rows: list[dict], experiment=None):
    models = list(dict.fromkeys(one["model"] for one in rows))
    figure, (axes,) = style.panels(1, len(models) + 1, 3.7, 4.2)
    *panels, shares = axes
    for panel, model in zip(panels, models, strict=True):
        mine = [one for one in rows if one["model"] == model]
        backoffs = [one["backoff_db"] for one in mine]
        for number, (arm, words) in enumerate(finetune.ARMS.items()):
            values = [one[f"{arm}_db"] for one in mine]
            panel.plot(backoffs, values, "o-", color=style.colour(number), label=words)
        panel.set_title(model, fontsize=10)
        panel.set_ylabel("PSNR, held out (dB)")
        line = "--" if panel is panels[-1] else "-"
        for number, (reference, words) in enumerate(finetune.REFERENCES.items()):
            values, label = [100 * one[f"recovered_{reference}"] for one in mine], f"{model}, at {words}"
            shares.plot(backoffs, values, "o" + line, color=style.colour(number), label=label)
    panels[0].legend(fontsize=8, frameon=False)
    shares.axhline(50, color=style.FAINT, linewidth=1)
    shares.set_ylim(0, 100)
    shares.set_title("share of the loss recovered", fontsize=10)
    shares.set_ylabel("%")
    shares.legend(fontsize=7, frameon=False)
    for panel in axes:
        panel.set_xlabel("back-off (dB)")
    return figure


COMMAND = ".venv/bin/python scripts/finetune_figure.py --data FOLDER"
FIGURE = Figure("finetune", COMMAND, finetune.plan, finetune.rows, finetune.text, draw, table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
