# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal beside a recording that is being written: one JSON line a burst, appended after its samples.

Samples first, then the line, each handed to the kernel in one call: whenever the process is killed, every line that is
whole names samples that are there. The lock says whether its writer is alive.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from semcom.parsing import ParseError, parse_json

SUFFIX = ".sigmf-journal"
_MAX_LINE_BYTES = 2**20  # a burst takes a thousand


class Journal:
    """Append-only lines in a new file, locked as long as this process has it open. Raises OSError."""

    def __init__(self, path: Path):
        self.path, self.size = path, 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, line: bytes) -> None:
        """Writes one line whole or, when that fails, not at all."""
        try:
            write_all(self._file, line)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(line)

    def close(self) -> None:
        os.close(self._file)


def write_all(file: int, data) -> None:
    """``os.write`` until all is written. Raises OSError."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(file, view) :]


def line_of(value: dict[str, Any]) -> bytes:
    """A dictionary as one line of strict JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; reading ends at the first that is not one. Raises OSError."""
    out: list[dict[str, Any]] = []
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            try:
                value = parse_json(line, file_names=True) if line.endswith(b"\n") else None
            except ParseError:
                value = None
            if not isinstance(value, dict):
                break
            out.append(value)
    return out


def is_being_written(path: Path) -> bool:
    """Whether a living process holds the journal's lock."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
