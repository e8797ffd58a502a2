# SPDX-License-Identifier: GPL-3.0-or-later
"""How the SNR enters a network: .venv/bin/python scripts/conditioning_figure.py --data FOLDER"""

import numpy as np
from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import conditioning


def draw(rows: list[dict], experiment=None):
    figure, ((axes,),) = style.panels(width=8, height=4.6)
    reference = conditioning.CONDITIONINGS[0]
    for number, arm in enumerate(conditioning.CONDITIONINGS[1:]):
        columns = [f"{snr} dB" for snr in conditioning.SNR_DB]
        off = np.array(
            [
                conditioning.over_seeds(rows, arm, at) - conditioning.over_seeds(rows, reference, at)
                for at in columns
            ]
        )
        colour = style.colour(number)
        axes.plot(conditioning.SNR_DB, off.mean(1), "o-", color=colour, label=conditioning.TITLES[arm])
        axes.fill_between(conditioning.SNR_DB, off.min(1), off.max(1), color=colour, alpha=0.18, lw=0)
    axes.axhline(0, color=style.INK, lw=1)
    axes.set(xlabel="SNR (dB)", ylabel="PSNR beside AF (dB)")
    axes.set_title(f"How the SNR enters: mean and range of {off.shape[1]} seeds", loc="left")
    axes.legend(frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/conditioning_figure.py --data FOLDER"
FIGURE = Figure(
    "conditioning",
    COMMAND,
    conditioning.plan,
    conditioning.rows,
    conditioning.text,
    draw,
    {f"{snr} dB": table.rounded(4) for snr in conditioning.SNR_DB},
)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
