# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's end: samples to a radio, a socket or a file."""

import time
from collections.abc import Callable

from semcom.blocks.radio_end import RadioEnd


class radio_sink(RadioEnd):
    """Sends a stream on the medium that ``radio`` names. What a radio reports is counted in words (``counters``).

    Ports: stream in. On a USRP only what lies between the tags tx_sob and tx_eob is sent, each burst at a time of its
    own; elsewhere all of it. The tag ``semcom_end`` shows ``wait_sent`` where the end is.

    Args:
        radio: usrp[:ARGS], soapy:ARGS, zmq[:ENDPOINT] or file:PATH.
        sample_rate_hz, centre_frequency_hz, gain_db: of a radio; in its own decibels.
        device: radio profile: a name in hardware/profiles or the path of a YAML file; empty: no limits, no calibration.
        keys, insecure: of a socket, as in ``semcom.wire.sockets.open_socket``.
        overwrite: whether a file that exists may be replaced.
        on_answer: called once a burst with its number in the stream, from 0, and what a USRP says became of it:
            "on the air", "late" or "unanswered" (``radio.reports``). From threads of the radio's.

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
        on_answer: Callable[[int, str], None] = lambda index, answer: None,
    ):
        self.init_end(
            "radio_sink",
            True,
            radio,
            sample_rate_hz,
            centre_frequency_hz,
            gain_db,
            device,
            keys,
            insecure,
            overwrite,
            on_answer=on_answer,
        )

    def sent_all(self) -> bool:
        """Whether everything up to the tag ``semcom_end`` is out; with a USRP: answered for by the radio."""
        return self._end.sent_all()

    def gave_up(self) -> str:
        """Why it takes no more samples (a file on a full disk), in a sentence; "": it does."""
        return self._end.gave_up()

    def wait_sent(self, timeout_s: float) -> bool:
        """Waits for ``sent_all``; False if it did not come."""
        end = time.monotonic() + timeout_s
        while not self.sent_all():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True
