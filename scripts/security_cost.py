# SPDX-License-Identifier: GPL-3.0-or-later
"""What each cipher costs in PSNR, beside the same payload in the open: .venv/bin/python scripts/security_cost.py"""

from tables import FIGURES

from semcom.experiments import ciphers, table
from semcom.experiments.command import Figure, main

COMMAND = ".venv/bin/python scripts/security_cost.py"
NAMES = "security_cost", COMMAND, ciphers.cost_plan, ciphers.cost_rows, ciphers.cost_text
FIGURE = Figure(*NAMES, number=table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
