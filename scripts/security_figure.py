# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed bursts: their second header block, measured: .venv/bin/python scripts/security_figure.py --scale 0.2"""

from tables import FIGURES

from semcom.experiments import signing, style
from semcom.experiments.command import Figure, main


def draw(rows: list[dict], experiment=None):
    """Bursts read over the SNR, by the size of the block."""
    figure, (line,) = style.panels(1, 2, 4.2, 3.4, sharey=True)
    for axes, what in zip(line, (signing.KNOWN, signing.FIRST), strict=True):
        for number, symbols in enumerate(signing.SIZES):
            some = [row for row in rows if (row["what"], row["symbols"]) == (what, symbols)]
            points = [row["snr_db"] for row in some], [100 * row["value"] / row["of"] for row in some]
            label = f"{symbols} symbols" if symbols else "no key"
            axes.plot(*points, "o-", markersize=3, color=style.colour(number), label=label)
        axes.set(title=what, xlabel="Es/N0 (dB)")
    line[0].set_ylabel("bursts found and read (%)")
    line[0].legend(fontsize=8, frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/security_figure.py --scale 0.2"
FIGURE = Figure("security", COMMAND, signing.plan, signing.with_costs, signing.text, draw)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
