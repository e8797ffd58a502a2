# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``semcom compare`` writes: a CSV of every score, a page with the table and the crossings, and two pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from semcom import files
from semcom.experiments.rival import compare, plot
from semcom.experiments.rival.compare import Score
from semcom.experiments.style import write_figure
from semcom.experiments.table import fixed, markdown_table, write_csv
from semcom.system import zoo

_COLUMNS = "scheme accounting snr_db pictures psnr_db psnr_stderr_db ms_ssim lpips decoded detail".split()


def write(
    folder: Path,
    name: str,
    scores: Sequence[Score],
    original: np.ndarray,
    number: int,
    model: str,
    source: str,
    digital_model: str | None = None,
) -> str:
    """Writes ``name.csv``, ``.md``, ``.png`` and ``_strip.jpg`` into ``folder``; returns the page.

    Args:
        original: the picture of the strip, uint8 ``[H, W, 3]``, which is number ``number`` of those compared.
        digital_model: what sent quantised latents; None: ``model``, or nothing did.
    """
    rows = [{key: getattr(score, key) for key in _COLUMNS} for score in scores]
    write_csv(folder / f"{name}.csv", rows, fixed(4))
    card = zoo.card(model)
    title = f"{card.name} and {source.upper()} with 5G LDPC on one modem, {scores[0].pictures} pictures"
    write_figure(folder / f"{name}.png", plot.curves(scores, title))
    strip = plot.strip(scores, original, number)
    write_figure(folder / f"{name}_strip.jpg", strip, pil_kwargs={"quality": 88})
    page = _page(name, scores, title, digital_model or model)
    files.write_text(folder / f"{name}.md", page)
    return page


def _cell(value):
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else value


def _page(name: str, scores: Sequence[Score], title: str, digital_model: str) -> str:
    snrs = sorted({score.snr_db for score in scores})
    rules = (
        "PSNR in dB, mean of the pictures' own, one that was lost counted as its mean colour (how many came, where not "
        "all did). Adaptive and best order: whatever has the highest mean at an SNR, seen afterwards."
    )
    if any(score.scheme == compare.DIGITAL for score in scores):
        rules += f" Digital latents: `{digital_model}`."
    lines = [f"# {title}", "", rules]
    lines += ["", _table(scores, snrs, _figure)]
    rules = {
        "ms_ssim": "MS-SSIM, mean over the pictures.",
        "lpips": "LPIPS (AlexNet, version 0.1), mean over the pictures; lower is better.",
    }
    for measure, rule in rules.items():
        if any(getattr(score, measure) is not None for score in scores):
            table = _table(scores, snrs, lambda score, measure=measure: _cell(getattr(score, measure)))
            lines += ["", rule, "", table]
    lines += [
        "",
        *(
            _crossing(scores, counting)
            for counting in dict.fromkeys(s.accounting for s in scores)
            if counting
        ),
    ]
    lines += ["", f"![PSNR over SNR]({name}.png)", "", f"![one picture at each SNR]({name}_strip.jpg)", ""]
    return "\n".join(lines)


def _table(scores: Sequence[Score], snrs: list[float], figure: Callable[[Score], str]) -> str:
    """A row a scheme, a column an SNR."""
    lines = []
    for key in dict.fromkeys((score.scheme, score.accounting) for score in scores):
        cells = [
            next(figure(s) for s in scores if ((s.scheme, s.accounting), s.snr_db) == (key, snr))
            for snr in snrs
        ]
        label = f"{key[0]} ({key[1]})" if key[1] else key[0]
        lines.append([label, *cells])
    return markdown_table(["scheme", *(f"{snr:g} dB" for snr in snrs)], lines)


def _figure(score: Score) -> str:
    received = round(score.decoded * score.pictures)
    return f"{score.psnr_db:.2f}" + (
        f" ({received} of {score.pictures})" if received < score.pictures else ""
    )


def _crossing(scores: Sequence[Score], accounting: str) -> str:
    parts = []
    there = {score.scheme for score in scores}
    for rival in filter(there.__contains__, (compare.ADAPTIVE, compare.BOUND)):
        at = compare.lost_at(scores, accounting, rival)
        parts.append(f"{rival}: " + ("never in this range" if at is None else f"from {at:.1f} dB on"))
    return f"- Where DeepJSCC is lost to ({accounting}): " + "; ".join(parts) + "."
