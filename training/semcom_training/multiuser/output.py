# SPDX-License-Identifier: GPL-3.0-or-later
"""How schemes are named and coloured in figures and tables, and how their numbers are written."""

import numpy as np

from semcom.experiments.style import COLOURS

SCHEME_NAMES = {"two_stage": "two-stage", "iterative": "iterative", "simultaneous": "simultaneous"}
SCHEME_COLOURS = dict(zip(SCHEME_NAMES, COLOURS))


def digits(value: float) -> object:
    """Of a CSV: five digits after the point, all there are where these would be zeros."""
    return f"{value:.5f}" if abs(value) >= 1e-3 else value


def mean_and_spread(values) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
