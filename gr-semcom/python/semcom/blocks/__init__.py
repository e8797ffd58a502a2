# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks: thin adapters between PMT messages or sample buffers and the library's batched calls.

The only package that imports ``gnuradio``. Class, file and GRC id (``semcom_<name>``) carry the same name.
``image_view`` needs Qt; where PyQt5 is absent, making one says so.
"""

try:
    from gnuradio import gr as _gr  # noqa: F401
except ImportError as _error:
    raise ImportError(
        f"semcom.blocks needs GNU Radio, which this Python does not see ({_error}). Install the system's "
        "gnuradio package and use an environment made with --system-site-packages; see `semcom doctor`."
    ) from _error

from semcom.blocks.burst_demodulator import burst_demodulator
from semcom.blocks.burst_detector import burst_detector
from semcom.blocks.burst_modulator import burst_modulator
from semcom.blocks.capture_recorder import capture_recorder
from semcom.blocks.dashboard import dashboard
from semcom.blocks.deepjscc_decoder import deepjscc_decoder
from semcom.blocks.deepjscc_encoder import deepjscc_encoder
from semcom.blocks.feedback_receiver import feedback_receiver
from semcom.blocks.feedback_sender import feedback_sender
from semcom.blocks.image_sink import image_sink
from semcom.blocks.image_source import image_source
from semcom.blocks.pilot_snr_estimator import pilot_snr_estimator
from semcom.blocks.radio_sink import radio_sink
from semcom.blocks.radio_source import radio_source
from semcom.blocks.telemetry import telemetry
from semcom.errors import MissingError

try:
    from semcom.blocks.image_view import image_view
except ImportError as _error:
    _no_qt = str(_error)

    def image_view(*args, **kwargs):
        raise MissingError(
            f"the image view needs PyQt5 ({_no_qt}): install the system's python3-pyqt5 package"
        )


__all__ = [
    "burst_demodulator",
    "burst_detector",
    "burst_modulator",
    "capture_recorder",
    "dashboard",
    "deepjscc_decoder",
    "deepjscc_encoder",
    "feedback_receiver",
    "feedback_sender",
    "image_sink",
    "image_source",
    "image_view",
    "pilot_snr_estimator",
    "radio_sink",
    "radio_source",
    "telemetry",
]
