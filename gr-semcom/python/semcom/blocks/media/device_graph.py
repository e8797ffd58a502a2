# SPDX-License-Identifier: GPL-3.0-or-later
"""A radio in a flowgraph of its own beside the station's.

So it can go on until it has answered for the last burst, and be left and opened again when it goes away, while the
station's flowgraph runs. (Reconnecting within a flowgraph stops and starts every block of it.)
"""

import gc
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from gnuradio import gr

from semcom.blocks.base import reason_of
from semcom.blocks.media import Wish
from semcom.radio.interface import Device
from semcom.radio.watchdog import Watchdog

_TICK_S = 0.2
_AGAIN_S = 2.0  # between two tries to open a radio that went away
_CLOCKS_S = 5.0  # between two looks at what the clocks lock to
_LET_GO_S = 10.0  # for a driver to stop
_AT: dict[str, weakref.WeakSet] = defaultdict(weakref.WeakSet)  # ends of one radio, by its arguments


@dataclass
class Inside:
    """What ``build`` has put into the radio's flowgraph.

    Attributes:
        blocks: the Python ones: GNU Radio does not keep them alive.
        abandon: called when the radio has gone: what it held is lost.
    """

    device: Device
    watchdog: Watchdog
    blocks: tuple = ()
    abandon: Callable[[], None] = lambda: None


class DeviceGraph:
    """Opens the radio at once, so that what is wrong is reported before anything runs, and again whenever it went away.

    Both ends of one radio share the driver's device: it is new only when both have let go of it.

    Args:
        where: the radio in words. key: the driver's arguments.
        build: called with an empty top block, opens the device and puts it there; raises in words.

    Raises:
        SemcomError: whatever ``build`` and ``Wish.controls`` raise.
    """

    def __init__(
        self, where: str, key: str, build: Callable[[gr.top_block], Inside], wish: Wish, transmit: bool
    ):
        self.where, self._key, self._build, self._guard = where, key, build, wish.guard
        self.inside: Inside | None = None
        self._top: gr.top_block | None = None
        self._lock = threading.RLock()
        self._leave_asked = ""
        self._left_s: float | None = None
        self._stopping, self._watcher = threading.Event(), None
        self._clocks_at_s = self._tried_at_s = 0.0
        wish.check(transmit)
        self._open()
        self.controls = wish.controls(self.inside.device, transmit)
        _AT[key].add(self)

    # -- what a station asks ------------------------------------------------------------------------

    def gone_s(self) -> float:
        """For how long the radio has been away; 0: it is here."""
        left_s = self._left_s
        return time.monotonic() - left_s if left_s is not None else 0.0

    def start(self) -> None:
        """The radio's flowgraph runs from here on, whatever becomes of the radio."""
        self._stopping.clear()
        with self._lock:
            if self.inside is not None:
                self.inside.watchdog.begin()
                self._top.start()
        self._watcher = threading.Thread(target=self._watch, name=f"semcom {self.where}", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Ends it; the device stays open, for another start."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(timeout=2 * _LET_GO_S)
        with self._lock:
            if self._top is not None:
                self._halt(self._top)

    # -- the watch ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            try:
                with self._lock:
                    if self.inside is None:
                        self._try_again()
                    else:
                        self._look()
            except Exception as error:  # nothing may end this thread
                self._guard.fail(reason_of(error), error)

    def _look(self) -> None:
        complaint = self._leave_asked or self.inside.watchdog.complaint()
        if complaint:
            self._leave(complaint)
            return
        if time.monotonic() - self._clocks_at_s > _CLOCKS_S:
            self._clocks_at_s = time.monotonic()
            if lost := self._lost_lock():
                self._guard.fail(lost)

    def _lost_lock(self) -> str:
        try:
            return self.controls.lost_lock()
        except Exception:  # the watchdog will say why
            return ""

    def _leave(self, complaint: str) -> None:
        self._guard.fail(f"the radio at {self.where} no longer answers")
        self._guard.count(f"why the radio at {self.where} was given up: {complaint}")
        self._left_s, self._leave_asked = self._left_s or time.monotonic(), ""
        for other in list(_AT[self._key]):
            if other is not self and other.inside is not None:
                other.leave_as_well()
        self._let_go()

    def leave_as_well(self) -> None:
        """The radio's other end found that it has gone."""
        if self._watcher is not None and self._watcher.is_alive():
            self._leave_asked = "its other end went away"
        else:
            self._let_go()

    def _let_go(self) -> None:
        inside, self.inside, self.controls.device = self.inside, None, None
        top, self._top = self._top, None
        inside.abandon()
        self._halt(top)
        self._guard.error = None  # its traceback would hold the driver's blocks

    def _halt(self, top: gr.top_block) -> None:
        """Stops a flowgraph; in a thread, as a driver may hang over a device that is gone."""

        def halt():
            top.stop()
            top.wait()

        thread = threading.Thread(target=halt, daemon=True)
        thread.start()
        thread.join(_LET_GO_S)
        if thread.is_alive():
            self._guard.fail(f"the driver does not let go of the radio at {self.where}")

    def _try_again(self) -> None:
        if time.monotonic() - self._tried_at_s < _AGAIN_S:
            return
        self._tried_at_s = time.monotonic()
        if any(other._leave_asked for other in _AT[self._key]):
            return
        try:
            self._open()
            self.controls.renew(self.inside.device)
        except Exception as error:  # not yet
            self.inside = self._top = self.controls.device = None
            self._guard.count(f"tries to open the radio again: {reason_of(error)[:80]}")
            return
        self._left_s = None
        self.inside.watchdog.begin()
        self._top.start()
        self._guard.fail(f"the radio at {self.where} answers again")

    def _open(self) -> None:
        # blocks of a former run that Python has dropped but not collected still hold their side of the device
        gc.collect()
        top = gr.top_block("semcom radio", catch_exceptions=True)
        self.inside, self._top = self._build(top), top
