# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures into the chain: from files, a folder, the packaged samples or any iterable."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import pmt

from semcom import keys
from semcom.blocks.base import PduBlock, check, is_count, is_number, meta_of, reason_of
from semcom.blocks.pdu import Pdu, Pmt
from semcom.errors import ImageError, SemcomError
from semcom.kinds import pictures, video
from semcom.kinds.sets import Taking, is_cifar10, read_pictures

IDS = 65536  # picture numbers wrap here
LEFT_OUT = "pictures left out"  # counter
_MOST_REASONS = 8
OVERTAKEN = "frames overtaken by newer ones"  # counter


class image_source(PduBlock):
    """Emits pictures as PDUs: image_id, image_name, height, width and RGB bytes, u8vector ``[H * W * 3]``.

    After the last picture comes a PDU with ``end_of_stream``, and the block is done, as a file source without
    repeat is: a flowgraph that has no other source ends when the last picture has come through. Files are read when
    their turn comes; one that cannot be read is counted under the reason and passed over.

    Ports: ``out`` PDUs; ``done`` takes the image sink's acknowledgements and opens the window again.

    Args:
        path: a file, a folder (its images in order of their names; of CIFAR-10 the test images), a video, a camera
            (``/dev/video0``), the screen (``screen``, ``screen:640x480+100+50``), or "" for the packaged pictures. Of
            cameras and the screen the newest frame is sent each time, and those that it overtook are counted.
        repeat: start again after the last, for ever.
        rate: pictures a second; 0: as fast as the window lets through.
        max_in_flight: pictures sent and not yet acknowledged at ``done``; 0: no window (a radio never waits).
        first_id: number of the first picture; a station that may be restarted draws it, so that the receiver
            does not take new pictures for repeated ones.
        timeout_s: when nothing is acknowledged for so long, the oldest picture is presumed lost and counted.
        pictures_in: an iterable of ``semcom.kinds.pictures.Picture`` to use instead of ``path``.
        on_sent: called with (image_id, Picture) before each is sent.
        newest: of a video file too, played at its own pace. frame_size: asked of a camera, as "640x480"; "": its own.
        frames_per_s: asked of a camera or the screen; 0: its own. max_side: larger pictures are scaled down to so many
            pixels on their longer side; 0: they are not.
        linger_s: the stream ends so long after the last picture, for receivers that ask for more of it.
    """

    def __init__(
        self,
        path: str = "",
        repeat: bool = False,
        rate: float = 0.0,
        max_in_flight: int = 8,
        timeout_s: float = 30.0,
        first_id: int = 0,
        pictures_in: Iterable | None = None,
        on_sent: Callable[[int, "pictures.Picture"], None] | None = None,
        newest: bool = False,
        frame_size: str = "",
        frames_per_s: float = 0.0,
        max_side: int = 0,
        linger_s: float = 0.0,
    ):
        check(
            "image_source",
            rate=(rate, is_number(rate) and rate >= 0, "0 or more pictures a second"),
            max_in_flight=(max_in_flight, is_count(max_in_flight, 0), "a whole number, 0 or more"),
            first_id=(first_id, is_count(first_id, 0) and first_id < IDS, f"0 to {IDS - 1}"),
            timeout_s=(timeout_s, is_number(timeout_s) and timeout_s > 0, "above 0 s"),
            frames_per_s=(
                frames_per_s,
                is_number(frames_per_s) and frames_per_s >= 0,
                "0 or more frames a second",
            ),
            max_side=(max_side, is_count(max_side, 0) and max_side <= pictures.MAX_SIDE, "0 to 8191 pixels"),
        )
        super().__init__("image_source", has_input=False)
        self.repeat, self.rate = bool(repeat), float(rate)
        self.max_in_flight, self.timeout_s = int(max_in_flight), float(timeout_s)
        # goes on from run to run: a number that comes again is taken for a repeat
        self._next_id = int(first_id)
        self._given: Iterable | None = pictures_in
        self._on_sent = on_sent
        if pictures_in is None and video.is_video(path):
            size, rate_asked = video.size_of(frame_size), float(frames_per_s) or None
            self._given = video.Frames(path, True if newest else None, size, rate_asked, int(max_side))
        self._readers = None if self._given is not None else _readers(path, int(max_side))
        self._in_flight: OrderedDict[int, float] = OrderedDict()
        self._on_left_out: Callable[[int, Exception], None] = lambda image_id, error: None
        self._linger_s = linger_s
        #: what ended the pictures before their time
        self.broken: Exception | None = None
        #: why pictures were left out, and how often
        self.reasons: Counter[str] = Counter()
        self._window = threading.Condition()
        self._ending = threading.Event()
        self.message_port_register_in(pmt.intern(keys.PORT_DONE))
        self.set_msg_handler(pmt.intern(keys.PORT_DONE), self.on_done)

    def set_rate(self, rate: float) -> None:
        check("image_source", rate=(rate, is_number(rate) and rate >= 0, "0 or more pictures a second"))
        self.rate = float(rate)

    def on_done(self, message: Pmt) -> None:
        """An acknowledgement from the image sink."""
        try:
            image_id = meta_of(message).get(keys.IMAGE_ID)
        except SemcomError as error:
            self.fail(reason_of(error), error)
            return
        self.acknowledge(image_id)

    def acknowledge(self, image_id: int) -> None:
        """That picture is through, and whatever was sent long before it never will be: room for more."""
        with self._window:
            if image_id in self._in_flight:
                overtaken = list(self._in_flight).index(image_id) - max(self.max_in_flight // 2, 1)
                for _ in range(max(overtaken, 0)):
                    self._in_flight.popitem(last=False)
                    self.count("pictures presumed lost: overtaken")
                del self._in_flight[image_id]
            self._window.notify_all()

    def follow(
        self,
        chain: Iterable[PduBlock],
        on_left_out: Callable[[int, Exception], None] = lambda image_id, error: None,
    ) -> None:
        """A picture that a block of this chain makes nothing of counts as left out here, and makes room for the next.

        Args:
            on_left_out: called with its number and the error, from that block's thread.
        """
        self._on_left_out = on_left_out
        for block in chain:
            block.on_lost = self._lost

    def _lost(self, meta: dict, error: Exception) -> None:
        image_id = meta.get(keys.IMAGE_ID)
        self._count_left_out(error)
        with self._window:
            self._in_flight.pop(image_id, None)
            self._window.notify_all()
        self._on_left_out(image_id, error)

    def finish(self) -> None:
        """No more pictures: the stream ends behind the one sent last, as it does behind the last of all."""
        self._ending.set()
        with self._window:
            self._window.notify_all()

    def start(self) -> bool:
        self._ending.clear()
        return super().start()

    def reset(self) -> None:
        with self._window:
            self._in_flight.clear()

    def stop(self) -> bool:
        self._stopping.set()
        self.finish()
        return super().stop()

    # the worker of this block does not wait for PDUs: it makes them
    def _run(self) -> None:
        try:
            self._send_all()
            self._ending.wait(self._linger_s)
        except Exception as error:
            # what gives the pictures broke off: so whoever asked for them did not get all
            self.broken = error
            self._leave_out(error)
        self._count_overtaken()
        if not self._stopping.is_set():
            self.on_end(Pdu.end())
            self.is_ending = True
            done = pmt.cons(pmt.intern("done"), pmt.from_long(1))
            self.to_basic_block()._post(pmt.intern(keys.PORT_SYSTEM), done)

    def _send_all(self) -> None:
        number, due = 0, time.monotonic()
        while not self._ending.is_set():
            sent = number
            for read in self._turn():
                picture = self._read(read)
                if picture is None:
                    continue
                if self.rate > 0:
                    due = max(due, time.monotonic() - 1 / self.rate)
                    self._ending.wait(max(0.0, due - time.monotonic()))
                    due += 1 / self.rate
                if not self._wait_for_window():
                    return
                try:
                    self._send(self._next_id, picture)
                except Exception as error:  # one picture that cannot be sent costs one picture
                    self._leave_out(error)
                    with self._window:
                        self._in_flight.pop(self._next_id, None)
                    continue
                self._next_id = (self._next_id + 1) % IDS
                number += 1
            if not self.repeat or number == sent:
                if number == sent:
                    self.fail("no picture could be read")
                return

    def _turn(self) -> Iterable:
        if self._readers is not None:
            return self._readers
        return (lambda picture=picture: picture for picture in self._given)

    def _read(self, read: Callable):
        try:
            return read()
        except Exception as error:
            self._leave_out(error)
            return None

    def _leave_out(self, error: Exception) -> None:
        self.fail(reason_of(error), error)
        self._count_left_out(error)

    def _count_left_out(self, error: Exception) -> None:
        self.count(LEFT_OUT)
        reason = reason_of(error)
        self.reasons[reason if reason in self.reasons or len(self.reasons) < _MOST_REASONS else "others"] += 1

    def _wait_for_window(self) -> bool:
        with self._window:
            while (
                self.max_in_flight
                and len(self._in_flight) >= self.max_in_flight
                and not self._ending.is_set()
            ):
                if not self._window.wait(self.timeout_s) and not self._ending.is_set():
                    self._in_flight.popitem(last=False)
                    self.fail(f"pictures presumed lost: nothing acknowledged for {self.timeout_s:g} s")
        return not self._ending.is_set()

    def _count_overtaken(self) -> None:
        if isinstance(self._given, video.Frames) and self._given.dropped:
            self.set_counts({OVERTAKEN: self._given.dropped})

    def _send(self, image_id: int, picture) -> None:
        height, width = picture.pixels.shape[:2]
        if self._on_sent:
            self._on_sent(image_id, picture)
        self._count_overtaken()
        if self.max_in_flight:
            with self._window:
                self._in_flight[image_id] = time.monotonic()
        meta = {
            keys.IMAGE_ID: image_id,
            keys.IMAGE_NAME: picture.name,
            keys.HEIGHT: height,
            keys.WIDTH: width,
        }
        self.publish(keys.PORT_OUT, Pdu(meta, picture.pixels.reshape(-1)))


def _readers(path: str, max_side: int = 0) -> list[Callable]:
    """One function a picture that reads it.

    Raises:
        ImageError: no such path, or a folder without images.
    """
    if not str(path):
        return [lambda picture=picture: picture for picture in pictures.samples()]
    place = Path(path).expanduser()
    if not place.exists():
        raise ImageError(
            f"image source: there is no file or folder {path!r}; give an existing one, or nothing at all "
            "for the packaged samples"
        )
    if is_cifar10(place):
        return [lambda picture=picture: picture for picture in read_pictures([place], Taking())]
    files = pictures.list_pictures(place) if place.is_dir() else [place]
    return [lambda file=file: pictures.read_picture(file, max_side=max_side) for file in files]
