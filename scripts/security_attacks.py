# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody without the key makes of pictures: .venv/bin/python scripts/security_attacks.py"""

from tables import FIGURES

from semcom.experiments import ciphers, table
from semcom.experiments.command import Figure, main

COMMAND = ".venv/bin/python scripts/security_attacks.py"
NAMES = "security_attacks", COMMAND, ciphers.attacks_plan, ciphers.attacks_rows, ciphers.attacks_text
FIGURE = Figure(*NAMES, number=table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
