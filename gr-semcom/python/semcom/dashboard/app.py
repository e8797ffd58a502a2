# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard as a program: a Qt application around the window, fed by telemetry."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semcom.dashboard.first_window import application
from semcom.dashboard.window import DashboardWidget, QtCore
from semcom.errors import OutputError
from semcom.wire.telemetry import Message, Subscriber


@dataclass(frozen=True)
class FrameReport:
    """How fluent the window was, over ``seconds`` of wall time: frames that were painted, the longest pause between two,
    CPU time of the whole process (window, parsing, PSNR), messages taken in."""

    seconds: float
    frames: int
    longest_s: float
    cpu_s: float
    messages: int

    def in_words(self) -> str:
        return (
            f"{self.frames / self.seconds:.1f} frames a second over {self.seconds:.1f} s, longest pause "
            f"{1e3 * self.longest_s:.0f} ms; {100 * self.cpu_s / self.seconds:.0f} % of one core; "
            f"{self.messages / self.seconds:.0f} messages a second"
        )


class _FrameCounter(QtCore.QObject):
    """Counts the frames that Qt really brings to the screen: a tick that drew something, then a flush of the window."""

    def __init__(self, window: DashboardWidget):
        super().__init__(window)
        self._window = window
        self.begin()
        window.installEventFilter(self)

    def begin(self) -> None:
        self.frames, self.longest_s, self._last, self._drawn = 0, 0.0, None, self._window.frames

    def eventFilter(self, watched, event) -> bool:
        if event.type() == QtCore.QEvent.UpdateRequest and self._drawn != self._window.frames:
            now = time.perf_counter()
            if self._last is not None:
                self.longest_s = max(self.longest_s, now - self._last)
            self.frames, self._last, self._drawn = self.frames + 1, now, self._window.frames
        return False


class _Feed:
    """Messages of all subscribers; their problems go to the window's counters."""

    def __init__(self, subscribers: list[Subscriber]):
        self._subscribers = subscribers
        self.widget: DashboardWidget | None = None
        self.messages = 0

    def __call__(self) -> Iterator[Message]:
        for subscriber in self._subscribers:
            for message in subscriber.receive():
                self.messages += 1
                yield message
            while subscriber.problems:
                words, number = subscriber.problems.popitem()
                self.widget.state.problem(words, number)


def run(
    subscribers: list[Subscriber],
    seconds: float | None = None,
    screenshot: Path | None = None,
    warm_up_s: float = 2.0,
) -> FrameReport:
    """Shows the window until it is closed, or for ``seconds``. Counting begins after ``warm_up_s``.

    Raises:
        MissingError: there is no screen. OutputError: the screenshot cannot be written.
    """
    app = application()
    feed = _Feed(subscribers)
    widget = feed.widget = DashboardWidget(feed)
    widget.setWindowTitle("semcom dashboard")
    counter = _FrameCounter(widget)
    began, cpu, earlier = time.perf_counter(), time.process_time(), 0

    def begin():
        nonlocal began, cpu, earlier
        counter.begin()
        began, cpu, earlier = time.perf_counter(), time.process_time(), feed.messages

    QtCore.QTimer.singleShot(int(1e3 * warm_up_s), begin)
    if seconds:
        QtCore.QTimer.singleShot(int(1e3 * seconds), app.quit)
    former = signal.signal(signal.SIGINT, lambda *_: app.quit())  # the frame timer lets Python see it
    widget.show()
    try:
        app.exec_()
    finally:
        signal.signal(signal.SIGINT, former)
    wall = max(time.perf_counter() - began, 1e-9)
    report = FrameReport(
        wall, counter.frames, counter.longest_s, time.process_time() - cpu, feed.messages - earlier
    )
    if screenshot is not None and not widget.grab().save(str(screenshot), "PNG"):
        raise OutputError(f"{screenshot} cannot be written. Choose another place.")
    widget.close()
    return report
