# SPDX-License-Identifier: GPL-3.0-or-later
"""The task models that ship, over symbols and modem: .venv/bin/python scripts/task_models_figure.py --data FOLDER"""

from tables import FIGURES

from semcom.experiments import table
from semcom.experiments.command import Figure, main
from semcom_training.figures import task_models

COMMAND = ".venv/bin/python scripts/task_models_figure.py --data FOLDER"
FIGURE = Figure(
    "task_models", COMMAND, task_models.plan, task_models.rows, task_models.text, number=table.rounded(4)
)

if __name__ == "__main__":
    main(FIGURE, FIGURES)
