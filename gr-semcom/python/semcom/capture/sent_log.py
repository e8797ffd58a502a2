# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's log, JSON lines, one a picture: which picture a received number means."""

import datetime
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from semcom.parsing import ParseError, parse_json

_KEPT = 4  # entries of one picture number: numbers wrap and transmitters restart
_CHUNK_BYTES = 2**22
_CLOCKS_S = 1.0  # by which two stations' clocks may differ


@dataclass(frozen=True)
class SentPicture:
    """A line of the log. ``sent_s``: seconds since 1970, UTC. ``sender``: number of the transmitter. ``label``: number
    of the class that the picture shows. None: the line does not say."""

    image_id: int
    name: str
    path: str | None
    sha256: str | None
    model_hash: int | None
    sent_s: float | None
    sender: int | None = None
    label: int | None = None


class SentLog:
    """Looks pictures up in a log that may still be growing, or not be there yet. Lines that are not entries are counted
    in ``bad_lines``."""

    def __init__(self, path: str | Path):
        self.path, self.bad_lines = Path(path).expanduser(), 0
        self._offset = 0
        self._entries: dict[int, deque[SentPicture]] = {}

    def find(
        self, image_id: int, model_hash: int | None, received_s: float | None, sender: int | None = None
    ) -> SentPicture | None:
        """The picture with this number, model and sender that was sent last before ``received_s`` (UTC, seconds since
        1970).

        Where no time fits (clocks apart, or none written), the one sent last.
        """
        self._read_on()
        fits = [
            entry
            for entry in self._entries.get(image_id, ())
            if (model_hash is None or entry.model_hash in (None, model_hash))
            and (sender is None or entry.sender in (None, sender))
        ]
        if received_s is not None:
            before = [e for e in fits if e.sent_s is not None and e.sent_s <= received_s + _CLOCKS_S]
            fits = before or fits
        return fits[-1] if fits else None

    def _read_on(self) -> None:
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:  # begun anew
                    self._offset = 0
                file.seek(self._offset)
                while text := file.read(_CHUNK_BYTES):
                    whole = text.rfind(b"\n") + 1
                    if not whole and len(text) < _CHUNK_BYTES:
                        return  # half a line, still being written
                    whole = whole or len(text)  # no line is that long: it is none
                    self._take(text[:whole])
                    self._offset += whole
                    file.seek(self._offset)
        except (OSError, ValueError):  # not there yet, or a name that no file has
            return

    def _take(self, text: bytes) -> None:
        for line in text.splitlines():
            entry = _entry_of(line)
            if entry is None:
                self.bad_lines += 1
            else:
                self._entries.setdefault(entry.image_id, deque(maxlen=_KEPT)).append(entry)


def _entry_of(line: bytes) -> SentPicture | None:
    try:
        value = parse_json(line, file_names=True)
        return SentPicture(
            image_id=_number_of(value["image_id"]),
            name=str(value["image"]),
            path=_text(value.get("path")),
            sha256=_text(value.get("sha256")),
            model_hash=_model_hash(value.get("model")),
            sent_s=_seconds(value.get("sent_utc")),
            sender=_whole(value.get("sender")),
            label=_whole(value.get("true_label")),
        )
    except (ParseError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _number_of(value: Any) -> int:
    """Of a picture. Raises ValueError for one that no header carries."""
    number = int(value)
    if not 0 <= number < 2**16:
        raise ValueError(number)
    return number


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@lru_cache(maxsize=256)
def _model_hash(name: Any) -> int | None:
    from semcom.errors import ModelError
    from semcom.system import zoo

    try:
        return zoo.card(name).model_hash
    except (ModelError, TypeError):  # the transmitter's own model, not here
        return None


def _seconds(value: Any) -> float | None:
    """UTC as ISO 8601 or seconds since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    moment = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()
