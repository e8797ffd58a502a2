# SPDX-License-Identifier: GPL-3.0-or-later
"""The media behind ``radio_sink`` and ``radio_source``, one file each.

A medium has ``connect_sink(hier, wish)`` and ``connect_source(hier, wish)``: they make its blocks, connect them to the
hier block's port and hand back an ``End``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from semcom.blocks.base import Guarded
from semcom.errors import ConfigError
from semcom.radio.device import RadioProfile
from semcom.radio.interface import Controls

IDLE_MS = 1  # GNU Radio's default is to leave a source that had nothing alone for 250 ms


def last_line(error: Exception) -> str:
    """Drivers complain at length; the point comes last."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


@dataclass(frozen=True)
class Wish:
    """What a station wants of a medium.

    Attributes:
        address: as in ``Medium``. profile: of the radio; one without limits where none was named.
        guard: counts in words for all blocks of the medium.
        keys, insecure: as in ``sockets.open_socket``. overwrite: a file that exists may be replaced.
        sample_type, channel: of a file that is read, as in ``capture.sample_files.open_samples``.
        on_answer: called once a burst with its number and what a radio says became of it (``radio.reports``).
    """

    address: str
    profile: RadioProfile
    sample_rate_hz: float
    centre_frequency_hz: float
    gain_db: float
    guard: Guarded
    keys: str = ""
    insecure: bool = False
    overwrite: bool = False
    sample_type: str = ""
    channel: int | None = None
    on_answer: Callable[[int, str], None] = lambda index, answer: None

    def check(self, transmit: bool) -> None:
        """What needs no device to be refused. Raises ConfigError: outside the limits of the radio's profile."""
        self.profile.check_link(self.sample_rate_hz, self.centre_frequency_hz)
        self.profile.check_gain(self.gain_db, transmit)

    def controls(self, device, transmit: bool) -> Controls:
        """The device, set up as wished.

        Raises:
            ConfigError: like ``Controls.configure``, and whatever the driver has against it.
        """
        controls = Controls(device, self.profile, transmit, self.guard.fail)
        try:
            controls.configure(self.sample_rate_hz, self.centre_frequency_hz, self.gain_db)
        except (RuntimeError, ValueError, LookupError) as error:
            raise ConfigError(
                f"radio '{self.profile.name}' refuses its settings: {last_line(error)}."
            ) from error
        return controls


@dataclass(frozen=True)
class End:
    """One end of a medium in a flowgraph.

    Attributes:
        blocks: the Python ones: GNU Radio does not keep them alive.
        controls: None where there is nothing to tune.
        sent_all: whether everything up to the tag ``semcom_end`` is out; always False at a source.
        gave_up: why a sink takes no more samples, in a sentence; "": it does.
        gone_s: for how long the radio has been away; 0: it is here, or there is none.
    """

    blocks: tuple
    controls: Controls | None = None
    sent_all: Callable[[], bool] = lambda: False
    gave_up: Callable[[], str] = lambda: ""
    gone_s: Callable[[], float] = lambda: 0.0
