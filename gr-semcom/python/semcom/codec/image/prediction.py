# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed-form error of the content-adaptive codec at many rates at once: no map is chosen, nothing is sent.

The counts of a picture's variances (``outline``) are taken once; a rate more is a row more of sums over levels.
"""

import torch

from semcom.codec.image import allocation as closed
from semcom.codec.image import outline
from semcom.codec.image.content import ContentAdaptive

#: pixels a side of the blocks by energy, the best alone first; how they differ says how the picture is made
BLOCKS = (32, 8, 16)


@torch.inference_mode()
def expected_errors(codec: ContentAdaptive, images: torch.Tensor, snr_db, rhos: list[float]) -> torch.Tensor:
    """Mean square error a colour value before side information and networks, pictures in 0..1.

    Args:
        images: ``[B, 3, H, W]``, 0..1. snr_db: Es/N0 in dB, a number or ``[B]``. rhos: bandwidth ratios in rising order.

    Returns:
        The error at each rate by blocks of each of ``BLOCKS``, ``[B, R, 3]`` float64, falling with the rate.
    """
    images = closed.whole_cells(images)
    height, width = images.shape[-2:]
    code = closed.snr_code(codec._clamped(codec._per_image(snr_db, images)))
    planes = closed.to_colours(images)
    noise = closed.code_noise(code).repeat_interleave(len(rhos))
    totals = torch.tensor([codec.latent_count(height, width, rho) for rho in rhos]).repeat(len(code))
    errors = []
    for block in BLOCKS:
        counts = outline.histogram(planes, block).repeat_interleave(len(rhos), dim=0)
        errors.append(outline.expected(counts, noise, 2 * totals).error.view(len(code), len(rhos)))
    return torch.stack(errors, dim=2) / planes[0].numel()
