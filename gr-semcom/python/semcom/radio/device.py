# SPDX-License-Identifier: GPL-3.0-or-later
"""The radio profile: what one radio is, what it may do, and what was measured on it."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from semcom import settings
from semcom.errors import ConfigError, OutputError
from semcom.files import write_text
from semcom.parsing import did_you_mean, shown
from semcom.shipped import shipped_folder

DRIVERS = ("usrp", "soapy")
NOBODY = "nobody"
_NO_LIMIT_HZ = 1e12


@dataclass(frozen=True)
class Side:
    """One direction of a radio.

    Attributes:
        antenna: name of the connector as the driver knows it; empty: the driver's own choice. subdev: UHD's subdevice.
        gain_min_db, gain_max_db: what we allow, in the radio's own decibels; often less than the device can.
        gain_safe_db: to start with.
        power_dbm: transmitting, the most that comes out at the highest gain; receiving, the most that may go in.
            From the maker's data sheet.
    """

    antenna: str = ""
    subdev: str = ""
    gain_min_db: float = -100.0
    gain_max_db: float = 100.0
    gain_safe_db: float = 0.0
    power_dbm: float | None = None

    def __post_init__(self):
        settings.require(
            "radio profile",
            gain_max_db=(self.gain_max_db, self.gain_max_db >= self.gain_min_db, "at least gain_min_db"),
            gain_safe_db=(
                self.gain_safe_db,
                self.gain_min_db <= self.gain_safe_db <= self.gain_max_db,
                "between gain_min_db and gain_max_db",
            ),
            power_dbm=(
                self.power_dbm,
                self.power_dbm is None or -100 <= self.power_dbm <= 60,
                "-100 to 60 dBm",
            ),
        )


@dataclass(frozen=True)
class Calibration:
    """What ``semcom calibrate`` measured on one radio. None: not measured.

    Attributes:
        date: of the last measurement, YYYY-MM-DD.
        frequency_hz: centre frequency it was measured at. sample_rate_hz: as well.
        rx_gain_db, tx_gain_db: found good. tx_gain_db is for people to enter; no command measures it.
        noise_floor_dbfs: power of a sample with nothing connected, relative to full scale, at rx_gain_db.
        frequency_offset_hz: where a signal sent at exactly frequency_hz is seen, seen from the centre.
        dc_re, dc_im: mean of the samples, full scale is 1.
        image_re, image_im: share of the conjugated signal in the received one.
    """

    date: str = ""
    frequency_hz: float | None = None
    sample_rate_hz: float | None = None
    rx_gain_db: float | None = None
    tx_gain_db: float | None = None
    noise_floor_dbfs: float | None = None
    frequency_offset_hz: float | None = None
    dc_re: float = 0.0
    dc_im: float = 0.0
    image_re: float = 0.0
    image_im: float = 0.0

    def __post_init__(self):
        settings.require(
            "radio profile: calibration",
            dc_re=(self.dc_re, abs(self.dc_re) < 1, "within full scale, -1 to 1"),
            dc_im=(self.dc_im, abs(self.dc_im) < 1, "within full scale, -1 to 1"),
            image_re=(self.image_re, abs(self.image_re) < 0.5, "-0.5 to 0.5"),
            image_im=(self.image_im, abs(self.image_im) < 0.5, "-0.5 to 0.5"),
            frequency_offset_hz=(
                self.frequency_offset_hz,
                self.frequency_offset_hz is None or (self.frequency_hz or 0) > 0,
                "given together with frequency_hz",
            ),
        )

    @property
    def dc(self) -> complex:
        return complex(self.dc_re, self.dc_im)

    @property
    def image(self) -> complex:
        return complex(self.image_re, self.image_im)

    def tuned_hz(self, frequency_hz: float) -> float:
        """What to ask the radio for, so that its carrier is at ``frequency_hz``: an oscillator's error grows with it."""
        if not self.frequency_offset_hz:
            return frequency_hz
        return frequency_hz * (1 + self.frequency_offset_hz / self.frequency_hz)


@dataclass(frozen=True)
class RadioProfile:
    """A radio: how to reach it, its limits, its calibration. YAML in ``hardware/profiles``, or a file of one's own.

    Attributes:
        name: in words. driver: "usrp" (gr-uhd) or "soapy" (gr-soapy). args: the driver's device arguments.
        clock_source, time_source: "internal", "external", "gpsdo"; empty: as the radio is.
        master_clock_rate_hz: None: the driver's choice.
        frequency_min_hz ... rate_max_hz: what the device can do.
        invert_spectrum: what it receives comes with the spectrum inverted, or with I and Q swapped: mixers, cables.
        tested_by: who has run a link on this very kind of radio, when; "nobody" is the honest default.

    Raises:
        ConfigError: an impossible value, named.
    """

    name: str = "any radio"
    driver: str = "usrp"
    args: str = ""
    clock_source: str = ""
    time_source: str = ""
    master_clock_rate_hz: float | None = None
    frequency_min_hz: float = 0.0
    frequency_max_hz: float = _NO_LIMIT_HZ
    rate_min_hz: float = 1.0
    rate_max_hz: float = _NO_LIMIT_HZ
    tx: Side = field(default_factory=Side)
    rx: Side = field(default_factory=Side)
    calibration: Calibration = field(default_factory=Calibration)
    invert_spectrum: bool = False
    tested_by: str = NOBODY
    notes: str = ""

    def __post_init__(self):
        settings.require(
            f"radio profile {self.name!r}",
            driver=(self.driver, self.driver in DRIVERS, f"one of {', '.join(DRIVERS)}"),
            master_clock_rate_hz=(
                self.master_clock_rate_hz,
                self.master_clock_rate_hz is None or 1e6 <= self.master_clock_rate_hz <= 1e9,
                "1e6 to 1e9 Hz",
            ),
            frequency_max_hz=(
                self.frequency_max_hz,
                0 <= self.frequency_min_hz <= self.frequency_max_hz,
                "at least frequency_min_hz, and that 0 or more",
            ),
            rate_max_hz=(
                self.rate_max_hz,
                0 < self.rate_min_hz <= self.rate_max_hz,
                "at least rate_min_hz, and that above 0",
            ),
            tested_by=(self.tested_by, bool(self.tested_by.strip()), f"a name, or '{NOBODY}'"),
        )

    def side(self, transmit: bool) -> Side:
        return self.tx if transmit else self.rx

    def check_link(self, sample_rate_hz: float, frequency_hz: float) -> None:
        """Refuses what the device cannot do.

        Raises:
            ConfigError: a rate or frequency outside its range.
        """
        if not self.rate_min_hz <= sample_rate_hz <= self.rate_max_hz:
            raise ConfigError(
                f"sample rate {sample_rate_hz:g} Hz is outside what radio '{self.name}' can do, "
                f"{self.rate_min_hz:g} to {self.rate_max_hz:g} Hz: choose another in the link profile."
            )
        if not self.frequency_min_hz <= frequency_hz <= self.frequency_max_hz:
            raise ConfigError(
                f"centre frequency {frequency_hz:g} Hz is outside what radio '{self.name}' can tune to, "
                f"{self.frequency_min_hz:g} to {self.frequency_max_hz:g} Hz: choose another in the link profile."
            )

    def check_gain(self, gain_db: float, transmit: bool) -> None:
        """Refuses a gain outside the profile's limits.

        Raises:
            ConfigError: naming the limits and where they stand.
        """
        side = self.side(transmit)
        if not side.gain_min_db <= gain_db <= side.gain_max_db:
            word = "tx" if transmit else "rx"
            raise ConfigError(
                f"{word} gain {gain_db:g} dB is outside the limits of radio '{self.name}', {side.gain_min_db:g} to "
                f"{side.gain_max_db:g} dB: choose another, or change the limits in a copy of its profile if the "
                "cabling allows it."
            )

    def measured(self, **results) -> "RadioProfile":
        """The same radio with new calibration results."""
        return dataclasses.replace(self, calibration=dataclasses.replace(self.calibration, **results))


def profile_folder() -> Path | None:
    """Where the packaged profiles lie: the checkout's ``hardware/profiles``, else the installed ones, else None."""
    return shipped_folder("hardware/profiles", "share/semcom/profiles", ".yaml")


def profile_names() -> list[str]:
    """Names that ``load_device`` knows."""
    folder = profile_folder()
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder else []


def load_device(name_or_path: str | Path) -> RadioProfile:
    """A radio profile by the name of one in ``hardware/profiles``, or by the path of a YAML file.

    Raises:
        ConfigError: no such profile (those that are there are listed), an unknown key, an impossible value.
    """
    text = str(name_or_path)
    if text in profile_names():
        return settings.load(RadioProfile, profile_folder() / f"{text}.yaml", "radio profile")
    if Path(text).suffix in (".yaml", ".yml") or "/" in text:
        return settings.load(RadioProfile, text, "radio profile")
    raise ConfigError(
        f"there is no radio profile {shown(text)}{did_you_mean(text, profile_names())}"
        f" There are {', '.join(profile_names()) or 'none'}; or give the path of a YAML file."
    )


def device_for(driver: str, device: str) -> RadioProfile:
    """The profile a station uses: the named one, or one without limits.

    Args:
        driver: name of the medium. device: as in ``load_device``; empty: none was named.

    Raises:
        ConfigError: no such profile, or one of another driver's radio.
    """
    if not device:
        return RadioProfile(driver=driver) if driver in DRIVERS else RadioProfile()
    profile = load_device(device)
    if driver in DRIVERS and driver != profile.driver:
        raise ConfigError(
            f"radio profile '{device}' is of a radio behind {profile.driver}, but the radio asked for is {driver}: "
            "choose another of the two."
        )
    return profile


def save_device(profile: RadioProfile, path: str | Path, overwrite: bool = False) -> Path:
    """Writes a profile as YAML, whole or not at all.

    Raises:
        OutputError: the file is there and ``overwrite`` is not asked for, or it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists and is left as it is: choose another name, or ask for it to be replaced."
        )
    text = yaml.safe_dump(_plain(profile), sort_keys=False, allow_unicode=True, width=100)
    return write_text(path, f"# SPDX-License-Identifier: GPL-3.0-or-later\n{text}")


def _plain(value) -> dict:
    """A dataclass as a mapping without what is at its default; floats as short as they can be."""
    out = {}
    for item in dataclasses.fields(value):
        now = getattr(value, item.name)
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        if now == default and item.name not in ("name", "driver", "tested_by"):
            continue
        if dataclasses.is_dataclass(now):
            now = _plain(now)
        elif isinstance(now, float) and math.isfinite(now) and now == int(now):
            now = int(now)
        out[item.name] = now
    return out
