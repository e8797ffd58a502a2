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
from semcom.errors import ConfigError
from semcom.parsing import shown

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
        ConfigError: an unknown name; when called, a plugin's channel that gives anything but two tensors ``[B, k]`` of
            numbers.
    """
    channel = channel_of(name)
    if not isinstance(channel, NamedChannel):
        return partial(_checked, send=channel, name=name)
    if channel.flat:
        return awgn_channel if channel.noisy else ideal
    taps = None
    if channel.delay_samples and seed is not None:
        taps = fading.still_taps(channel.delay_samples, seed)[None]
    return partial(_fading_channel, channel=channel, taps=taps)


def _checked(x, snr_db, generator=None, *, send, name: str):
    """A channel of somebody else's: what it gives is held to what it promised before anything is computed with it."""
    out = send(x, snr_db, generator)
    if not (
        isinstance(out, tuple | list)
        and len(out) == 2
        and all(isinstance(part, torch.Tensor) for part in out)
    ):
        raise ConfigError(f"channel '{name}' must give two tensors, (received, noise_var), not {shown(out)}.")
    received, noise_var = out
    for what, part in (("received", received), ("noise_var", noise_var)):
        if part.shape != x.shape:
            raise ConfigError(
                f"channel '{name}' gives {what} of shape {list(part.shape)} for symbols of shape {list(x.shape)}: it "
                f"must give one of each symbol."
            )
    if noise_var.is_complex() or not (noise_var >= 0).all():  # inf: erased
        raise ConfigError(
            f"channel '{name}' gives a noise_var that is no variance: 0 or more of each, inf if erased."
        )
    # of an erased symbol nothing is asked
    if not (received.isfinite() | noise_var.isinf()).all():
        raise ConfigError(
            f"channel '{name}' gives symbols that are not numbers (NaN or infinite): correct it."
        )
    return received, noise_var


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
