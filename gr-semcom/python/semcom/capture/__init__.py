# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF recordings of bursts: written, read, replayed, looked at. See docs/captures.md."""

from semcom.capture.errors import CaptureError
from semcom.capture.joiner import Joiner
from semcom.capture.namespace import BurstNote
from semcom.capture.reader import open_recording, read_recordings, repair
from semcom.capture.recording import RecordedBurst, Recording
from semcom.capture.sent_log import SentLog
from semcom.capture.writer import CaptureWriter, RecordingInfo

__all__ = [
    "BurstNote",
    "CaptureError",
    "CaptureWriter",
    "Joiner",
    "RecordedBurst",
    "Recording",
    "RecordingInfo",
    "SentLog",
    "dataset",
    "open_recording",
    "read_recordings",
    "repair",
    "replay",
]


def __getattr__(name):
    """``dataset`` and ``replay`` need torch; the rest does not, and a recorder starts sooner without."""
    if name in ("dataset", "replay"):
        from semcom.capture import replaying

        return getattr(replaying, name)
    raise AttributeError(name)
