# SPDX-License-Identifier: GPL-3.0-or-later
"""A few file descriptors held back, so that files can be written whatever sockets take."""

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

# more than wait at a listening socket (``wire.sockets.BACKLOG``), which get theirs first
_RESERVED = 32

T = TypeVar("T")


class _Reserve:
    """Descriptors that are held so that a file can be opened when there are no others."""

    def __init__(self):
        self._held: list[int] = []
        self._lock = threading.Lock()

    def fill(self) -> None:
        """Holds what it should, as far as there are any. Nothing is held before the first door is opened."""
        with self._lock:
            self._fill()

    def lend(self, act: Callable[[], T]) -> T:
        """What ``act`` returns, tried again with the descriptors that are held where there was none left."""
        try:
            return act()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._held:
                raise
        with self._lock:
            while self._held:
                os.close(self._held.pop())
            try:
                return act()
            finally:
                self._fill()

    def _fill(self) -> None:
        try:
            while len(self._held) < _RESERVED:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return


reserve = _Reserve()
