# SPDX-License-Identifier: GPL-3.0-or-later
"""The digital rival on the very link of a DeepJSCC model: the same number of symbols, bursts, pilots and header.

A picture is compressed to what the scheme holds, protected, mapped and sent; where any of its blocks fails its CRC,
what comes out is the mean colour of the picture, which the receiver is assumed to know (as generous as can be).
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from semcom.codec.image import source
from semcom.errors import ConfigError
from semcom.kinds.pictures import Picture
from semcom.link import Air, LinkConfig, LinkResult, papr_db, result_of
from semcom.modem import AssembledImage, ImageAssembler, Modem, StreamDetector, estimate_snr
from semcom.modem.header import MODE_CODED
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded import transport
from semcom.system import zoo

_PICTURES_KEPT = 1024  # with all their encodings, small pictures mostly


@dataclass(frozen=True)
class SeparationConfig(LinkConfig):
    """A run of the separation link; ``model`` is the DeepJSCC model whose number of symbols it gets.

    mcs: name of a scheme, or ``adaptive``: the best that works at ``snr_db``, which the transmitter is told.
    source: ``hevc`` or ``jpeg``. header_bytes: taken off the payload for a file's header. margin_db: by how much the
    SNR must exceed a scheme's threshold before ``adaptive`` takes it; below 0 it is taken before its threshold.

    Raises:
        ConfigError: an unknown scheme or source codec, or bytes below 0.
    """

    mcs: str = schemes.ADAPTIVE
    source: str = "hevc"
    header_bytes: int = 0
    margin_db: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.mcs != schemes.ADAPTIVE:
            schemes.named(self.mcs)
        if self.source not in source.SOURCES:
            raise ConfigError(
                f"source codec {self.source!r} is unknown; choose one of {', '.join(source.SOURCES)}"
            )
        if self.header_bytes < 0:
            raise ConfigError(f"a header takes 0 bytes or more, not {self.header_bytes}")
        if not math.isfinite(self.margin_db):
            raise ConfigError(f"a margin is a number of dB, not {self.margin_db}")


@dataclass(frozen=True)
class SeparationResult(LinkResult):
    """One picture over the separation link. mcs: the scheme it was sent with. decoded: False where the picture is
    the mean colour."""

    mcs: str = ""
    decoded: bool = True


@lru_cache(maxsize=_PICTURES_KEPT)
def _coded(pixels: bytes, size: tuple[int, int], name: str) -> source.CodedPicture:
    return source.CodedPicture(np.frombuffer(pixels, np.uint8).reshape(*size, 3).copy(), name)


def coded_picture(pixels: np.ndarray, name: str) -> source.CodedPicture:
    """The encodings of a picture by source codec ``name``; those made before are kept."""
    return _coded(np.ascontiguousarray(pixels).tobytes(), pixels.shape[:2], name)


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """A picture ``[H, W, 3]`` of the mean colour of another, uint8."""
    return np.broadcast_to(pixels.mean((0, 1)).round().astype(np.uint8), pixels.shape).copy()


def scheme_for(config: SeparationConfig, symbols: int, snr_db: float) -> schemes.Mcs:
    """The scheme that a picture of so many symbols is sent with when the transmitter knows ``snr_db``."""
    if config.mcs == schemes.ADAPTIVE:
        return transport.choose(snr_db - config.margin_db, symbols)
    return schemes.named(config.mcs)


def encode(
    pixels: np.ndarray, symbols: int, snr_db: float, config: SeparationConfig
) -> tuple[torch.Tensor, int, schemes.Mcs]:
    """A picture to payload symbols.

    Args:
        pixels: uint8 ``[H, W, 3]``. symbols: how many it may take. snr_db: what the transmitter knows.

    Returns:
        Symbols ``[symbols]`` complex64, the header's ``model_hash``, and the scheme. A picture that does not fit even
        at the coarsest quality is sent as an empty payload, and counts as not decoded.
    """
    mcs = scheme_for(config, symbols, snr_db)
    layout = transport.Layout(symbols, mcs)
    best = coded_picture(pixels, config.source).best(layout.payload_bytes - config.header_bytes)
    codec, payload = best or (source.FORMATS.index(source.SOURCES[config.source][0]), b"")
    return transport.send(payload, layout), schemes.pack(codec, mcs), mcs


def decode(image: AssembledImage) -> np.ndarray | None:
    """An assembled picture of mode ``MODE_CODED`` to uint8 ``[H, W, 3]``; None if it cannot be decoded."""
    named = schemes.unpack(image.model_hash)
    if named is None:
        return None
    codec, mcs = named
    try:
        layout = transport.Layout(len(image.latents), mcs)
    except ConfigError:  # a header that names a scheme which holds nothing in so few symbols
        return None
    payload = transport.receive(image.latents, image.noise_var, layout)
    return None if payload is None else source.decode(payload, codec, image.size)


def simulate(
    pictures: Iterable[Picture],
    config: SeparationConfig,
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
) -> list[SeparationResult]:
    """Sends pictures over the separation link without GNU Radio; see ``semcom.link.simulate``."""
    model = zoo.load(config.model, device=device)
    modem = Modem(device=device)
    air = Air(config)
    results = []
    with torch.inference_mode():
        for number, picture in enumerate(pictures):
            results.append(_one(number, picture, config, model.codec.latent_count, modem, air))
            if progress:
                progress()
    return results


def _one(number, picture: Picture, config: SeparationConfig, latent_count, modem: Modem, air: Air):
    began = time.perf_counter()
    size = picture.pixels.shape[:2]
    symbols, model_hash, mcs = encode(picture.pixels, latent_count(*size), config.snr_db, config)
    bursts = modem.modulate(
        symbols[None], image_id=[number % 65536], size=size, model_hash=model_hash, mode=MODE_CODED
    )[0]
    image = receive(air.carry(bursts), modem, latent_count)
    decoded = decode(image) if image else None
    seconds = time.perf_counter() - began
    plan = modem.plan(len(symbols))
    result = result_of(
        picture,
        config,
        received=mean_colour(picture.pixels) if decoded is None else decoded,
        snr_est_db=image.snr_db if image else None,
        bursts_sent=plan.burst_count,
        bursts_found=image.bursts_received if image else 0,
        latent_count=plan.latent_count,
        airtime_samples=plan.airtime_samples,
        papr_db=papr_db(bursts),
        real_time_factor=plan.airtime_samples / config.sample_rate_hz / seconds,
    )
    return SeparationResult(**vars(result), mcs=mcs.name, decoded=decoded is not None)


def receive(samples: torch.Tensor, modem: Modem, symbols_of) -> AssembledImage | None:
    """The first picture of coded bits in received samples ``[m]``; None if no burst of one was found.

    Args:
        symbols_of: (height, width) to the number of symbols of a picture.
    """
    detector = StreamDetector(modem)
    assembler = ImageAssembler(modem.profile, None, symbols_of, modes=(MODE_CODED,))
    assembled: list[AssembledImage] = []
    for burst in modem.demodulate(detector.push(samples) + detector.flush()):
        if burst.header is not None:
            snr = estimate_snr(burst.pilots_rx[None], burst.pilots_ref[None], burst.pilot_dof)
            assembled += assembler.add(burst.header, burst.latents, burst.noise_var, float(snr.snr_db))
    assembled += assembler.flush()
    return assembled[0] if assembled else None
