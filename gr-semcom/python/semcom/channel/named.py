# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that have names: one table for symbols, samples, GNU Radio, training, command line and virtual air.

A name stands for one law. What is asked in dB is the Es/N0 of the noise against a channel of mean power 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

from semcom.errors import ConfigError
from semcom.parsing import shown
from semcom.registering import PLUGIN_CURE, Registry, calling_place

if TYPE_CHECKING:  # no help text of the command line should wait for torch
    import torch

#: what the virtual air can do too: the longest excess delay, the fastest fading
MAX_DELAY_SAMPLES, MAX_DOPPLER = 255, 1e-3
DECAY_DB = 20.0  # of the last tap of an exponential delay profile, below the first

#: latents ``[B, k]``, Es/N0 in dB, generator -> equalised latents and the noise variance of each, ``[B, k]`` both
SymbolChannel = Callable[..., tuple["torch.Tensor", "torch.Tensor"]]


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

    Raises:
        ConfigError: a value of another type, a delay beyond 0..255 samples, a Doppler beyond 0..1e-3 cycles a sample.
    """

    noisy: bool = True
    doppler: float = 0.0
    delay_samples: int = 0

    def __post_init__(self):
        for name, kind, most, words in (
            ("doppler", Real, MAX_DOPPLER, "a number of cycles per sample"),
            ("delay_samples", Integral, MAX_DELAY_SAMPLES, "a whole number of samples"),
        ):
            value = getattr(self, name)
            # NaN is in no range
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= float(value) <= most:
                raise ConfigError(f"NamedChannel: {name} must be {words}, 0 to {most:g}, not {shown(value)}.")
        if not isinstance(self.noisy, bool):
            raise ConfigError(f"NamedChannel: noisy must be True or False, not {shown(self.noisy)}.")

    @property
    def flat(self) -> bool:
        """Neither level nor spectrum changes what is sent."""
        return not (self.doppler or self.delay_samples)


CHANNELS: Registry[NamedChannel | SymbolChannel] = Registry("channel")


def register_channel(name: str, channel: NamedChannel | None = None):
    """Registers a channel; without ``channel`` a decorator of a function of symbols.

    A :class:`NamedChannel` is known to training, ``evaluate``, link, GNU Radio's blocks and virtual air. A function
    ``(latents [B, k], snr_db, generator) -> (received, noise_var)``, both ``[B, k]``, is a channel of symbols behind a
    perfect modem, so of training and ``evaluate`` alone; differentiable in the latents, its random numbers from the
    generator.

    Raises:
        ConfigError: another place has registered the name, or what it names is neither.
    """
    place = calling_place()

    def register(thing):
        if not (isinstance(thing, NamedChannel) or callable(thing)):
            raise ConfigError(f"channel '{name}' must be a NamedChannel or a function, not {thing!r}.")
        CHANNELS.add(name, thing, place)
        return thing

    return register if channel is None else register(channel)


register_channel("ideal", NamedChannel(noisy=False))
register_channel("awgn", NamedChannel())
register_channel("rayleigh", NamedChannel(doppler=1e-6))
register_channel("multipath", NamedChannel(delay_samples=16))


@register_channel("modulo")
def _modulo(x, snr_db, generator=None):
    """Latents under addition modulo their range, ``semcom.channel.modulo``."""
    from semcom.channel.modulo import modulo_channel  # no help text waits for torch

    return modulo_channel(x, snr_db, generator)


def named_channel(name: str) -> NamedChannel:
    """The channel of that name, as samples meet it.

    Raises:
        ConfigError: there is none, or it says only what becomes of symbols.
    """
    channel = channel_of(name)
    if not isinstance(channel, NamedChannel):
        raise ConfigError(
            f"channel '{name}' is a function of symbols, for training and `semcom evaluate`; samples cross here: "
            f"register a NamedChannel under another name, or take a channel that is one."
        )
    return channel


def channel_of(name: str) -> NamedChannel | SymbolChannel:
    """What is registered under the name. Raises ConfigError: nothing is."""
    if name not in CHANNELS:
        raise ConfigError(f"channel {name!r} is unknown; choose one of {', '.join(CHANNELS)}. {PLUGIN_CURE}")
    return CHANNELS[name]
