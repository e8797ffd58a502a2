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


def as_rows(results) -> list[dict]:
    """``link.Row`` objects to plain dicts, without what was received."""
    return [result.flat() for result in results]
