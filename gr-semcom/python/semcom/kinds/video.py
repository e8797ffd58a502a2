# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a video file, an animation or a camera as pictures, each of which stands alone.

PyAV (FFmpeg's libraries) reads all of them; the digital rival has it already. V4L2 cameras need no other library.
"""

import functools
import threading
from collections.abc import Iterator
from pathlib import Path

from semcom.errors import ImageError, MissingError
from semcom.kinds.pictures import MAX_PIXELS, MAX_SIDE, Picture

SUFFIXES = frozenset(".mp4 .m4v .mkv .webm .avi .mov .mpg .mpeg .ts .ogv".split())
_CAMERAS = "/dev/video"
#: a camera that gives nothing for so long has failed
_STALL_S = 10.0


def is_video(place: str | Path) -> bool:
    """Whether it is a V4L2 camera, or a file with the ending of a video."""
    return str(place).startswith(_CAMERAS) or Path(place).suffix.lower() in SUFFIXES


class Frames:
    """The frames of a video, from its beginning each time that it is iterated over, as ``Picture`` s.

    Frames may change size on the way. One that is larger than can be sent is scaled to fit, which its note says.

    Args:
        place: a video file, an animated GIF, or a camera (``/dev/video0``).
        newest: what comes while the last frame is still in work is dropped but for the newest, and counted in
            ``dropped``; ``None``: of cameras alone.
        size: (width, height) asked of a camera. frames_per_s: asked of a camera.

    Raises:
        MissingError: PyAV is not installed.
        ImageError: when iterated over: no such camera or file, not a video, no frame in it, a camera that is taken away.
    """

    def __init__(
        self,
        place: str | Path,
        newest: bool | None = None,
        size: tuple[int, int] | None = None,
        frames_per_s: float | None = None,
    ):
        _av()
        self.place = str(place)
        self.camera = self.place.startswith(_CAMERAS)
        self.newest = self.camera if newest is None else newest
        #: frames that were overtaken by newer ones
        self.dropped = 0
        self._options = {}
        if size is not None:
            self._options["video_size"] = f"{size[0]}x{size[1]}"
        if frames_per_s is not None:
            self._options["framerate"] = f"{frames_per_s:g}"

    def check(self) -> "Frames":
        """Itself, if it can be opened and has a video in it. Raises ImageError: it cannot, or has not."""
        try:
            with self._open() as container:
                if not container.streams.video:
                    raise ImageError(f"{self.place} has no video in it.")
        except (_av().error.FFmpegError, OSError) as error:
            raise ImageError(
                f"{self.place} cannot be read as a video ({_why(error)}). {self._cure()}"
            ) from error
        return self

    def __iter__(self) -> Iterator[Picture]:
        return self._newest() if self.newest else self._all()

    def _all(self) -> Iterator[Picture]:
        count, error_type = 0, _av().error.FFmpegError
        try:
            with self._open() as container:
                for frame in container.decode(video=0):
                    yield self._picture(frame, count)
                    count += 1
        except (error_type, OSError, IndexError) as error:
            if not count:
                raise ImageError(
                    f"{self.place} cannot be read as a video ({_why(error)}). {self._cure()}"
                ) from error
            raise ImageError(
                f"{self.place} ended after {count} frames: {_why(error)}. {self._cure()}"
            ) from error
        if not count:
            raise ImageError(f"{self.place} holds no frame: give a video with a picture in it.")

    def _newest(self) -> Iterator[Picture]:
        changed, ending = threading.Condition(), threading.Event()
        waiting: list[Picture] = []
        ended: list[Exception | None] = []

        def read() -> None:
            error = None
            try:
                for picture in self._all():
                    with changed:
                        self.dropped += len(waiting)
                        waiting[:] = [picture]
                        changed.notify_all()
                    if ending.is_set():
                        break
            except Exception as raised:
                error = raised
            with changed:
                ended.append(error)
                changed.notify_all()

        reader = threading.Thread(target=read, name="video frames", daemon=True)
        reader.start()
        try:
            while True:
                with changed:
                    changed.wait_for(lambda: waiting or ended)
                    if not waiting:
                        break
                    picture = waiting.pop()
                yield picture
            if ended[0] is not None:
                raise ended[0]
        finally:
            ending.set()

    def _open(self):
        if not self.camera:
            if not Path(self.place).is_file():
                raise ImageError(f"there is no video file {self.place}.")
            return _av().open(self.place)
        if not Path(self.place).exists():
            raise ImageError(
                f"there is no camera {self.place}: plug it in, or name another (v4l2-ctl --list-devices); a camera "
                f"without hardware is made by the kernel module v4l2loopback, where it is installed."
            )
        return _av().open(self.place, format="v4l2", options=self._options, timeout=_STALL_S)

    def _picture(self, frame, number: int) -> Picture:
        width, height, note = frame.width, frame.height, ""
        scale = min(1.0, MAX_SIDE / max(width, height), (MAX_PIXELS / (width * height)) ** 0.5)
        if scale < 1:
            to_width, to_height = max(int(width * scale), 1), max(int(height * scale), 1)
            note = f"scaled from {width}x{height} to {to_width}x{to_height}"
            width, height = to_width, to_height
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        return Picture(f"{Path(self.place).stem}-{number:06d}", pixels, note, self.place)

    def _cure(self) -> str:
        if self.camera:
            return "Is it plugged in, free, and may you read it (group 'video')?"
        return "Is it whole, and a video?"


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@functools.cache
def _av():
    try:
        import av
        import av.error
    except ImportError:
        raise MissingError("videos and cameras are read with PyAV: pip install 'gr-semcom[video]'.") from None
    return av
