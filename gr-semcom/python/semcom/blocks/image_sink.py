# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures out of the chain: to files, to memory, to a function."""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semcom import keys
from semcom.blocks.base import PduBlock, check, is_count
from semcom.blocks.pdu import Pdu
from semcom.errors import OutputError, PduError
from semcom.kinds import pictures

WRITTEN, NOT_WRITTEN = "pictures written", "pictures that "  # counters; the latter goes on with the reason


class image_sink(PduBlock):
    """Takes pictures (u8vector of RGB bytes with height and width), writes them as PNG and keeps the latest.

    Ports: ``in`` PDUs; ``done`` a dictionary a picture (image_id, bursts_received, burst_count), which opens
    the image source's window again.

    Args:
        folder: where to write <image_id>.png; made when missing; "" writes nothing.
        keep: the latest pictures held in ``pictures``, as (meta, pixels uint8 ``[H, W, 3]``).
        callback: called with (meta, pixels) for each picture. max_queue: as in every block.
    """

    drains = True

    def __init__(
        self,
        folder: str = "",
        keep: int = 16,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None = None,
        max_queue: int = 256,
    ):
        check("image_sink", keep=(keep, is_count(keep, 0), "a whole number of pictures, 0 or more"))
        super().__init__("image_sink", outputs=(keys.PORT_DONE,), max_queue=max_queue)
        self._folder = Path(folder).expanduser() if str(folder) else None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._callback = callback
        self.pictures: deque[tuple[dict[str, Any], np.ndarray]] = deque(maxlen=int(keep))
        self.ended = threading.Event()  # set when the end of the stream has come through

    def reset(self) -> None:
        self.ended.clear()

    def prepare(self, pdu: Pdu) -> list:
        return [(pdu, picture_of(pdu))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        done = []
        for pdu, pixels in items:
            self.pictures.append((pdu.meta, pixels))
            self._attempt(self._write, pdu, pixels)
            self._attempt(self._tell, pdu, pixels)
            self.count("pictures")
            told = (keys.IMAGE_ID, keys.BURSTS_RECEIVED, keys.BURST_COUNT)
            done.append((keys.PORT_DONE, Pdu({key: pdu.meta[key] for key in told if key in pdu.meta}, None)))
        return done

    def _write(self, pdu: Pdu, pixels: np.ndarray) -> list:
        if self._folder is not None:
            try:
                pictures.write_png(self._folder / f"{pdu.integer(keys.IMAGE_ID, 0):05d}.png", pixels)
            except OutputError as error:
                raise OutputError(str(error), kind=f"{NOT_WRITTEN}{error.kind}") from error
            self.count(WRITTEN)
        return []

    def _tell(self, pdu: Pdu, pixels: np.ndarray) -> list:
        if self._callback:
            self._callback(pdu.meta, pixels)
        return []

    def on_end(self, end: Pdu) -> None:
        self.ended.set()


def picture_of(pdu: Pdu) -> np.ndarray:
    """The picture in a PDU, uint8 ``[H, W, 3]``.

    Raises:
        PduError: its bytes do not fit its height and width.
    """
    pixels, height, width = pdu.vector(np.uint8), pdu.integer(keys.HEIGHT), pdu.integer(keys.WIDTH)
    if height < 1 or width < 1 or len(pixels) != 3 * height * width:
        raise PduError("picture PDU whose bytes do not fit its height and width")
    return pixels.reshape(height, width, 3)
