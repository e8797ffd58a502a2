# SPDX-License-Identifier: GPL-3.0-or-later
"""One run over the air: what is sent how, and what the air does to it."""

from dataclasses import dataclass

from semcom.channel.named import named_channel
from semcom.errors import ConfigError
from semcom.payload.base import ANALOG
from semcom.system.make import Payload


@dataclass(frozen=True)
class LinkConfig:
    """One run over the air: a model, an SNR, a channel (a name in ``semcom.channel.named``) and its offsets.

    snr_db: Es/N0 of the channel. snr_error_db: how much more than that the encoder assumes. drop: probability that a
    burst is lost. payload: how what the model makes becomes symbols (``semcom.system.make``). lpips: measure it too,
    which takes time.

    Raises:
        ConfigError: a value that cannot be.
    """

    model: str
    snr_db: float
    channel: str = "awgn"
    cfo_hz: float = 0.0
    sro_ppm: float = 0.0
    drop: float = 0.0
    seed: int = 0
    sample_rate_hz: float = 1e6
    payload: Payload = ANALOG
    lpips: bool = True
    snr_error_db: float = 0.0

    @property
    def told_snr_db(self) -> float:
        """Es/N0 in dB that the encoder is given."""
        return self.snr_db + self.snr_error_db

    def __post_init__(self):
        named_channel(self.channel)  # refuses what is unknown
        if not 0 <= self.drop <= 1:
            raise ConfigError(f"drop is a probability, 0 to 1, not {self.drop}")
        if not self.sample_rate_hz > 0:
            raise ConfigError(f"the sample rate must be above 0 Hz, not {self.sample_rate_hz}")
        if abs(self.cfo_hz) > 0.031 * self.sample_rate_hz:
            raise ConfigError(
                f"a carrier offset of {self.cfo_hz} Hz is beyond 3.1 % of the sample rate: nothing would "
                "be found; tune closer or raise the sample rate"
            )
