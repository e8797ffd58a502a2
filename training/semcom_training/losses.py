# SPDX-License-Identifier: GPL-3.0-or-later
"""What a decoded picture is compared by: log-mse, mse, ms-ssim, lpips, or a weighted sum of them.

``loss(what)`` makes a callable: (decoded ``[B, 3, H, W]``, images ``[B, 3, H, W]``), both 0..1, -> a scalar.
"""

from collections.abc import Callable, Mapping

import torch

from semcom import perceptual
from semcom.errors import ConfigError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LOG_MSE_FLOOR = 3e-5
_MS_SSIM_WEIGHTS = (
    0.0448,
    0.2856,
    0.3001,
    0.2363,
    0.1333,
)  # of the scales, Wang et al. 2003, from fine to coarse
_WINDOW = 11


def loss(what: str | Mapping[str, float], floor: float = LOG_MSE_FLOOR) -> Loss:
    """The loss of that name, or the sum of several with their weights, such as ``{"mse": 0.8, "ms-ssim": 0.2}``.

    Args:
        what: ``log-mse``, the mean over images of ln(MSE + floor), for it is the mean of the per-image PSNR that is
            reported; ``mse``; ``ms-ssim``, see :func:`ms_ssim_loss`; ``lpips``, see :func:`lpips_loss`.
        floor: error below which ``log-mse`` stops caring.

    Raises:
        ConfigError: an unknown name, no names at all, or a weight that is not above 0.
        MissingError, ModelError: ``lpips`` with weights that are absent or altered, with the cure.
    """
    if isinstance(what, str):
        what = {what: 1.0}
    check_loss(what)
    losses = {"log-mse": lambda decoded, images: log_mse_loss(decoded, images, floor), **_LOSSES}
    if "lpips" in what:
        perceptual.load("lpips-alex")  # complains now rather than after the data is read
    parts = [(weight, losses[name]) for name, weight in what.items()]
    return lambda decoded, images: sum(weight * part(decoded, images) for weight, part in parts)


def check_loss(what) -> None:
    """Raises ConfigError as :func:`loss` does, without looking for weights."""
    parts = {what: 1.0} if isinstance(what, str) else what
    if not isinstance(parts, Mapping) or not parts:
        raise ConfigError(f"a loss is a name or a list of 'name: weight', not {what!r}.")
    for name, weight in parts.items():
        if name not in LOSSES:
            raise ConfigError(f"loss {name!r} is unknown; choose of {', '.join(LOSSES)}.")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(f"loss '{name}': its weight must be a number above 0, not {weight!r}.")


def mse_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    return (decoded - images).square().mean()


def log_mse_loss(decoded: torch.Tensor, images: torch.Tensor, floor: float = LOG_MSE_FLOOR) -> torch.Tensor:
    """Mean over images of ln(MSE + floor)."""
    return ((decoded - images).square().mean(dim=(1, 2, 3)) + floor).log().mean()


def ms_ssim_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """1 - MS-SSIM with as many of its five scales as the pictures have room for (all from 176 pixels a side on).

    The similarity s of each scale, -1..1, enters as (1 + s)/2: a negative one to a fractional power, or the slope at 0,
    would end the training. So the figure is not 1 - :func:`semcom.kinds.quality.ms_ssim`, but is least where that is.

    Raises:
        ConfigError: pictures below 11 pixels a side.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # 2 s to import

    side = min(images.shape[-2:])
    scales = sum(side // 2**n >= _WINDOW for n in range(len(_MS_SSIM_WEIGHTS)))
    if not scales:
        raise ConfigError(
            f"ms-ssim compares windows of {_WINDOW} pixels: pictures of {side} are too small for it."
        )
    weights = torch.tensor(_MS_SSIM_WEIGHTS[:scales])
    similarity = multiscale_structural_similarity_index_measure(
        decoded.float(),
        images.float(),
        data_range=1.0,
        betas=tuple((weights / weights.sum()).tolist()),
        normalize="simple",
    )
    return 1 - similarity


def lpips_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """LPIPS with AlexNet, as :func:`semcom.kinds.quality.lpips` measures it, of the decoded picture clipped to 0..1.

    Raises:
        ConfigError: pictures below 64 pixels a side.
        MissingError, ModelError: as :func:`semcom.perceptual.load`.
    """
    if (side := min(images.shape[-2:])) < perceptual.MIN_SIDE:
        raise ConfigError(
            f"lpips says nothing of pictures below {perceptual.MIN_SIDE} pixels a side, and these have {side}: raise "
            f"'crop', or choose another loss."
        )
    return perceptual.load("lpips-alex", images.device)(decoded.clamp(0, 1), images).mean()


_LOSSES = {"mse": mse_loss, "ms-ssim": ms_ssim_loss, "lpips": lpips_loss}
LOSSES = ("log-mse", *_LOSSES)
