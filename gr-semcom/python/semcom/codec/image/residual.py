# SPDX-License-Identifier: GPL-3.0-or-later
"""What a coarse picture leaves over, by the closed form of the content-adaptive codec: the analog part of a hybrid.

Transform, classes by a map of the residual's own, the K largest coefficients, water-filling and LMMSE are those of
pictures. There is no base layer, as low frequencies are in the coarse picture, and there are no networks: those of a
picture codec were trained on pictures, and make residuals worse. Class tables are of pictures too, so a residual is
brought to the deviation of a picture's detail first, by a power of two in the side bits.
"""

import math

import torch

from semcom.codec.base import Latents
from semcom.codec.image import allocation as closed
from semcom.codec.image.content import ContentAdaptive

#: deviation of a colour value that residuals are brought to
_DEVIATION = 0.07
_GAIN_PLACE, _GAIN_CODES = 12, 8
_NONE = torch.zeros(0, dtype=torch.long)


class ResidualCodec(ContentAdaptive):
    """Sends and receives residuals ``[B, 3, H, W]`` (float, about 0) with the tables of a picture codec.

    Args:
        codec: whose class tables, rates and margins are used. Its networks are not.
    """

    def __init__(self, codec: ContentAdaptive):
        super().__init__(
            codec.rho,
            codec.classes,
            widths=(8, 8),
            sender_blocks=(0, 0),
            receiver_blocks=(0, 0),
            side_backoff_db=codec.side_backoff_db,
            side_loss=codec.side_loss,
            snr_range_db=codec.snr_range_db,
        )
        # networks that were never trained add nothing
        self.requires_grad_(False)
        for name, table in codec.named_buffers(recurse=False):
            setattr(self, name, table)
        # in this mode a picture is not clipped to 0..1, and a residual must not be
        self.train()

    def send_residual(self, residual: torch.Tensor, snr_db: float, symbols: int) -> Latents:
        """One residual ``[1, 3, H, W]`` to that many symbols.

        Raises:
            ConfigError: no symbols.
        """
        deviation = float(residual.square().mean().sqrt())
        gain = min(max(round(math.log2(_DEVIATION / max(deviation, 1e-6))), 0), _GAIN_CODES - 1)
        rows, columns = (-(-side // closed.CELL) for side in residual.shape[-2:])
        # half a symbol more, so that rounding down gives the number asked for
        rho = (symbols + 0.5) / (3 * rows * columns * closed.CELL**2)
        sent = self.send(0.5 + residual * 2**gain, snr_db, rho=rho)
        assert sent.side is not None
        # the bits of the base layer's boost are free here
        side = sent.side & ~((_GAIN_CODES - 1) << _GAIN_PLACE) | gain << _GAIN_PLACE
        return Latents(sent.values, side=side)

    def receive_residual(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """The inverse, ``[1, 3, H, W]``; zeros where the map was lost."""
        gain = latents.side_bits >> _GAIN_PLACE & _GAIN_CODES - 1
        return (self.receive(latents, snr_db, size) - 0.5) * torch.exp2(-gain.float())[:, None, None, None]

    def _layout(self, height: int, width: int, device=torch.device("cpu")) -> closed.BaseLayout:
        full = super()._layout(height, width, device)
        none = _NONE.to(device)
        return closed.BaseLayout(full.rows, full.columns, none, none, none)
