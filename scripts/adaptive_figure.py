# SPDX-License-Identifier: GPL-3.0-or-later
"""What the content-adaptive codec bears, and what its parts cost: stale SNR, lost symbols, margins, rates, peak power.

.venv/bin/python scripts/adaptive_figure.py --data FOLDER --every 4    # docs/figures/adaptive.{md,csv,png}

Everything goes through symbols, the map too; both ends share the card and the header's bits.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from tables import FIGURES

from semcom.channel.symbols import awgn_channel
from semcom.codec.base import BaseCodec, Latents
from semcom.codec.image import sideinfo
from semcom.equivalent_snr import equivalent_snr_db
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.modem import Modem
from semcom.system import zoo
from semcom_training.data import data_root, image_files, read_image

COMMAND = "scripts/adaptive_figure.py --data FOLDER --every 4"
BELIEF_OFF_DB = (-10, -6, -3, -1, 0, 1, 3, 6, 10)
RATES = (1 / 48, 1 / 24, 1 / 12, 1 / 6, 1 / 4)
LOSSES = (0.0, 0.05, 0.1, 0.2, 0.3)
MARGINS = ((0.0, 0.0), (3.0, 0.1), (6.0, 0.0), (6.0, 0.1), (6.0, 0.3), (9.0, 0.1))
Change = Callable[[Latents, torch.Tensor], Latents]


def psnr(
    codec: BaseCodec, images, snr_db: float, belief_db=None, rho=None, change: Change | None = None
) -> float:
    """Mean PSNR in dB over symbols; ``change`` may lose some of what was received."""
    found = []
    for number, pixels in enumerate(images):
        sent = codec.send(pixels.float() / 255, snr_db if belief_db is None else belief_db, rho=rho)
        generator = torch.Generator().manual_seed(number)
        values, noise_var = awgn_channel(sent.values, snr_db, generator)
        got = replace(sent, values=values, noise_var=noise_var)
        if change is not None:
            got = replace(got, noise_var=torch.where(change(sent, generator), torch.inf, noise_var))
        picture = codec.receive(got, equivalent_snr_db(got.noise_var), pixels.shape[-2:])
        found.append(float(quality.psnr(to_uint8(picture), pixels)))
    return float(np.mean(found))


def lose(share: float):
    """A random share of the symbols, as lost bursts take them once they are interleaved."""
    return lambda sent, generator: torch.rand(sent.values.shape, generator=generator) < share


def lose_map(sent: Latents, generator) -> torch.Tensor:
    """All symbols of the map."""
    total = sent.values.shape[1]
    return torch.arange(total)[None] < (sent.side[:, None] & sideinfo.UNITS) * sideinfo.unit_symbols(total)


def peak_power(codec: BaseCodec, images, snr_db: float) -> tuple[float, float]:
    """Power over the mean that one sample in a thousand exceeds, and the spread of the bursts' powers, both in dB."""
    modem, above, spread = Modem(), [], []
    for pixels in images:
        latents = codec.send(pixels.float() / 255, snr_db).values
        bursts = modem.modulate(latents, image_id=[1], size=tuple(pixels.shape[-2:]), model_hash=1)[0]
        power = bursts.abs().square()
        above.append(float(np.quantile((power / power.mean()).numpy(), 0.999)))
        # the last burst may be shorter and filled
        spread.append(float((power[:-1].mean(dim=1) / power[:-1].mean()).log10().abs().max() * 10))
    return 10 * float(np.log10(np.mean(above))), float(np.max(spread))


def map_bits(codec, images, snr_db: float) -> tuple[float, float]:
    """Bits of the map a picture, and the share of the symbols that it takes."""
    bits, share = [], []
    for pixels in images:
        memory = codec.send(pixels.float() / 255, snr_db, in_memory=True)
        coder, _ = codec._map_coder()
        bits.append(len(coder.encode(memory.shared.blocks, int(memory.shared.code[0]))))
        sent = codec.send(pixels.float() / 255, snr_db)
        share.append(1 - int(sent.count[0]) / sent.values.shape[1])
    return float(np.mean(bits)), float(np.mean(share))


def measurements(codec, rival, images) -> Iterator[tuple[str, str, float, float]]:
    """(table, arm, x, value)."""
    for belief_db in (5.0, 10.0, 15.0):
        for off in BELIEF_OFF_DB:
            yield (
                "belief",
                f"allocated for {belief_db:g} dB",
                off,
                psnr(codec, images, belief_db + off, belief_db),
            )
    for off in BELIEF_OFF_DB:
        yield "belief", "told the truth, 10 dB", off, psnr(codec, images, 10.0 + off)
    for name, one in (("content-adaptive", codec), ("photo-1-12", rival)):
        for share in LOSSES:
            yield "loss", name, share, psnr(one, images, 10.0, change=lose(share) if share else None)
    for snr_db in (1.0, 10.0, 20.0):
        for rho in RATES:
            yield "rate", f"{snr_db:g} dB", rho, psnr(codec, images, snr_db, rho=rho)
    yield "map lost", "content-adaptive", 10.0, psnr(codec, images, 10.0, change=lose_map)
    for snr_db in (0.0, 4.0, 10.0, 13.0, 20.0):
        bits, share = map_bits(codec, images, snr_db)
        yield "map", "bits a picture", snr_db, bits
        yield "map", "share of the symbols", snr_db, share
    before = codec.side_backoff_db, codec.side_loss
    for backoff_db, loss in MARGINS:
        codec.side_backoff_db, codec.side_loss = backoff_db, loss
        for snr_db in (0.0, 10.0, 20.0):
            yield "margin", f"{backoff_db:g} dB, {loss:.0%} lost", snr_db, psnr(codec, images, snr_db)
    codec.side_backoff_db, codec.side_loss = before
    for name, one in (("content-adaptive", codec), ("photo-1-12", rival)):
        for snr_db in (1.0, 10.0, 20.0):
            peak, spread = peak_power(one, images[:6], snr_db)
            yield "peak", f"{name}: 1 sample in 1000", snr_db, peak
            yield "peak", f"{name}: power of a burst off", snr_db, spread


TITLES = {
    "belief": "PSNR in dB against true SNR less the SNR that was allocated for, in dB",
    "loss": "PSNR in dB at 10 dB against the share of symbols lost",
    "rate": "PSNR in dB against the bandwidth ratio",
    "map lost": "PSNR in dB at 10 dB where the map is lost altogether: the base layer",
    "map": "The map, side information by SNR in dB",
    "margin": "PSNR in dB by SNR: how far below the allocation SNR the map is still read, and what may be lost of it",
    "peak": "Samples: dB over the mean power, by SNR; bursts: largest difference from the mean",
}


def write(rows: list[tuple[str, str, float, float]], model: str, images: int, folder: Path) -> None:
    lines = [f"# What `{model}` bears, and what its parts cost", "", f"Made by `.venv/bin/python {COMMAND}`;"]
    lines += [f"{images} Kodak pictures, rho = 1/12 unless said, AWGN on symbols, the map coded in them.", ""]
    for table, title in TITLES.items():
        own = [row for row in rows if row[0] == table]
        xs = sorted({row[2] for row in own})
        lines += [
            f"## {title}",
            "",
            "| | " + " | ".join(f"{x:.3g}" for x in xs) + " |",
            "|---" * (len(xs) + 1) + "|",
        ]
        for arm in dict.fromkeys(row[1] for row in own):
            value = {row[2]: row[3] for row in own if row[1] == arm}
            cells = (f"{value[x]:.3f}" if abs(value[x]) < 1 else f"{value[x]:.2f}" for x in xs)
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        lines.append("")
    (folder / "adaptive.md").write_text("\n".join(lines))
    with open(folder / "adaptive.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("table", "arm", "x", "value"), *rows])


def draw(rows: list[tuple[str, str, float, float]], path: Path) -> None:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    shown = (("belief", "true SNR - allocation SNR (dB)"), ("loss", "share of symbols lost"), ("rate", "rho"))
    for axes, (table, label) in zip(figure.subplots(1, 3), shown):
        for arm in dict.fromkeys(row[1] for row in rows if row[0] == table):
            points = [(row[2], row[3]) for row in rows if row[:2] == (table, arm)]
            axes.plot(*zip(*points), marker="o", markersize=3, label=arm)
        axes.set(xlabel=label, ylabel="PSNR (dB)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds kodak.")],
    model: Annotated[str, typer.Option(help="A content-adaptive model.")] = "photo-adaptive",
    every: Annotated[int, typer.Option(help="Take every n-th picture.")] = 4,
    folder: Annotated[Path, typer.Option(help="Where the figures go.")] = FIGURES,
):
    torch.set_num_threads(1)
    images = [read_image(path)[None] for path in image_files(data_root(data) / "kodak")[::every]]
    codec, rival = (zoo.load(name).codec for name in (model, "photo-1-12"))
    rows = []
    with torch.inference_mode():
        for row in measurements(codec, rival, images):
            print(*row, flush=True)
            rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    write(rows, model, len(images), folder)
    draw(rows, folder / "adaptive.png")


if __name__ == "__main__":
    typer.run(main)
