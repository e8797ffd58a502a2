# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn, measured: PSNR beside the mean colour and class accuracy beside chance, for each cipher.

.venv/bin/python scripts/security_attackers.py --data FOLDER                          about an hour of a core
.venv/bin/python scripts/security_attackers.py --data FOLDER --pairs 2000 --steps 80      minutes
"""

from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import attackers


def draw(rows: list[dict], experiment=None):
    figure, ((left, right),) = style.panels(1, 2, 4.2, 3.4)
    for number, cipher in enumerate(attackers.CIPHERS):
        own = [row for row in rows if (row["cipher"], row["attacker"]) == (cipher, attackers.TRAINED)]
        snrs = [row["snr_db"] for row in own]
        for axes, key in ((left, "psnr_db"), (right, "accuracy")):
            axes.plot(snrs, [row[key] for row in own], "o-", label=cipher, color=style.colour(number))
    (mean,) = (row["psnr_db"] for row in rows if row["attacker"] == attackers.MEAN_COLOUR)
    left.axhline(mean, color="grey", ls="--", lw=1)
    right.axhline(1 / attackers.CLASSES, color="grey", ls="--", lw=1)
    left.set(xlabel="Es/N0 (dB)", ylabel="attacker's PSNR (dB); dashed: the mean colour")
    right.set(xlabel="Es/N0 (dB)", ylabel="attacker's class accuracy; dashed: chance")
    left.legend(frameon=False, fontsize=8)
    return figure


# the size of the one that is committed
COMMAND = ".venv/bin/python scripts/security_attackers.py --data FOLDER --pairs 2000 --steps 80"
FIGURE = Figure(
    "security_attackers", COMMAND, attackers.plan, attackers.rows, attackers.text, draw, table.rounded(4)
)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
