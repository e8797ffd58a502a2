# SPDX-License-Identifier: GPL-3.0-or-later
"""The allocation SNR of a group of users: .venv/bin/python scripts/group_figure.py --data FOLDER"""

from tables import FIGURES

from semcom.experiments.command import Figure, main
from semcom_training.figures import group

COMMAND = ".venv/bin/python scripts/group_figure.py --data FOLDER"
FIGURE = Figure("group", COMMAND, group.plan, group.rows, group.text)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
