# SPDX-License-Identifier: GPL-3.0-or-later
"""Task codecs, their regulariser and its controls: .venv/bin/python scripts/task_figure.py --data FOLDER"""

import statistics

from tables import FIGURES

from semcom.experiments import style, table
from semcom.experiments.command import Figure, main
from semcom_training.figures import tasks

PANELS = (
    ("DeepJSCC", "peak", "awgn", "DeepJSCC, 8 reals, AWGN"),
    ("DeepJSCC", "Es/N0", "awgn", "the same at equal Es/N0"),
    ("DeepJSCC", "peak", "rayleigh", "trained on AWGN, slow Rayleigh"),
    ("DeepJSCC-16", "peak", "awgn", "CIFAR-100 (reduced, own split), 16 reals"),
    ("VL-VFE", "peak", "awgn", "VL-VFE"),
    ("DT-JSCC", "Es/N0", "awgn", "DT-JSCC, 16 slots of 8-PSK"),
)


def draw(rows: list[dict], experiment=None):
    """A panel a system and channel: dashed plain, solid regularised; a colour an SNR of training."""
    figure, axes = style.panels(2, 3, width=4.2, height=3.6)
    for panel, (system, axis, channel, title) in zip((one for line in axes for one in line), PANELS):
        points = tasks.CURVES[axis, channel]
        arms = [arm for arm in tasks.arms_of(rows) if arm[1] == system]
        trained = list(dict.fromkeys(arm[2] for arm in arms))
        for arm in arms:
            means = [
                statistics.mean(tasks.values(rows, arm, "error_percent", snr, axis, channel))
                for snr in points
            ]
            line = {tasks.PLAIN: "--", tasks.FISHER: "-", tasks.KL: ":"}[arm[3]]
            colour = style.colour(trained.index(arm[2]))
            panel.plot(points, means, line, color=colour, label=f"{arm[2]} dB, {arm[3]}", linewidth=1.4)
        panel.set(title=title, xlabel="peak SNR, dB" if axis == "peak" else "Es/N0, dB", ylabel="error, %")
        panel.legend(fontsize=6.5, frameon=False)
    return figure


COMMAND = ".venv/bin/python scripts/task_figure.py --data FOLDER"
FIGURE = Figure("tasks", COMMAND, tasks.plan, tasks.rows, tasks.text, draw, table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
