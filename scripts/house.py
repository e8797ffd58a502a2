# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws docs/images/house.png: the rooms of the library and the way of an item through them.

.venv/bin/python scripts/house.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "house.png"

# floor by floor, from the ground up: (name, what it does, left, width)
FLOORS = [
    [
        (
            "errors  keys  files  settings",
            "words for what goes wrong; every key once; atomic writes; YAML to dataclass",
            0,
            12,
        )
    ],
    [
        ("kinds", "pictures, videos, labels:\nfiles, quality, scores", 0, 2.4),
        ("channel", "the air, differentiable", 2.4, 2.3),
        ("modulation", "bits to PSK and QAM\nsymbols, and back", 4.7, 2.4),
        ("wire", "sockets, messages,\nbetween processes", 7.1, 2.3),
        ("security", "keys and their agreement,\ntags, scrambling, rings", 9.4, 2.6),
    ],
    [("modem", "latents to samples and back: frame, sync, equaliser, SNR", 0, 12)],
    [
        ("payload", "latents to symbols: analog,\nquantised, coded bits", 0, 3),
        ("codec", "sources to latents and back,\none file an architecture", 3, 3),
        ("radio", "link and radio profiles,\nmedia, burst timing", 6, 3),
        ("air", "the virtual air", 9, 3),
    ],
    [
        ("system", "codec + payload, hybrids;\ncards, zoo, rates", 0, 3.2),
        ("adaptation", "feedback of the SNR;\nchoice of order and rate", 3.2, 3.2),
        ("dashboard", "Qt, no GNU Radio", 6.4, 5.6),
    ],
    [
        ("link", "system + modem + channel, users as a list", 0, 6),
        ("capture", "SigMF: write, read, replay", 6, 6),
    ],
    [
        ("blocks", "GNU Radio adapters: the only room that imports gnuradio", 0, 12),
    ],
    [
        ("experiments", "evaluate, compare, bench; every figure through one runner", 0, 6),
        ("training/", "recipes, loops, users, fine-tuning, export", 6, 6),
    ],
    [
        ("cli", "the semcom command", 0, 3.6),
        ("grc/  flowgraphs/", "GNU Radio Companion", 3.6, 3.4),
        ("hardware/", "profiles, guide, air scripts", 7, 2.6),
        ("scripts/", "set-up, figures", 9.6, 2.4),
    ],
]
RULE = "A room uses what lies below it, and on its floor what stands to its left."
WAY = ["source", "send", "modulate", "air", "detect", "demodulate", "estimate", "receive", "result"]
HEIGHT = 1.15


def main() -> None:
    figure, axes = plt.subplots(figsize=(12, 10.2), dpi=110)
    for level, floor in enumerate(FLOORS):
        for name, text, left, width in floor:
            box = FancyBboxPatch(
                (left + 0.06, level * HEIGHT + 0.06),
                width - 0.12,
                HEIGHT - 0.12,
                boxstyle="round,pad=0,rounding_size=0.08",
                linewidth=1.2,
                edgecolor="#345",
                facecolor=plt.get_cmap("YlGnBu")(0.06 + 0.06 * level),
            )
            axes.add_patch(box)
            axes.text(
                left + width / 2,
                level * HEIGHT + 0.78,
                name,
                ha="center",
                va="center",
                fontsize=12,
                family="monospace",
                weight="bold",
            )
            axes.text(left + width / 2, level * HEIGHT + 0.36, text, ha="center", va="center", fontsize=9)
    top = len(FLOORS) * HEIGHT + 0.75
    step = 12 / len(WAY)
    for i, stop in enumerate(WAY):
        centre = step * (i + 0.5)
        wall = stop in ("source", "air", "result")
        axes.text(
            centre,
            top,
            stop,
            ha="center",
            va="center",
            fontsize=9,
            color="white" if wall else "black",
            bbox={
                "boxstyle": "round,pad=0.35",
                "facecolor": "#234" if wall else "#fff3d0",
                "edgecolor": "#345",
            },
        )
        if i:
            axes.annotate(
                "",
                (centre - 0.48 * step + 0.05, top),
                (centre - 0.62 * step, top),
                arrowprops={"arrowstyle": "->", "color": "#345"},
            )
    axes.text(0.05, top + 0.55, "the way of an item, one verb a room", fontsize=11, style="italic")
    axes.text(
        0.05,
        -0.3,
        RULE,
        fontsize=10,
        style="italic",
    )
    axes.set_xlim(-0.1, 12.1)
    axes.set_ylim(-0.5, top + 0.85)
    axes.axis("off")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET, bbox_inches="tight")


if __name__ == "__main__":
    main()
