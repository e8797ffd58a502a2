# SPDX-License-Identifier: GPL-3.0-or-later
"""An SNR that goes up and down by itself, for demonstrations."""

import time
from collections.abc import Callable

from semcom.errors import ConfigError


class SnrSweep:
    """From ``low_db`` to ``high_db`` and back within ``period_s``, evenly, again and again.

    Raises:
        ConfigError: a period that is not above 0 s.
    """

    def __init__(
        self, low_db: float, high_db: float, period_s: float, clock: Callable[[], float] = time.monotonic
    ):
        if not period_s > 0:
            raise ConfigError(f"SNR sweep: the period must be above 0 s, not {period_s!r}.")
        self._low_db, self._high_db, self._period_s, self._clock = low_db, high_db, period_s, clock
        self._began_s = clock()

    def snr_db(self) -> float:
        """The SNR in dB now."""
        phase = (self._clock() - self._began_s) / self._period_s % 1
        return self._low_db + (self._high_db - self._low_db) * (1 - abs(2 * phase - 1))
