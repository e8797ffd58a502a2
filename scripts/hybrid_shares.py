# SPDX-License-Identifier: GPL-3.0-or-later
"""The hybrid by its share of coded bits: .venv/bin/python scripts/hybrid_shares.py --data FOLDER --every 20"""

from tables import FIGURES

from semcom.experiments import shares, table
from semcom.experiments.command import Figure, main

COMMAND = ".venv/bin/python scripts/hybrid_shares.py --data FOLDER --every 20"
NAMES = "hybrid_shares", COMMAND, shares.plan, shares.rows, shares.text
FIGURE = Figure(*NAMES, number=table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
