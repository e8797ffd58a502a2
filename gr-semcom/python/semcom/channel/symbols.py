# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel as a codec sees it when the modem is perfect: symbols in, equalised symbols and their noise out.

Used to train and evaluate codecs without a modem in between. The names are those of ``semcom.channel.named``, and
stand for the same channel in the link (``semcom.link``), where samples cross it.
"""

from functools import partial

import torch

from semcom.channel import fading
from semcom.channel.awgn import awgn, complex_normal, noise_power
from semcom.channel.named import NamedChannel, channel_of

CARRIERS, FFT_SIZE = 240, 256


def ideal(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """No noise at all; the noise variance reported is that of 60 dB, the best any receiver would claim."""
    return x, torch.full_like(x.real, 1e-6)


def awgn_channel(x: torch.Tensor, snr_db, generator=None) -> tuple[torch.Tensor, torch.Tensor]:
    """White noise at Es/N0 = snr_db."""
    n0 = noise_power(snr_db, like=x)
    n0 = n0[:, None] if n0.dim() else n0
    return awgn(x, snr_db, generator), n0.expand_as(x.real)


def symbol_channel(name: str, seed: int | None = None):
    """The channel of that name: (latents ``[B, k]``, snr_db, generator) -> (received, noise_var), both ``[B, k]``.

    The receiver knows the channel and equalises it (zero forcing). Multipath meets each symbol on one of 240
    subcarriers.

    Args:
        name: in ``semcom.channel.named``.
        seed: of a run, whose multipath is then the one that ``semcom.link`` has with that seed; None: every row is a
            run of its own, as training wants it.

    Raises:
        ConfigError: an unknown name.
    """
    channel = channel_of(name)
    if not isinstance(channel, NamedChannel):
        return channel
    if channel.flat:
        return awgn_channel if channel.noisy else ideal
    taps = None
    if channel.delay_samples and seed is not None:
        taps = fading.still_taps(channel.delay_samples, seed)[None]
    return partial(_fading_channel, channel=channel, taps=taps)


def _fading_channel(x, snr_db, generator=None, *, channel: NamedChannel, taps: torch.Tensor | None):
    gain = torch.ones((len(x), 1), dtype=x.dtype, device=x.device)
    if channel.doppler:
        gain = complex_normal((len(x), 1), like=x, generator=generator)
    if channel.delay_samples:
        if taps is None:
            profile = fading.exponential_profile(channel.delay_samples)
            taps = fading.unit_energy(fading.rayleigh_taps(profile, len(x), generator))
        gain = gain * _on_carriers(taps.to(x).expand(len(x), -1), x, generator)
    return _equalized(x, gain, snr_db, generator)


def _on_carriers(taps: torch.Tensor, x: torch.Tensor, generator) -> torch.Tensor:
    """Frequency responses of taps ``[B, L]``, for each symbol of ``x`` ``[B, k]`` at a subcarrier drawn."""
    carriers = torch.arange(CARRIERS, device=x.device) - CARRIERS // 2
    delays = torch.arange(taps.shape[1], device=x.device)
    response = torch.exp(-2j * torch.pi * delays[:, None] * carriers / FFT_SIZE).to(x)
    which = torch.randint(0, CARRIERS, x.shape, device=x.device, generator=generator)
    return (taps @ response).gather(1, which)


def _equalized(x, gain, snr_db, generator):
    noisy, n0 = awgn_channel(gain * x, snr_db, generator)
    power = gain.abs().square().clamp_min(1e-12)
    return noisy * gain.conj() / power, n0 / power
