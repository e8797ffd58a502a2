# SPDX-License-Identifier: GPL-3.0-or-later
"""The sent and the received picture side by side, in a Qt window."""

import time
from collections import OrderedDict, deque

import numpy as np
import pmt

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import PduBlock, check, is_number, reason_of
from semcom.blocks.pdu import Pdu, Pmt
from semcom.blocks.results import picture_of
from semcom.dashboard.picture_pair import PicturePair, caption
from semcom.kinds import quality

_KEPT = 32  # sent pictures that wait for their reception
_HISTORY = 200
OVERTAKEN = "pictures overtaken by newer ones"  # counter


class image_view(PduBlock):
    """Shows pictures as they arrive, the sent one beside each, with PSNR, estimated SNR, bursts received, and how long
    after it was sent the picture is seen (or, where it was sent elsewhere, after its first burst was detected).

    The newest picture wins: of several that wait, the others are not shown, and counted.

    Ports: ``in`` received pictures, ``sent`` pictures as the source emits them (both u8vector of RGB bytes
    with image_id, height and width); ``done`` a dictionary a picture, shown or overtaken, which opens the image source's
    window again; ``history`` the PSNR in dB of the latest as an f32vector, for a time plot;
    ``throughput`` of the latest the pixels, in millions, that a second of airtime carried: those of the bursts that
    arrived, over the airtime of all bursts of the picture, without gaps between them.

    Args:
        sample_rate: samples a second, which make airtime seconds.
        sent_title, received_title: what stands above the pictures; "": there is no such picture to be shown.
        parent: Qt parent of ``widget``.
    """

    def __init__(
        self,
        sent_title: str = "sent",
        received_title: str = "received",
        parent=None,
        sample_rate: float = 1e6,
    ):
        good = is_number(sample_rate) and sample_rate > 0
        check(
            "image_view",
            sample_rate=(sample_rate, good, "above 0 samples a second"),
            received_title=(
                received_title,
                bool(sent_title or received_title),
                "a text, as sent_title is empty",
            ),
        )
        super().__init__(
            "image_view", outputs=(keys.PORT_DONE, keys.PORT_HISTORY, keys.PORT_THROUGHPUT), max_queue=8
        )
        self._sample_rate = float(sample_rate)
        self.widget = PicturePair(sent_title, received_title, parent)
        self._waits = bool(received_title)  # what was sent is shown with what was received
        self._sent: OrderedDict[int, tuple[np.ndarray, float]] = OrderedDict()  # with the time it came
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._throughput: deque[float] = deque(maxlen=_HISTORY)
        self.message_port_register_in(pmt.intern(keys.PORT_SENT))
        self.set_msg_handler(pmt.intern(keys.PORT_SENT), self.on_sent)

    def on_sent(self, message: Pmt) -> None:
        try:
            pdu = bridge.from_message(message)
            if pdu.is_end:
                return
            now, picture = time.monotonic(), picture_of(pdu)
            self._sent[pdu.integer(keys.IMAGE_ID)] = picture, now
            while len(self._sent) > _KEPT:
                self._sent.popitem(last=False)
            if not self._waits:
                self._show(picture, None, str(pdu.meta.get(keys.IMAGE_NAME, "")), None)
        except Exception as error:
            self.fail(reason_of(error), error)

    def reset(self) -> None:
        self._sent.clear()

    def enqueue(self, pdu: Pdu) -> None:
        with self._arrived:
            ends = deque(older for older in self._queue if older.is_end or pdu.is_end)
            overtaken = [older for older in self._queue if not (older.is_end or pdu.is_end)]
            self._queue = ends
        for older in overtaken:
            self.count(OVERTAKEN)
            if keys.IMAGE_ID in older.meta:
                self.publish(keys.PORT_DONE, Pdu({keys.IMAGE_ID: older.meta[keys.IMAGE_ID]}, None))
        super().enqueue(pdu)

    def prepare(self, pdu: Pdu) -> list:
        return [(pdu, picture_of(pdu))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        pdu, received = items[-1]
        sent, since_s = self._sent.pop(pdu.integer(keys.IMAGE_ID), (None, pdu.meta.get(keys.DETECTED_S)))
        psnr_db = (
            float(quality.psnr(sent, received)) if sent is not None and sent.shape == received.shape else None
        )
        bursts = pdu.integer(keys.BURSTS_RECEIVED, 0), pdu.integer(keys.BURST_COUNT, 0)
        text = caption(psnr_db, pdu.number(keys.SNR_DB, float("nan")), *bursts)
        self._show(sent, received, text, since_s if is_number(since_s) else None)
        out = [(keys.PORT_DONE, Pdu({keys.IMAGE_ID: pdu.integer(keys.IMAGE_ID)}, None))]
        if psnr_db is not None:
            out.append(_latest(keys.PORT_HISTORY, self._history, psnr_db))
        airtime_s = pdu.integer(keys.AIRTIME_SAMPLES, 0) / self._sample_rate
        if airtime_s > 0 and bursts[1] > 0:
            pixels = received.shape[0] * received.shape[1] * bursts[0] / bursts[1]
            out.append(_latest(keys.PORT_THROUGHPUT, self._throughput, pixels / airtime_s / 1e6))
        return out

    def _show(self, sent, received, text: str, since_s: float | None) -> None:
        self.count("pictures shown")
        if self.widget.show_pictures(sent, received, text, since_s):
            self.count(OVERTAKEN)


def _latest(port: str, kept: deque[float], value: float) -> tuple[str, Pdu]:
    """The latest values with one more, for a plot."""
    kept.append(value)
    return port, Pdu({}, np.array(kept, dtype=np.float32))
