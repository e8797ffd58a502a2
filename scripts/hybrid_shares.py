# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hybrid gains by each share of coded bits: .venv/bin/python scripts/hybrid_shares.py FOLDER --every 20"""

from pathlib import Path

import numpy as np
import torch
import typer

from semcom import files
from semcom.experiments.table import markdown_table
from semcom.kinds.sets import Taking, read_set
from semcom.system.hybrid import SHARE_STEPS, Hybrid
from semcom.system.make import make


def table(pictures: list[np.ndarray], shares: list[int], snrs: list[float], model: str) -> str:
    """Mean PSNR in dB: latents alone, bits alone, the best of both and of one share for each picture, of all shares."""
    system = make(model, Hybrid())
    names = [f"best with {share}/{SHARE_STEPS}" for share in shares]
    lines = []
    for snr_db in snrs:
        tried = [system.tried(pixels, snr_db, shares) for pixels in pictures]
        got = [{share: reached for share, (_, reached) in each.items()} for each in tried]
        plain = [np.mean([each[share] for each in got]) for share in (0, SHARE_STEPS)]
        with_one = [
            np.mean([max(each[0], each[SHARE_STEPS], each.get(share, -np.inf)) for each in got])
            for share in shares
        ]
        best = np.mean([max(each.values()) for each in got])
        lines.append([f"{snr_db:g} dB", *(f"{value:.2f}" for value in (*plain, *with_one, best))])
    return markdown_table(["SNR", "latents alone", "bits alone", *names, "best of all"], lines)


def main(
    data: Path,
    every: int = 1,
    model: str = "photo-adaptive",
    share: list[int] = [2, 4, 8, 16, 30],  # noqa: B006
    snr_db: list[float] = [0.0, 4.0, 10.0, 13.0, 20.0],  # noqa: B006
    out: Path = Path("docs/figures/hybrid_shares.md"),
) -> None:
    """Measured once a picture and SNR, in noise of a fixed seed, over the symbol channel; coded bits taken to arrive."""
    torch.set_num_threads(1)
    pictures = [pixels for _, pixels in read_set(data, Taking())][::every]
    text = table(pictures, share, snr_db, model)
    page = "# The hybrid by the share of its coded bits\n\n"
    page += f"`{model}` and HEVC, {len(pictures)} pictures, mean PSNR in dB. The base has the scheme of `adaptive`; "
    page += f"a share is tried where it holds an encoding.\n\n{text}\n"
    files.write_text(out, page)
    print(page)


if __name__ == "__main__":
    typer.run(main)
