# SPDX-License-Identifier: GPL-3.0-or-later
"""The one small interface behind which all radios sit, and how a station sets one up."""

import time
from collections.abc import Callable
from typing import Protocol

from semcom.errors import ConfigError
from semcom.radio.device import RadioProfile
from semcom.radio.timing import Time

_RATE_TOLERANCE = 20e-6  # what the modem's clock tracking bears
_TUNE_TOLERANCE_HZ = 100.0
_GAIN_TOLERANCE_DB = 0.6
_LOCK_S = 1.0
_TIME_TOLERANCE_S = 1.5  # gps_time gives whole seconds


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

    def sensor(self, name: str) -> float | None:
        """A sensor such as "ref_locked" or "lo_locked" (0 or 1) or "gps_time" (s); None: the device has none."""


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
        self.device: Device | None = device  # None: it is gone for now
        self.profile, self.transmit, self._warn = profile, transmit, warn
        self._asked: tuple[float, float, float] | None = None  # rate, frequency, gain

    def renew(self, device: Device) -> None:
        """The radio was opened again: it gets what the one before had. Raises like ``configure``."""
        self.device = device
        self.configure(*self._asked)

    def configure(self, sample_rate_hz: float, centre_frequency_hz: float, gain_db: float) -> None:
        """Everything before the first sample.

        Raises:
            ConfigError: an unknown antenna (the valid ones are named), a rate that the device cannot make, a gain,
                rate or frequency outside the profile's limits, a reference clock that is not there.
        """
        self._asked = (sample_rate_hz, centre_frequency_hz, gain_db)
        profile, side = self.profile, self.profile.side(self.transmit)
        profile.check_link(sample_rate_hz, centre_frequency_hz)
        profile.check_gain(gain_db, self.transmit)
        if profile.clock_source or profile.time_source:
            self.device.set_clocks(profile.clock_source, profile.time_source)
            self._check_clocks()
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
        if not self._locks("lo_locked"):
            self._warn(
                f"{self._word} oscillator does not lock (lo_locked) at {centre_frequency_hz:g} Hz: is that within what "
                "the radio can tune to?"
            )

    def _check_clocks(self) -> None:
        """Drivers take a source without a signal silently, and check for one only while they open the device."""
        profile = self.profile
        if profile.clock_source not in ("", "internal") and not self._locks("ref_locked"):
            raise ConfigError(
                f"radio '{profile.name}' is set to take its clock from '{profile.clock_source}', but locks to nothing "
                "there (ref_locked): connect the reference, or set clock_source: internal in the radio profile."
            )
        if "gpsdo" in (profile.clock_source, profile.time_source) and not self._locks("gps_locked"):
            self._warn(
                "GPS receiver has no fix yet (gps_locked): frequency and time are those of its own oscillator"
            )
        elif profile.time_source == "gpsdo" and (gps_s := self.device.sensor("gps_time")) is not None:
            off_s = self.device.time_now().minus(Time.of(gps_s))
            if abs(off_s) > _TIME_TOLERANCE_S:
                self._warn(f"the radio's clock is {off_s:.0f} s from GPS time, and is left as it is")

    def _locks(self, sensor: str) -> bool:
        """Whether a lock comes within a second; a device without that sensor is taken to be locked."""
        until_s = time.monotonic() + _LOCK_S
        while self.device.sensor(sensor) == 0:
            if time.monotonic() > until_s:
                return False
            time.sleep(_LOCK_S / 10)
        return True

    def lost_lock(self) -> str:
        """What a clock that was locked has lost since, in words; "": nothing."""
        is_external = self.profile.clock_source not in ("", "internal")
        if is_external and self.device is not None and self.device.sensor("ref_locked") == 0:
            return f"the reference clock '{self.profile.clock_source}' is lost (ref_locked): frequency and rate drift"
        return ""

    def set_gain_db(self, gain_db: float) -> float:
        """Sets a gain, within the profile's limits; returns what the device took."""
        side = self.profile.side(self.transmit)
        self._remember(gain_db=gain_db)
        allowed = min(max(gain_db, side.gain_min_db), side.gain_max_db)
        if allowed != gain_db:
            self._warn(
                f"{self._word} gain held at the profile's limit of {allowed:g} dB, {gain_db:g} asked for"
            )
        if self.device is None:
            return allowed
        got = self.device.set_gain_db(allowed)
        if abs(got - allowed) > _GAIN_TOLERANCE_DB:
            self._warn(f"{self._word} gain: the radio took {got:g} dB instead of {allowed:g}")
        return got

    def set_centre_frequency_hz(self, frequency_hz: float) -> float:
        """Tunes, corrected by the measured offset of the oscillator; returns where the device is."""
        self._remember(frequency_hz=frequency_hz)
        asked = self.profile.calibration.tuned_hz(frequency_hz)
        if self.device is None:
            return asked
        got = self.device.set_centre_frequency_hz(asked)
        if abs(got - asked) > _TUNE_TOLERANCE_HZ:
            self._warn(f"{self._word} frequency: the radio took {got:.0f} Hz instead of {asked:.0f}")
        return got

    def _remember(self, frequency_hz: float | None = None, gain_db: float | None = None) -> None:
        """For when the radio is opened again."""
        if self._asked is not None:
            rate, frequency, gain = self._asked
            frequency = frequency if frequency_hz is None else frequency_hz
            self._asked = (rate, frequency, gain if gain_db is None else gain_db)

    @property
    def _word(self) -> str:
        return "tx" if self.transmit else "rx"
