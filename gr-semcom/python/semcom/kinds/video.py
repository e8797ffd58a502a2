# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a video file, an animation, a camera or the screen as pictures, each of which stands alone; and back.

PyAV (FFmpeg's libraries) reads and writes all of them; the digital rival has it already. V4L2 cameras and X11 screens
need no other library.
"""

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semcom.errors import ConfigError, ImageError, MissingError, OutputError
from semcom.files import free_name, writable_file
from semcom.kinds.pictures import MAX_PIXELS, MAX_SIDE, Picture

SUFFIXES = frozenset(".mp4 .m4v .mkv .webm .avi .mov .mpg .mpeg .ts .ogv".split())
_CAMERAS = "/dev/video"
_SCREEN = re.compile(r"screen(?::(\d+)x(\d+)(?:\+(\d+)\+(\d+))?)?")
#: a camera that gives nothing for so long has failed
_STALL_S = 10.0
_LET_GO_S = 2.0


def is_video(place: str | Path) -> bool:
    """Whether it is a V4L2 camera, the screen or a region of it, a video by its ending, or a GIF that moves."""
    return is_live(place) or Path(place).suffix.lower() in SUFFIXES or _moves(Path(place))


def _moves(place: Path) -> bool:
    if place.suffix.lower() != ".gif":
        return False
    try:
        with Image.open(place) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # whoever reads it as a picture says what is wrong with it
        return False


def is_live(place: str | Path) -> bool:
    """Whether its frames come by themselves and never end: a camera, ``screen``, ``screen:WIDTHxHEIGHT+LEFT+TOP``."""
    text = str(place)
    return text.startswith(_CAMERAS) or text == "screen" or text.startswith("screen:")


def size_of(text: str) -> tuple[int, int] | None:
    """(width, height) of ``640x480``; None of "". Raises ConfigError: neither."""
    if not text:
        return None
    sizes = re.fullmatch(r"(\d+)x(\d+)", text)
    if not sizes or not all(int(side) for side in sizes.groups()):
        raise ConfigError(f"a frame's size is WIDTHxHEIGHT, such as 640x480, not {text!r}.")
    return int(sizes[1]), int(sizes[2])


class Frames:
    """The frames of a video, from its beginning each time that it is iterated over, as ``Picture`` s.

    Frames may change size on the way. One that is larger than can be sent is scaled to fit, which its note says.

    Args:
        place: a video file, an animated GIF, a camera (``/dev/video0``), the screen (``screen``) or a region of it
            (``screen:640x480+100+50``: width, height, left, top).
        newest: what comes while the last frame is still in work is dropped but for the newest, and counted in
            ``dropped``; a file is then played at its own pace; ``None``: of cameras and the screen alone.
        size: (width, height) asked of a camera. frames_per_s: asked of a camera or the screen.
        max_side: larger frames are scaled down to so many pixels on their longer side; 0: to what can be sent.
        limit: of so many frames; None: of all.

    Raises:
        MissingError: PyAV is not installed.
        ConfigError: no such region; a size or a rate of what has its own.
        ImageError: when iterated over: no such camera, screen or file, not a video, no frame in it, a camera that is
            taken away.
    """

    def __init__(
        self,
        place: str | Path,
        newest: bool | None = None,
        size: tuple[int, int] | None = None,
        frames_per_s: float | None = None,
        max_side: int = 0,
        limit: int | None = None,
    ):
        _av()
        self.limit = limit
        self.place = str(place)
        self.camera, self.live = self.place.startswith(_CAMERAS), is_live(place)
        self.newest = self.live if newest is None else newest
        self._region = _SCREEN.fullmatch(self.place)
        if self.live and not (self.camera or self._region):
            raise ConfigError(
                f"a region of the screen is screen:WIDTHxHEIGHT+LEFT+TOP, such as screen:640x480+100+50, not "
                f"{self.place!r}."
            )
        if size is not None and not self.camera:
            raise ConfigError(
                f"a frame size is asked of a camera, and {self.place} is none: scale with max_size."
            )
        if frames_per_s is not None and not self.live:
            raise ConfigError(
                f"{self.place} has a frame rate of its own: frames a second are asked of cameras."
            )
        self._max_side = max_side or MAX_SIDE
        #: frames that were overtaken by newer ones
        self.dropped = 0
        self._options = {}
        if size is not None:
            self._options["video_size"] = f"{size[0]}x{size[1]}"
        if frames_per_s is not None:
            self._options["framerate"] = f"{frames_per_s:g}"
        if self._region and self._region[1]:
            left, top = self._region[3] or "0", self._region[4] or "0"
            self._options |= {
                "video_size": f"{self._region[1]}x{self._region[2]}",
                "grab_x": left,
                "grab_y": top,
            }

    def check(self) -> "Frames":
        """Itself, if it can be opened and has a video in it. Raises ImageError: it cannot, or has not."""
        try:
            with self._open() as container:
                if not container.streams.video:
                    raise ImageError(f"{self.place} has no video in it.")
        except (_av().error.FFmpegError, OSError) as error:
            raise ImageError(self._unreadable(error)) from error
        return self

    def __iter__(self) -> Iterator[Picture]:
        return islice(self._newest() if self.newest else self._all(), self.limit)

    def _all(self, wait: Callable[[float], object] = time.sleep) -> Iterator[Picture]:
        count, error_type = 0, _av().error.FFmpegError
        paced, began = self.newest and not self.live, time.monotonic()
        try:
            with self._open() as container:
                for frame in container.decode(video=0):
                    if paced and frame.time is not None:
                        wait(max(0.0, began + frame.time - time.monotonic()))
                    yield self._picture(frame, count)
                    count += 1
        except (error_type, OSError, IndexError) as error:
            if not count:
                raise ImageError(self._unreadable(error)) from error
            raise ImageError(
                f"{self.place} ended after {count} frames: {_why(error)}. {self._cure()}"
            ) from error
        if not count:
            raise ImageError(self._without_frame())

    def _newest(self) -> Iterator[Picture]:
        changed, ending = threading.Condition(), threading.Event()
        waiting: list[Picture] = []
        ended: list[Exception | None] = []

        def read() -> None:
            error = None
            try:
                for picture in self._all(ending.wait):
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
            # a process that ends while it decodes may crash
            reader.join(_LET_GO_S)

    def _open(self):
        if self._region:
            display = os.environ.get("DISPLAY", "")
            if not display:
                raise ImageError(
                    "the screen is read through X11, and there is none here (DISPLAY is not set): run this in a desktop "
                    "session on X11, or send a camera or a file."
                )
            return _av().open(display, format="x11grab", options=self._options)
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
        scale = min(1.0, self._max_side / max(width, height), (MAX_PIXELS / (width * height)) ** 0.5)
        if scale < 1:
            to_width, to_height = max(int(width * scale), 1), max(int(height * scale), 1)
            note = f"scaled from {width}x{height} to {to_width}x{to_height}"
            width, height = to_width, to_height
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        stem = "screen" if self._region else Path(self.place).stem
        return Picture(f"{stem}-{number:06d}", pixels, note, "" if self._region else self.place)

    def _unreadable(self, error: Exception) -> str:
        if self._region:
            return f"{self.place} cannot be read ({_why(error)}). {self._cure()}"
        if isinstance(error, _av().error.EOFError):
            return self._without_frame()
        return f"{self.place} cannot be read as a video ({_why(error)}). {self._cure()}"

    def _without_frame(self) -> str:
        return f"{self.place} holds no frame: give a video with a picture in it."

    def _cure(self) -> str:
        if self._region:
            return "Does that region lie on the screen, and is the session one of X11 (Wayland shows itself to nobody)?"
        if self.camera:
            return "Is it plugged in, free, and may you read it (group 'video')?"
        return "Is it whole, and a video?"


class VideoWriter:
    """Pictures to a video file, which can be played at any time: what was written stays whole, whatever ends the rest.

    The first picture decides the size; others are scaled to fit into it, with black beside them. H.264 where PyAV has
    libx264, else MPEG-4.

    Args:
        path: of the file, with the ending of a video; where there is one of that name, another is taken: nothing is
            overwritten. frames_per_s: of the video; 0: each picture is shown when it came.

    Raises:
        MissingError: PyAV is not installed.
        OutputError: another ending, or a folder that cannot be written.
    """

    def __init__(self, path: str | Path, frames_per_s: float = 0.0):
        _av()
        if Path(path).suffix.lower() not in SUFFIXES:
            raise OutputError(f"{path} has no ending of a video: call it {Path(path).stem}.mp4.")
        writable_file(path)
        self.path, self.frames = free_name(path), 0
        self._rate = frames_per_s
        # of PyAV, which is an extra and has no types here
        self._container: Any = None
        self._stream: Any = None
        self._began_s, self._last = 0.0, -1
        #: of the file after the last picture that went out whole
        self._whole_bytes = 0

    def write(self, pixels: np.ndarray) -> None:
        """Adds a picture, uint8 ``[H, W, 3]``. Raises OutputError: it cannot be written, nor can any after it."""
        try:
            if self._stream is None:
                self._begin(*pixels.shape[:2])
            frame = _av().VideoFrame.from_ndarray(self._fitted(pixels), format="rgb24")
            now = round(1e3 * (time.monotonic() - self._began_s))
            frame.pts = self._last = max(
                self._last + 1, round(1e3 * self.frames / self._rate) if self._rate else now
            )
            frame.time_base = Fraction(1, 1000)
            self._container.mux(self._stream.encode(frame))
            self.frames += 1
            # an encoder may hold the first ones back, and then there is no file yet
            self._whole_bytes = self.path.stat().st_size if self.path.exists() else 0
        except (_av().error.FFmpegError, OSError) as error:
            self._container = None
            self._cut()
            raise self._not_written(error) from error

    def close(self) -> None:
        """Writes what the encoder still holds. Raises OutputError."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            container.mux(self._stream.encode())
            container.close()
        except (_av().error.FFmpegError, OSError) as error:
            # what it would still write belongs behind the last whole picture
            del container
            self._cut()
            raise self._not_written(error) from error

    def _cut(self) -> None:
        """What was written last, and not whole, goes; ``frames`` says how many pictures stay."""
        if not self.path.exists():
            self.frames = 0
            return
        os.truncate(self.path, self._whole_bytes)
        try:
            with _av().open(str(self.path)) as container:
                self.frames = sum(packet.size > 0 for packet in container.demux(video=0))
        except (_av().error.FFmpegError, OSError, IndexError):
            self.frames = 0

    def _begin(self, height: int, width: int) -> None:
        # what was taken is on the disk; in fragments a file that breaks off can be played up to there
        wanted = {"flush_packets": "1"}
        if self.path.suffix.lower() in (".mp4", ".m4v", ".mov"):
            wanted["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
        self._container = _av().open(str(self.path), "w", container_options=wanted)
        codecs = (
            [] if self.path.suffix.lower() in (".webm", ".ogv", ".mpg", ".mpeg") else ["libx264", "mpeg4"]
        )
        known = [codec for codec in codecs if codec in _av().codecs_available]
        codec = known[0] if known else self._container.default_video_codec
        live = {"preset": "veryfast", "tune": "zerolatency"} if codec == "libx264" else {}
        self._stream = self._container.add_stream(codec, rate=round(self._rate) or 30, options=live)
        # half as many columns and rows of colour
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, 1000)
        self._stream.codec_context.gop_size = 10
        self._began_s = time.monotonic()

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        width, height = self._stream.width, self._stream.height
        rows, columns = pixels.shape[:2]
        if (rows, columns) == (height, width):
            return np.ascontiguousarray(pixels)
        is_first_size = 0 <= height - rows <= 1 and 0 <= width - columns <= 1
        scale = 1.0 if is_first_size else min(height / rows, width / columns)
        to = max(round(columns * scale), 1), max(round(rows * scale), 1)
        small = np.asarray(Image.fromarray(pixels).resize(to)) if to != (columns, rows) else pixels
        out = np.zeros((height, width, 3), np.uint8)
        top, left = (height - to[1]) // 2, (width - to[0]) // 2
        out[top : top + to[1], left : left + to[0]] = small
        return out

    def _not_written(self, error: Exception) -> OutputError:
        why = f"cannot be written any further: {_why(error)}"
        return OutputError(
            f"{self.path} {why}. Its first {self.frames} pictures stay; make room and begin anew.",
            kind=f"video {why}",
        )


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@functools.cache
def _av():
    try:
        import av
        import av.error
    except ImportError:
        raise MissingError(
            "videos, cameras and the screen are read with PyAV: pip install 'gr-semcom[video]'."
        ) from None
    return av
