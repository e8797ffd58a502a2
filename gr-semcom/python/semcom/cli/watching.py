# SPDX-License-Identifier: GPL-3.0-or-later
"""``loopback --video --show``: received pictures in a video, and in a window beside what was sent, as they come."""

from collections.abc import Callable
from pathlib import Path

from semcom import stopping
from semcom.cli.results import Results
from semcom.errors import ConfigError, OutputError
from semcom.kinds.pictures import Picture
from semcom.link.rows import Row

IMAGE = "image"


class Watching:
    """Where received pictures are seen beside their files.

    Args:
        video: a file for them; None: none. show: a window with the newest; closing it ends the run. result: kind of what
            comes out.

    Raises:
        MissingError: what writes videos or opens windows is not there. OutputError: as ``VideoWriter``.
        ConfigError: results that are no pictures.
    """

    def __init__(self, video: Path | None = None, show: bool = False, result: str = IMAGE):
        if (video or show) and result != IMAGE:
            raise ConfigError(f"the model gives a {result}, no pictures: leave out --video and --show.")
        self._writer = self._window = None
        self._error: OutputError | None = None
        #: whether the user has closed the window
        self.closed = False
        if video is not None:
            from semcom.kinds.video import VideoWriter

            self._writer = VideoWriter(video)
            stopping.at_stop(self._close_in_words)
        if show:
            # Qt, which a run without a window does not load
            from semcom.dashboard.first_window import LiveWindow, application
            from semcom.dashboard.picture_pair import PicturePair

            application()
            self._pair = PicturePair("sent", "received")
            self._window = LiveWindow(self._pair, "semcom loopback")

    @property
    def path(self) -> Path | None:
        """Of the video; None: none was begun."""
        return self._writer.path if self._writer and self._writer.frames else None

    def take(self, picture: Picture, row: Row, results: Results, since_s: float | None = None) -> None:
        """A picture and what became of it. since_s: monotonic time from which on it was on its way, for the latency."""
        if self._writer is not None and row.value is not None:
            pixels = row.value
            with stopping.held():
                self._write(pixels, results)
        if self._window is not None:
            from semcom.dashboard.picture_pair import caption

            words = caption(
                row.psnr_db,
                float("nan") if row.snr_est_db is None else row.snr_est_db,
                row.bursts_found,
                row.bursts_sent,
            )
            self._pair.show_pictures(picture.pixels, row.value, words, since_s)
            self.go_on()

    def go_on(self) -> bool:
        """Lets the window work for a moment; False: the user has closed it."""
        if self._window is not None and not self.closed:
            self.closed = not self._window.wait(0.01)
        return not self.closed

    def finish(self, results: Results) -> None:
        """The video is whole."""
        if self._writer is not None:
            self._guarded(self._close, results, now=0)

    def _write(self, pixels, results: Results) -> None:
        if self._error is None:
            self._guarded(lambda: self._writer.write(pixels), results, now=1)
        else:
            self._missing(results, 1)

    def _guarded(self, step: Callable[[], None], results: Results, now: int) -> None:
        """now: pictures that this is about, beside those before which turn out not to be whole."""
        before = self._writer.frames
        try:
            step()
        except OutputError as error:
            self._error = OutputError(str(error), kind=error.kind.removeprefix("video "))
            self._missing(results, before - self._writer.frames + now)

    def _missing(self, results: Results, count: int) -> None:
        def say() -> None:
            raise self._error

        for _ in range(count):
            results.attempt("received pictures are not in the video, which", say)

    def _close(self) -> None:
        if self._writer is not None and self._error is None:
            self._writer.close()

    def _close_in_words(self) -> str:
        self._close()
        return f"The video so far is {self.path}." if self.path else ""
