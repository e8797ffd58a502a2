# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's end: samples to a radio, a socket or a file."""

import time

from gnuradio import gr

from semcom.blocks.base import Guarded
from semcom.blocks.media import Wish, check_station, file, soapy, usrp, zmq
from semcom.radio.device import device_for
from semcom.radio.medium import parse_medium

_MEDIA = {"usrp": usrp, "soapy": soapy, "zmq": zmq, "file": file}


class radio_sink(Guarded, gr.hier_block2):
    """Sends a stream on the medium that ``radio`` names. What a radio reports is counted in words (``counters``).

    Ports: stream in. On a USRP only what lies between the tags tx_sob and tx_eob is sent, each burst at a time of its
    own; elsewhere all of it. The tag ``semcom_end`` tells ``wait_sent`` where the end is.

    Args:
        radio: usrp[:ARGS], soapy:ARGS, zmq[:ENDPOINT] or file:PATH.
        sample_rate_hz, centre_frequency_hz, gain_db: of a radio; in its own decibels.
        device: radio profile: a name in hardware/profiles or the path of a YAML file; empty: no limits, no calibration.
        keys, insecure: of a socket, as in ``semcom.sockets.open_socket``.
        overwrite: whether a file that exists may be replaced.

    Raises:
        ConfigError: an unknown medium, a radio that is not there (those that are are listed), a port in use, a file that
            exists, a gain outside the profile's limits.
        MissingError: the medium's software is not installed.
    """

    def __init__(
        self,
        radio: str = "zmq",
        sample_rate_hz: float = 1e6,
        centre_frequency_hz: float = 0.0,
        gain_db: float = 0.0,
        device: str = "",
        keys: str = "",
        insecure: bool = False,
        overwrite: bool = False,
    ):
        check_station("radio_sink", sample_rate_hz, centre_frequency_hz, gain_db)
        self.medium = parse_medium(radio, transmit=True)
        signature = gr.io_signature(1, 1, gr.sizeof_gr_complex)
        gr.hier_block2.__init__(self, "radio_sink", signature, gr.io_signature(0, 0, 0))
        self.init_guard("radio_sink")
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
        )
        self._end = _MEDIA[self.medium.name].connect_sink(self, wish)

    def set_gain_db(self, gain_db: float) -> None:
        """Live; held within the profile's limits. Nothing where there is no radio."""
        if self._end.controls:
            self._end.controls.set_gain_db(float(gain_db))

    def set_centre_frequency_hz(self, centre_frequency_hz: float) -> None:
        """Live. Nothing where there is no radio."""
        if self._end.controls:
            self._end.controls.set_centre_frequency_hz(float(centre_frequency_hz))

    def sent_all(self) -> bool:
        """Whether everything up to the tag ``semcom_end`` is out; with a USRP: answered for by the radio."""
        return self._end.sent_all()

    def wait_sent(self, timeout_s: float) -> bool:
        """Waits for ``sent_all``; False if it did not come."""
        end = time.monotonic() + timeout_s
        while not self.sent_all():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True
