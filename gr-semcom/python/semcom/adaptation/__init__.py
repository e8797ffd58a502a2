# SPDX-License-Identifier: GPL-3.0-or-later
"""How a transmitter learns the SNR at its receiver: no GNU Radio in here."""

from semcom.adaptation.feedback import SNR_RANGE_DB, Belief, SnrTracker, report_of
from semcom.adaptation.wire import read_dictionary

__all__ = ["SNR_RANGE_DB", "Belief", "SnrTracker", "read_dictionary", "report_of"]
