# SPDX-License-Identifier: GPL-3.0-or-later
"""Files written whole or not at all, and outputs that are known to be writable before a run starts."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from semcom.descriptors import reserve
from semcom.errors import OutputError
from semcom.parsing import is_folder

_TRIAL_BYTES = 4096
_parts: set[Path] = set()  # being written now


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Writes a file atomically: a reader sees the old file or the new one, never a part. Makes its folder.

    Through a link what it leads to is written. What is no file, such as a device or a pipe, is written to and stays.

    Raises:
        OutputError: if the file or its folder cannot be written.
    """
    path = Path(path)
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        if place.exists() and not place.is_file():
            place.write_bytes(data)
            return path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            _parts.add(part)
            reserve.lend(lambda: part.write_bytes(data))
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
            _parts.discard(part)
    except OSError as error:
        raise _not_written(path, error, "Choose another place.") from error
    return path


def discard_parts() -> None:
    """Removes what is half written, for a process that ends in the middle of ``write_bytes``."""
    for part in list(_parts):
        part.unlink(missing_ok=True)


def free_name(path: str | Path) -> Path:
    """The path, or where something has that name ``stem-2.suffix``, ``stem-3.suffix``, ...: nothing is overwritten."""
    path, number = Path(path), 1
    free = path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


class FreeNames:
    """Names for many files of one run: ``free_name`` that does not look through all numbers again each time."""

    def __init__(self):
        self._last: dict[Path, int] = {}

    def path(self, folder: Path, stem: str, suffix: str = ".png") -> Path:
        """``folder/stem.png``, or ``stem-2.png`` ... where that is taken."""
        first = folder / f"{stem}{suffix}"
        number = self._last.get(first, 0)
        while True:
            number += 1
            path = first if number == 1 else folder / f"{stem}-{number}{suffix}"
            if not os.path.lexists(path):
                self._last[first] = number
                return path


def write_text(path: str | Path, text: str) -> Path:
    """Writes UTF-8 text atomically. Raises OutputError like ``write_bytes``."""
    return write_bytes(path, utf8(text))


def utf8(text: str) -> bytes:
    """Text as UTF-8; what of a file name is none becomes its escape, which within JSON leads back to the name."""
    return text.encode("utf-8", "backslashreplace")


def write_json(path: str | Path, value) -> Path:
    """Writes strict JSON atomically, NaN and infinities as null. Raises OutputError like ``write_bytes``."""
    return write_text(path, json.dumps(finite(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def append_bytes(path: str | Path, data: bytes) -> None:
    """Adds bytes to a file, in a single write where the disk takes them so: all of them, or none where it is full.

    Raises:
        OutputError: if they cannot be written; the file is as it was.
    """
    try:
        place = reserve.lend(lambda: os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
        try:
            size, left = os.fstat(place).st_size, memoryview(data)
            try:
                while left:  # a disk with some room takes a part first, and complains about the next
                    left = left[os.write(place, left) :]
            except OSError:
                taken = len(data) - len(left)
                if taken and os.fstat(place).st_size == size + taken:  # nobody else added to it
                    os.ftruncate(place, size)
                raise
        finally:
            os.close(place)
    except OSError as error:
        raise _not_written(path, error, "Make room, or choose another place.") from error


def append_json_line(path: str | Path, value) -> None:
    """Adds one line of strict JSON to a file as ``append_bytes`` does: whole, or not at all.

    Raises:
        OutputError: if the file cannot be written.
    """
    append_bytes(path, utf8(json.dumps(finite(value), allow_nan=False, ensure_ascii=False) + "\n"))


def finite(value):
    """The same nested value with every number that JSON cannot hold (NaN, infinity) replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # numpy and torch scalars
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def writable_folder(path: str | Path, room_bytes: int = _TRIAL_BYTES) -> Path:
    """Makes the folder if need be and tries a write of so many bytes in it, so that a long run does not fail at its end.

    Raises:
        OutputError: if it is a file, or cannot be made or written.
    """
    path = Path(path)
    trial = path / f".semcom.{os.getpid()}.trial"
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(
                f"{path} is a file, but a folder is needed for the output. Choose another name."
            )
        path.mkdir(parents=True, exist_ok=True)
        try:
            reserve.lend(lambda: trial.write_bytes(bytes(room_bytes)))  # an empty file fits on a full disk
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(f"the folder {path}", error, "Choose another place.") from error
    return path


def writable_file(path: str | Path, room_bytes: int = _TRIAL_BYTES) -> Path:
    """Checks that a file can be written here; makes its folder and leaves an existing file as it is.

    Args:
        room_bytes: that the disk must take.

    Raises:
        OutputError: if the path is a folder or its folder cannot be written.
    """
    path = Path(path)
    if is_folder(path):
        raise OutputError(f"{path} is a folder, but a file name is needed for the output.")
    writable_folder(path.parent, room_bytes)
    return path


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder`` that goes again, for files that move to their places when all of them are whole.

    Raises:
        OutputError: nothing can be written there, now or in the meantime.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".semcom-", dir=folder) as stage:
            yield Path(stage)
    except OSError as error:
        raise OutputError(f"nothing can be written to {folder}: {_reason(error)}. Make room.") from error


def check_copies(sources: Iterable[Path], folder: Path) -> None:
    """Raises OutputError where a copy of a file in ``folder`` would overwrite another of its name."""
    for source in sources:
        there = folder / source.name
        if there.exists() and there.read_bytes() != source.read_bytes():
            raise OutputError(
                f"{there} is another file than {source}, which must be copied there: choose a new folder."
            )


def copy_into(sources: Iterable[Path], folder: Path) -> None:
    """Copies files into ``folder``, those that are not there yet. Raises OutputError like ``check_copies``."""
    sources = list(sources)
    check_copies(sources, folder)
    for source in sources:
        if not (folder / source.name).exists():
            write_bytes(folder / source.name, source.read_bytes())


def _not_written(what: str | Path, error: OSError, cure: str) -> OutputError:
    why = f"cannot be written: {_reason(error)}"
    return OutputError(f"{what} {why}. {cure}", kind=why)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
