# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures out of the chain into a video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semcom.blocks.base import check, is_number
from semcom.blocks.pdu import Pdu
from semcom.blocks.result_sink import ResultSink
from semcom.blocks.results import picture_of
from semcom.errors import OutputError
from semcom.kinds.video import VideoWriter


class video_sink(ResultSink):
    """Takes pictures (u8vector of RGB bytes with height and width) and writes them as frames of a video.

    A file that exists stays: the video, and that of another run of the flowgraph, is called ``stem-2.mp4``, ... What was
    written can be played whatever ends the rest; a full disk ends the video once, in words, and the pictures go on.

    Ports: ``in`` PDUs; ``done`` a dictionary a picture, which opens the image source's window again.

    Args:
        path: of the video, .mp4 or another ending of one; "" writes nothing.
        frames_per_s: of the video; 0: each picture is shown when it came.
        keep, callback, max_queue: as in ``image_sink``.
    """

    def __init__(
        self,
        path: str = "",
        frames_per_s: float = 0.0,
        keep: int = 16,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None = None,
        max_queue: int = 256,
    ):
        good = is_number(frames_per_s) and 0 <= frames_per_s <= 1000
        check("video_sink", frames_per_s=(frames_per_s, good, "0 to 1000 frames a second"))
        super().__init__("video_sink", "pictures", keep, callback, max_queue)
        self._path, self._rate = str(path), float(frames_per_s)
        #: counter of what is not in the video any more; "": all is
        self._missing = ""
        # made here, so that a name or a folder that cannot be is reported before anything runs
        self._writer = self._open()

    @property
    def path(self) -> Path | None:
        """Of the latest video; None: there is none."""
        return self._writer.path if self._writer else None

    def _open(self) -> VideoWriter | None:
        return VideoWriter(Path(self._path).expanduser(), self._rate) if self._path else None

    def reset(self) -> None:
        super().reset()
        self._writer, self._missing = self._open(), ""

    def value_of(self, pdu: Pdu) -> np.ndarray:
        return picture_of(pdu)

    def use(self, pdu: Pdu, value: np.ndarray) -> None:
        if self._writer is None:
            return
        if self._missing:
            self.count(self._missing)
            return
        self._guarded(lambda: self._writer.write(value), now=1)
        self.count(self.written)

    def stop(self) -> bool:
        super().stop()
        if self._writer is not None and not self._missing:
            try:
                self._guarded(self._writer.close)
            except OutputError as error:
                self.fail(error.kind, error)
        return True

    def _guarded(self, step: Callable[[], None], now: int = 0) -> None:
        """now: pictures that this is about, beside those before which turn out not to be whole."""
        before = self._writer.frames
        try:
            step()
        except OutputError as error:
            self._missing = (
                f"{self.not_written}are not in the video, which {error.kind.removeprefix('video ')}"
            )
            torn = before - self._writer.frames
            self.count(self.written, -torn)
            self.count(self._missing, torn + now)
            raise
