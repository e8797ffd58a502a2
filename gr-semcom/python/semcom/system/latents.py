# SPDX-License-Identifier: GPL-3.0-or-later
"""A codec's latents over the air: analog, or quantised and sent as symbols of a constellation."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch

from semcom import keys
from semcom.codec.base import Latents
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import DIGITAL_MODES, MODE_LATENTS
from semcom.modem.labels import bits_per_latent, symbol_count
from semcom.payload.base import ANALOG, Analog
from semcom.payload.quantised import DigitalMode
from semcom.system.base import SIDE_LOST, Received, Sent, System
from semcom.system.rates import RateChooser
from semcom.system.zoo import LoadedModel


class LatentSystem(System):
    """A trained model, and how its latents become payload symbols.

    A receiver reads every payload that latents can come as, whichever this end sends.

    Args:
        model: from ``zoo.load``. payload: how latents are sent.

    Raises:
        ModelError: the model has no such codebooks, or its latents cannot be sent as labels.
        ConfigError: the codec cannot send at that rate.
    """

    modes = (MODE_LATENTS, *DIGITAL_MODES)

    def __init__(self, model: LoadedModel, payload: Analog | DigitalMode = ANALOG):
        self.model, self.codec, self.payload = model, model.codec, payload
        self.source, self.result = model.codec.source, model.codec.result
        self._rho = (
            self.codec.rho * payload.rate if isinstance(payload, Analog) and payload.rate < 1 else None
        )
        if isinstance(payload, Analog) and payload.side_loss:
            self.codec = self.codec.with_side_loss(payload.side_loss)
        target = payload.target_psnr_db if isinstance(payload, Analog) else 0
        self._chooser, self._target_db = (RateChooser(model) if target else None), target
        self.one_by_one = bool(target)
        # refuses a rate that the codec does not have
        self.codec.latent_count(*self.source.warm_up(), self._rho)
        if self.codec.refines:
            self.first_place = self._first_place
        self.name = model.card.name if isinstance(payload, Analog) else f"{model.card.name}, {payload.label}"
        if isinstance(payload, DigitalMode):
            # refuses latents that cannot be labels, and codebooks that are not there
            model.codebook_set(payload.codebook)

    def symbol_count(self, size: tuple[int, int], rho: float | None = None) -> int:
        count = self.codec.latent_count(*size, self._rho if rho is None else rho)
        if isinstance(self.payload, DigitalMode):
            return symbol_count(count, self.payload.bits_per_latent, self.payload.order)
        return count

    @torch.inference_mode()
    def send(self, values: Sequence[np.ndarray], snr_db: Sequence[float], rho: float | None = None) -> Sent:
        for value in values:
            self.source.check(value)
        if rho is not None and isinstance(self.payload, DigitalMode):
            raise ConfigError("quantised latents are sent whole: they have no other rate")
        detail = {}
        if rho is None and self._chooser is not None:
            (value,), (snr,) = values, snr_db
            chosen = self._chooser.choose(value, float(snr), self._target_db)
            rho = chosen.rho
            detail = {keys.TARGET_REACHED: chosen.reached, keys.EXPECTED_PSNR_DB: round(chosen.psnr_db, 2)}
        rho = self._rho if rho is None else rho
        size = self.source.size(values[0])
        self.check_size(size, self.symbol_count(size, rho))
        device = self.model.device
        encoder_snr = torch.as_tensor(snr_db, dtype=torch.float32, device=device)
        latents = self.codec.send(self.source.batch(values, device), encoder_snr, rho=rho)
        symbols, mode, code = latents.values, MODE_LATENTS, self.model.model_hash
        ring_scale: tuple[float, ...] = ()
        if isinstance(self.payload, DigitalMode):
            code, books = self.model.codebook_set(self.payload.codebook)
            points, scale = self.payload.send_points(symbols, books)
            symbols, mode = points * scale, self.payload.header_mode
            ring_scale = tuple((1 / scale[:, 0]).tolist())
        side = () if latents.side is None else tuple(latents.side.tolist())
        size = self.codec.result_size(size)
        return Sent(symbols.cpu(), mode, code, size, self.result.code, side, detail, ring_scale)

    def mismatch(self, header: BurstHeader) -> str | None:
        digital = header.mode in DIGITAL_MODES
        names = self.model.digital_hashes if digital else (self.model.model_hash,)
        if header.model_hash not in names:
            return "bursts of another model"
        size = header.height, header.width
        if digital:
            fits = bits_per_latent(header.latent_count, self.codec.latent_count(*size), header.order)
            return None if fits else "bursts whose size does not fit the model"
        if first := self.codec.place(header.side, size):
            if not self.codec.refines:
                return "bursts of parts that refine a picture, not read here"
            most = self.codec.latent_count(*size, self.codec.ratios()[-1])
            if first + header.latent_count > most or header.side >> self.codec.side_width:
                return "bursts of parts that lie outside of their picture"
            return None
        if not self.codec.admits(header.latent_count, size):
            return "bursts whose size does not fit the model"
        if header.side >> self.codec.side_width:
            return "bursts with side information unknown to the model"
        return None

    def _first_place(self, header: BurstHeader) -> int:
        if header.mode != MODE_LATENTS:
            return 0
        return self.codec.place(header.side, (header.height, header.width))

    def together(self, item: AssembledImage) -> Hashable:
        # parts are of one picture
        alone = (item.sender, item.image_id, item.parts) if len(item.parts) > 1 else None
        return super().together(item), alone

    @torch.inference_mode()
    def refine(self, value: np.ndarray, sent: Latents, rho: float) -> Latents:
        """The next part of a picture, uint8 ``[H, W, 3]``, of which ``sent`` is out, up to ``rho`` in all.

        Raises:
            ConfigError: nothing is left to send up to there, or the model sends a picture at once.
        """
        size, codec = (value.shape[0], value.shape[1]), self.codec
        end = sent.values.shape[1]
        for part in sent.later:
            end = codec.place(int(part.side_bits[0]), size) + part.values.shape[1]
        # parts begin at few places, and the last must not lie beyond the end
        symbols = codec.latent_count(*size, rho) - codec.next_place(end, size)
        if symbols < 1:
            raise ConfigError(f"a picture of which {end} symbols are out has them all at rho = {rho:.4f}.")
        return codec.refine(self.source.batch([value], self.model.device), sent, symbols)

    @torch.inference_mode()
    def receive(self, items: Sequence[AssembledImage]) -> list[Received]:
        first, device = items[0], self.model.device
        symbols = torch.stack([item.latents for item in items]).to(device)
        noise_var = torch.stack([item.noise_var for item in items]).to(device)
        known = [item.steps for item in items if item.steps is not None]
        steps = torch.stack(known).to(device) if known else None
        values, noise_var = self.model.latents_of(
            symbols,
            noise_var,
            mode=first.mode,
            model_hash=first.model_hash,
            size=first.size,
            steps=steps,
        )
        if len(first.parts) > 1:
            latents = _in_parts(first, values, noise_var)
        else:
            side = torch.tensor([item.side for item in items], device=device)
            latents = Latents(values, side=side, noise_var=noise_var)
        snr_db = equivalent_snr_db(latents.noise)
        latents, lost = self.codec.read_side(latents, first.size)
        decoded = self.codec.receive(latents, snr_db, first.size)
        rows = zip(self.result.values(decoded), lost.tolist(), strict=True)
        return [Received(value, {SIDE_LOST: True} if side_lost else {}) for value, side_lost in rows]

    @torch.inference_mode()
    def warm_up(self, transmit: bool) -> None:
        size = self.source.warm_up()
        if transmit:
            self.send([np.zeros((*size, 3), np.uint8)], [10.0])
            return
        sent = self.codec.send(torch.zeros(1, 3, *size, device=self.model.device), 10.0)
        self.codec.receive(sent.with_noise(10.0), 10.0, self.codec.result_size(size))


def _in_parts(item: AssembledImage, values: torch.Tensor, noise_var: torch.Tensor) -> Latents:
    """The symbols of an item ``[1, k]`` as its first part and those that refine it, in the order of their places."""
    found = []
    for (first, count), side in sorted(zip(item.parts, item.sides, strict=True)):
        place = slice(first, first + count)
        sides = torch.tensor([side], device=values.device)
        found.append(Latents(values[:, place], side=sides, noise_var=noise_var[:, place]))
    return replace(found[0], later=tuple(found[1:]))
