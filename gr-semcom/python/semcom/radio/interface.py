# SPDX-License-Identifier: GPL-3.0-or-later
"""The one small interface behind which all radios sit, and how a station sets one up."""

from collections.abc import Callable
from typing import Protocol

from semcom.errors import ConfigError
from semcom.radio.device import RadioProfile
from semcom.radio.timing import Time

_RATE_TOLERANCE = 20e-6  # what the modem's clock tracking bears
_TUNE_TOLERANCE_HZ = 100.0
_GAIN_TOLERANCE_DB = 0.6


class Device(Protocol):
    """One direction of a radio: blocks/media/ makes one of a gr-uhd or gr-soapy block, ``fake.py`` of nothing.

    Setters return what the device took, which may be less than was asked: drivers clip silently.
    """

    def antennas(self) -> list[str]: ...

    def set_antenna(self, name: str) -> None: ...

    def set_subdev(self, name: str) -> None: ...

    def set_clocks(self, clock_source: str, time_source: str) -> None: ...

    def set_sample_rate_hz(self, rate_hz: float) -> float: ...

    def set_centre_frequency_hz(self, frequency_hz: float) -> float: ...

    def set_gain_db(self, gain_db: float) -> float: ...

    def time_now(self) -> Time: ...


class Controls:
    """A device within the limits of its profile; whatever it does not take as asked is said in words.

    Args:
        warn: called with a sentence when the device took something else than what was asked for.
    """

    def __init__(
        self,
        device: Device,
        profile: RadioProfile,
        transmit: bool,
        warn: Callable[[str], None] = lambda _: None,
    ):
        self.device, self.profile, self.transmit, self._warn = device, profile, transmit, warn

    def configure(self, sample_rate_hz: float, centre_frequency_hz: float, gain_db: float) -> None:
        """Everything before the first sample.

        Raises:
            ConfigError: an unknown antenna (the valid ones are named), a rate that the device cannot make, a gain,
                rate or frequency outside the profile's limits.
        """
        profile, side = self.profile, self.profile.side(self.transmit)
        profile.check_link(sample_rate_hz, centre_frequency_hz)
        profile.check_gain(gain_db, self.transmit)
        if profile.clock_source or profile.time_source:
            self.device.set_clocks(profile.clock_source, profile.time_source)
        if side.subdev:
            self.device.set_subdev(side.subdev)
        if side.antenna:
            valid = self.device.antennas()
            if side.antenna not in valid:
                raise ConfigError(
                    f"radio '{profile.name}' has no antenna '{side.antenna}': choose one of {', '.join(valid)}."
                )
            self.device.set_antenna(side.antenna)
        got = self.device.set_sample_rate_hz(sample_rate_hz)
        if abs(got - sample_rate_hz) > _RATE_TOLERANCE * sample_rate_hz:
            raise ConfigError(
                f"radio '{profile.name}' makes {got:g} samples per second instead of {sample_rate_hz:g}: choose that "
                "in the link profile, or a master_clock_rate_hz in the radio profile that is a multiple of it."
            )
        self.set_centre_frequency_hz(centre_frequency_hz)
        self.set_gain_db(gain_db)

    def set_gain_db(self, gain_db: float) -> float:
        """Sets a gain, within the profile's limits; returns what the device took."""
        side = self.profile.side(self.transmit)
        allowed = min(max(gain_db, side.gain_min_db), side.gain_max_db)
        if allowed != gain_db:
            self._warn(
                f"{self._word} gain held at the profile's limit of {allowed:g} dB, {gain_db:g} asked for"
            )
        got = self.device.set_gain_db(allowed)
        if abs(got - allowed) > _GAIN_TOLERANCE_DB:
            self._warn(f"{self._word} gain: the radio took {got:g} dB instead of {allowed:g}")
        return got

    def set_centre_frequency_hz(self, frequency_hz: float) -> float:
        """Tunes, corrected by the measured offset of the oscillator; returns where the device is."""
        asked = self.profile.calibration.tuned_hz(frequency_hz)
        got = self.device.set_centre_frequency_hz(asked)
        if abs(got - asked) > _TUNE_TOLERANCE_HZ:
            self._warn(f"{self._word} frequency: the radio took {got:.0f} Hz instead of {asked:.0f}")
        return got

    @property
    def _word(self) -> str:
        return "tx" if self.transmit else "rx"
