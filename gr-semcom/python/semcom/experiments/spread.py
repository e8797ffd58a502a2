# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of ``loopback`` and ``evaluate`` as a figure: every score over SNR, its mean and how pictures spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semcom.experiments.style import SHADE, colour, panels

#: key of a result to what its axis says, in the order of the panels
SCORES = {
    "psnr_db": "PSNR in dB",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS (lower is better)",
    "lpips_vgg": "LPIPS-VGG (lower is better)",
    "dists": "DISTS (lower is better)",
    "correct": "share correct",
}
_MANY = 12  # pictures: with more, single ones are no points
_BAND = (10, 90)  # percentiles


def draw(rows: Sequence[Mapping[str, Any]], title: str):
    """A matplotlib figure, a panel a score: its mean over SNR, a band from the 10th to the 90th percentile, and up to
    twelve pictures as points.

    Args:
        rows: results as ``--json`` has them: image, snr_db, scores, and user where there are several. What was lost
            has no score and is left out of means; the title says how many those are.
    """
    names = [name for name in SCORES if any(row.get(name) is not None for row in rows)] or ["psnr_db"]
    users = list(dict.fromkeys(row.get("user", "") for row in rows))
    figure, (line,) = panels(1, len(names), 5.2, 4.2)
    lost = sum(row.get(names[0]) is None for row in rows)
    for axes, name in zip(line, names, strict=True):
        for number, user in enumerate(users):
            own = [row for row in rows if row.get("user", "") == user and row.get(name) is not None]
            points = {snr: [float(r[name]) for r in own if r["snr_db"] == snr] for snr in _snrs(own)}
            if not points:
                continue
            snrs, values = list(points), list(points.values())
            shade = SHADE if len(users) == 1 else colour(number)
            if name != "correct":
                low, high = np.array([np.percentile(some, _BAND) for some in values]).T
                if len(snrs) > 1:
                    axes.fill_between(snrs, low, high, color=shade, alpha=0.45, linewidth=0)
                else:
                    axes.vlines(snrs, low, high, color=shade, linewidth=6)
                if max(map(len, values)) <= _MANY:
                    every = [(snr, value) for snr, some in points.items() for value in some]
                    axes.plot(*zip(*every, strict=True), ".", color=colour(number), alpha=0.5, markersize=4)
            means = [float(np.mean(some)) for some in values]
            axes.plot(snrs, means, "o-", color=colour(number), linewidth=2.2, label=user or "mean")
        axes.set_xlabel("SNR of the channel, Es/N0 in dB")
        axes.set_ylabel(SCORES[name])
        if axes.lines and any(users):
            axes.legend(frameon=False, fontsize=8)
    without = f", without {lost} that did not arrive" if lost else ""
    line[0].set_title(f"{title}\nmean, and 10th to 90th percentile{without}", fontsize=9, loc="left")
    return figure


def _snrs(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({row["snr_db"] for row in rows})
