# SPDX-License-Identifier: GPL-3.0-or-later
"""The digital rival on the very link of a DeepJSCC model: the same number of symbols, bursts, pilots and header.

A picture is compressed to what the scheme holds, protected, mapped and sent. Where any of its blocks fails its CRC
nothing is decoded, and simulations take the mean colour of the picture, as if the receiver knew it (as generous as can
be).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from semcom import keys
from semcom.codec.image import source as sources
from semcom.errors import ConfigError
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import MODE_CODED, MODE_HYBRID, order_of
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded import transport
from semcom.security import ring
from semcom.system.base import Received, Sent, System
from semcom.system.zoo import LoadedModel


@dataclass(frozen=True)
class Coded:
    """One choice of the digital rival's: source codec, modulation and coding scheme, and how headers are counted.

    mcs: name of a scheme, or ``adaptive``: the best that works at the SNR that the transmitter knows.
    source: ``hevc`` or ``jpeg``; "": the better one that is installed. header_bytes: taken off the payload for a file's
    header. margin_db: by how much the SNR must exceed a scheme's threshold before ``adaptive`` takes it; below 0 it is
    taken before its threshold.

    Raises:
        ConfigError: an unknown scheme or source codec, or bytes below 0.
    """

    mcs: str = schemes.ADAPTIVE
    source: str = field(default_factory=sources.default_source)
    header_bytes: int = 0
    margin_db: float = 0.0
    #: one block that fails costs the picture
    fails_whole: ClassVar[bool] = True

    def __post_init__(self):
        if not self.source:
            object.__setattr__(self, "source", sources.default_source())
        if self.mcs != schemes.ADAPTIVE:
            schemes.named(self.mcs)
        if self.source not in sources.SOURCES:
            raise ConfigError(
                f"source codec {self.source!r} is unknown; choose one of {', '.join(sources.SOURCES)}"
            )
        if self.header_bytes < 0:
            raise ConfigError(f"a header takes 0 bytes or more, not {self.header_bytes}")
        if not math.isfinite(self.margin_db):
            raise ConfigError(f"a margin is a number of dB, not {self.margin_db}")

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        return f"separation, {self.source}"

    def scheme(self, symbols: int, snr_db: float) -> schemes.Mcs:
        """The scheme that an item of so many symbols is sent with when the transmitter knows ``snr_db``."""
        if self.mcs == schemes.ADAPTIVE:
            return transport.choose(snr_db - self.margin_db, symbols)
        return schemes.named(self.mcs)


def ring_order(mode: int, code: int) -> int:
    """The order of the constellation that items of a payload mode and hash are sent with, as ``security.ring`` takes it.

    Raises:
        ConfigError: coded bits whose hash names no scheme; hybrids, whose two parts have constellations of their own.
    """
    if mode == MODE_HYBRID:
        raise ConfigError("a hybrid cannot have a key stream added: take cipher scramble, or none.")
    if mode != MODE_CODED:
        return order_of(mode) or ring.ANALOG
    named = schemes.unpack(code)
    if named is None:
        raise ConfigError(
            f"coded bits of hash {code:#x}, which names no scheme, cannot have a key stream added"
        )
    return named[1].order


class CodedSystem(System):
    """Source codec, LDPC and QAM in as many symbols as a model takes.

    Args:
        model: whose number of symbols pictures take. payload: source codec and scheme.

    Raises:
        ConfigError: the model does not send pictures of one number of symbols.
    """

    modes = (MODE_CODED,)
    one_by_one = True

    def __init__(self, model: LoadedModel, payload: Coded | None = None):
        self.model, self.payload = model, payload or Coded()
        if model.codec.result is not self.result:
            raise ConfigError(
                f"the separation link sends pictures, and '{model.card.name}' makes a {model.codec.result.name} of "
                f"them: name a model of pictures, whose number of symbols is taken."
            )
        self.name = f"{model.card.name}, {self.payload.label}"

    def symbol_count(self, size: tuple[int, int]) -> int:
        return self.model.codec.latent_count(*size)

    def send(self, values: Sequence[np.ndarray], snr_db: Sequence[float], rho: float | None = None) -> Sent:
        """One picture to payload symbols; the scheme, which may differ from one to the next, is in ``model_hash``.

        A picture that does not fit even at the coarsest quality is sent as an empty payload, and counts as not decoded.
        """
        if rho is not None:
            raise ConfigError("the separation link sends as many symbols as its model: it has no other rate")
        (pixels,), (snr,) = values, snr_db
        self.source.check(pixels)
        size = self.source.size(pixels)
        symbols = self.symbol_count(size)
        self.check_size(size, symbols)
        mcs = self.payload.scheme(symbols, snr)
        layout = transport.Layout(symbols, mcs)
        coded = sources.coded_picture(pixels, self.payload.source)
        best = coded.best(layout.payload_bytes - self.payload.header_bytes)
        codec, payload = best or (sources.FORMATS.index(sources.SOURCES[self.payload.source][0]), b"")
        sent = transport.send(payload, layout)[None]
        code = schemes.pack(codec, mcs)
        detail = {keys.MCS: mcs.name}
        return Sent(sent, MODE_CODED, code, size, self.result.code, detail=detail)

    def mismatch(self, header: BurstHeader) -> str | None:
        if not self.model.codec.admits(header.latent_count, (header.height, header.width)):
            return "bursts whose size does not fit the model"
        return None

    def receive(self, items: Sequence[AssembledImage]) -> list[Received]:
        return [Received(pixels, {"decoded": pixels is not None}) for pixels in map(decode, items)]


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
    payload = transport.receive(image.latents, image.noise_var, layout, image.steps)
    return None if payload is None else sources.decode(payload, codec, image.size)
