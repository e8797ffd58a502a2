# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a picture is: PSNR, MS-SSIM, LPIPS and DISTS, per image."""

import numpy as np
import torch
import torch.nn.functional as F

from semcom import perceptual
from semcom.errors import ImageError

MS_SSIM_MIN_SIDE = 176
#: weights of the scales, finest first; taps of the window at either side of its middle, and its deviation in pixels
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_REACH, _DEVIATION = 5, 1.5
_LUMINANCE_FLOOR, _CONTRAST_FLOOR = 0.01**2, 0.03**2
#: rows of a picture that are compared at once, which a core's cache holds
_STRIP_ROWS = 32


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
    scales, each half of the last, compared in Gaussian windows of 11 pixels. It is torchmetrics' figure, its rules at
    the edges included, in a fifth of the time (windows are separable) and without the two seconds of its import. The
    coarsest scale, at 1/16, must still hold a whole window (side // 16 > 10), so from 176 pixels on; for a smaller
    picture the result is ``None``.

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
    a, b = (x.permute(2, 0, 1).float().contiguous() for x in (a, b))
    found = 1.0
    with torch.no_grad():
        for scale, weight in enumerate(_MS_SSIM_WEIGHTS):
            if scale:
                a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
            last = scale + 1 == len(_MS_SSIM_WEIGHTS)
            found *= max(_whole_similarity(a, b) if last else _similarities(a, b)[1], 0.0) ** weight
    return found


def _whole_similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean similarity at every pixel of ``[C, h, w]``, mirrored at the edges."""
    return _similarities(*(F.pad(x[None], 4 * [_REACH], mode="reflect")[0] for x in (a, b)))[0]


def _similarities(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """Mean similarity, and mean of its part of contrast and structure, of all windows that lie in ``[C, h, w]``."""
    rows, windows = a.shape[1] - 2 * _REACH, a[:, 2 * _REACH :, 2 * _REACH :].numel()
    similarity = structure = 0.0
    for first in range(0, rows, _STRIP_ROWS):
        x, y = (p[:, first : min(first + _STRIP_ROWS, rows) + 2 * _REACH] for p in (a, b))
        mean_x, mean_y, xx, yy, xy = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
        both, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
        spread = (xx - mean_x.square()).clamp_min_(0) + (yy - mean_y.square()).clamp_min_(0)
        contrast = (2 * (xy - both) + _CONTRAST_FLOOR) / (spread + _CONTRAST_FLOOR)
        structure += float(contrast.sum())
        luminance = (2 * both + _LUMINANCE_FLOOR) / (squares + _LUMINANCE_FLOOR)
        similarity += float((luminance * contrast).sum())
    return similarity / windows, structure / windows


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """Planes ``[..., h, w]`` in Gaussian windows, where a whole one lies, ``[..., h - 10, w - 10]``.

    By sums of shifted planes: torch's convolution of single planes takes twenty times as long on a CPU.
    """
    place = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
    window = torch.exp(-place.square() / (2 * _DEVIATION**2))
    taps = (window / window.sum()).tolist()
    for axis in (-2, -1):
        length = x.shape[axis] - 2 * _REACH
        out = x.narrow(axis, 0, length) * taps[0]
        for number, tap in enumerate(taps[1:], 1):
            out.add_(x.narrow(axis, number, length), alpha=tap)
        x = out
    return x


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
