# SPDX-License-Identifier: GPL-3.0-or-later
"""Small networks for CIFAR-10, trained for minutes: what experiments that compare many of them share."""

import dataclasses

from semcom.experiments.evaluate import evaluate, summarise
from semcom_training.recipe import Recipe, load_recipe

SNR_DB = [0, 1, 4, 7, 10, 13, 16, 20]
#: how a page's note begins
NOTE = """\
CIFAR-10, rho = 1/12, LinRes of width {width}, {steps} steps of {batch} images for each arm and seed: same batches, SNRs
and noise. Mean of {seeds} seeds; in brackets the difference from the first row and its standard deviation over seeds.
PSNR in dB on {images} test images"""


def short_recipe(name: str, arguments: dict, seed: int, steps: int) -> Recipe:
    """The recipe of one training, on the data of ``cifar-1-12``."""
    return dataclasses.replace(
        load_recipe("cifar-1-12"),
        name=name,
        arguments={"channels": 8, "encoder_blocks": [2]} | arguments,
        steps=steps,
        warmup_steps=50,
        log_every=steps,
        seed=seed,
    )


def static_psnr_db(model, pictures) -> dict[str, float]:
    """Mean PSNR in dB over AWGN, the SNR given being the true one, by SNR in words."""
    measured = summarise(evaluate(model, pictures, SNR_DB, with_ms_ssim=False))
    return {f"{row['snr_db']:g} dB": row["psnr_db"] for row in measured}
