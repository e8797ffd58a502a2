# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a radio still answers: drivers only fall silent, or complain for ever, when one goes away."""

import time
from collections.abc import Callable

from semcom.radio.timing import Time

START_S = 5.0  # a stream that has just been begun may be quiet for so long
LOOK_S = 1.0  # quiet for so long, its clock is read
PATIENCE_S = 3.0  # quiet for so long although something was due, it is gone


class Watchdog:
    """Looks at a radio that is quiet.

    Args:
        clock: the device's time; raises where it does not answer. None: it has no clock.
        owes: called with the device's time (None: no clock): whether samples or answers are due.
        now_s: the computer's time.
    """

    def __init__(
        self,
        clock: Callable[[], Time] | None,
        owes: Callable[[Time | None], bool],
        now_s: Callable[[], float] = time.monotonic,
    ):
        self._clock, self._owes, self._now_s = clock, owes, now_s
        self.begin()

    def begin(self) -> None:
        """A stream begins: the driver may take its time."""
        self._last_s = self._now_s() + START_S

    def sign(self) -> None:
        """A sign of life: samples, or a report."""
        self._last_s = self._now_s()

    def complaint(self) -> str:
        """Why the radio must be taken for gone, in words; "": it need not. May take as long as the driver waits."""
        if self._now_s() - self._last_s < LOOK_S:
            return ""
        try:
            device_now = self._clock() if self._clock else None
        except Exception as error:  # drivers raise what they like
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            return f"its clock cannot be read: {said}" if self._is_late() else ""
        if not self._owes(device_now):
            self.sign()
            return ""
        return f"nothing came of it for {self._now_s() - self._last_s:.0f} s" if self._is_late() else ""

    def _is_late(self) -> bool:
        return self._now_s() - self._last_s >= PATIENCE_S
