# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels between encoder and decoder in training: the symbol channels of the library, or its whole modem.

``channel(name, **options)`` makes a callable: (latents ``[B, k]`` complex, snr_db ``[B]``, generator) -> Received.
All of them are differentiable in the latents. The generator may live on the CPU whatever the device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from semcom import settings
from semcom.channel import fading, frontend, named
from semcom.channel.awgn import awgn
from semcom.channel.symbols import symbol_channel
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError
from semcom.modem import BurstHeader, Modem, estimate_snr, frame
from semcom.modem.assembler import rescale
from semcom.registering import PLUGIN_CURE

_DEEPEST_FADE = 0.02  # of the power of a faded latent


@dataclass(frozen=True)
class Received:
    """What reaches the decoder.

    latents: ``[B, k]`` complex, equalised. noise_var: ``[B, k]`` noise variance of each, ``inf`` where erased.
    snr_db: ``[B]`` equivalent SNR of the latents in dB, which the decoder is given; of a modem, as estimated from its
    pilots.
    """

    latents: torch.Tensor
    noise_var: torch.Tensor
    snr_db: torch.Tensor


Channel = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Received]


@dataclass(frozen=True)
class ModemOptions:
    """What samples go through between ``Modem.modulate_bursts`` and ``Modem.receive_aligned``; nothing by default.

    delay_samples: excess delay of the multipath, exponential profile; 0 is a single path, 32 the whole prefix.
    fading: the level fades too (Rayleigh); else each draw of the taps has energy 1.
    carrier_offset: largest offset that the detector leaves, in cycles per sample, drawn evenly from +- that.
    clock_ppm: largest offset of the sample clock, likewise; one draw a batch.
    backoff_db: saturation power of the amplifier (Rapp) over the mean power of the samples; None: linear.
    """

    delay_samples: int = 0
    fading: bool = False
    carrier_offset: float = 0.0
    clock_ppm: float = 0.0
    backoff_db: float | None = None

    def __post_init__(self):
        for name, limit in (("delay_samples", 32), ("carrier_offset", 1e-3), ("clock_ppm", 100)):
            if not 0 <= getattr(self, name) <= limit:
                raise ConfigError(f"channel 'modem': {name} must be 0..{limit}, not {getattr(self, name)}.")
        if self.backoff_db is not None and not -20 <= self.backoff_db <= 60:
            raise ConfigError(f"channel 'modem': backoff_db must be -20..60, not {self.backoff_db}.")


def names() -> tuple[str, ...]:
    """What :func:`channel` takes, those of plugins too."""
    return (*named.CHANNELS, "modem")


def channel(name: str, uneven_fraction: float = 0.0, **options) -> Channel:
    """The channel of that name.

    Args:
        name: in :mod:`semcom.channel.named`, equalised symbols, every image a run of its own; or ``modem``, with
            :class:`ModemOptions` as options.
        uneven_fraction: of the images see uneven noise: half of those lose latents (erased, as with lost bursts), half
            have each latent faded on its own, where the channel is a flat one.

    Raises:
        ConfigError: an unknown name, or an option that the channel does not take, or not with that value.
    """
    if name == "modem":
        options = settings.make(ModemOptions, options, "channel 'modem'")
        send = partial(through_modem, options=options)
    elif name not in named.CHANNELS:
        raise ConfigError(f"channel {name!r} is unknown; choose one of {', '.join(names())}. {PLUGIN_CURE}")
    elif options:
        raise ConfigError(f"channel '{name}' takes no options, but got {', '.join(options)}.")
    else:
        send = symbol_channel(name)
    fades = name != "modem" and getattr(named.CHANNELS[name], "flat", False)
    return partial(_carry, send=send, uneven_fraction=uneven_fraction, fades=fades)


def _carry(latents, snr_db, generator, *, send, uneven_fraction: float, fades: bool) -> Received:
    generator = _beside(latents, generator)
    if not uneven_fraction:
        received, noise_var = send(latents, snr_db, generator)
        return Received(received, noise_var, equivalent_snr_db(noise_var))
    draw = torch.rand(len(latents), 2, 1, device=latents.device, generator=generator)
    faded, erased = draw[:, 0] < uneven_fraction, draw[:, 0] < uneven_fraction / 2
    power = torch.empty(latents.shape, device=latents.device).exponential_(generator=generator)
    power = torch.where(faded & ~erased & fades, power.clamp_min(_DEEPEST_FADE), 1.0)
    lost = torch.rand(latents.shape, device=latents.device, generator=generator) < 0.5 * draw[:, 1]
    received, noise_var = send(latents * power.sqrt(), snr_db, generator)
    received, noise_var = received / power.sqrt(), noise_var / power
    noise_var = torch.where(erased & lost, torch.inf, noise_var)
    return Received(received, noise_var, equivalent_snr_db(noise_var))


def through_modem(latents, snr_db, generator, options: ModemOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents ``[B, k]`` as bursts of OFDM samples over the air and back: (received, noise_var), both ``[B, k]``.

    The receiver knows where bursts start and what their headers say; channel, offsets and noise it estimates. Es/N0 is
    that of samples before amplifier and fading. The noise variances have the scale of the SNR estimated from each
    burst's pilots, exactly as in the receiver that flies (``semcom.modem.assembler``).
    """
    images, count = latents.shape
    modem = _modem(latents.device)
    plan = modem.plan(count)
    headers = [
        BurstHeader(
            image_id=image % 65536, burst_index=index, height=1, width=1, latent_count=count, model_hash=0
        )
        for image in range(images)
        for index in range(plan.burst_count)
    ]
    samples = modem.modulate_bursts(modem.pack_latents(latents), headers)
    snr_db = torch.as_tensor(snr_db, device=latents.device).expand(images)
    samples = _over_the_air(
        samples, snr_db.repeat_interleave(plan.burst_count), generator, options, modem, plan
    )
    out = modem.receive_aligned(samples, headers)
    estimate = estimate_snr(out.known, out.reference, out.dof)
    noise_var = rescale(out.noise_var, estimate.snr_db).reshape(images, -1)[:, :count]
    received = out.payload.reshape(images, -1)[:, :count]
    return frame.unscramble(received), frame.deinterleave(noise_var)


def _over_the_air(samples, snr_db, generator, options: ModemOptions, modem, plan):
    """Bursts ``[N, n]`` as they arrive. All bursts of an image meet the same taps and the same carrier offset."""
    images, p = len(samples) // plan.burst_count, modem.profile
    if options.backoff_db is not None:
        level = (p.active_carriers / p.fft_size) ** 0.5  # of the samples: the amplifier's input has power 1
        samples = level * frontend.power_amplifier(samples / level, options.backoff_db)
    if options.delay_samples or options.fading:
        profile = fading.exponential_profile(options.delay_samples)
        taps = fading.rayleigh_taps(profile, images, generator).to(samples)
        taps = taps if options.fading else fading.unit_energy(taps)
        samples = fading.multipath(samples, taps.repeat_interleave(plan.burst_count, 0))
    if options.clock_ppm:
        ppm = options.clock_ppm * (2 * float(torch.rand((), device=samples.device, generator=generator)) - 1)
        samples = frontend.sample_clock_offset(samples, ppm)
    if options.carrier_offset:
        offset = torch.rand(images, dtype=torch.float64, device=samples.device, generator=generator)
        offset = options.carrier_offset * (2 * offset - 1)
        samples = frontend.carrier_offset(samples, offset.repeat_interleave(plan.burst_count))
    return awgn(samples, snr_db, generator)


@lru_cache(maxsize=4)
def _modem(device: torch.device) -> Modem:
    return Modem(device=device)


def _beside(tensor: torch.Tensor, generator: torch.Generator | None) -> torch.Generator | None:
    """The generator itself, or one on the tensor's device seeded by it."""
    if generator is None or generator.device == tensor.device:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(tensor.device).manual_seed(seed)
