# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as a kind: uint8 ``[H, W, 3]``, RGB; files are read and written in ``semcom.kinds.pictures``."""

from collections.abc import Sequence

import numpy as np
import torch

from semcom.errors import ImageError
from semcom.kinds import quality


class Image:
    """``semcom.kinds.base.Kind`` of pictures. Codecs take and give float32 ``[B, 3, H, W]``, 0..1."""

    name, code, figure = "image", 0, "psnr_db"
    columns: tuple[tuple[str, str, str, int], ...] = (
        ("psnr_db", "PSNR", "dB", 2),
        ("ms_ssim", "MS-SSIM", "", 4),
        ("lpips", "LPIPS", "", 4),
    )

    def check(self, value: np.ndarray) -> None:
        """Raises ImageError: not uint8 ``[H, W, 3]``."""
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
            raise ImageError(f"a picture must be uint8 [H, W, 3], not {value.dtype} {list(value.shape)}.")

    def size(self, value: np.ndarray) -> tuple[int, int]:
        """Height and width in pixels."""
        return value.shape[0], value.shape[1]

    def batch(self, values: Sequence[np.ndarray], device="cpu") -> torch.Tensor:
        """Pictures of one size to ``[B, 3, H, W]``, 0..1."""
        pixels = torch.stack([torch.as_tensor(np.ascontiguousarray(value)) for value in values])
        return pixels.to(device).permute(0, 3, 1, 2).float() / 255

    def finish(self, batch: torch.Tensor) -> torch.Tensor:
        """``[B, 3, H, W]`` to uint8: clipped, then rounded."""
        return to_uint8(batch)

    def figures(self, decoded: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """PSNR in dB of each ``[B]``, at most 100; uint8 both, or 0..1 both."""
        return torch.as_tensor(quality.psnr(decoded, wanted)).clamp(max=100)

    def values(self, batch: torch.Tensor) -> list[np.ndarray]:
        """``[B, 3, H, W]`` to uint8 pictures: clipped, then rounded."""
        return list(to_uint8(batch).permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def score(self, wanted: np.ndarray, got: np.ndarray | None, lpips: bool = True) -> dict:
        """PSNR in dB, MS-SSIM and LPIPS (AlexNet) of a received picture; None of a lost one, or what is too small."""
        if got is None:
            return {"psnr_db": None, "ms_ssim": None, "lpips": None}
        return {
            "psnr_db": float(quality.psnr(wanted, got)),
            "ms_ssim": quality.ms_ssim(wanted, got),
            "lpips": quality.lpips(got, wanted) if lpips else None,
        }

    def warm_up(self) -> tuple[int, int]:
        return 32, 32


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Floats around 0..1 to uint8: clipped, then rounded. Any shape."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


IMAGE = Image()
