# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised latents against analog ones: .venv/bin/python scripts/digital_figure.py --data FOLDER"""

from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom.modulation import ORDERS, constellation
from semcom_training.figures import digital


def draw(rows: list[dict], experiment=None):
    """A panel a codec: solid the learned codebooks, dashed the uniform ones."""
    figure, (axes,) = style.panels(1, 2, width=5.5, height=4.6, sharey=True)
    for panel, trained_for in zip(axes, (digital.FROZEN, digital.ALL_ORDERS), strict=True):
        some = [r for r in rows if (r["set"], r["trained_for"]) == (digital.CIFAR, trained_for)]
        for codebook, order in dict.fromkeys((r["codebook"], r["order"]) for r in reversed(some)):
            mine = [r for r in some if (r["codebook"], r["order"]) == (codebook, order)]
            panel.plot(
                [r["snr_db"] for r in mine],
                [r["psnr_db"] for r in mine],
                marker="o",
                markersize=3,
                color=style.colour(ORDERS.index(order)) if order else style.INK,
                linestyle="--" if codebook == "uniform" else "-",
                label=f"{constellation(order).name}, {codebook}" if order else "analog",
            )
        panel.set(xlabel="SNR (Es/N0), dB", title=f"{some[0]['model']}: trained for {trained_for}")
    axes[0].set_ylabel("PSNR, dB (CIFAR-10, rho = 1/12)")
    axes[1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


COMMAND = ".venv/bin/python scripts/digital_figure.py --data FOLDER"
FIGURE = Figure("digital", COMMAND, digital.plan, digital.rows, digital.text, draw, table.rounded(3))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
