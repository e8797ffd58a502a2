# SPDX-License-Identifier: GPL-3.0-or-later
"""The sent and the received picture side by side, in a Qt window."""

import threading
import time
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
OVERTAKEN = "pictures overtaken by newer ones"  # counter


class image_view(PduBlock):
    """Shows pictures as they arrive, the sent one beside each, with PSNR, estimated SNR, bursts received, and how long
    after it was sent the picture is seen (or, where it was sent elsewhere, after its first burst was detected).

    The newest picture wins: of several that wait, the others are not shown, and counted.

    Ports: ``in`` received pictures, ``sent`` pictures as the source emits them (both u8vector of RGB bytes
    with image_id, height and width); ``history`` the PSNR in dB of the latest as an f32vector, for a time plot;
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
        super().__init__("image_view", outputs=(keys.PORT_HISTORY, keys.PORT_THROUGHPUT), max_queue=8)
        self._sample_rate = float(sample_rate)
        self.widget = View(sent_title, received_title, parent)
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
            overtaken, self._queue = len(self._queue) - len(ends), ends
        if overtaken:
            self.count(OVERTAKEN, overtaken)
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
        out = []
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


def caption(psnr_db: float | None, snr_db: float, bursts_received: int, burst_count: int) -> str:
    """One line about a received picture."""
    parts = [] if psnr_db is None else [f"PSNR {psnr_db:.1f} dB"]
    if np.isfinite(snr_db):
        parts.append(f"SNR estimated {snr_db:.1f} dB")
    if burst_count:
        parts.append(f"{bursts_received} of {burst_count} bursts")
    return "    ".join(parts)


class View(QtWidgets.QWidget):
    """Two pictures that keep their proportions, a line of text below. Pictures may come from any thread."""

    _arrived = QtCore.pyqtSignal()

    def __init__(self, sent_title: str, received_title: str, parent=None):
        super().__init__(parent)
        self._sent, self._received = _Picture(), _Picture()
        self._text = QtWidgets.QLabel("waiting for the first picture")
        self._lock, self._newest = threading.Lock(), None
        grid = QtWidgets.QGridLayout(self)
        shown = [(sent_title, self._sent), (received_title, self._received)]
        for column, (title, picture) in enumerate((title, picture) for title, picture in shown if title):
            label = QtWidgets.QLabel(f"<b>{escape(title)}</b>")
            label.setAlignment(QtCore.Qt.AlignCenter)
            grid.addWidget(label, 0, column)
            grid.addWidget(picture, 1, column)
            grid.setColumnStretch(column, 1)
        self._text.setAlignment(QtCore.Qt.AlignCenter)
        grid.addWidget(self._text, 2, 0, 1, 2)
        grid.setRowStretch(1, 1)
        self._arrived.connect(self._show)

    def show_pictures(
        self,
        sent: np.ndarray | None,
        received: np.ndarray | None,
        text: str = "",
        since_s: float | None = None,
    ) -> bool:
        """Shows the newest; whether one that had not been shown yet gives way to it.

        Args:
            sent, received: uint8 ``[H, W, 3]``; None: what is there stays. text: below them.
            since_s: monotonic time from which on it has been on its way, for the latency.
        """
        with self._lock:
            overtakes, self._newest = self._newest is not None, (sent, received, text, since_s)
        if not overtakes:
            self._arrived.emit()
        return overtakes

    def _show(self) -> None:
        with self._lock:
            (sent, received, text, since_s), self._newest = self._newest, None
        for picture, pixels in ((self._sent, sent), (self._received, received)):
            if pixels is not None:
                picture.set_pixels(pixels)
        latency = [] if since_s is None else [f"latency {time.monotonic() - since_s:.2f} s"]
        self._text.setText("    ".join(filter(None, [text, *latency])))


class _Picture(QtWidgets.QLabel):
    """A picture scaled to the room there is."""

    def __init__(self):
        super().__init__()
        self._pixmap = None
        self.setAlignment(QtCore.Qt.AlignCenter)
        self.setMinimumSize(160, 160)
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
