# SPDX-License-Identifier: GPL-3.0-or-later
"""The sent and the received picture side by side, in a Qt window."""

from collections import OrderedDict, deque
from html import escape

import numpy as np
import pmt
from PyQt5 import QtCore, QtGui, QtWidgets

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import PduBlock, check, is_number, reason_of
from semcom.blocks.pdu import Pdu, Pmt
from semcom.blocks.results import picture_of
from semcom.kinds import quality

_KEPT = 32  # sent pictures that wait for their reception
_HISTORY = 200


class image_view(PduBlock):
    """Shows pictures as they arrive, the sent one beside each, with PSNR, estimated SNR and bursts received.

    Ports: ``in`` received pictures, ``sent`` pictures as the source emits them (both u8vector of RGB bytes
    with image_id, height and width); ``history`` the PSNR in dB of the latest as an f32vector, for a time plot;
    ``throughput`` of the latest the pixels, in millions, that a second of airtime carried: those of the bursts that
    arrived, over the airtime of all bursts of the picture, without gaps between them.

    Args:
        sample_rate: samples a second, which make airtime seconds.
        sent_title, received_title: what stands above the pictures.
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
        check("image_view", sample_rate=(sample_rate, good, "above 0 samples a second"))
        super().__init__("image_view", outputs=(keys.PORT_HISTORY, keys.PORT_THROUGHPUT), max_queue=8)
        self._sample_rate = float(sample_rate)
        self.widget = _View(sent_title, received_title, parent)
        self._sent: OrderedDict[int, np.ndarray] = OrderedDict()
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._throughput: deque[float] = deque(maxlen=_HISTORY)
        self.message_port_register_in(pmt.intern(keys.PORT_SENT))
        self.set_msg_handler(pmt.intern(keys.PORT_SENT), self.on_sent)

    def on_sent(self, message: Pmt) -> None:
        try:
            pdu = bridge.from_message(message)
            if pdu.is_end:
                return
            self._sent[pdu.integer(keys.IMAGE_ID)] = picture_of(pdu)
            while len(self._sent) > _KEPT:
                self._sent.popitem(last=False)
        except Exception as error:
            self.fail(reason_of(error), error)

    def reset(self) -> None:
        self._sent.clear()

    def prepare(self, pdu: Pdu) -> list:
        return [(pdu, picture_of(pdu))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        pdu, received = items[-1]  # of several that wait, the latest is the one to see
        sent = self._sent.pop(pdu.integer(keys.IMAGE_ID), None)
        psnr_db = (
            float(quality.psnr(sent, received)) if sent is not None and sent.shape == received.shape else None
        )
        bursts = pdu.integer(keys.BURSTS_RECEIVED, 0), pdu.integer(keys.BURST_COUNT, 0)
        self.widget.show_pictures(
            sent, received, caption(psnr_db, pdu.number(keys.SNR_DB, float("nan")), *bursts)
        )
        self.count("pictures shown")
        out = []
        if psnr_db is not None:
            out.append(_latest(keys.PORT_HISTORY, self._history, psnr_db))
        airtime_s = pdu.integer(keys.AIRTIME_SAMPLES, 0) / self._sample_rate
        if airtime_s > 0 and bursts[1] > 0:
            pixels = received.shape[0] * received.shape[1] * bursts[0] / bursts[1]
            out.append(_latest(keys.PORT_THROUGHPUT, self._throughput, pixels / airtime_s / 1e6))
        return out


def _latest(port: str, kept: deque[float], value: float) -> tuple[str, Pdu]:
    """The latest values with one more, for a plot."""
    kept.append(value)
    return port, Pdu({}, np.array(kept, dtype=np.float32))


def caption(psnr_db: float | None, snr_db: float, bursts_received: int, burst_count: int) -> str:
    """One line about a received picture."""
    parts = [] if psnr_db is None else [f"PSNR {psnr_db:.1f} dB"]
    if np.isfinite(snr_db):
        parts.append(f"SNR estimated {snr_db:.1f} dB")
    if burst_count:
        parts.append(f"{bursts_received} of {burst_count} bursts")
    return "    ".join(parts)


class _View(QtWidgets.QWidget):
    """Two pictures that keep their proportions, a line of text below. Pictures may come from any thread."""

    _arrived = QtCore.pyqtSignal(object, object, str)

    def __init__(self, sent_title: str, received_title: str, parent=None):
        super().__init__(parent)
        self._sent, self._received = _Picture(), _Picture()
        self._text = QtWidgets.QLabel("waiting for the first picture")
        grid = QtWidgets.QGridLayout(self)
        for column, (title, picture) in enumerate(
            [(sent_title, self._sent), (received_title, self._received)]
        ):
            label = QtWidgets.QLabel(f"<b>{escape(title)}</b>")
            label.setAlignment(QtCore.Qt.AlignCenter)
            grid.addWidget(label, 0, column)
            grid.addWidget(picture, 1, column)
            grid.setColumnStretch(column, 1)
        self._text.setAlignment(QtCore.Qt.AlignCenter)
        grid.addWidget(self._text, 2, 0, 1, 2)
        grid.setRowStretch(1, 1)
        self._arrived.connect(self._show)

    def show_pictures(self, sent: np.ndarray | None, received: np.ndarray, text: str) -> None:
        self._arrived.emit(sent, received, text)

    def _show(self, sent, received, text: str) -> None:
        if sent is not None:
            self._sent.set_pixels(sent)
        self._received.set_pixels(received)
        self._text.setText(text)


class _Picture(QtWidgets.QLabel):
    """A picture scaled to the room there is."""

    def __init__(self):
        super().__init__()
        self._pixmap = None
        self.setAlignment(QtCore.Qt.AlignCenter)
        self.setMinimumSize(256, 256)
        self.setStyleSheet("background: #202020")

    def set_pixels(self, pixels: np.ndarray) -> None:
        height, width = pixels.shape[:2]
        image = QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format_RGB888)
        self._pixmap = QtGui.QPixmap.fromImage(image.copy())  # the copy owns its bytes
        self._fit()

    def resizeEvent(self, event):
        self._fit()
        super().resizeEvent(event)

    def _fit(self) -> None:
        if self._pixmap is not None:
            self.setPixmap(
                self._pixmap.scaled(self.size(), QtCore.Qt.KeepAspectRatio, QtCore.Qt.SmoothTransformation)
            )
