# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and SIGTERM end a long command within two seconds, with what was kept in words.

Python's own KeyboardInterrupt comes as late as the main thread leaves C, which in a convolution or a flowgraph is many
seconds. Here a thread is notified by the system at once (``signal.set_wakeup_fd``), and ends the process where the main
thread does not get there in time. A command that has something to say or to keep registers it by ``at_stop``.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from semcom import files

GRACE_S = 1.0  # for the main thread to come to its end by itself
_KEEPING_S = 10.0  # for what is being written when the grace is over
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal came. ``exit_status``: 128 and its number, as of a process that it ended."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class _State:
    """What is to be done at a stop, once, by the main thread or by the one that watches."""

    def __init__(self) -> None:
        self.keepers: list[Callable[[], str]] = []
        self.pending = 0  # a signal that waits until the main thread leaves ``held``
        self.consistent = threading.RLock()
        self._ending = threading.Lock()
        self._said = False

    def sentences(self) -> list[str] | None:
        """What every keeper says; who asks first has it, and nobody has it twice (None)."""
        with self._ending:
            if self._said:
                return None
            self._said, said = True, []
            for keeper in self.keepers:
                try:
                    said.append(keeper())
                except Exception as error:  # one that fails must not keep the others from it
                    said.append(str(error))
            return [sentence for sentence in said if sentence]


_state = _State()


def at_stop(keep: Callable[[], str]) -> Callable[[], None]:
    """Registers what a stop calls: it keeps what is to be kept and says so in words, with how to go on ("": no words).

    It may be called from another thread than the main one, while that is at work; never within ``held``.

    Returns:
        What takes it back, when there is nothing more to keep.
    """
    keepers = _state.keepers
    keepers.append(keep)
    return lambda: keepers.remove(keep)


@contextmanager
def held() -> Iterator[None]:
    """What is inside happens whole or not at all in the eyes of ``at_stop``: a signal waits until it is through."""
    with _state.consistent:
        yield
    if _state.pending and not _inside():
        number, _state.pending = _state.pending, 0
        raise Stopped(number)


def sentences() -> list[str] | None:
    """What was kept, in words, after a stop: calls what is registered. None: that was done, and said, already."""
    return _state.sentences()


@contextmanager
def watch() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise ``Stopped`` in the main thread; where that takes longer than ``GRACE_S``, the
    process ends with what was kept. A second signal ends it at once. A signal that is ignored stays ignored.

    Does nothing but clear what is registered outside the main thread, and where the system has no such signals.
    """
    global _state
    _state = state = _State()
    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread() or os.name != "posix" or not numbers:
        yield
        return

    came: list[int] = []

    def on_signal(number: int, frame) -> None:
        came.append(number)
        if len(came) > 1:
            leave(128 + came[0])
        if _inside():
            state.pending = number
            return
        # libraries print an exception that comes while they are imported, and go on; the watcher ends the process then
        if not _importing(frame):
            raise Stopped(number)

    former = {number: signal.signal(number, on_signal) for number in numbers}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    over = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(reading, over, on_signal, state), name="semcom stop", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.write(writing, b"\0")
        watcher.join(1.0)
        os.close(writing)
        os.close(reading)


def _importing(frame) -> bool:
    """Whether a module is being imported in this frame or in one that called it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _inside() -> bool:
    """Whether this thread is within ``held``."""
    return _state.consistent._is_owned()  # type: ignore[attr-defined]


def _watch(reading: int, over: threading.Event, handler: Callable, state: _State) -> None:
    while not over.is_set():
        for number in os.read(reading, 64):
            # who has a handler of their own (stations, the virtual air) ends in their own time
            if number not in _SIGNALS or signal.getsignal(number) is not handler:
                continue
            if over.wait(GRACE_S):
                return
            try:
                # what is half done in the main thread has its time to become whole
                if state.consistent.acquire(timeout=_KEEPING_S):
                    words = state.sentences()
                    if words is not None:
                        # a progress bar may have hidden the cursor
                        shown = "\x1b[?25h" * sys.stderr.isatty()
                        print(f"\n{shown}" + " ".join(["Stopped.", *words]), file=sys.stderr, flush=True)
            finally:
                if not over.wait(0.1):
                    leave(128 + number)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for what has no end of its own; outside the main thread nothing sets it."""
    stop, before = threading.Event(), {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(exit_status: int) -> None:
    """Ends the process at once: nothing half written stays, no child goes on."""
    files.discard_parts()
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.terminate()
    os._exit(exit_status)
