# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn, for each cipher: .venv/bin/python scripts/security_attackers.py --data FOLDER

Without more options 20,000 pairs and 3,000 steps each, an hour of a core.
"""

from tables import FIGURES

from semcom.experiments import table
from semcom.experiments.command import Figure, main
from semcom_training.figures import attackers

# the budget of the one that is committed
COMMAND = ".venv/bin/python scripts/security_attackers.py --data FOLDER --pairs 4000 --steps 150"
NAMES = "security_attackers", COMMAND, attackers.plan, attackers.rows, attackers.text
FIGURE = Figure(*NAMES, number=table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
