# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which latents become payload symbols: as they are, or quantised."""

from dataclasses import dataclass

from semcom.payload.quantised import BEST, DigitalMode, mode_from


@dataclass(frozen=True)
class Analog:
    """Latents themselves, one a symbol."""

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        return "analog"


ANALOG = Analog()


def payload_from(order: int = 0, bits_per_latent: int = 0, codebook: str = BEST) -> Analog | DigitalMode:
    """The payload of an order: analog latents for 0.

    Raises:
        ConfigError: a value that cannot be, or bits and codebooks without an order.
    """
    return mode_from(order, bits_per_latent, codebook) or ANALOG
