# SPDX-License-Identifier: GPL-3.0-or-later
"""What choosing the order by the SNR is worth: .venv/bin/python scripts/adaptation_figure.py --data FOLDER"""

import numpy as np
from tables import FIGURES

from semcom.experiments import orders, style, table
from semcom.experiments.command import Figure, main
from semcom.modulation import ORDERS, constellation


def draw(rows: list[dict], experiment):
    """The order that is chosen, what each picture loses by it, and what every arm delivers."""
    stated, arms = orders.outcomes(rows, experiment)
    adapted = [row for row in rows if row["arm"] == arms[0].name]
    figure, axes = style.panels(3, 1, 9, 2.7, height_ratios=(3, 3, 2.4))
    (above,), (losses,), (bars,) = axes
    time_s = np.linspace(0, orders.TRACE_S, 500)
    above.plot(time_s, orders.trace_db(time_s), color=style.FAINT)
    above.set(ylabel="SNR (dB)", xlim=(0, orders.TRACE_S))
    above.set_title("Order chosen (blue) while the SNR (grey) goes up and down", fontsize=10)
    steps = above.twinx()
    bits = [constellation(row["order"]).bits for row in adapted]
    steps.step([row["start_s"] for row in adapted], bits, where="post", color=style.colour(0))
    steps.set_yticks([constellation(o).bits for o in ORDERS], [constellation(o).name for o in ORDERS])
    steps.spines[["top"]].set_visible(False)
    for number, label in enumerate(("called inside", "called outside")):
        here = [row for row in adapted if row["chooser_says_inside"] == 1 - number]
        points = [row["start_s"] for row in here], [row["psnr_loss_db"] for row in here]
        losses.plot(*points, ".", color=style.colour(number), ms=4, label=label)
    losses.axhline(stated.loss_db, color=style.INK, lw=0.8)
    losses.set(ylabel="PSNR lost (dB)", xlabel="time (s)", xlim=(0, orders.TRACE_S))
    losses.set_title(f"Each picture's loss; {stated.loss_db:g} dB is stated", fontsize=10)
    losses.legend(frameon=False, loc="lower right")
    colours = [style.colour(0)] + [style.FAINT] * (len(arms) - 1)
    drawn = bars.bar([arm.name for arm in arms], [arm.delivered for arm in arms], color=colours)
    bars.bar_label(
        drawn, [f"{100 * (1 - arm.kept):.0f} % beyond" for arm in arms], fontsize=8, color=style.INK
    )
    bars.set(ylabel="pictures inside")
    bars.margins(y=0.15)
    bars.set_title("Pictures delivered inside the stated loss, in the same symbols", fontsize=10)
    return figure


COMMAND = ".venv/bin/python scripts/adaptation_figure.py --data FOLDER"
NUMBER = {"start_s": table.fixed(3), "snr_db": table.fixed(2), "psnr_loss_db": table.fixed(3)}
FIGURE = Figure("adaptation", COMMAND, orders.plan, orders.rows, orders.text, draw, NUMBER)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
