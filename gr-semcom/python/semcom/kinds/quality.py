# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a picture is: PSNR, MS-SSIM, LPIPS and DISTS, per image."""

import numpy as np
import torch

from semcom import perceptual
from semcom.errors import ImageError

MS_SSIM_MIN_SIDE = 176


def psnr(image, reference) -> float | torch.Tensor:
    """Peak signal-to-noise ratio in dB of each image against its reference, 10 log10(1 / mean squared error).

    Args:
        image, reference: two arrays or tensors of one shape, uint8 (0..255) or float (0..1). ``[H, W, 3]``
            and ``[3, H, W]`` are one image; with four dimensions the first counts the images.

    Returns:
        A float for one image, a tensor ``[B]`` for several; ``inf`` where the two are equal. The PSNR of a
        set is the mean of these, not the PSNR of the mean error.

    Raises:
        ImageError: shapes differ, or there are not three or four dimensions.
    """
    a, b = _unit(image), _unit(reference)
    if a.shape != b.shape or a.dim() not in (3, 4):
        raise ImageError(f"PSNR needs two pictures of one shape, not {list(a.shape)} and {list(b.shape)}.")
    error = (a - b).square().flatten(1 if a.dim() == 4 else 0).mean(dim=-1)
    value = -10 * torch.log10(error)
    return value if a.dim() == 4 else float(value)


def ms_ssim(image, reference) -> float | None:
    """Multi-scale structural similarity of one image ``[H, W, 3]`` (uint8 or float 0..1), 0..1.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003: five
    scales, each half of the last, compared in windows of 11 pixels. The coarsest, at 1/16, must still hold a
    whole window: torchmetrics asks for side // 16 > 10, so from 176 pixels on; for a smaller picture the
    result is ``None``.

    Raises:
        ImageError: shapes differ.
    """
    a, b = _unit(image), _unit(reference)
    if a.shape != b.shape or a.dim() != 3:
        raise ImageError(
            f"MS-SSIM needs two pictures [H, W, 3] of one shape, not {list(a.shape)} and {list(b.shape)}."
        )
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # 2 s to import

    a, b = (x.permute(2, 0, 1)[None].float() for x in (a, b))
    return float(multiscale_structural_similarity_index_measure(a, b, data_range=1.0))


def lpips(image, reference, name: str = "lpips-alex", folder=None) -> float | None:
    """Perceptual distance of one image ``[H, W, 3]`` (uint8 or float 0..1), 0 for equal ones; see `semcom.perceptual`.

    Measure the picture as shown, clipped and rounded to uint8. Below 64 pixels a side the features of AlexNet have no
    room: the result is ``None``.

    Args:
        name: ``lpips-alex``, which is what people report; ``lpips-vgg`` or ``dists`` after `semcom data get lpips-vgg`.
        folder: the data folder of those two, else the variable SEMCOM_DATA.

    Raises:
        ImageError: shapes differ. ConfigError, MissingError, ModelError: as :func:`semcom.perceptual.load`.
    """
    a, b = _unit(image), _unit(reference)
    if a.shape != b.shape or a.dim() != 3 or a.shape[-1] != 3:
        raise ImageError(
            f"LPIPS needs two pictures [H, W, 3] of one shape, not {list(a.shape)} and {list(b.shape)}."
        )
    if min(a.shape[:2]) < perceptual.MIN_SIDE:
        return None
    distance = perceptual.load(name, a.device, folder)
    a, b = (x.permute(2, 0, 1)[None].float() for x in (a, b))
    with torch.no_grad():
        return float(distance(a, b))


def _unit(image) -> torch.Tensor:
    tensor = torch.as_tensor(np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image)
    return tensor.double() / 255 if tensor.dtype == torch.uint8 else tensor.double()
