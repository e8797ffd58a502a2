# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of docs/gallery.md, from the packaged photographs: .venv/bin/python scripts/gallery.py"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from semcom.experiments import style
from semcom.kinds.pictures import Picture, mean_colour, samples
from semcom.link import LinkConfig, Row, simulate
from semcom.system.coded import Coded

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SNR_DB = (0.0, 4.0, 8.0, 14.0, 20.0)
SCHEMES = {
    "photo-1-12": LinkConfig("photo-1-12", 0.0),
    "photo-adaptive": LinkConfig("photo-adaptive", 0.0),
    "HEVC, LDPC 1/2, 16-QAM": LinkConfig("photo-1-12", 0.0, payload=Coded("16-1/2", "hevc")),
}
AIRS = {
    "white noise": {},
    "carrier 1.2 kHz off,\nclock 20 ppm off": {"cfo_hz": 1200.0, "sro_ppm": 20.0},
    "multipath": {"channel": "multipath"},
    "Rayleigh fading": {"channel": "rayleigh"},
    "one burst of three lost": {"drop": 0.4},
}


def strips(
    picture: Picture, rows: Sequence[str], columns: Sequence[str], received: Callable[[int, int], Row]
):
    """Received pictures, a row a scheme, with PSNR and LPIPS below each."""
    height, width = picture.pixels.shape[:2]
    figure, axes = style.panels(
        len(rows),
        len(columns),
        width=2.2,
        height=2.2 * height / width + 0.34,
        subplot_kw={"xticks": [], "yticks": []},
    )
    for line, name in enumerate(rows):
        for column, head in enumerate(columns):
            row, place = received(line, column), axes[line][column]
            place.grid(False)
            for spine in place.spines.values():
                spine.set_visible(False)
            place.imshow(mean_colour(picture.pixels) if row.value is None else row.value)
            words = f"{row.psnr_db:.1f} dB, LPIPS {row.scores['lpips']:.2f}" if row.decoded else "not decoded"
            place.set_xlabel(words, fontsize=8, color=style.INK, labelpad=3)
            if line == 0:
                place.set_title(head, fontsize=9, color=style.INK)
        axes[line][0].set_ylabel(name, fontsize=9, color=style.INK)
    return figure


def over_snr(picture: Picture):
    def received(line: int, column: int) -> Row:
        config = list(SCHEMES.values())[line]
        return simulate([picture], replace(config, snr_db=SNR_DB[column]))[0]

    return strips(picture, list(SCHEMES), [f"{snr:g} dB" for snr in SNR_DB], received)


def over_airs(picture: Picture):
    models = list(SCHEMES)[:2]

    def received(line: int, column: int) -> Row:
        return simulate([picture], LinkConfig(models[line], 12.0, **list(AIRS.values())[column]))[0]

    return strips(picture, models, list(AIRS), received)


def main() -> None:
    astronaut, cat, coffee, rocket = samples()
    jpeg = {"pil_kwargs": {"quality": 88}}
    print(style.write_figure(IMAGES / "gallery_snr.jpg", over_snr(cat), **jpeg))
    print(style.write_figure(IMAGES / "gallery_air.jpg", over_airs(coffee), **jpeg))


if __name__ == "__main__":
    typer.run(main)
