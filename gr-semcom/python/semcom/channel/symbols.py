# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel as a codec sees it when the modem is perfect: symbols in, equalised symbols and their noise out.

Used to train and evaluate codecs without a modem in between. The same names select the same kind of channel in the
link (``semcom.link``), where samples cross it.
"""

import torch

from semcom.channel.awgn import awgn, complex_normal, noise_power
from semcom.channel.fading import exponential_profile, rayleigh_taps
from semcom.errors import ConfigError

CARRIERS, DELAY_SAMPLES, FFT_SIZE = 240, 16, 256


def ideal(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """No noise at all; the noise variance told is that of 60 dB, the best any receiver would claim."""
    return x, torch.full_like(x.real, 1e-6)


def awgn_channel(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """White noise at Es/N0 = snr_db."""
    n0 = noise_power(snr_db, like=x)
    n0 = n0[:, None] if n0.dim() else n0
    return awgn(x, snr_db, generator), n0.expand_as(x.real)


def rayleigh(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Block Rayleigh: one gain CN(0, 1) a row, known and equalised (zero forcing)."""
    gain = complex_normal((len(x), 1), like=x, generator=generator)
    return _equalized(x, gain, snr_db, generator)


def multipath_channel(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Rayleigh taps with an exponential profile over 16 samples; each symbol rides on one of 240 subcarriers."""
    taps = rayleigh_taps(exponential_profile(DELAY_SAMPLES), len(x), generator).to(x)
    carriers = torch.arange(CARRIERS, device=x.device) - CARRIERS // 2
    delays = torch.arange(taps.shape[1], device=x.device)
    response = torch.exp(-2j * torch.pi * delays[:, None] * carriers / FFT_SIZE).to(x)
    which = torch.randint(0, CARRIERS, x.shape, device=x.device, generator=generator)
    return _equalized(x, (taps @ response).gather(1, which), snr_db, generator)


def _equalized(x, gain, snr_db, generator):
    noisy, n0 = awgn_channel(gain * x, snr_db, generator)
    power = gain.abs().square().clamp_min(1e-12)
    return noisy * gain.conj() / power, n0 / power


SYMBOL_CHANNELS = {"ideal": ideal, "awgn": awgn_channel, "rayleigh": rayleigh, "multipath": multipath_channel}


def symbol_channel(name: str):
    """The channel of that name: (latents ``[B, k]``, snr_db, generator) -> (received, noise_var), both ``[B, k]``.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in SYMBOL_CHANNELS:
        raise ConfigError(f"channel {name!r} is unknown; choose one of {', '.join(SYMBOL_CHANNELS)}")
    return SYMBOL_CHANNELS[name]
