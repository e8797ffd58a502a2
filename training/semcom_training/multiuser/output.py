# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures and tables as files: CSV, PNG and Markdown of one name."""

import csv
import io
from pathlib import Path

import numpy as np

from semcom import files
from semcom.experiments.report import COLOURS, FAINT, INK

SCHEME_NAMES = {"two_stage": "two-stage", "iterative": "iterative", "simultaneous": "simultaneous"}
SCHEME_COLOURS = dict(zip(SCHEME_NAMES, COLOURS))


def write_csv(path: Path, rows: list[dict]) -> Path:
    """Dictionaries of the same keys as CSV; floats with five digits after the point."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.5f}" if isinstance(v, float) and abs(v) >= 1e-3 else v for k, v in row.items()}
        )
    return files.write_text(path, text.getvalue())


def write_png(path: Path, figure) -> Path:
    """A matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return files.write_bytes(path, buffer.getvalue())


def markdown_table(head: list[str], rows: list[list]) -> str:
    """Rows of cells as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mean_and_spread(values) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def panels(rows: int, columns: int, width: float = 3.4, height: float = 2.9):
    """A figure of ``rows`` x ``columns`` axes in this project's style: (figure, axes as a list of lists)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), facecolor="white", layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(color="#e3e8ec", linewidth=0.8)
        one.set_axisbelow(True)
        one.tick_params(colors=INK)
        for side, spine in one.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
    return figure, axes.tolist()
