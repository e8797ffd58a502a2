# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents of bursts to pictures."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from semcom import keys
from semcom.adaptation.feedback import text_of
from semcom.blocks import results
from semcom.blocks.base import PduBlock, check, check_device, is_count, runs, runs_of_pictures
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError
from semcom.modem import AssembledImage, BurstHeader, ImageAssembler
from semcom.modem.header import KEYED, MODE_LATENTS, OPEN, order_of
from semcom.payload.base import ANALOG
from semcom.radio import load_link
from semcom.radio.profile import DEFAULT_MODEL
from semcom.security import Eavesdropper, KeyRing
from semcom.security.sessions import SessionKeys, session_keys
from semcom.system.base import SIDE_LOST, Received
from semcom.system.make import Payload, make

_HEADER_KEYS = (
    keys.IMAGE_ID,
    keys.BURST_INDEX,
    keys.HEIGHT,
    keys.WIDTH,
    keys.LATENT_COUNT,
    keys.MODEL_HASH,
)
# counters
FAILED = "pictures that failed: one colour instead"
BASE_ALONE = "pictures without their side information: the base layer alone"
WITHOUT_FIRST = "parts of pictures whose first part did not come"
_GREY = (128, 128, 128)
_STAGES = (keys.DETECTED_S, keys.DEMODULATED_S, keys.ESTIMATED_S)


class _Ready(NamedTuple):
    """A picture to decode, and when its last burst passed each stage."""

    image: AssembledImage
    times: dict[str, float]


class deepjscc_decoder(PduBlock):
    """Collects the bursts of each picture and decodes it; what never came is an erasure, not an error.

    Ports: ``in`` PDUs of latents with the header's fields, noise_var and snr_db; ``out`` pictures: u8vector
    of RGB bytes with image_id, height, width, bursts_received, burst_count, airtime_samples (of all bursts), order
    and snr_db. Of a model whose pictures may come in parts a picture leaves with each part anew, and with what it has
    and lacks (``have``, ``missing``).

    Args:
        model: name in the zoo; bursts of another, of codebooks that it does not have and of coded bits are counted and
            dropped. Whether latents came analog or quantised, and how, is in the bursts' headers.
        profile: path of the link profile, for the modem's sizes and the limits of pictures; "": none.
        max_open: pictures that may begin between two bursts of another; when one more begins, that one is decoded as far
            as it came. One more transmitter than this may send at once.
        device: "cpu", "cuda", ...; on a GPU all pictures that are waiting go as one batch.
        threads, batch, max_queue: as in every block.
        payload: what kind of symbols is read (``semcom.system.make``): of latents every order is.
        colour_of: number of a picture to the (red, green, blue) that stands for it where its code fails; grey where
            None. A simulation gives the picture's mean colour here.
        key: instead of the link profile's; "": as it has it. eavesdrop: as in ``receiver``.
    """

    drains = True

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        profile: str = "",
        max_open: int = 2,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
        payload: Payload = ANALOG,
        colour_of: Callable[[int], tuple[int, int, int]] | None = None,
        key: str = "",
        eavesdrop: bool = False,
    ):
        check(
            "deepjscc_decoder",
            max_open=(max_open, is_count(max_open), "a whole number of pictures, 1 or more"),
        )
        self.system = make(model, payload, check_device("deepjscc_decoder", device))
        self.model = self.system.model
        self._colour_of = colour_of or (lambda image_id: _GREY)
        super().__init__(type(self).__name__, threads=threads, batch=batch, max_queue=max_queue)
        self.device = device
        link = load_link(profile, key=key)
        check("deepjscc_decoder", eavesdrop=(eavesdrop, isinstance(eavesdrop, bool), "True or False"))
        self._stranger = Eavesdropper() if eavesdrop else None
        self._ring = KeyRing(link.key) if link.key and not eavesdrop else None
        self._profile, self._limits, self._max_open = (
            link.modem.signed if eavesdrop else link.modem,
            link.limits,
            int(max_open),
        )
        self._assembler = self._make_assembler(self._max_open)

    def _make_assembler(self, max_open: int) -> ImageAssembler:
        return ImageAssembler(
            self._profile,
            self.system.admits,
            max_open=max_open,
            limits=self._limits,
            first_place=self.system.first_place,
        )

    def reset(self) -> None:
        self.keep_counts()
        self._assembler = self._make_assembler(self._max_open)

    def warm_up(self) -> None:
        self.system.warm_up(transmit=False)

    def prepare(self, pdu: Pdu) -> list["_Ready"]:
        fields = {key: pdu.integer(key) for key in _HEADER_KEYS}
        fields |= {key: pdu.integer(key, 0) for key in (keys.KIND, keys.SENDER, keys.SIDE, keys.CIPHER)}
        header = BurstHeader(**fields, mode=pdu.integer(keys.MODE, MODE_LATENTS))
        header.check(
            self._profile.max_latents_per_burst,
            self.system.modes,
            kinds=(self.system.result.code,),
            ciphers=KEYED if self._ring or self._stranger else (OPEN,),
        )
        snr_db, latents = pdu.number(keys.SNR_DB), torch.from_numpy(pdu.vector(np.complex64))
        images = self._assembler.add(
            header,
            latents,
            torch.from_numpy(pdu.vector(np.float32, keys.NOISE_VAR)),
            snr_db,
            session=self._session(pdu),
        )
        self.set_counts(self._assembler.counters)
        times = {key: pdu.number(key) for key in _STAGES if key in pdu.meta}
        return [_Ready(image, times) for image in self._begun(images)]

    def _begun(self, images: list[AssembledImage]) -> list[AssembledImage]:
        """Those of which the first part is there: without it those that refine it cannot be read."""
        begun = [image for image in images if any(first == 0 for first, _ in image.parts)]
        if len(begun) < len(images):
            self.count(WITHOUT_FIRST, len(images) - len(begun))
        return begun

    def _session(self, pdu: Pdu) -> SessionKeys | None:
        """What a signed burst is opened with. Raises PduError: its epoch has gone from the key file."""
        if self._stranger is not None:
            return self._stranger.keys
        if self._ring is None:
            return None
        epoch = self._ring.reading(pdu.integer(keys.KEY_EPOCH))
        if epoch is None:
            raise PduError("burst of a key epoch that is no longer in the key file")
        return session_keys(epoch.key, epoch.epoch, pdu.integer(keys.AUTH_SESSION))

    def finish(self) -> list["_Ready"]:
        images = self._assembler.flush()
        self.set_counts(self._assembler.counters)
        return [_Ready(image, {}) for image in self._begun(images)]

    def process(self, items: list["_Ready"]) -> list[tuple[str, Pdu]]:
        kinds = runs(items, lambda item: self.system.together(item.image))
        groups = [group for kind in kinds for group in runs_of_pictures(kind, lambda item: item.image.size)]
        return [message for group in groups for message in self._decode(group)]

    def _decode(self, ready: list["_Ready"]) -> list[tuple[str, Pdu]]:
        received = self.system.receive([item.image for item in ready])
        return [self._outcome(item, one) for item, one in zip(ready, received, strict=True)]

    def _outcome(self, ready: "_Ready", received: Received) -> tuple[str, Pdu]:
        value, extra = received.value, {}
        if keys.DECODED in received.detail:
            extra = {keys.DECODED: received.detail[keys.DECODED]}
            self.count("pictures decoded" if received.detail[keys.DECODED] else FAILED)
        if received.detail.get(SIDE_LOST):
            self.count(BASE_ALONE)
        if value is None:
            colour = np.array(self._colour_of(ready.image.image_id), np.uint8)
            value = np.broadcast_to(colour, (*ready.image.size, 3))
        port, pdu = self._message(ready, value)
        return port, pdu.with_meta(**extra)

    def _message(self, ready: "_Ready", value: np.ndarray) -> tuple[str, Pdu]:
        """A result, of a picture uint8 ``[H, W, 3]``, as it leaves."""
        image = ready.image
        meta = {
            keys.IMAGE_ID: image.image_id,
            keys.MODEL: self.model.card.name,
            keys.BURSTS_RECEIVED: image.bursts_received,
            keys.BURST_COUNT: image.burst_count,
            keys.AIRTIME_SAMPLES: sum(self._profile.plan(count).airtime_samples for _, count in image.parts),
            keys.SENDER: image.sender,
            keys.SNR_DB: float(image.snr_db),
            keys.ORDER: order_of(image.mode),
            **(_parts_of(image) if self.system.first_place else {}),
            **ready.times,
            keys.DECODED_S: time.monotonic(),
        }
        return keys.PORT_OUT, Pdu(meta | results.fields_of(self.system.result, value), value.flatten())


def _parts_of(image: AssembledImage) -> dict:
    """What is known to have been sent of a picture, and what of it did not come."""
    lacking = [f"{side}:{text_of(lost)}" for side, lost in zip(image.sides, image.missing) if lost]
    return {keys.HAVE: max(first + count for first, count in image.parts), keys.MISSING: ";".join(lacking)}
