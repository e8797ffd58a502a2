# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``radio_sink`` and ``radio_source`` share: a medium behind one port, and what can be tuned while it runs."""

from collections.abc import Callable
from types import ModuleType

from gnuradio import gr

from semcom.blocks.base import Guarded, check, is_number
from semcom.blocks.media import End, Wish, file, last_line, soapy, usrp, zmq
from semcom.errors import ConfigError
from semcom.radio.device import device_for
from semcom.radio.medium import parse_medium

_MEDIA: dict[str, ModuleType] = {"usrp": usrp, "soapy": soapy, "zmq": zmq, "file": file}


class RadioEnd(Guarded, gr.hier_block2):
    """Base of the two. Args and errors of ``init_end`` are those of ``radio_sink``."""

    _end: End

    def init_end(
        self,
        name: str,
        transmit: bool,
        radio: str,
        sample_rate_hz: float,
        centre_frequency_hz: float,
        gain_db: float,
        device: str,
        keys: str,
        insecure: bool,
        overwrite: bool = False,
        sample_type: str = "",
        channel: int = -1,
        on_answer: Callable[[int, str], None] = lambda index, answer: None,
    ) -> None:
        _check_numbers(name, sample_rate_hz, centre_frequency_hz, gain_db)
        self.medium = parse_medium(radio, transmit)
        port, none = gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0)
        gr.hier_block2.__init__(self, name, *((port, none) if transmit else (none, port)))
        self.init_guard(name)
        wish = Wish(
            self.medium.address,
            device_for(self.medium.name, device),
            float(sample_rate_hz),
            float(centre_frequency_hz),
            float(gain_db),
            self,
            keys,
            bool(insecure),
            bool(overwrite),
            str(sample_type),
            None if channel < 0 else int(channel),
            on_answer,
        )
        if self.medium.name != "file" and (sample_type or channel >= 0):
            raise ConfigError(f"sample type and channel are of a file: radio '{radio}' needs none.")
        medium = _MEDIA[self.medium.name]
        self._end = (medium.connect_sink if transmit else medium.connect_source)(self, wish)

    def gone_s(self) -> float:
        """For how long the radio has been away, in s; 0: it is here, or there is none."""
        return self._end.gone_s()

    def set_gain_db(self, gain_db: float) -> None:
        """Live; held within the profile's limits. Nothing where there is no radio."""
        if self._end.controls:
            self._tune(self._end.controls.set_gain_db, float(gain_db))

    def set_centre_frequency_hz(self, centre_frequency_hz: float) -> None:
        """Live. Nothing where there is no radio."""
        if self._end.controls:
            self._tune(self._end.controls.set_centre_frequency_hz, float(centre_frequency_hz))

    def _tune(self, call: Callable[[float], float], value: float) -> None:
        """A radio that is going away raises; it gets the value when it is back."""
        try:
            call(value)
        except (RuntimeError, ValueError, LookupError) as error:
            self.fail(f"the radio does not take its settings: {last_line(error)}", error)


def _check_numbers(block: str, sample_rate_hz: float, centre_frequency_hz: float, gain_db: float) -> None:
    in_band = is_number(centre_frequency_hz) and centre_frequency_hz >= 0
    check(
        block,
        sample_rate_hz=(sample_rate_hz, is_number(sample_rate_hz) and sample_rate_hz > 0, "above 0 Hz"),
        centre_frequency_hz=(centre_frequency_hz, in_band, "0 Hz or more"),
        gain_db=(gain_db, is_number(gain_db), "a number of decibels"),
    )
