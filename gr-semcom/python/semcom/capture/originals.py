# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures that were sent, to hold received ones against: by name, by hash, or where the transmitter's log says."""

from pathlib import Path

import numpy as np

from semcom.capture.namespace import BurstNote
from semcom.capture.sent_log import SentLog
from semcom.errors import ImageError, printable
from semcom.kinds.pictures import list_pictures, pixels_sha256, read_picture

_MAX_HELD = 16


class Originals:
    """Looks in a folder, a transmitter's log, both or neither.

    Raises:
        ImageError: the folder is none, or holds no picture.
    """

    def __init__(self, folder: str | Path | None = None, sent_log: str | Path | None = None):
        self._files = list_pictures(folder) if folder is not None else []
        self._log = SentLog(sent_log) if sent_log is not None else None
        self._hashes: dict[tuple[Path, int], str] = {}
        self._held: dict[tuple[Path, int], np.ndarray | None] = {}

    def find(
        self, note: BurstNote, received_s: float | None, size: tuple[int, int]
    ) -> tuple[str | None, np.ndarray | None]:
        """Name and pixels of the picture that a burst belongs to; None for what is not known or not there."""
        name, sha256, places = note.image, note.image_sha256, []
        if self._log is not None and note.image_id is not None:
            sent = self._log.find(note.image_id, note.model_hash, received_s, note.sender)
            if sent is not None:
                name, sha256 = name or sent.name, sha256 or sent.sha256
                places += [Path(sent.path)] if sent.path else []
        if name is None and sha256 is None:
            return None, None
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
                    return name, pixels
        return name, None

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
