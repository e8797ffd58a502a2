# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver's end: samples from a radio, a socket or a file."""

from semcom.blocks.base import check, is_count
from semcom.blocks.radio_end import RadioEnd


class radio_source(RadioEnd):
    """The stream of the medium that ``radio`` names. Overflows and bad samples are counted in words (``counters``).

    Ports: stream out. A file ends with the tag ``semcom_end`` on its last sample; the other media never end.

    Args:
        radio: usrp[:ARGS], soapy:ARGS, zmq[:ENDPOINT] or file:PATH.
        sample_rate_hz, centre_frequency_hz, gain_db: of a radio; in its own decibels.
        device: radio profile: a name in hardware/profiles or the path of a YAML file; empty: no limits, no calibration.
        keys, insecure: of a socket, as in ``semcom.wire.sockets.open_socket``.
        sample_type: of a raw file (ci16, cu8, cf32_be, ...); "": its ending says, or complex float32.
        channel: of a file of several, counted from 0; -1: the only one.

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
        sample_type: str = "",
        channel: int = -1,
    ):
        check("radio_source", channel=(channel, is_count(channel, -1), "-1, or a channel counted from 0"))
        at = (radio, sample_rate_hz, centre_frequency_hz, gain_db, device, keys, insecure)
        self.init_end("radio_source", False, *at, sample_type=sample_type, channel=channel)

    @property
    def is_radio(self) -> bool:
        """Whether there is a device behind it, which a profile's calibration corrects."""
        return self._end.controls is not None
