# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which latents become payload symbols: as they are, or quantised."""

from dataclasses import dataclass

from semcom.errors import ConfigError


@dataclass(frozen=True)
class Analog:
    """Latents themselves, one a symbol.

    rate: share of a model's latents that is sent, above 0 to 1; the header's symbol count says how many came. Which
    shares a model has is its codec's to say (``BaseCodec.send``).

    Raises:
        ConfigError: a share that is none.
    """

    rate: float = 1.0

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ConfigError(f"a rate is a share of the latents, above 0 and at most 1, not {self.rate}")

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        return "analog" if self.rate == 1 else f"analog, rate {self.rate:g}"


ANALOG = Analog()
