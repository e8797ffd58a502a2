# SPDX-License-Identifier: GPL-3.0-or-later
"""Hybrid digital-analog: coded bits of a coarse picture in some symbols, latents of what it leaves over in the others.

The coarse picture is what the digital rival sends (source codec, LDPC, QAM), in a share of the symbols that the header
names; what it leaves over goes through the closed form of the content-adaptive codec (``codec.image.residual``). Above
the threshold of its code the picture still gets better with every dB, as the analog part does. (Skoglund, Phamdo and
Alajaji, "Hybrid digital-analog source-channel coding for bandwidth compression/expansion", IEEE Trans. Inf. Theory,
2006.)

Where the share is not fixed the transmitter tries some, none (latents of the picture alone) and all (coded bits alone)
among them, against noise of the SNR that it knows, and sends what came out best. Those two go on the air as what they
are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from semcom import keys
from semcom.codec.base import Latents
from semcom.codec.image import source as sources
from semcom.codec.image.content import ContentAdaptive
from semcom.codec.image.residual import ResidualCodec
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import MODE_CODED, MODE_HYBRID, MODE_LATENTS
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded import transport
from semcom.system.base import SIDE_LOST, Received, Sent, System
from semcom.system.coded import Coded, CodedSystem
from semcom.system.latents import LatentSystem
from semcom.system.zoo import LoadedModel

#: shares are whole numbers of these on the air
SHARE_STEPS = 32
#: which of them are tried where the share is to be chosen, beside none and all: on BSDS500's ``val_`` photos these two
#: keep all but 0.1 dB of what nine shares from 1 to 30 gain
TRIED = (4, 30)
_TRIAL_SEED = 12
_MODEL_BITS, _FORMAT_BITS, _MCS_BITS, _SHARE_BITS = 11, 2, 4, 5


@dataclass(frozen=True)
class Hybrid:
    """A coded coarse picture in a share of the symbols, analog latents of what it leaves over in the rest.

    share: of the symbols that the coarse picture takes, rounded to 1/32, above 0 and below 1; 0: chosen for each picture
    at the SNR that the transmitter knows, none and all of them among the choices. A picture whose coarsest encoding
    does not fit takes the next larger share that holds it. mcs, source, margin_db: of the coarse picture, as ``Coded``
    has them.

    Raises:
        ConfigError: a share that is none, or as ``Coded``.
    """

    share: float = 0.0
    mcs: str = schemes.ADAPTIVE
    source: str = ""
    margin_db: float = 0.0
    #: a code may fail, and the picture with it
    fails_whole: ClassVar[bool] = True

    def __post_init__(self):
        object.__setattr__(self, "source", self.coded.source)
        if self.share and not 1 <= self.steps < SHARE_STEPS:
            raise ConfigError(
                f"a share of the symbols for the coded picture is 1/{SHARE_STEPS} to "
                f"{SHARE_STEPS - 1}/{SHARE_STEPS}, or 0 to have it chosen, not {self.share}"
            )

    @property
    def steps(self) -> int:
        """The share in whole steps; 0: to be chosen."""
        return round(self.share * SHARE_STEPS)

    @property
    def coded(self) -> Coded:
        """The same settings of the digital rival."""
        return Coded(self.mcs, self.source, margin_db=self.margin_db)

    def scheme(self, symbols: int, snr_db: float) -> schemes.Mcs:
        """As of ``Coded``; that of a part of the symbols may be the next more robust one."""
        return self.coded.scheme(symbols, snr_db)

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        share = f"{self.steps}/{SHARE_STEPS}" if self.steps else "a chosen share"
        return f"hybrid, {self.source} on {share}"


@dataclass(frozen=True)
class _Base:
    """The coarse picture: how it is coded, its symbols, and what becomes of it at the receiver."""

    steps: int
    mcs: schemes.Mcs
    codec: int
    symbols: torch.Tensor
    pixels: np.ndarray


class HybridSystem(System):
    """A coarse picture in bits and the rest in latents; also reads pictures that came in one of them alone.

    Args:
        model: a content-adaptive one. payload: share and scheme.

    Raises:
        ConfigError: a model of another architecture, whose latents are not made for residuals.
    """

    modes = (MODE_LATENTS, MODE_CODED, MODE_HYBRID)
    one_by_one = True

    def __init__(self, model: LoadedModel, payload: Hybrid | None = None):
        self.model, self.payload = model, payload or Hybrid()
        if not isinstance(model.codec, ContentAdaptive):
            raise ConfigError(
                f"the hybrid sends what its coded picture leaves over with the tables of a content-adaptive model, "
                f"such as photo-adaptive; '{model.card.name}' is {model.card.architecture}."
            )
        self.codec = model.codec
        self._latents, self._coded = LatentSystem(model), CodedSystem(model, self.payload.coded)
        self._residuals = ResidualCodec(model.codec)
        self.name = f"{model.card.name}, {self.payload.label}"

    def symbol_count(self, size: tuple[int, int]) -> int:
        return self.codec.latent_count(*size)

    @torch.inference_mode()
    def send(self, values: Sequence[np.ndarray], snr_db: Sequence[float], rho: float | None = None) -> Sent:
        """One picture to payload symbols; how it was divided is in the header.

        A picture that does not fit even whole, at the coarsest quality, is sent as an empty payload of coded bits.
        """
        if rho is not None:
            raise ConfigError("the hybrid sends as many symbols as its model: it has no other rate")
        (pixels,), (snr,) = values, map(float, snr_db)
        self.source.check(pixels)
        size = self.source.size(pixels)
        self.check_size(size, self.symbol_count(size))
        if self.payload.steps:
            base = self._base(pixels, snr, self.payload.steps)
            return self._all_coded(pixels, snr)[0] if base is None else self._divided(pixels, base, snr)[0]
        return max(self.tried(pixels, snr).values(), key=lambda each: each[1])[0]

    @torch.inference_mode()
    def tried(
        self, pixels: np.ndarray, snr_db: float, shares: Sequence[int] = TRIED
    ) -> dict[int, tuple[Sent, float]]:
        """What could be sent of a picture by the share of its coded part, and the PSNR in dB of each.

        Args:
            shares: in whole steps. Latents alone are always there; what holds no encoding, or not one that gets through
                at this SNR, is left out.
        """
        tried = {0: self._all_latents(pixels, snr_db)}
        total = self.symbol_count(self.source.size(pixels))
        if self._gets_through(total, snr_db):
            tried[SHARE_STEPS] = self._all_coded(pixels, snr_db)
        for steps in shares:
            base = self._base(pixels, snr_db, steps)
            if (
                base is not None
                and base.steps == steps
                and self._gets_through(_base_symbols(total, steps), snr_db)
            ):
                tried[steps] = self._divided(pixels, base, snr_db)
        return tried

    def _gets_through(self, symbols: int, snr_db: float) -> bool:
        """Whether bits coded in so many symbols do; a margin below 0 takes schemes that do not yet."""
        coded = self.payload.coded
        try:
            return transport.works(coded.scheme(symbols, snr_db), symbols, snr_db - coded.margin_db)
        except ConfigError:
            return False

    def _all_latents(self, pixels: np.ndarray, snr_db: float) -> tuple[Sent, float]:
        """The picture without a coded part, and the PSNR in dB that it has over noise tried once."""
        sent = self._latents.send([pixels], [snr_db])
        noisy, noise_var = _noisy(sent.symbols[0], snr_db)
        image = AssembledImage(
            image_id=0,
            size=sent.size,
            latents=noisy,
            noise_var=noise_var,
            bursts_received=1,
            burst_count=1,
            snr_db=snr_db,
            side=(sent.side or (0,))[0],
        )
        (got,) = self._latents.receive([image])
        return replace(sent, detail={keys.SHARE: 0.0}), float(quality.psnr(pixels, got.value))

    def _all_coded(self, pixels: np.ndarray, snr_db: float) -> tuple[Sent, float]:
        """The picture as the digital rival sends it, and its PSNR in dB where it arrives."""
        sent = self._coded.send([pixels], [snr_db])
        symbols = sent.symbols.shape[1]
        mcs = self.payload.coded.scheme(symbols, snr_db)
        coded = sources.coded_picture(pixels, self.payload.source)
        best = coded.best(transport.Layout(symbols, mcs).payload_bytes)
        decoded = None if best is None else sources.decode(best[1], best[0], sent.size)
        db = -np.inf if decoded is None else float(quality.psnr(pixels, decoded))
        return replace(sent, detail=sent.detail | {keys.SHARE: 1.0}), db

    def _base(self, pixels: np.ndarray, snr_db: float, steps: int) -> _Base | None:
        """The coarse picture in ``steps`` of the symbols, or in the fewest more that hold its coarsest encoding."""
        total = self.symbol_count(self.source.size(pixels))
        coded = sources.coded_picture(pixels, self.payload.source)
        for taken in range(steps, SHARE_STEPS):
            symbols = _base_symbols(total, taken)
            try:
                mcs = self.payload.coded.scheme(symbols, snr_db)
                layout = transport.Layout(symbols, mcs)
            except ConfigError:
                continue
            best = coded.best(layout.payload_bytes)
            if best is not None:
                decoded = sources.decode(best[1], best[0], self.source.size(pixels))
                if decoded is not None:
                    return _Base(taken, mcs, best[0], transport.send(best[1], layout), decoded)
        return None

    def _divided(self, pixels: np.ndarray, base: _Base, snr_db: float) -> tuple[Sent, float]:
        """The picture in both parts, and its PSNR in dB where the first arrives, over noise tried once."""
        size = self.source.size(pixels)
        pictures = (self.source.batch([each], self.model.device) for each in (pixels, base.pixels))
        wanted, coarse = pictures
        count = self.symbol_count(size) - len(base.symbols)
        latents = self._residuals.send_residual(wanted - coarse, snr_db, count)
        symbols = torch.cat([base.symbols, latents.values[0].cpu()])[None]
        detail = {keys.MCS: base.mcs.name, keys.SHARE: base.steps / SHARE_STEPS}
        side = tuple(latents.side_bits.tolist())
        sent = Sent(symbols, MODE_HYBRID, self._code(base), size, self.result.code, side, detail)
        if self.payload.steps:
            return sent, np.inf
        noisy, noise_var = _noisy(latents.values[0].cpu(), snr_db)
        return sent, float(
            quality.psnr(pixels, self._put_together(base.pixels, noisy, noise_var, side[0])[0])
        )

    def _divide(self, code: int, count: int) -> tuple[int, schemes.Mcs, int] | None:
        """Symbols of the coarse picture, its scheme and source format, by the header; None: no such.

        Args:
            code: the header's ``model_hash``. count: payload symbols of the picture.
        """
        steps = code & (1 << _SHARE_BITS) - 1
        place = code >> _SHARE_BITS & (1 << _MCS_BITS) - 1
        codec = code >> _SHARE_BITS + _MCS_BITS & (1 << _FORMAT_BITS) - 1
        named = code >> _SHARE_BITS + _MCS_BITS + _FORMAT_BITS
        if named != self._named or not steps or place >= len(schemes.TABLE):
            return None
        return _base_symbols(count, steps), schemes.TABLE[place], codec

    @property
    def _named(self) -> int:
        return self.model.model_hash & (1 << _MODEL_BITS) - 1

    def _code(self, base: _Base) -> int:
        """22 bits: part of the model's hash, source format, scheme, share."""
        named = self._named << _FORMAT_BITS | base.codec
        return (named << _MCS_BITS | schemes.TABLE.index(base.mcs)) << _SHARE_BITS | base.steps

    def mismatch(self, header: BurstHeader) -> str | None:
        if header.mode == MODE_LATENTS:
            return self._latents.mismatch(header)
        if header.mode == MODE_CODED:
            return self._coded.mismatch(header)
        divided = self._divide(header.model_hash, header.latent_count)
        if divided is None:
            return "bursts of another model"
        base, mcs, _ = divided
        if not self.codec.admits(header.latent_count, (header.height, header.width)):
            return "bursts whose size does not fit the model"
        try:
            transport.Layout(base, mcs)
        except ConfigError:
            return "bursts whose coded picture has no room for a byte"
        return None

    def receive(self, items: Sequence[AssembledImage]) -> list[Received]:
        mode = items[0].mode
        if mode == MODE_LATENTS:
            return self._latents.receive(items)
        if mode == MODE_CODED:
            return self._coded.receive(items)
        return [self._receive(item) for item in items]

    @torch.inference_mode()
    def _receive(self, item: AssembledImage) -> Received:
        """Without its coded bits the latents are differences from nothing: the picture is lost, as the rival's is."""
        divided = self._divide(item.model_hash, len(item.latents))
        assert divided is not None, "what was not admitted was received"
        base, mcs, codec = divided
        layout = transport.Layout(base, mcs)
        payload = transport.receive(item.latents[:base], item.noise_var[:base], layout)
        coarse = None if payload is None else sources.decode(payload, codec, item.size)
        if coarse is None:
            return Received(None, {"decoded": False})
        value, lost = self._put_together(coarse, item.latents[base:], item.noise_var[base:], item.side)
        return Received(value, {"decoded": True} | ({SIDE_LOST: True} if lost else {}))

    def _put_together(self, coarse: np.ndarray, symbols, noise_var, side: int) -> tuple[np.ndarray, bool]:
        """The coarse picture and latents ``[k]`` of the rest to the picture, and whether the map of those was lost."""
        device, size = self.model.device, self.source.size(coarse)
        received = Latents(
            symbols[None].to(device),
            side=torch.tensor([side], device=device),
            noise_var=noise_var[None].to(device),
        )
        received, lost = self._residuals.read_side(received, size)
        rest = self._residuals.receive_residual(received, equivalent_snr_db(noise_var[None]).to(device), size)
        (value,) = self.result.values((self.source.batch([coarse], device) + rest).clamp(0, 1))
        return value, bool(lost)

    def warm_up(self, transmit: bool) -> None:
        self._latents.warm_up(transmit)


def _base_symbols(total: int, steps: int) -> int:
    return total * steps // SHARE_STEPS


def _noisy(symbols: torch.Tensor, snr_db: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Symbols ``[k]`` over white noise, always the same, and its variances."""
    seeded = torch.Generator().manual_seed(_TRIAL_SEED)
    noise = torch.randn(symbols.shape, dtype=torch.complex64, generator=seeded)
    noise_var = torch.full(symbols.shape, 10 ** (-snr_db / 10))
    return symbols + noise * noise_var.sqrt(), noise_var
