# SPDX-License-Identifier: GPL-3.0-or-later
"""Block error rates of the separation link's code: its waterfalls, and the thresholds that the link adapts by."""

import functools
import math
from pathlib import Path

import torch

from semcom.experiments.runner import Cell, Experiment, get
from semcom.experiments.table import markdown_table, page
from semcom.modulation import map_bits, soft_demap
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded.transport import Layout

#: symbols a block; between 1024 and 2048 the blocks of large pictures at high rates
LENGTHS = (256, 2048, 1024)
STEP_DB = 0.25
BATCH, ENOUGH_ERRORS = 200, 60
AT_RATE = 0.1
_NOTE = f"""\
Es/N0 at a block error rate of {AT_RATE:g} (between points along straight lines, logarithmic), AWGN, noise power known.
Ours: layered sum-product, at most 20 iterations, max-log demapping. Reference: Sionna 2.2, 20 flooding sum-product
iterations, APP demapping, measured by `scripts/ldpc_reference.py` in an environment of its own. All points:
[ldpc.csv](ldpc.csv).

![block error rates](ldpc.png)"""


@torch.inference_mode()
def block_errors(cell: Cell) -> dict:
    """Blocks, and those in error, over white noise whose power the demapper knows; fewer where errors abound.

    Args:
        cell: its arm is (scheme, symbols, blocks), its point the SNR in dB.
    """
    (name, symbols, blocks), snr_db = cell.arm, cell.point
    mcs = schemes.named(name)
    code = Layout(symbols, mcs).code(symbols)
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
    return {"blocks": done, "errors": errors}


def points(reference: list[dict]) -> Experiment:
    """Where the other implementation was measured, and half a decibel before: ours may begin to work there."""
    cells: dict[Cell, None] = {}
    for line in reference:
        arm = line["mcs"], line["symbols"]
        first = next(other for other in reference if (other["mcs"], other["symbols"]) == arm)
        cells[Cell((*arm, first["blocks"]), first["snr_db"] - 0.5)] = None
        cells[Cell((*arm, line["blocks"]), float(line["snr_db"]))] = None
    return Experiment("block errors", block_errors, list(cells))


def rows(found, reference: list[dict]) -> list[dict]:
    """One row a scheme, length and SNR: our block error rate, and the reference's where there is one."""
    theirs = {(line["mcs"], line["symbols"], line["snr_db"]): line for line in reference}
    out = []
    for cell, result in found:
        name, symbols, _ = cell.arm
        line = theirs.get((name, symbols, cell.point))
        out.append(
            {
                "mcs": name,
                "symbols": symbols,
                "snr_db": cell.point,
                "blocks": result["blocks"],
                "bler": result["errors"] / result["blocks"],
                "reference_blocks": line and line["blocks"],
                "reference_bler": line and line["errors"] / line["blocks"],
            }
        )
    return sorted(out, key=lambda row: (row["symbols"], schemes.named(row["mcs"]).efficiency, row["snr_db"]))


def text(rows: list[dict], made_by: str) -> str:
    """The page."""
    lines = []
    for mcs, symbols in dict.fromkeys((row["mcs"], row["symbols"]) for row in rows):
        some = [row for row in rows if (row["mcs"], row["symbols"]) == (mcs, symbols)]
        ours = snr_at([(row["snr_db"], row["bler"]) for row in some])
        theirs = snr_at([(row["snr_db"], row["reference_bler"]) for row in some if row["reference_blocks"]])
        ideal_db = 10 * math.log10(2 ** schemes.named(mcs).efficiency - 1)
        figures = (ours, theirs, ours - theirs, ours - ideal_db)
        lines.append([mcs, symbols, *("-" if math.isnan(value) else value for value in figures)])
    head = ["scheme", "symbols", "Es/N0 dB", "reference dB", "difference dB", "to capacity dB"]
    return page("Waterfall of the 5G LDPC code", markdown_table(head, lines), _NOTE, made_by=made_by)


def snr_at(points: list[tuple[float, float]], rate: float = AT_RATE) -> float:
    """Where (SNR in dB, block error rate) crosses ``rate``; NaN if it does not."""
    for (left_db, above), (right_db, below) in zip(points, points[1:], strict=False):
        if above >= rate > below:
            above, below = math.log(above), math.log(max(below, 1e-4))
            return left_db + (right_db - left_db) * (above - math.log(rate)) / (above - below)
    return math.nan


def thresholds(folder: Path) -> Experiment:
    """Where each scheme begins to work, a cell each; the points of a search are cells of their own in ``folder``."""
    cells = [
        Cell((mcs.name, symbols))
        for symbols in LENGTHS
        for mcs in schemes.TABLE
        if Layout(symbols, mcs).blocks == 1
    ]
    return Experiment("thresholds", functools.partial(threshold, folder=str(folder)), cells)


def threshold(cell: Cell, folder: str) -> dict:
    """SNR in dB from which the block error rate is at most 1e-2, and 1e-3."""
    ideal_db = 10 * math.log10(2 ** schemes.named(cell.arm[0]).efficiency - 1)
    usual = _search(cell.arm, 1e-2, 600, math.floor(ideal_db + 1), folder)
    return {"usual_db": usual, "rare_db": _search(cell.arm, 1e-3, 2000, usual, folder)}


def _search(arm: tuple, most: float, blocks: int, snr_db: float, folder: str) -> float:
    """The lowest SNR of the grid from which the block error rate is at most ``most``, searched from ``snr_db``."""

    def rate(at_db: float) -> float:
        cell = Cell((*arm, blocks), float(at_db))
        result = get(Experiment("block errors", block_errors, [cell]), cell, folder).result
        return result["errors"] / result["blocks"]

    while (found := rate(snr_db)) > most:
        snr_db += 1.0 if found > 0.9 else STEP_DB
    while rate(snr_db - STEP_DB) <= most:
        snr_db -= STEP_DB
    return snr_db
