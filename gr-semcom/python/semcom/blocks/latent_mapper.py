# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to symbols of a constellation, or through as they are."""

import numpy as np
import pmt
import torch

from semcom import keys
from semcom.blocks.base import PduBlock, check, check_device, is_count, meta_of, reason_of, runs
from semcom.blocks.pdu import Pdu, Pmt
from semcom.errors import PduError, SemcomError
from semcom.modem.header import mode_of
from semcom.payload.base import ANALOG
from semcom.payload.quantised import BEST, DigitalMode
from semcom.payload.sealed import opened
from semcom.radio.profile import DEFAULT_MODEL
from semcom.system import zoo
from semcom.system.make import Payload


class latent_mapper(PduBlock):
    """Quantises latents to codebook entries and sends their labels as PSK or QAM symbols; order 0 lets them through.

    Ports: ``in``, ``out`` PDUs of latents and of payload symbols (c32vector; adds order, mode and the hash that names
    codec and codebooks); ``order`` takes the order of the pictures that follow: a dictionary with ``order``.

    Args:
        model: name in the zoo; latents of another are counted and dropped.
        order: points of the constellation, 2, 4, 8, 16, 64 or 256; 0: analog.
        bits_per_latent: 1, 2, 3, 4, 6 or 8; 0: as many as a symbol has, whatever the order, which keeps the bandwidth.
        codebook: "best", "uniform" or "learned"; best is learned where the model has such.
        device, threads, batch, max_queue: as in every block.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        order: int = 0,
        bits_per_latent: int = 0,
        codebook: str = BEST,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
    ):
        check(
            "latent_mapper",
            order=(order, is_count(order, 0), "a whole number, 0 or more"),
            bits_per_latent=(bits_per_latent, is_count(bits_per_latent, 0), "a whole number, 0 or more"),
        )
        self.device = check_device("latent_mapper", device)
        self._model = zoo.load(model)
        self._code, self._books = self._model.codebook_set(codebook)
        self._bits = int(bits_per_latent)
        self._mode(4)  # refuses impossible bits and codebooks now, not at the first picture
        self.set_order(order)
        super().__init__("latent_mapper", threads=threads, batch=batch, max_queue=max_queue)
        self.message_port_register_in(pmt.intern(keys.PORT_ORDER))
        self.set_msg_handler(pmt.intern(keys.PORT_ORDER), self.on_order)

    def _mode(self, order: int) -> DigitalMode | None:
        """How pictures of that order are sent; None: analog."""
        return DigitalMode(order, self._bits, self._books.name) if order else None

    def set_order(self, order: int) -> None:
        """The order of the pictures that follow, live.

        Raises:
            ConfigError: no such order.
        """
        mode_of(order)
        self.order = int(order)

    def on_order(self, message: Pmt) -> None:
        """A message of the modulation adapter: a dictionary with the order."""
        try:
            order = meta_of(message).get(keys.ORDER)
            if not is_count(order, 0):
                raise PduError("order message without a whole number as 'order'")
            self.set_order(order)
        except SemcomError as error:
            self.fail(reason_of(error), error)
            return
        self.count("orders received")

    def prepare(self, pdu: Pdu) -> list:
        latents = torch.from_numpy(pdu.vector(np.complex64))
        if pdu.integer(keys.MODEL_HASH) != self._model.model_hash:
            raise PduError(f"latents of another model than '{self._model.card.name}'")
        return [(pdu, latents, self.order)]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        out = []
        for group in runs(items, lambda item: (item[2], len(item[1]))):
            out += self._send(group, self._mode(group[0][2]))
        return out

    def _send(self, group: list, mode: DigitalMode | None) -> list[tuple[str, Pdu]]:
        if mode is None:
            return [(keys.PORT_OUT, pdu) for pdu, _, _ in group]
        latents = torch.stack([row for _, row, _ in group]).to(self.device)
        points, scales = mode.send_points(latents, self._books)
        symbols = (points * scales).cpu()
        meta = {
            keys.ORDER: mode.order,
            keys.MODE: mode.header_mode,
            keys.MODEL_HASH: self._code,
            keys.LATENT_COUNT: symbols.shape[1],
        }
        return [
            (keys.PORT_OUT, Pdu(pdu.with_meta(**meta, **{keys.RING_SCALE: 1 / scale}).meta, row))
            for (pdu, _, _), row, scale in zip(group, symbols, scales[:, 0].tolist(), strict=True)
        ]


def mapper_of(model: str, payload: Payload, **options) -> list:
    """What stands between encoder and modulator: a latent mapper for quantised latents, else nothing.

    Args:
        options: of ``latent_mapper``.
    """
    payload = opened(payload)
    if not isinstance(payload, DigitalMode):
        return []
    return [latent_mapper(model, payload.order, payload.bits_per_latent, payload.codebook, **options)]


def payload_of_codec(payload: Payload) -> Payload:
    """What encoder and decoder blocks are given: labels of latents are made by the mapper, and read by every decoder."""
    payload = opened(payload)
    return ANALOG if isinstance(payload, DigitalMode) else payload
