# SPDX-License-Identifier: GPL-3.0-or-later
"""The SNR that goes up and down by itself."""

import pytest

from semcom.adaptation.sweep import SnrSweep
from semcom.errors import ConfigError


def test_it_goes_up_and_down_and_begins_anew():
    times_s = iter((100.0, 100.0, 115.0, 130.0, 145.0, 160.0, 190.0))
    sweep = SnrSweep(0.0, 25.0, 60.0, clock=lambda: next(times_s))
    seen = [sweep.snr_db() for _ in range(6)]
    assert seen == pytest.approx([0.0, 12.5, 25.0, 12.5, 0.0, 25.0])


def test_a_period_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="above 0 s"):
        SnrSweep(0.0, 25.0, 0.0)
