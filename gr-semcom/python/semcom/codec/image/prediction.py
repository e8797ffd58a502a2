# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed-form error of the content-adaptive codec at many rates at once: no map is chosen, nothing is sent.

The counts of a picture's variances (``outline``) are taken once; a rate more is a row more of sums over levels.
"""

import torch
import torch.nn.functional as F

from semcom.codec.image import allocation as closed
from semcom.codec.image import outline
from semcom.codec.image.content import ContentAdaptive


@torch.inference_mode()
def expected_errors(
    codec: ContentAdaptive, images: torch.Tensor, snr_db, rhos: list[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean square error a colour value before side information and networks, pictures in 0..1.

    Args:
        images: ``[B, 3, H, W]``, 0..1. snr_db: Es/N0 in dB, a number or ``[B]``. rhos: bandwidth ratios in rising order.

    Returns:
        The error at each rate, and the part of it that was not sent, both ``[B, R]`` float64, falling with the rate.
    """
    height, width = images.shape[-2:]
    if height % closed.CELL or width % closed.CELL:
        images = F.pad(images, (0, -width % closed.CELL, 0, -height % closed.CELL), mode="replicate")
    code = closed.snr_code(codec._clamped(codec._per_image(snr_db, images)))
    planes = closed.to_colours(images)
    counts = outline.histogram(planes).repeat_interleave(len(rhos), dim=0)
    noise = (10 ** (-closed.code_snr_db(code.double()) / 10)).repeat_interleave(len(rhos))
    totals = torch.tensor([codec.latent_count(height, width, rho) for rho in rhos]).repeat(len(code))
    found = outline.expected(counts, noise, 2 * totals)
    shape, values = (len(code), len(rhos)), planes[0].numel()
    return found.error.view(shape) / values, found.unsent.view(shape) / values
