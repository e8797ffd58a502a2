# SPDX-License-Identifier: GPL-3.0-or-later
"""The sent and the received picture side by side: a Qt widget, with or without GNU Radio."""

import threading
import time
from html import escape

import numpy as np

from semcom.dashboard.first_window import QtCore, QtGui, QtWidgets


def caption(psnr_db: float | None, snr_db: float, bursts_received: int, burst_count: int) -> str:
    """One line about a received picture."""
    parts = [] if psnr_db is None else [f"PSNR {psnr_db:.1f} dB"]
    if np.isfinite(snr_db):
        parts.append(f"SNR estimated {snr_db:.1f} dB")
    if burst_count:
        parts.append(f"{bursts_received} of {burst_count} bursts")
    return "    ".join(parts)


class PicturePair(QtWidgets.QWidget):
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
