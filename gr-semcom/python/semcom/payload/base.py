# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which latents become payload symbols: as they are, or quantised."""

from dataclasses import dataclass
from typing import ClassVar

from semcom.errors import ConfigError

TARGETS_DB = (10.0, 60.0)
"""Target PSNRs; one beyond means a mistake."""


def checked_target(psnr_db) -> float:
    """A target PSNR in dB. Raises ConfigError: no number, or one that no picture could be meant to have."""
    low, high = TARGETS_DB
    number = isinstance(psnr_db, (int, float)) and not isinstance(psnr_db, bool)
    if not number or not low <= psnr_db <= high:
        raise ConfigError(f"a target PSNR is a number, {low:g} to {high:g} dB, not {psnr_db!r}")
    return float(psnr_db)


@dataclass(frozen=True)
class Analog:
    """Latents themselves, one a symbol.

    rate: share of a model's latents that is sent, above 0 to 1; the header's symbol count says how many came. Which
    shares a model has is its codec's to say (``BaseCodec.send``).
    side_loss: which share of the symbols of coded side information (a content-adaptive model's map) may be lost, 0.1,
    0.3 or 0.6; a burst of a picture of N takes 1/N of them. 0: what the model has, 0.1.
    target_psnr_db: what each picture should reach, 10 to 60 dB: the smallest rate that is expected to is sent
    (``semcom.adaptation.rates``); 0: no target.

    Raises:
        ConfigError: a share or a target that is none, or both given.
    """

    rate: float = 1.0
    target_psnr_db: float = 0.0
    side_loss: float = 0.0
    #: what is lost of a picture are single latents, never the whole
    fails_whole: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ConfigError(f"a rate is a share of the latents, above 0 and at most 1, not {self.rate}")
        if self.target_psnr_db != 0:
            checked_target(self.target_psnr_db)
        if self.target_psnr_db and self.rate != 1:
            raise ConfigError("a target decides the rate: give rate or target_psnr_db, not both")

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        if self.target_psnr_db:
            return f"analog, target {self.target_psnr_db:g} dB"
        return "analog" if self.rate == 1 else f"analog, rate {self.rate:g}"


ANALOG = Analog()
