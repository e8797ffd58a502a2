# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to payload symbols."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pmt
import torch

from semcom import keys
from semcom.adaptation import report_of
from semcom.adaptation.feedback import Wanted, text_of, wanted_of
from semcom.blocks.base import (
    PduBlock,
    check,
    check_device,
    check_snr,
    is_heartbeat,
    is_number,
    meta_of,
    reason_of,
    runs,
    runs_of_pictures,
)
from semcom.blocks.pdu import Pdu, Pmt
from semcom.blocks.results import picture_to_send
from semcom.codec.base import Latents
from semcom.errors import ConfigError, PduError, SemcomError
from semcom.modem.header import MODE_LATENTS
from semcom.payload.base import ANALOG
from semcom.radio.profile import DEFAULT_MODEL
from semcom.system.make import Payload, make

#: of which a receiver may ask for more
KEPT_PICTURES = 16
#: whose reports are kept at once
MOST_RECEIVERS = 8
NOT_REACHED = "targets not reached: sent at the highest rate"


@dataclass
class _Kept:
    """A picture that is out: its PDU, uint8 ``[H, W, 3]``, and its latents with those of the parts that followed."""

    pdu: Pdu
    pixels: np.ndarray
    sent: Latents


def _part_of(pdu: Pdu, part: Latents) -> Pdu:
    """The PDU of a part of the picture whose first part's PDU this is."""
    symbols = part.values[0].cpu().numpy()
    fields = {keys.SIDE: int(part.side_bits[0]), keys.LATENT_COUNT: len(symbols)}
    return Pdu(pdu.with_meta(**fields).meta, symbols)


class deepjscc_encoder(PduBlock):
    """Pictures (u8vector of RGB bytes with height and width) to complex latents of mean power 1 a picture.

    Ports: ``in``, ``out`` PDUs; ``snr`` takes the receiver's estimates: a dictionary with ``snr_db``. An
    estimate is used for ``max_age_s`` after its arrival; then the stated default holds again, and that is
    counted. What comes with it may ask for more of a picture of the last ``KEPT_PICTURES``
    (``semcom.adaptation.feedback.Wanted``): the next part goes out, or what of it was lost. Of several receivers,
    told apart by session, the lowest fresh estimate holds. A picture whose dictionary has
    ``rho`` is sent at that bandwidth ratio, and at that ``snr_db`` if it has one (``rate_controller``).

    Args:
        model: name in the zoo.
        snr_db: Es/N0 in dB to encode for, as long as there is no fresh feedback.
        max_age_s: how long an estimate is trusted.
        device: "cpu", "cuda", ...; on a GPU all waiting pictures of one size go as one batch.
        threads: CPU threads of torch. batch: pictures at once. max_queue: pictures waiting before the oldest
            is dropped.
        payload: how what the model makes becomes symbols (``semcom.system.make``).
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        snr_db: float = 10.0,
        max_age_s: float = 2.0,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
        payload: Payload = ANALOG,
    ):
        check_snr("deepjscc_encoder", snr_db)
        check("deepjscc_encoder", max_age_s=(max_age_s, is_number(max_age_s) and max_age_s > 0, "above 0 s"))
        self.system = make(model, payload, check_device("deepjscc_encoder", device))
        self.model = self.system.model
        super().__init__(type(self).__name__, threads=threads, batch=batch, max_queue=max_queue)
        self.snr_db, self.max_age_s, self.device = float(snr_db), float(max_age_s), device
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._feedback: dict[Any, tuple[float, float]] = {}  # by session: SNR in dB, time of arrival
        self._feedback_lock = threading.Lock()
        self.message_port_register_in(pmt.intern(keys.PORT_SNR))
        self.set_msg_handler(pmt.intern(keys.PORT_SNR), self.on_snr)

    def set_snr_db(self, snr_db: float) -> None:
        """The default SNR, live."""
        check_snr("deepjscc_encoder", snr_db)
        self.snr_db = float(snr_db)

    def on_snr(self, message: Pmt) -> None:
        """Feedback from the receiver."""
        if is_heartbeat(message):
            return
        try:
            said = meta_of(message)
            report = report_of(said)
        except SemcomError as error:
            self.fail(reason_of(error), error)
            return
        with self._feedback_lock:
            self._feedback.pop(said.get(keys.SESSION), None)
            self._feedback[said.get(keys.SESSION)] = report[keys.SNR_DB], time.monotonic()
            while len(self._feedback) > MOST_RECEIVERS:
                del self._feedback[next(iter(self._feedback))]
        self.count("SNR feedback received")
        if keys.WANT_ITEM in report:
            # answered by the thread that encodes
            self.enqueue(Pdu(report, np.zeros(0, np.complex64)))
        if keys.TARGET_PSNR_DB in report and self.model.card.rates is None:
            self.count("targets asked for that this model cannot promise: not followed")

    def snr_now(self) -> float:
        """The SNR in dB that the next picture is encoded for."""
        now_s = time.monotonic()
        with self._feedback_lock:
            heard = list(self._feedback.values())
        fresh = [snr_db for snr_db, at_s in heard if now_s - at_s <= self.max_age_s]
        if heard and not fresh:
            self.count("SNR feedback stale: default used")
        return min(fresh, default=self.snr_db)

    def reset(self) -> None:
        with self._feedback_lock:
            self._feedback.clear()
        self._kept.clear()

    def warm_up(self) -> None:
        self.system.warm_up(transmit=True)

    def prepare(self, pdu: Pdu) -> list:
        if keys.WANT_ITEM in pdu.meta:
            for answer in self._answers(wanted_of(pdu.meta)):
                self.publish(keys.PORT_OUT, answer)
            return []
        pixels = picture_to_send(pdu)
        if _rho_of(pdu) is not None and keys.SNR_DB in pdu.meta:
            # the rate was chosen for that SNR
            check_snr("deepjscc_encoder", pdu.number(keys.SNR_DB))
            return [(pdu, pixels)]
        return [(pdu.with_meta(**{keys.SNR_DB: self.snr_now()}), pixels)]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        groups = runs_of_pictures(items, lambda item: item[1].shape[:2])
        groups = [run for group in groups for run in runs(group, lambda item: _rho_of(item[0]))]
        if self.system.one_by_one:
            groups = [[item] for group in groups for item in group]
        return [message for group in groups for message in self._send(group)]

    def _send(self, group: list) -> list[tuple[str, Pdu]]:
        sent = self.system.send(
            [pixels for _, pixels in group],
            [pdu.number(keys.SNR_DB) for pdu, _ in group],
            _rho_of(group[0][0]),
        )
        if sent.detail.get(keys.TARGET_REACHED) is False:
            self.count(NOT_REACHED)
        sides = sent.side or (0,) * len(group)
        meta = {
            keys.KIND: sent.kind,
            keys.MODEL: self.model.card.name,
            keys.MODEL_HASH: sent.model_hash,
            keys.MODE: sent.mode,
            keys.LATENT_COUNT: sent.symbols.shape[1],
            keys.HEIGHT: sent.size[0],
            keys.WIDTH: sent.size[1],
            **sent.detail,
        }
        if keys.MCS in sent.detail:
            self.count(f"pictures sent as {sent.detail[keys.MCS]}", len(group))
        out = [
            Pdu(pdu.with_meta(**meta, **{keys.SIDE: side, keys.RING_SCALE: scale}).meta, row)
            for (pdu, _), row, side, scale in zip(group, sent.symbols, sides, sent.ring_scale, strict=True)
        ]
        if self.system.first_place is not None and sent.mode == MODE_LATENTS:
            for made, (_, pixels), row in zip(out, group, sent.symbols):
                self._keep(made, pixels, row)
        return [(keys.PORT_OUT, made) for made in out]

    def _keep(self, pdu: Pdu, pixels: np.ndarray, symbols: torch.Tensor) -> None:
        """Remembers a picture that goes out: a receiver may ask for more of it."""
        if keys.IMAGE_ID not in pdu.meta:
            return
        side = torch.tensor([pdu.integer(keys.SIDE, 0)])
        number = pdu.integer(keys.IMAGE_ID)
        self._kept.pop(number, None)
        self._kept[number] = _Kept(pdu, pixels, Latents(symbols[None], side=side))
        while len(self._kept) > KEPT_PICTURES:
            self._kept.popitem(last=False)

    def _answers(self, wanted: Wanted) -> list[Pdu]:
        """What of a picture goes out once more, and what for the first time."""
        kept = self._kept.get(wanted.image_id)
        if kept is None:
            self.count("requests for pictures that are gone")
            return []
        if wanted.bursts:
            for part in (kept.sent, *kept.sent.later):
                if int(part.side_bits[0]) == wanted.side:
                    self.count("requests answered: lost bursts")
                    return [_part_of(kept.pdu, part).with_meta(**{keys.BURSTS: text_of(wanted.bursts)})]
            self.count("requests for parts that were not sent")
            return []
        size = kept.pixels.shape[0], kept.pixels.shape[1]
        # what the receiver does not know of was lost as a whole
        again = [
            part
            for part in kept.sent.later
            if self.system.codec.place(int(part.side_bits[0]), size) >= wanted.begin
        ]
        if again:
            self.count("requests answered: lost parts")
            return [_part_of(kept.pdu, part) for part in again]
        try:
            part = self.system.refine(kept.pixels, kept.sent, wanted.rho)
        except ConfigError as error:
            self.count("requests for more than there is")
            self.error = error
            return []
        kept.sent = replace(kept.sent, later=(*kept.sent.later, part))
        self.count("requests answered: parts")
        return [_part_of(kept.pdu, part)]


def _rho_of(pdu: Pdu) -> float | None:
    """The bandwidth ratio that a rate controller chose; None: the system's own. Raises PduError: it is none."""
    if keys.RHO not in pdu.meta:
        return None
    rho = pdu.number(keys.RHO)
    if not 0 < rho <= 1:
        raise PduError("picture PDU whose bandwidth ratio is not above 0 and at most 1")
    return rho
