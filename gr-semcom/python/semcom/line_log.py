# SPDX-License-Identifier: GPL-3.0-or-later
"""A station's log, JSON lines, written beside the work: a disk that is full or stalls stands between no picture and the
air."""

import threading
import time
from collections import Counter, deque
from pathlib import Path

from semcom.errors import OutputError
from semcom.files import append_json_line

_MAX_WAITING = 4096  # lines: minutes of pictures; beyond it the disk does not keep up
_PATIENCE_S = 5.0
WRITTEN, _NOT = "log lines written", "log lines not written: "
_TOO_SLOW = f"{_NOT}the disk does not keep up"


class LineLog:
    """Appends entries to a file, each whole or not at all, in a thread of its own.

    Attributes:
        counters: lines written, and lines not written with the reason, in words.
    """

    def __init__(self, path: str | Path):
        self.path, self.counters = Path(path), Counter()
        self._waiting: deque[dict] = deque()
        self._changed = threading.Condition()
        self._writing, self._thread = False, None

    def name(self) -> str:
        """As a block in a table of counters."""
        return "log"

    def add(self, entry: dict) -> None:
        """Takes an entry; returns at once."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="semcom log", daemon=True)
                self._thread.start()
            if len(self._waiting) >= _MAX_WAITING:
                self.counters[_TOO_SLOW] += 1
                return
            self._waiting.append(entry)
            self._changed.notify_all()

    def close(self, patience_s: float = _PATIENCE_S) -> None:
        """Writes what waits, as far as the disk takes it in that time. What is added later begins anew."""
        end = time.monotonic() + patience_s
        with self._changed:
            self._thread = None
            self._changed.notify_all()
            while (self._waiting or self._writing) and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            left = len(self._waiting) + self._writing
            if left:
                self.counters[_TOO_SLOW] += left
            self._waiting.clear()

    def fault(self) -> str:
        """What of the log is missing, in a sentence; "" where nothing is."""
        lost = {what: n for what, n in self.counters.items() if what != WRITTEN}
        if not lost:
            return ""
        whole = sum(self.counters.values())
        why = ", ".join(what.removeprefix(_NOT) for what in lost)
        return f"{self.path}: {sum(lost.values())} of {whole} lines are missing ({why}). Make room."

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._thread is not threading.current_thread():
                        return
                    self._changed.wait()
                entry, self._writing = self._waiting.popleft(), True
            what = self._write(entry)
            with self._changed:
                self._writing = False
                self.counters[what] += 1
                self._changed.notify_all()

    def _write(self, entry: dict) -> str:
        try:
            append_json_line(self.path, entry)
            return WRITTEN
        except OutputError as error:
            return f"{_NOT}{error.kind}"
        except Exception as error:  # an entry that JSON cannot hold: nothing may end this thread
            return f"{_NOT}{type(error).__name__}"
