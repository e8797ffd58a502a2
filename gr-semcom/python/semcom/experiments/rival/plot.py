# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison as pictures: curves over SNR, and what one picture looks like at each SNR."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from semcom.experiments.rival.compare import ADAPTIVE, ANALOG, BARE, BOUND, CHOSEN, DIGITAL, HYBRID, Score
from semcom.experiments.style import COLOURS, DPI, FAINT, INK, panels

_COLOURS = {
    f"{HYBRID}, {CHOSEN}": COLOURS[2],
    ANALOG: COLOURS[1],
    DIGITAL: COLOURS[4],
    ADAPTIVE: COLOURS[0],
    BOUND: INK,
}
_STRIP_COLUMNS = 8
_FIXED_COLOURS = (COLOURS[5], COLOURS[3], FAINT)


def curves(scores: Sequence[Score], title: str) -> Figure:
    """Mean PSNR against SNR, and MS-SSIM and LPIPS where they were measured."""
    measures = {"psnr_db": "PSNR in dB"}
    if any(score.ms_ssim is not None for score in scores):
        measures["ms_ssim"] = "MS-SSIM"
    if any(score.lpips is not None for score in scores):
        measures["lpips"] = "LPIPS (lower is better)"
    # beside the panels there is room for the legend
    figure, (line,) = panels(1, len(measures), 6.5 + 2.6 / len(measures), 5.4)
    for axes, (name, label) in zip(line, measures.items(), strict=True):
        for key in dict.fromkeys((score.scheme, score.accounting) for score in scores):
            some = sorted(
                (s for s in scores if (s.scheme, s.accounting) == key), key=lambda score: score.snr_db
            )
            axes.plot(
                [score.snr_db for score in some],
                [np.nan if getattr(score, name) is None else getattr(score, name) for score in some],
                label=" ".join([key[0], f"({key[1]})" * bool(key[1])]).strip(),
                **_style(key, scores),
            )
        axes.set_xlabel("Es/N0 in dB")
        axes.set_ylabel(f"{label}, mean of the pictures")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    figure.axes[0].set_title(title, fontsize=10)
    return figure


def _style(key: tuple[str, str], scores: Sequence[Score]) -> dict:
    scheme, accounting = key
    dashes = "-" if accounting in ("", BARE) else "--"
    if scheme in _COLOURS:
        ours = scheme in (ANALOG, DIGITAL, f"{HYBRID}, {CHOSEN}")
        dashes = ":" if scheme == BOUND and accounting == BARE else dashes
        dashes = (0, (1, 3)) if scheme == BOUND and accounting != BARE else dashes
        return {
            "color": _COLOURS[scheme],
            "linestyle": dashes,
            "linewidth": 2.4 if ours else 1.6,
            "marker": "o" * ours,
            "markersize": 4,
        }
    fixed = list(dict.fromkeys(score.scheme for score in scores if score.scheme not in _COLOURS))
    return {"color": _FIXED_COLOURS[fixed.index(scheme) % len(_FIXED_COLOURS)], "linewidth": 1.2}


def strip(scores: Sequence[Score], original: np.ndarray, number: int = 0) -> Figure:
    """Picture ``number`` as each scheme delivers it, a row a scheme and a column an SNR, beside the original.

    Of many SNRs an even sample is shown, the lowest and the highest among them.
    """
    rows = list(dict.fromkeys((score.scheme, score.accounting) for score in scores))
    snrs = sorted({score.snr_db for score in scores})
    picks = np.linspace(0, len(snrs) - 1, min(len(snrs), _STRIP_COLUMNS)).round().astype(int)
    snrs = [snrs[pick] for pick in picks]
    height, width = original.shape[:2]
    figure = Figure(
        figsize=(1.35 * (len(snrs) + 1) + 1.6, (1.35 * height / width + 0.12) * len(rows) + 0.5),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(snrs) + 1, squeeze=False)
    for line, key in zip(grid, rows, strict=True):
        _show(line[0], original)
        label = "\n".join([key[0].replace(", ", ",\n"), f"({key[1]})" * bool(key[1])]).strip()
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, snr in zip(line[1:], snrs, strict=True):
            _show(
                axes,
                next(s.shown[number] for s in scores if ((s.scheme, s.accounting), s.snr_db) == (key, snr)),
            )
    for axes, title in zip(grid[0], ["original", *(f"{snr:g} dB" for snr in snrs)], strict=True):
        axes.set_title(title, fontsize=9)
    return figure


def _show(axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
