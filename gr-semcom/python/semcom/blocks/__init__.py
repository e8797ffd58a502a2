# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks: thin adapters between PMT messages or sample buffers and the library's batched calls.

The only package that imports ``gnuradio``. Class, file and GRC id (``semcom_<name>``) carry the same name.
A block's module is imported when the block is first asked for: a transmitter loads no Qt and no SigMF.
``image_view`` needs Qt; where PyQt5 is absent, making one says so.
"""

import sys
from importlib import import_module
from types import ModuleType

try:
    from gnuradio import gr as _gr  # noqa: F401
except ImportError as _error:
    raise ImportError(
        f"semcom.blocks needs GNU Radio, which this Python does not see ({_error}). Install the system's "
        "gnuradio package and use an environment made with --system-site-packages; see `semcom doctor`."
    ) from _error

from semcom.errors import MissingError

__all__ = [
    "burst_demodulator",
    "burst_detector",
    "burst_eraser",
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
    "label_sink",
    "latent_mapper",
    "modulation_adapter",
    "pilot_snr_estimator",
    "radio_sink",
    "radio_source",
    "rate_controller",
    "receiver",
    "separation_decoder",
    "separation_encoder",
    "telemetry",
    "time_line",
    "video_sink",
]


class _Blocks(ModuleType):
    """This package. Where the import system puts a submodule, it keeps the submodule's class of the same name."""

    def __setattr__(self, name, value):
        is_block = name in __all__ and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if is_block else value)

    def __dir__(self):
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Blocks


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module(f"{__name__}.{name}")  # which leaves the class here
    except ImportError as error:
        if name != "image_view" or not str(error.name).startswith("PyQt5"):
            raise
        globals()[name] = _without_qt(str(error))
    return globals()[name]


def _without_qt(reason: str):
    def image_view(*args, **kwargs):
        raise MissingError(
            f"the image view needs PyQt5 ({reason}): install the system's python3-pyqt5 package"
        )

    return image_view
