# SPDX-License-Identifier: GPL-3.0-or-later
"""What was sent, to hold what was received against: by name, by hash, or where the transmitter's log says."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from semcom.capture.namespace import BurstNote
from semcom.capture.sent_log import SentLog
from semcom.errors import ImageError, printable
from semcom.kinds.pictures import list_pictures, pixels_sha256, read_picture
from semcom.kinds.sets import Taking, is_cifar10, read_pictures

_MAX_HELD = 16


class Original(NamedTuple):
    """What is known of an item that was sent. pixels: uint8 ``[H, W, 3]``. label: number of the class that it shows."""

    name: str | None = None
    pixels: np.ndarray | None = None
    label: int | None = None


class Originals:
    """Looks in a folder, a transmitter's log, both or neither. Of a folder of CIFAR-10 the test images are meant, whose
    classes are known.

    Raises:
        ImageError: the folder is none, or holds no picture.
    """

    def __init__(self, folder: str | Path | None = None, sent_log: str | Path | None = None):
        self._files: list[Path] = []
        # pictures without a file of their own, by name
        self._set: dict[str, Original] = {}
        if folder is not None and is_cifar10(Path(folder)):
            pictures = read_pictures([Path(folder)], Taking())
            self._set = {one.name: Original(one.name, one.pixels, one.label) for one in pictures}
        elif folder is not None:
            self._files = list_pictures(folder)
        self._log = SentLog(sent_log) if sent_log is not None else None
        self._hashes: dict[tuple[Path, int], str] = {}
        self._held: dict[tuple[Path, int], np.ndarray | None] = {}

    def find(
        self, note: BurstNote, received_s: float | None, size: tuple[int, int] | None = None
    ) -> Original:
        """The picture that a burst belongs to, as far as it is known.

        Args:
            size: of the picture, which must be the original's; None: what was received is no picture, so that no file of
                one is looked for, and its class is what matters.
        """
        name, sha256, label, places = note.image, note.image_sha256, None, []
        if self._log is not None and note.image_id is not None:
            sent = self._log.find(note.image_id, note.model_hash, received_s, note.sender)
            if sent is not None:
                name, sha256, label = name or sent.name, sha256 or sent.sha256, sent.label
                places += [Path(sent.path)] if sent.path else []
        of_set = self._set.get(name or "")
        if of_set is not None and sha256 in (None, pixels_sha256(of_set.pixels)):
            fits = size in (None, of_set.pixels.shape[:2])
            return of_set if fits else Original(name, None, label)
        if size is None or name is None and sha256 is None:
            return Original(name, None, label)
        places += [file for file in self._files if printable(file.name) == name]
        if sha256 is not None:
            places += [file for file in self._files if printable(file.name) != name]
        for place in places:
            # one that was sent scaled down is larger in its file
            side = max(size)
            if sha256 is not None and self._hashes.get((place, side), sha256) != sha256:
                continue
            pixels = self._read(place, side)
            if pixels is not None and pixels.shape[:2] == size:
                if sha256 in (None, self._hashes[place, side]):
                    return Original(name, pixels, label)
        return Original(name, None, label)

    def _read(self, place: Path, side: int) -> np.ndarray | None:
        key = place, side
        if key not in self._held:
            try:
                self._held[key] = pixels = read_picture(place, max_side=side).pixels
                self._hashes[key] = pixels_sha256(pixels)
            except ImageError:
                self._held[key] = None
            while len(self._held) > _MAX_HELD:
                self._held.pop(next(iter(self._held)))
        return self._held.get(key)
