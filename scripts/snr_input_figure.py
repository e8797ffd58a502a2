# SPDX-License-Identifier: GPL-3.0-or-later
"""Who should be given the SNR: .venv/bin/python scripts/snr_input_figure.py --data FOLDER"""

import numpy as np
from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import snr_input


def draw(rows: list[dict], experiment=None):
    figure, ((axes,),) = style.panels(width=8, height=4.6)
    for number, arm in enumerate(arm for arm in snr_input.ARMS if arm != ("both", False)):
        columns = [f"{snr} dB" for snr in snr_input.SNR_DB]
        off = np.array(
            [
                snr_input.over_seeds(rows, arm, at) - snr_input.over_seeds(rows, snr_input.ARMS[0], at)
                for at in columns
            ]
        )
        label, colour = f"given to: {snr_input.TITLES[arm[0]]}", style.colour(number)
        axes.plot(snr_input.SNR_DB, off.mean(1), "o-", color=colour, label=label)
        axes.fill_between(snr_input.SNR_DB, off.min(1), off.max(1), color=colour, alpha=0.18, lw=0)
    axes.set(xlabel="SNR (dB)", ylabel="PSNR beside the SNR given to both ends (dB)")
    axes.set_title(f"Who is given the SNR: mean and range of {off.shape[1]} seeds", loc="left")
    axes.legend(frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/snr_input_figure.py --data FOLDER"
FIGURE = Figure("snr_input", COMMAND, snr_input.plan, snr_input.rows, snr_input.text, draw, table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
