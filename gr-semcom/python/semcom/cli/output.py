# SPDX-License-Identifier: GPL-3.0-or-later
"""Where results go: a table on the screen, a JSON file, or JSON on the standard output."""

import json as json_module
from pathlib import Path

from semcom.cli.console import out
from semcom.files import finite, writable_file, write_json

KEYS = (
    "image snr_db snr_est_db psnr_db ms_ssim lpips bursts_sent bursts_found bursts_lost "
    "rho overhead papr_db real_time_factor"
).split()


def check_json(path: Path | None) -> None:
    """Raises OutputError if the file named by ``--json`` cannot be written; nothing is done for ``-``."""
    if path is not None and str(path) != "-":
        writable_file(path)


def give_json(path: Path | None, value, table) -> None:
    """Shows ``table`` and writes ``value`` to ``path``; with ``-`` the JSON is shown instead."""
    if path is not None and str(path) == "-":
        print(json_module.dumps(finite(value), indent=2, allow_nan=False))
        return
    out().print(table)  # first: what a full disk does not take has been seen
    if path is not None:
        write_json(path, value)


def check_figures(plot: Path | None, html: Path | None) -> None:
    """What ``--plot`` and ``--html`` name can be written.

    Raises:
        ConfigError: an ending that no figure has. OutputError: a place that cannot be written.
    """
    from semcom.errors import ConfigError

    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--plot {plot}: a figure's name ends in .png, .svg or .pdf.")
    for path in filter(None, (plot, html)):
        writable_file(path)


def give_figures(
    plot: Path | None, html: Path | None, rows: list, pictures, title: str, settings: dict
) -> None:
    """Draws what ``--plot`` and ``--html`` ask for.

    Args:
        rows: ``link.Row`` objects. pictures: what was sent, for the page; none: it has no gallery.

    Raises:
        OutputError: a file cannot be written.
    """
    if plot is not None:
        from semcom.experiments import spread
        from semcom.experiments.style import write_figure

        write_figure(plot, spread.draw([row.flat() for row in rows], title))
    if html is not None:
        from semcom.experiments.report import write_page

        write_page(html, pictures, rows, settings)


def as_rows(results) -> list[dict]:
    """``link.Row`` objects to plain dicts, without what was received."""
    return [result.flat() for result in results]
