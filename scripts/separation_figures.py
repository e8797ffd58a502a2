# SPDX-License-Identifier: GPL-3.0-or-later
"""What the separation link's code does: the thresholds it adapts by, and its waterfalls.

.venv/bin/python scripts/separation_figures.py thresholds   writes semcom/payload/coded/mcs_thresholds.csv
.venv/bin/python scripts/separation_figures.py waterfall    docs/figures/ldpc.{csv,png,md}

Both can be stopped and started again: points that are in the file of points (--state) are not measured twice.
"""

import csv
import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.figure import Figure
from tables import FIGURES, write_table

from semcom.modulation import map_bits, soft_demap
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded.transport import Layout

ROOT = Path(__file__).resolve().parent.parent
THRESHOLDS = ROOT / "gr-semcom" / "python" / "semcom" / "payload" / "coded" / "mcs_thresholds.csv"
LENGTHS = (
    256,
    2048,
    1024,
)  # symbols a block; between 1024 and 2048 the blocks of large pictures at high rates
STEP_DB = 0.25
BATCH = 200
ENOUGH_ERRORS = 60
AT_RATE = 0.1
NOTE = f"""\
Es/N0 at a block error rate of {AT_RATE:g} (between points along straight lines, logarithmic), AWGN, noise power known.
Ours: layered sum-product, at most 20 iterations, max-log demapping. Reference: Sionna 2.2, 20 flooding sum-product
iterations, APP demapping, measured by `scripts/ldpc_reference.py` in an environment of its own. All points:
[ldpc.csv](ldpc.csv).

![block error rates](ldpc.png)"""
app = typer.Typer(add_completion=False)


class Points:
    """Block error rates by (scheme, symbols, SNR), kept in a CSV as they are measured."""

    def __init__(self, path: Path):
        self.path, self.known = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for name, symbols, snr_db, blocks, errors in csv.reader(path.open()):
                self.known[name, int(symbols), float(snr_db)] = int(blocks), int(errors)

    def rate(self, mcs: schemes.Mcs, symbols: int, snr_db: float, blocks: int) -> tuple[int, int]:
        """(blocks, errors); stops early where errors abound."""
        key = mcs.name, symbols, snr_db
        if key not in self.known or (self.known[key][0] < blocks and self.known[key][1] < ENOUGH_ERRORS):
            self.known[key] = block_errors(mcs, symbols, snr_db, blocks)
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow([*key, *self.known[key]])
            print(*key, *self.known[key], flush=True)
        return self.known[key]


@torch.inference_mode()
def block_errors(mcs: schemes.Mcs, symbols: int, snr_db: float, blocks: int) -> tuple[int, int]:
    """(blocks, blocks in error) over white noise whose power the demapper knows."""
    layout = Layout(symbols, mcs)
    code = layout.code(symbols)
    generator = torch.Generator().manual_seed(hash((mcs.order, symbols, round(100 * snr_db))) % 2**31)
    noise_var = 10 ** (-snr_db / 10)
    done = errors = 0
    while done < blocks and errors < ENOUGH_ERRORS:
        info = torch.randint(0, 2, (BATCH, code.info_bits), generator=generator, dtype=torch.int8)
        sent = map_bits(code.encode(info), mcs.order)
        noise = torch.randn(sent.shape, dtype=sent.dtype, generator=generator) * math.sqrt(noise_var)
        decoded, _ = code.decode(soft_demap(sent + noise, noise_var, mcs.order).flatten(1))
        done += BATCH
        errors += int((decoded != info).any(1).sum())
    return done, errors


def threshold(points: Points, mcs: schemes.Mcs, symbols: int, most: float, blocks: int, start_db: float):
    """The lowest SNR of the grid from which the block error rate is at most ``most``, searched from ``start_db``."""
    snr_db = start_db
    while True:
        done, errors = points.rate(mcs, symbols, snr_db, blocks)
        if errors / done <= most:
            break
        snr_db += 1.0 if errors / done > 0.9 else STEP_DB
    while True:
        done, errors = points.rate(mcs, symbols, snr_db - STEP_DB, blocks)
        if errors / done > most:
            return snr_db
        snr_db -= STEP_DB


@app.callback()
def _commands() -> None:
    """Figures of the separation link's code."""


State = Annotated[Path, typer.Option(help="File of points measured so far.")]
COMMAND = "scripts/separation_figures.py"


@app.command()
def thresholds(state: State = ROOT / "runs/separation/points.csv") -> None:
    """Measure where each scheme begins to work and write the table that adaptation uses."""
    torch.set_num_threads(1)
    points, rows = Points(state), []
    for symbols in LENGTHS:
        for mcs in schemes.TABLE:
            if Layout(symbols, mcs).blocks > 1:
                continue
            ideal_db = 10 * math.log10(2**mcs.efficiency - 1)
            start_db = math.floor(ideal_db + 1)
            usual = threshold(points, mcs, symbols, 1e-2, 600, start_db)
            rare = threshold(points, mcs, symbols, 1e-3, 2000, usual)
            rows.append([mcs.name, symbols, f"{usual:g}", f"{rare:g}"])
        write_thresholds(rows)


def write_thresholds(rows: list[list]) -> None:
    with THRESHOLDS.open("w", newline="") as file:
        file.write(
            "# Es/N0 in dB (AWGN, known noise power) from which the block error rate is at most 1e-2 and 1e-3\n"
        )
        file.write(f"# Made by `.venv/bin/python {COMMAND} thresholds`.\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["mcs", "symbols", "snr_db_at_1e-2", "snr_db_at_1e-3"])
        writer.writerows(rows)


@app.command()
def waterfall(state: State = ROOT / "runs/separation/points.csv") -> None:
    """Block error rates beside those of the other implementation, at its points (docs/figures/ldpc_reference.csv)."""
    torch.set_num_threads(1)
    points, rows = Points(state), []
    with (FIGURES / "ldpc_reference.csv").open() as file:
        for line in csv.DictReader(file):
            symbols, snr_db, blocks = int(line["symbols"]), float(line["snr_db"]), int(line["blocks"])
            done, errors = points.rate(schemes.named(line["mcs"]), symbols, snr_db, blocks)
            theirs = int(line["errors"]) / blocks
            rows.append([line["mcs"], symbols, snr_db, done, errors / done, blocks, theirs])
    draw(rows)
    table, earlier = [], []
    for mcs, symbols in dict.fromkeys((row[0], row[1]) for row in rows):
        some = [row for row in rows if (row[0], row[1]) == (mcs, symbols)]
        low_db = some[0][2] - 0.5  # ours may begin to work before the first point of the reference
        done, errors = points.rate(schemes.named(mcs), symbols, low_db, some[0][3])
        earlier.append([mcs, symbols, low_db, done, errors / done, "", ""])
        ours = snr_at([(row[2], row[4]) for row in (earlier[-1], *some)], AT_RATE)
        theirs = snr_at([(row[2], row[6]) for row in some], AT_RATE)
        ideal_db = 10 * math.log10(2 ** schemes.named(mcs).efficiency - 1)
        table.append([mcs, symbols, ours, theirs, ours - theirs, ours - ideal_db])
    with (FIGURES / "ldpc.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["mcs", "symbols", "snr_db", "blocks", "bler", "reference_blocks", "reference_bler"])
        for row in sorted(rows + earlier, key=lambda row: (row[1], schemes.named(row[0]).efficiency, row[2])):
            writer.writerow(
                [
                    f"{cell:.5f}" if number in (4, 6) and cell != "" else cell
                    for number, cell in enumerate(row)
                ]
            )
    write_table(
        "ldpc",
        "Waterfall of the 5G LDPC code",
        f"{COMMAND} waterfall",
        ["scheme", "symbols", "Es/N0 dB", "reference dB", "difference dB", "to capacity dB"],
        [["-" if cell != cell else cell for cell in row] for row in table],
        NOTE,
    )


def snr_at(points: list[tuple[float, float]], rate: float) -> float:
    """Where (SNR in dB, block error rate) crosses ``rate``; NaN if it does not."""
    for (left_db, above), (right_db, below) in zip(points, points[1:], strict=False):
        if above >= rate > below:
            above, below = math.log(above), math.log(max(below, 1e-4))
            return left_db + (right_db - left_db) * (above - math.log(rate)) / (above - below)
    return math.nan


def draw(rows: list[list]) -> None:
    figure = Figure(figsize=(8, 4.8), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots()
    for number, key in enumerate(dict.fromkeys((row[0], row[1]) for row in rows)):
        some = [row for row in rows if (row[0], row[1]) == key]
        for column, style, name in ((4, "o-", "ours"), (6, "x--", "Sionna")):
            axes.semilogy(
                [row[2] for row in some],
                [row[column] or math.nan for row in some],
                style,
                color=f"C{number}",
                label=f"{key[0]}, {key[1]} symbols, {name}",
            )
    axes.set_xlabel("Es/N0 in dB")
    axes.set_ylabel("block error rate")
    axes.grid(alpha=0.3, which="both")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    figure.savefig(FIGURES / "ldpc.png")


if __name__ == "__main__":
    app()
