# SPDX-License-Identifier: GPL-3.0-or-later
"""One look for every figure: palette, axes, PNG."""

import io
from pathlib import Path

from semcom import files

#: distinguished in this order, also by who sees no red or no green
COLOURS = ("#3b6fb6", "#c8553d", "#4c956c", "#8a6fb0", "#b8860b", "#5f7a8a")
INK, FAINT, GRID, SHADE = "#1f2933", "#8794a1", "#e3e8ec", "#f2d6cf"
DPI = 110


def colour(number: int) -> str:
    """Of the line with this number, again from the first after the last."""
    return COLOURS[number % len(COLOURS)]


def panels(rows: int = 1, columns: int = 1, width: float = 3.4, height: float = 2.9, **layout):
    """A figure of ``rows`` x ``columns`` axes in this project's style: (figure, axes as a list of lists).

    Args:
        width, height: of one of the axes, in inches. layout: of ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width * columns, height * rows), dpi=DPI, facecolor="white", layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    for one in axes.flat:
        dress(one)
    return figure, axes.tolist()


def dress(axes) -> None:
    """Grid, ticks and spines of axes."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def image_bytes(figure, kind: str = "png", **options) -> bytes:
    """A matplotlib figure as a picture file in memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def write_figure(path: str | Path, figure, **options) -> Path:
    """A matplotlib figure as a picture of the kind that the path ends in. Raises OutputError where it cannot be kept."""
    path = Path(path)
    kind = {".jpg": "jpeg"}.get(path.suffix, path.suffix[1:])
    return files.write_bytes(path, image_bytes(figure, kind, **options))
