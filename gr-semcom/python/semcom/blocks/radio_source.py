# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver's end: samples from a radio, a socket or a file."""

from gnuradio import gr

from semcom.blocks.base import Guarded
from semcom.blocks.media import Wish, check_station, file, soapy, usrp, zmq
from semcom.radio.device import device_for
from semcom.radio.medium import parse_medium

_MEDIA = {"usrp": usrp, "soapy": soapy, "zmq": zmq, "file": file}


class radio_source(Guarded, gr.hier_block2):
    """The stream of the medium that ``radio`` names. Overflows and bad samples are counted in words (``counters``).

    Ports: stream out. A file ends with the tag ``semcom_end`` on its last sample; the other media never end.

    Args:
        radio: usrp[:ARGS], soapy:ARGS, zmq[:ENDPOINT] or file:PATH.
        sample_rate_hz, centre_frequency_hz, gain_db: of a radio; in its own decibels.
        device: radio profile: a name in hardware/profiles or the path of a YAML file; empty: no limits, no calibration.
        keys, insecure: of a socket, as in ``semcom.sockets.open_socket``.

    Raises:
        ConfigError: an unknown medium, a radio or file that is not there, a gain outside the profile's limits.
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
    ):
        check_station("radio_source", sample_rate_hz, centre_frequency_hz, gain_db)
        self.medium = parse_medium(radio, transmit=False)
        signature = gr.io_signature(1, 1, gr.sizeof_gr_complex)
        gr.hier_block2.__init__(self, "radio_source", gr.io_signature(0, 0, 0), signature)
        self.init_guard("radio_source")
        wish = Wish(
            self.medium.address,
            device_for(self.medium.name, device),
            float(sample_rate_hz),
            float(centre_frequency_hz),
            float(gain_db),
            self,
            keys,
            bool(insecure),
        )
        self._end = _MEDIA[self.medium.name].connect_source(self, wish)

    @property
    def is_radio(self) -> bool:
        """Whether there is a device behind it, which a profile's calibration corrects."""
        return self._end.controls is not None

    def set_gain_db(self, gain_db: float) -> None:
        """Live; held within the profile's limits. Nothing where there is no radio."""
        if self._end.controls:
            self._end.controls.set_gain_db(float(gain_db))

    def set_centre_frequency_hz(self, centre_frequency_hz: float) -> None:
        """Live. Nothing where there is no radio."""
        if self._end.controls:
            self._end.controls.set_centre_frequency_hz(float(centre_frequency_hz))
