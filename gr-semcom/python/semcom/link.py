# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures across the simulated air without GNU Radio: the same library calls the blocks make, in one loop.

``simulate`` is the reference that the flowgraph is held against, and what runs on a machine without GNU Radio.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.channel.named import named_channel
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import Picture
from semcom.modem import AssembledImage, FramePlan, ImageAssembler, Modem, StreamDetector, estimate_snr
from semcom.modem.header import DIGITAL_MODES, MODE_LATENTS
from semcom.modem.labels import symbol_count
from semcom.payload.quantised import BEST, DigitalMode, mode_from
from semcom.system import zoo

GAP_SAMPLES = 600  # silence between bursts


@dataclass(frozen=True)
class LinkConfig:
    """One run over the air: a model, an SNR, a channel (a name in ``semcom.channel.named``) and its offsets.

    snr_db: Es/N0 of the channel, also what the encoder is told. drop: probability that a burst is lost. order: points
    of the constellation for quantised latents, 0: analog; bits_per_latent, codebook: see ``codec.digital.DigitalMode``.
    lpips: measure it too, which takes time.
    """

    model: str
    snr_db: float
    channel: str = "awgn"
    cfo_hz: float = 0.0
    sro_ppm: float = 0.0
    drop: float = 0.0
    seed: int = 0
    sample_rate_hz: float = 1e6
    order: int = 0
    bits_per_latent: int = 0
    codebook: str = BEST
    lpips: bool = True

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
        mode_from(self.order, self.bits_per_latent, self.codebook)  # refuses what cannot be

    @property
    def digital(self) -> DigitalMode | None:
        """How quantised latents are sent; None: the latents themselves."""
        return mode_from(self.order, self.bits_per_latent, self.codebook)


@dataclass(frozen=True)
class LinkResult:
    """One picture at one SNR. ``picture`` is what came out, uint8 ``[H, W, 3]``, or None if no burst arrived.

    snr_est_db: mean of the receiver's estimates; overhead: share of airtime that carries no latent;
    real_time_factor: airtime over processing time.
    """

    image: str
    snr_db: float
    snr_est_db: float | None
    psnr_db: float | None
    ms_ssim: float | None
    bursts_sent: int
    bursts_found: int
    bursts_lost: int
    rho: float
    overhead: float
    papr_db: float
    real_time_factor: float
    picture: np.ndarray | None = None
    lpips: float | None = None


def papr_db(samples: torch.Tensor) -> float:
    """Peak over mean power of samples ``[...]``, in dB."""
    power = samples.abs().square()
    return float(10 * torch.log10(power.max() / power.mean()))


def score(original: np.ndarray, received: np.ndarray | None) -> tuple[float | None, float | None]:
    """PSNR in dB and MS-SSIM of one received picture; (None, None) if nothing was received."""
    if received is None:
        return None, None
    return float(quality.psnr(original, received)), quality.ms_ssim(original, received)


def result_of(
    picture: Picture,
    config: LinkConfig,
    *,
    received: np.ndarray | None,
    bursts_sent: int,
    bursts_found: int,
    latent_count: int,
    airtime_samples: int,
    **measured,
) -> LinkResult:
    """Scores one picture; ``measured`` are ``LinkResult``'s fields snr_est_db, papr_db and real_time_factor."""
    psnr_db, ms_ssim = score(picture.pixels, received)
    measure = config.lpips and received is not None
    return LinkResult(
        image=picture.name,
        snr_db=config.snr_db,
        psnr_db=psnr_db,
        ms_ssim=ms_ssim,
        lpips=quality.lpips(received, picture.pixels) if measure else None,
        bursts_sent=bursts_sent,
        bursts_found=bursts_found,
        bursts_lost=bursts_sent - bursts_found,
        rho=latent_count / picture.pixels.size,
        overhead=1 - latent_count / airtime_samples if airtime_samples else 0.0,
        picture=received,
        **measured,
    )


def decode_assembled(model: zoo.LoadedModel, image: AssembledImage) -> np.ndarray:
    """An assembled picture's payload to uint8 ``[H, W, 3]``, with the SNR its decoder should be told."""
    latents, noise_var = model.latents_of(
        image.latents[None],
        image.noise_var[None],
        mode=image.mode,
        model_hash=image.model_hash,
        size=image.size,
    )
    return model.decode_image(latents[0], float(equivalent_snr_db(noise_var)), image.size, noise_var[0])


def simulate(
    pictures: Iterable[Picture],
    config: LinkConfig,
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
) -> list[LinkResult]:
    """Sends pictures through codec, modem and a simulated channel, one after the other.

    Args:
        pictures: what to send. progress: called after each picture.

    Returns:
        One result a picture, in order.
    """
    model = zoo.load(config.model, device=device)
    modem = Modem(device=device)
    air = Air(config)
    results = []
    with torch.inference_mode():
        for number, picture in enumerate(pictures):
            results.append(_one(number, picture, config, model, modem, air))
            if progress:
                progress()
    return results


def _one(number: int, picture: Picture, config: LinkConfig, model, modem: Modem, air: "Air") -> LinkResult:
    began = time.perf_counter()
    bursts = transmit(number, picture, config.snr_db, model, modem, config.digital)
    image, received = receive(air.carry(bursts), model, modem)
    seconds = time.perf_counter() - began
    return result_of_reception(picture, config, model, modem, bursts, image, received, seconds)


def transmit(
    number: int,
    picture: Picture,
    snr_db: float,
    model: zoo.LoadedModel,
    modem: Modem,
    digital: DigitalMode | None = None,
) -> torch.Tensor:
    """A picture to its bursts ``[N, n]``.

    Args:
        number: of the picture; its last 16 bits are on the air. snr_db: what the encoder is told. digital: how
            latents are quantised and sent; None: as they are.

    Raises:
        ModelError: the model has no such codebooks.
    """
    size = picture.pixels.shape[:2]
    payload, code, mode = model.encode_image(picture.pixels, snr_db)[None], model.model_hash, MODE_LATENTS
    if digital:
        code, books = model.codebook_set(digital.codebook)
        payload, mode = digital.send(payload, books), digital.header_mode
    return modem.modulate(payload, image_id=[number % 65536], size=size, model_hash=code, mode=mode)[0]


def receive(
    samples: torch.Tensor, model: zoo.LoadedModel, modem: Modem
) -> tuple[AssembledImage | None, np.ndarray | None]:
    """Received samples ``[m]`` to the first picture in them: as it was put together, and uint8 ``[H, W, 3]``.

    Both are None if no burst of this model was found.
    """
    detector = StreamDetector(modem)
    found = detector.push(samples) + detector.flush()
    demodulated = [burst for burst in modem.demodulate(found) if burst.header is not None]
    assembler = ImageAssembler(
        modem.profile,
        model.model_hash,
        model.codec.latent_count,
        modes=(MODE_LATENTS, *DIGITAL_MODES),
        digital_hashes=model.digital_hashes,
    )
    assembled: list[AssembledImage] = []
    for burst in demodulated:
        snr = estimate_snr(burst.pilots_rx[None], burst.pilots_ref[None], burst.pilot_dof)
        assembled += assembler.add(burst.header, burst.latents, burst.noise_var, float(snr.snr_db))
    assembled += assembler.flush()
    image = assembled[0] if assembled else None
    return image, decode_assembled(model, image) if image else None


def result_of_reception(
    picture: Picture,
    config: LinkConfig,
    model: zoo.LoadedModel,
    modem: Modem,
    bursts: torch.Tensor,
    image: AssembledImage | None,
    received: np.ndarray | None,
    seconds: float,
) -> LinkResult:
    """Scores what :func:`transmit` sent and :func:`receive` gave; ``seconds``: what both took."""
    plan = plan_of(model, modem, picture.pixels.shape[:2], config.digital)
    return result_of(
        picture,
        config,
        received=received,
        snr_est_db=image.snr_db if image else None,
        bursts_sent=plan.burst_count,
        bursts_found=image.bursts_received if image else 0,
        latent_count=plan.latent_count,
        airtime_samples=plan.airtime_samples,
        papr_db=papr_db(bursts),
        real_time_factor=plan.airtime_samples / config.sample_rate_hz / seconds,
    )


def plan_of(
    model: zoo.LoadedModel, modem: Modem, size: tuple[int, int], digital: DigitalMode | None = None
) -> FramePlan:
    """The bursts that a picture of ``size`` (height, width) takes."""
    count = model.codec.latent_count(*size)
    return modem.plan(symbol_count(count, digital.bits_per_latent, digital.order) if digital else count)


class Air:
    """Drops bursts, lays the rest on a time line with silence between, and does what the channel does."""

    def __init__(self, config: LinkConfig):
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        self._channel = named_channel(config.channel)
        self._taps = fading.still_taps(self._channel.delay_samples, config.seed)

    def carry(self, bursts: torch.Tensor) -> torch.Tensor:
        """Bursts ``[N, n]`` to received samples ``[m]``."""
        config = self._config
        alive = torch.rand(len(bursts), 1, generator=self._generator) >= config.drop
        gap = torch.zeros(len(bursts), GAP_SAMPLES, dtype=bursts.dtype)
        line = torch.cat([gap, bursts.cpu() * alive], dim=1).flatten()
        line = torch.nn.functional.pad(line, (0, GAP_SAMPLES))[None]
        if self._channel.doppler:
            line = line * fading.rayleigh_taps(torch.ones(1), 1, self._generator)
        if self._channel.delay_samples:
            line = fading.multipath(line, self._taps)
        line = frontend.sample_clock_offset(line, config.sro_ppm)
        line = frontend.carrier_offset(line, config.cfo_hz / config.sample_rate_hz)
        if self._channel.noisy:
            line = awgn(line, config.snr_db, self._generator)
        return line[0]
