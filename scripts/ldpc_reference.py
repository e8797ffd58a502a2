# SPDX-License-Identifier: GPL-3.0-or-later
"""Block error rates of another 5G LDPC implementation, to hold ours against: docs/figures/ldpc_reference.csv.

Sionna (sionna-no-rt 2.2) needs numpy 2, which GNU Radio's packages do not take, so this runs in an environment of its
own (`pip install sionna-no-rt` there) and imports nothing of semcom: 20 flooding sum-product iterations, APP demapper.

python scripts/ldpc_reference.py [POINT ...]     points such as 16-3/4:256 are added to the file
"""

import csv
import sys
import time
from fractions import Fraction
from math import log2
from pathlib import Path

import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Demapper, Mapper

OUT = Path(__file__).resolve().parent.parent / "docs" / "figures" / "ldpc_reference.csv"
# from the first SNR in dB on, in steps of 0.5
GRID = {
    "4-2/3:256": (2.5, 5),
    "16-3/4:256": (9.5, 4),
    "64-5/6:256": (16.0, 5),
    "4-1/2:2048": (1.0, 3),
    "16-1/2:2048": (6.5, 3),
    "64-2/3:2048": (13.5, 3),
}
BATCH, ENOUGH_ERRORS = 50, 60
BLOCKS = {256: 600, 2048: 200}


def block_errors(order: int, rate: Fraction, symbols: int, snr_db: float) -> tuple[int, int, float]:
    """(blocks, blocks in error, seconds of decoding)."""
    bits = int(log2(order))
    encode = LDPC5GEncoder(round(symbols * bits * rate), symbols * bits, num_bits_per_symbol=bits)
    decode = LDPC5GDecoder(encode, num_iter=20, hard_out=True)
    send, demap = Mapper("qam", bits), Demapper("app", "qam", bits)
    noise_var, done, errors, seconds = 10 ** (-snr_db / 10), 0, 0, 0.0
    while done < BLOCKS[symbols] and errors < ENOUGH_ERRORS:
        info = torch.randint(0, 2, (BATCH, encode.k)).float()
        sent = send(encode(info))
        ratios = demap(sent + torch.randn_like(sent) * noise_var**0.5, torch.tensor(noise_var))
        began = time.perf_counter()
        decoded = decode(ratios)
        seconds += time.perf_counter() - began
        done += BATCH
        errors += int((decoded != info).any(1).sum())
    return done, errors, seconds


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    new = not OUT.exists()
    for point in sys.argv[1:] or GRID:
        name, symbols = point.split(":")
        order, rate = name.split("-")
        start_db, count = GRID[point]
        for number in range(count):
            snr_db = start_db + 0.5 * number
            done, errors, seconds = block_errors(int(order), Fraction(rate), int(symbols), snr_db)
            with OUT.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if new:
                    writer.writerow(["mcs", "symbols", "snr_db", "blocks", "errors", "ms_a_block"])
                    new = False
                writer.writerow([name, symbols, snr_db, done, errors, round(1000 * seconds / done, 1)])
            print(name, symbols, snr_db, done, errors, flush=True)


if __name__ == "__main__":
    main()
