# SPDX-License-Identifier: GPL-3.0-or-later
"""Nested latents: any prefix of the planes decodes, and every further plane refines the picture.

After the bandwidth-agile layers of Kurka and Gündüz, "Bandwidth-Agile Image Transmission With Deep Joint Source-Channel
Coding", IEEE Trans. Wireless Commun. 2021 (arXiv:2009.12480), with one decoder for all rates, to which a plane that was
not sent is an erasure like any other. Training draws the number of planes, which orders them by what they are worth.
"""

import torch

from semcom.codec.base import POWER_WIDTH, Latents, power_code, power_of_code
from semcom.codec.image.linres import LinRes
from semcom.codec.names import register_architecture
from semcom.errors import ConfigError


@register_architecture("nested-linres")
class NestedLinRes(LinRes):
    """A ``linres`` whose latents may be cut off after any complex plane.

    Planes are made as of the whole code at mean power 1; a prefix goes on the air at mean power 1 too, and the power
    that it had before goes beside it in eight bits, so that the receiver has planes at one scale whatever came.
    """

    side_width = POWER_WIDTH

    def _planes(self, rho: float | None) -> int:
        """Complex planes that a bandwidth ratio buys.

        Raises:
            ConfigError: none, or more than there are.
        """
        whole = self.channels // 2
        planes = whole if rho is None else round(rho / self.rho * whole)
        if not 1 <= planes <= whole:
            raise ConfigError(
                f"nested latents have {whole} planes, rho {self.rho / whole:.4f} to {self.rho:.4f}; rho = {rho:.4f} "
                f"would be {planes}."
            )
        return planes

    def ratios(self) -> list[float]:
        whole = self.channels // 2
        return [self.rho * planes / whole for planes in range(1, whole + 1)]

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        """Complex latents of whole planes; at ``rho`` of as many as come nearest to it."""
        rows, columns = self.grid(height, width)
        return self._planes(rho) * rows * columns

    def admits(self, count: int, size: tuple[int, int]) -> bool:
        rows, columns = self.grid(*size)
        return 0 < count <= self.latent_count(*size) and count % (rows * columns) == 0

    def send(self, images: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """Images ``[B, 3, H, W]`` to the planes that ``rho`` buys, ``[B, k]``, and their power in ``side``."""
        whole = self._encode(images, snr_db)
        whole = whole * _power(whole).clamp_min(1e-12).rsqrt()[:, None]
        sent = whole[:, : self.latent_count(images.shape[-2], images.shape[-1], rho)]
        power = _power(sent)
        code, rounding = power_code(power)
        return Latents(sent * (power * rounding).clamp_min(1e-12).rsqrt()[:, None], side=code)

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """A prefix of any number of planes to images ``[B, 3, H, W]``."""
        missing = self.latent_count(*size) - latents.values.shape[1]
        values = torch.nn.functional.pad(latents.values, (0, missing))
        noise_var = torch.nn.functional.pad(latents.noise, (0, missing), value=torch.inf)
        scale = power_of_code(latents.side_bits).to(values.real.dtype).sqrt()[:, None]
        return self._decode(values, snr_db, size, noise_var, scale)


def _power(latents: torch.Tensor) -> torch.Tensor:
    """Mean power of each row, ``[B]``."""
    return torch.view_as_real(latents).square().sum(dim=-1).mean(dim=-1)
