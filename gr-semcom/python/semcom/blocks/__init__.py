# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks: thin adapters between PMT messages or sample buffers and the library's batched calls.

The only package that imports ``gnuradio``. Class, file and GRC id (``semcom_<name>``) carry the same name.
``image_view`` needs Qt and is imported when it is first asked for.
"""

try:
    from gnuradio import gr as _gr
except ImportError as _error:
    raise ImportError(
        f"semcom.blocks needs GNU Radio, which this Python does not see ({_error}). Install the system's gnuradio "
        "package and use an environment made with --system-site-packages; `semcom doctor` tells more."
    ) from _error

from semcom.blocks.burst_demodulator import burst_demodulator
from semcom.blocks.burst_detector import burst_detector
from semcom.blocks.burst_modulator import burst_modulator
from semcom.blocks.deepjscc_decoder import deepjscc_decoder
from semcom.blocks.deepjscc_encoder import deepjscc_encoder
from semcom.blocks.image_sink import image_sink
from semcom.blocks.image_source import image_source
from semcom.blocks.pilot_snr_estimator import pilot_snr_estimator

__all__ = [
    "burst_demodulator", "burst_detector", "burst_modulator", "deepjscc_decoder", "deepjscc_encoder", "image_sink",
    "image_source", "image_view", "pilot_snr_estimator",
]

_gr_version = _gr.version()


def __getattr__(name: str):
    if name == "image_view":
        import importlib

        cls = importlib.import_module("semcom.blocks.image_view").image_view
        globals()[name] = cls
        return cls
    raise AttributeError(f"module 'semcom.blocks' has no attribute {name!r}")
