# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that have names: one table for symbols, samples, GNU Radio, training, command line and virtual air.

A name stands for one law. What is asked in dB is the Es/N0 of the noise against a channel of mean power 1.
"""

from dataclasses import dataclass

from semcom.errors import ConfigError

DECAY_DB = 20.0  # of the last tap of an exponential delay profile, below the first


@dataclass(frozen=True)
class NamedChannel:
    """What is between transmitter and receiver.

    Attributes:
        noisy: white noise of the Es/N0 asked for.
        doppler: above 0 the level fades (Rayleigh, mean power 1): one gain CN(0, 1) a picture; where time goes on
            (GNU Radio, the virtual air) Jakes' spectrum with this largest shift in cycles per sample, so that a burst
            hardly sees it change: 1e-6 is 1 Hz at 1 Msample/s.
        delay_samples: above 0 multipath of that excess delay, exponential profile, taps drawn Rayleigh and scaled to
            energy 1: frequency selective, its SNR as asked, and still for a run. The seed of the run draws it; in
            training every picture is a run of its own.
    """

    noisy: bool = True
    doppler: float = 0.0
    delay_samples: int = 0

    @property
    def flat(self) -> bool:
        """Neither level nor spectrum changes what is sent."""
        return not (self.doppler or self.delay_samples)


CHANNELS = {
    "ideal": NamedChannel(noisy=False),
    "awgn": NamedChannel(),
    "rayleigh": NamedChannel(doppler=1e-6),
    "multipath": NamedChannel(delay_samples=16),
}


def named_channel(name: str) -> NamedChannel:
    """The channel of that name.

    Raises:
        ConfigError: there is none.
    """
    if not isinstance(name, str) or name not in CHANNELS:
        raise ConfigError(f"channel {name!r} is unknown; choose one of {', '.join(CHANNELS)}")
    return CHANNELS[name]
