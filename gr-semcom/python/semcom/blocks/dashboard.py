# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard inside a Qt flowgraph, fed by message ports instead of telemetry."""

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from semcom.blocks.base import check, is_count
from semcom.blocks.pdu import Pmt
from semcom.blocks.telemetry import Watcher, hand_burst, hand_picture, hand_snr
from semcom.dashboard.digest import MAX_RATE_HZ, Digest
from semcom.radio import load_link
from semcom.wire.telemetry import Message

_MAX_WAITING = 64  # messages for a window that Qt does not get round to drawing


class dashboard(Watcher):
    """Shows what a link does in a Qt widget: pictures with PSNR, SNR, constellation, subcarriers, peak power, counters.

    Ports: ``pictures`` PDUs of decoded pictures, ``sent`` PDUs of pictures as the source emits them, ``bursts`` PDUs of
    the pilot_snr_estimator, ``snr`` dictionaries of feedback as the transmitter receives it.

    Args:
        profile: path of the link profile; "": none. max_pixels: of a larger picture every n-th pixel is shown.
        parent: Qt parent of ``widget``.
    """

    def __init__(self, profile: str = "", max_pixels: int = 2**19, parent=None):
        check(
            "dashboard",
            max_pixels=(
                max_pixels,
                is_count(max_pixels) and max_pixels <= 2**22,
                "a whole number, 1 to 4194304",
            ),
        )
        link = load_link(profile)
        self._digests = {name: Digest(name, link, MAX_RATE_HZ, int(max_pixels)) for name in ("tx", "rx")}
        self._waiting: deque[Message] = deque(maxlen=_MAX_WAITING)
        self._parent = parent
        super().__init__("dashboard", ("pictures", "sent", "bursts", "snr"), MAX_RATE_HZ)
        self.watch("dashboard", self)

    def on_pictures(self, message: Pmt) -> None:
        self.hand(message, hand_picture, self._digests["rx"])

    def on_sent(self, message: Pmt) -> None:
        self.hand(message, hand_picture, self._digests["tx"])

    def on_bursts(self, message: Pmt) -> None:
        self.hand(message, hand_burst, self._digests["rx"])

    def on_snr(self, message: Pmt) -> None:
        self.hand(message, hand_snr, self._digests["tx"])

    @cached_property
    def widget(self):
        """The window, made when first asked for, in Qt's thread.

        Raises:
            MissingError: PyQt5 or pyqtgraph is not installed.
        """
        from semcom.dashboard.window import DashboardWidget

        return DashboardWidget(self._drain, parent=self._parent)

    def watch(self, name: str, block: Any, station: str = "rx") -> None:
        """Shows also the counters of ``block`` (or of a dictionary), under ``name``."""
        self._digests[station].watch(name, block)

    def watched(self) -> list[Any]:
        return [block for digest in self._digests.values() for block in digest.watched()]

    def tick(self) -> None:
        for digest in self._digests.values():
            self._waiting.extend(digest.messages())

    def _drain(self) -> Iterator[Message]:
        """In Qt's thread."""
        while self._waiting:
            yield self._waiting.popleft()
