# SPDX-License-Identifier: GPL-3.0-or-later
"""What the air does, written down: stations, links between them, and what changes when. YAML to dataclasses."""

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from semcom import settings
from semcom.channel.named import DECAY_DB, named_channel
from semcom.channel.named import MAX_DELAY_SAMPLES as MAX_TAP_DELAY_SAMPLES
from semcom.errors import ConfigError
from semcom.parsing import did_you_mean, shown

REAL_TIME, FREE = "real-time", "free"
DEFAULT_TX, DEFAULT_RX = "tcp://127.0.0.1:5550", "tcp://127.0.0.1:5560"
MAX_DELAY_SAMPLES = 10**6
MAX_SRO_PPM = 200.0
_MAX_STATIONS = 32  # each has a socket, each pair of them a channel
_MAX_STEPS, _MAX_NAME = 10_000, 64


@dataclass(frozen=True)
class Tap:
    """One path of a multipath channel.

    Attributes:
        delay_samples: after the first path. power_db: before all taps are scaled to a total power of 1.
        phase_deg: of a static tap; None: drawn with the seed.
    """

    delay_samples: int
    power_db: float = 0.0
    phase_deg: float | None = None

    def __post_init__(self):
        settings.require(
            "tap",
            delay_samples=(
                self.delay_samples,
                0 <= self.delay_samples <= MAX_TAP_DELAY_SAMPLES,
                f"0 to {MAX_TAP_DELAY_SAMPLES} samples",
            ),
            power_db=_within(self.power_db, -100, 100, "dB"),
        )


@dataclass(frozen=True)
class Transmitter:
    """A transmitter: where its samples are fetched, and what its analogue part does to them.

    Attributes:
        address: that the transmitter has bound.
        sro_ppm: how much slower than nominal its sample clock runs. What a link has is this less the receiver's.
        iq_gain_db: Q louder than I. iq_phase_deg: Q away from a right angle.
        dc_i, dc_q: carrier leak, on the scale of the samples.
        pa_backoff_db: saturation power of the amplifier over ``signal_amplitude`` squared; None: a linear one.
        pa_smoothness: Rapp's p; large is hard clipping.
    """

    address: str = DEFAULT_TX
    sro_ppm: float = 0.0
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0
    dc_i: float = 0.0
    dc_q: float = 0.0
    pa_backoff_db: float | None = None
    pa_smoothness: float = 2.0

    def __post_init__(self):
        settings.require(
            "transmitter",
            **_front_end(self),
            sro_ppm=_within(self.sro_ppm, -MAX_SRO_PPM, MAX_SRO_PPM, "ppm"),
            pa_backoff_db=_within(self.pa_backoff_db, -40, 60, "dB"),
            pa_smoothness=_within(self.pa_smoothness, 0.5, 20, ""),
        )


@dataclass(frozen=True)
class Route:
    """What lies between one transmitter and one receiver. See docs/air.md for the order of things.

    Written as ``channel: NAME``, ``delay_spread_samples`` and ``doppler_hz`` are those of ``semcom.channel.named``.

    Attributes:
        attenuation_db: of everything on this link. delay_samples: 0 to 1e6, fractions too.
        taps: multipath, by hand. delay_spread_samples: or an exponential profile that long, drawn with the seed.
        doppler_hz: above 0 every tap fades (Rayleigh, Jakes' spectrum); 0: taps stand still.
        cfo_hz: how far the transmitter's carrier lies above where the receiver listens.
    """

    attenuation_db: float = 0.0
    delay_samples: float = 0.0
    taps: list[Tap] = field(default_factory=list)
    delay_spread_samples: int = 0
    doppler_hz: float = 0.0
    cfo_hz: float = 0.0

    def __post_init__(self):
        settings.require(
            "link",
            attenuation_db=_within(self.attenuation_db, -60, 300, "dB"),
            delay_samples=_within(self.delay_samples, 0, MAX_DELAY_SAMPLES, "samples"),
            taps=(self.taps, not (self.taps and self.delay_spread_samples), "left out beside a delay spread"),
            delay_spread_samples=_within(self.delay_spread_samples, 0, MAX_TAP_DELAY_SAMPLES, "samples"),
            doppler_hz=_within(self.doppler_hz, 0, 1e6, "Hz"),
            cfo_hz=_within(self.cfo_hz, -1e9, 1e9, "Hz"),
        )

    @property
    def profile(self) -> list[Tap]:
        """The taps, or those of the exponential profile."""
        last = self.delay_spread_samples
        if not last:
            return self.taps or [Tap(0, 0.0, 0.0)]
        return [Tap(delay, -DECAY_DB * delay / last) for delay in range(last + 1)]


@dataclass(frozen=True)
class Receiver:
    """A receiver: where its samples are offered, its noise and what its analogue part does.

    Attributes:
        address: that the air binds and the receiver connects to.
        snr_db: Es/N0 after the FFT for a transmitter of ``signal_amplitude`` over 0 dB. noise_power_db: or the
            power of a noise sample in dB over 1. Neither: no noise.
        sro_ppm: how much slower than nominal its sample clock runs.
        phase_noise_hz: 3 dB linewidth of its oscillator.
        iq_gain_db, iq_phase_deg, dc_i, dc_q: as of a transmitter.
        gain_db: before the converter.
        adc_bits: of the converter; None: a perfect one. adc_full_scale: beyond it the converter clips.
        drops_per_s: how often, on average, samples are lost as in an overrun. drop_samples: how many each time.
    """

    address: str = DEFAULT_RX
    snr_db: float | None = None
    noise_power_db: float | None = None
    sro_ppm: float = 0.0
    phase_noise_hz: float = 0.0
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0
    dc_i: float = 0.0
    dc_q: float = 0.0
    gain_db: float = 0.0
    adc_bits: int | None = None
    adc_full_scale: float = 1.0
    drops_per_s: float = 0.0
    drop_samples: int = 1000

    def __post_init__(self):
        both = self.snr_db is not None and self.noise_power_db is not None
        settings.require(
            "receiver",
            **_front_end(self),
            snr_db=_within(self.snr_db, -60, 120, "dB"),
            noise_power_db=(
                self.noise_power_db,
                not both and (self.noise_power_db is None or -200 <= self.noise_power_db <= 60),
                "-200 to 60 dB, and left out beside snr_db",
            ),
            sro_ppm=_within(self.sro_ppm, -MAX_SRO_PPM, MAX_SRO_PPM, "ppm"),
            phase_noise_hz=_within(self.phase_noise_hz, 0, 1e6, "Hz"),
            gain_db=_within(self.gain_db, -100, 100, "dB"),
            adc_bits=_within(self.adc_bits, 1, 24, "bits"),
            adc_full_scale=_within(self.adc_full_scale, 1e-6, 1e6, ""),
            drops_per_s=_within(self.drops_per_s, 0, 1e4, "per second"),
            drop_samples=_within(self.drop_samples, 1, 10**6, "samples"),
        )


@dataclass(frozen=True)
class Link:
    """A path and its two ends, by name."""

    sender: str
    receiver: str
    route: Route

    @property
    def name(self) -> str:
        return link_name(self.sender, self.receiver)


@dataclass(frozen=True)
class Change:
    """From ``at_s`` on, ``key`` of one thing goes from ``start`` to ``end`` within ``over_s``.

    ``kind`` is "transmitter", "link" or "receiver", ``name`` the thing's.
    """

    at_s: float
    over_s: float
    kind: str
    name: str
    key: str
    start: Any
    end: Any

    def value(self, time_s: float) -> Any:
        if time_s >= self.at_s + self.over_s:
            return self.end
        return self.start + (self.end - self.start) * (time_s - self.at_s) / self.over_s


@dataclass(frozen=True)
class AirScript:
    """All of it; see ``load_script`` for how it is written.

    Attributes:
        signal_amplitude: that transmitters send with (the link profile's), what SNR and back-off are counted from.
        transmitters, receivers: by name. links: between them. changes: by time.
    """

    sample_rate_hz: float
    pace: str
    seed: int
    signal_amplitude: float
    transmitters: dict[str, Transmitter]
    receivers: dict[str, Receiver]
    links: list[Link]
    changes: list[Change]

    def things(self) -> dict[tuple[str, str], Any]:
        """Everything a change can name: (kind, name) to its dataclass."""
        return (
            {("transmitter", name): thing for name, thing in self.transmitters.items()}
            | {("link", link.name): link.route for link in self.links}
            | {("receiver", name): thing for name, thing in self.receivers.items()}
        )


@dataclass(frozen=True)
class _Step:
    """An entry of ``timeline:`` as it is written."""

    set: dict[str, Any]
    at_s: float = 0.0
    over_s: float = 0.0
    transmitter: str = ""
    link: str = ""
    receiver: str = ""

    def __post_init__(self):
        named = [kind for kind in ("transmitter", "link", "receiver") if getattr(self, kind)]
        settings.require(
            "timeline",
            at_s=_within(self.at_s, 0, 1e9, "s"),
            over_s=_within(self.over_s, 0, 1e9, "s"),
            link=(self.link, len(named) == 1, "the one thing named, or else transmitter or receiver"),
        )

    @property
    def target(self) -> tuple[str, str]:
        return next(
            (kind, getattr(self, kind)) for kind in ("transmitter", "link", "receiver") if getattr(self, kind)
        )


@dataclass(frozen=True)
class _Written:
    """The file as it is written."""

    sample_rate_hz: float = 1e6
    pace: str = REAL_TIME
    seed: int = 0
    signal_amplitude: float = 0.25
    transmitters: dict[str, Any] = field(default_factory=lambda: {"tx": DEFAULT_TX})
    receivers: dict[str, Any] = field(default_factory=lambda: {"rx": DEFAULT_RX})
    links: list[dict] | None = None
    timeline: list[dict] = field(default_factory=list)

    def __post_init__(self):
        settings.require(
            "air",
            sample_rate_hz=_within(self.sample_rate_hz, 1e3, 1e8, "Hz"),
            pace=(self.pace, self.pace in (REAL_TIME, FREE), f"'{REAL_TIME}' or '{FREE}'"),
            seed=_within(self.seed, 0, 2**31 - 1, ""),
            signal_amplitude=_within(self.signal_amplitude, 1e-6, 1e3, ""),
            transmitters=_stations_rule(self.transmitters),
            receivers=_stations_rule(self.receivers),
            timeline=(self.timeline, len(self.timeline) <= _MAX_STEPS, f"{_MAX_STEPS} steps at most"),
        )


def link_name(sender: str, receiver: str) -> str:
    """How the timeline and the counters call a link: ``alice>bob``."""
    return f"{sender}>{receiver}"


def load_script(path: str | Path, **overrides: Any) -> AirScript:
    """Reads an air script; ``overrides`` replace top-level values that are not None.

    Raises:
        ConfigError: no such file, an unknown name or key (the nearest is suggested), an impossible value.
    """
    return make_script(settings.read_yaml(path, "air script"), f"air script {path}", **overrides)


def make_script(values: dict[str, Any], source: str = "air", **overrides: Any) -> AirScript:
    """The mapping of an air script as an ``AirScript``; ``source`` begins every complaint. Raises ConfigError."""
    values = values | {key: value for key, value in overrides.items() if value is not None}
    written = _make(_Written, values, source)
    transmitters = _stations(Transmitter, written.transmitters, f"{source}: transmitter")
    receivers = _stations(Receiver, written.receivers, f"{source}: receiver")
    addresses = [station.address for station in (*transmitters.values(), *receivers.values())]
    for address in addresses:
        if addresses.count(address) > 1:
            raise ConfigError(
                f"{source}: {address} is given twice; each station needs an address of its own."
            )
    links = _links(written.links, transmitters, receivers, written.sample_rate_hz, source)
    script = AirScript(
        written.sample_rate_hz,
        written.pace,
        written.seed,
        written.signal_amplitude,
        transmitters,
        receivers,
        links,
        [],
    )
    return replace(script, changes=_changes(written.timeline, script, source))


def _stations(cls, written: dict[str, Any], source: str) -> dict[str, Any]:
    made = {}
    for name, values in written.items():
        if not name or not name.isprintable() or ">" in name or len(name) > _MAX_NAME:
            raise ConfigError(
                f"{source} {shown(name)}: a name is text without '>', {_MAX_NAME} characters at most."
            )
        values = {"address": values} if isinstance(values, str) else values
        if isinstance(values, dict) and "address" not in values and len(written) > 1:
            raise ConfigError(f"{source} '{name}': 'address' is missing.")
        made[name] = _make(cls, values, f"{source} '{name}'")
    return made


def _links(written, transmitters: dict, receivers: dict, sample_rate_hz: float, source: str) -> list[Link]:
    """Links as written; none written: everybody receives everybody, undisturbed."""
    if written is None:
        written = [{"from": sender, "to": receiver} for sender in transmitters for receiver in receivers]
    links: list[Link] = []
    for position, values in enumerate(written):
        place = f"{source}: links[{position}]"
        values = dict(values)
        sender = _known(values.pop("from", None), transmitters, f"{place}: 'from'")
        receiver = _known(values.pop("to", None), receivers, f"{place}: 'to'")
        values = _without_channel(values, sample_rate_hz, place)
        link = Link(sender, receiver, _make(Route, values, f"{place} ({link_name(sender, receiver)})"))
        if link.name in [other.name for other in links]:
            raise ConfigError(f"{place}: the link {link.name} is there already.")
        _check_rates(link.route, sample_rate_hz, f"{place} ({link.name})")
        links.append(link)
    return links


def _without_channel(values: dict[str, Any], sample_rate_hz: float, place: str) -> dict[str, Any]:
    """A link's keys with ``channel: NAME`` written out; noise is the receiver's.

    Raises:
        ConfigError: no such channel, or a key beside it that it decides.
    """
    if "channel" not in values:
        return values
    try:
        channel = named_channel(values["channel"])
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    decided = {"delay_spread_samples": channel.delay_samples, "doppler_hz": channel.doppler * sample_rate_hz}
    beside = [key for key in ("taps", *decided) if key in values]
    if beside:
        raise ConfigError(f"{place}: {', '.join(beside)}: left out beside a channel, which says that itself.")
    return {key: value for key, value in values.items() if key != "channel"} | decided


def _check_rates(path: Route, sample_rate_hz: float, source: str) -> None:
    settings.require(
        source,
        cfo_hz=(path.cfo_hz, abs(path.cfo_hz) <= sample_rate_hz / 2, "at most half the sample rate"),
        doppler_hz=(
            path.doppler_hz,
            path.doppler_hz <= sample_rate_hz / 1000,
            "at most a thousandth of the sample rate",
        ),
    )


def _changes(timeline: list[dict], script: AirScript, source: str) -> list[Change]:
    """Steps in order of time, each with the value it starts from: what the step before has left."""
    things = script.things()
    steps = [(f"{source}: timeline[{i}]", values) for i, values in enumerate(timeline)]
    made = sorted(
        ((place, _make(_Step, values, place)) for place, values in steps), key=lambda step: step[1].at_s
    )
    changes: list[Change] = []
    for place, step in made:
        kind, name = step.target
        names = {name: None for other, name in things if other == kind}
        target = kind, _known(name, names, f"{place}: {kind}")
        for key, value in step.set.items():
            changes.append(_change(step, target, key, value, things, place))
            if kind == "link":
                _check_rates(things[target], script.sample_rate_hz, place)
    return changes


def _change(step: _Step, target: tuple[str, str], key: str, value: Any, things: dict, place: str) -> Change:
    thing = things[target]
    fixed = ("address", "taps", "delay_spread_samples")
    _known(key, {f.name: None for f in fields(thing) if f.name not in fixed}, f"{place}: set")
    if isinstance(value, list) and len(value) != 2:
        raise ConfigError(f"{place}: '{key}' is {shown(value)}: write one value, or [FROM, TO].")
    first, last = value if isinstance(value, list) else (getattr(thing, key), value)
    before, after = (
        _make(type(thing), _shallow(thing) | {key: limit}, f"{place}: set") for limit in (first, last)
    )
    things[target] = after
    start, end = getattr(before, key), getattr(after, key)
    if step.over_s and not (isinstance(start, float) and isinstance(end, float)):
        raise ConfigError(
            f"{place}: '{key}' cannot go from {start!r} to {end!r} by and by: leave 'over_s' out, or write "
            f"{key}: [FROM, TO] with two numbers."
        )
    return Change(step.at_s, step.over_s, *target, key, start, end)


def _shallow(thing) -> dict[str, Any]:
    return {f.name: getattr(thing, f.name) for f in fields(thing)}


def _make(cls, values, source: str):
    """``settings.make`` with the place named also where a class's own rule complains."""
    try:
        return settings.make(cls, values, source)
    except ConfigError as error:
        if str(error).startswith(source):
            raise
        raise ConfigError(f"{source}: {str(error).partition(': ')[2]}") from error


def _known(name: Any, names: dict, place: str) -> str:
    if name is None:
        raise ConfigError(f"{place} is missing: name one of {', '.join(names)}.")
    if not isinstance(name, str) or name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(
            f"{place}: unknown name {shown(name)}{hint} There are {', '.join(names) or 'none'}."
        )
    return name


def _within(value, low, high, unit: str) -> tuple[Any, bool, str]:
    """A rule of ``settings.require``: None, where the type allows it, is always good."""
    good = value is None or (math.isfinite(value) and low <= value <= high)
    return value, good, f"{low:g} to {high:g} {unit}".strip()


def _stations_rule(stations: dict) -> tuple[Any, bool, str]:
    few = 1 <= len(stations) <= _MAX_STATIONS
    return stations, few, f"at least one name and address, and at most {_MAX_STATIONS}"


def _front_end(thing) -> dict[str, tuple[Any, bool, str]]:
    return {
        "iq_gain_db": _within(thing.iq_gain_db, -20, 20, "dB"),
        "iq_phase_deg": _within(thing.iq_phase_deg, -45, 45, "degrees"),
        "dc_i": _within(thing.dc_i, -10, 10, ""),
        "dc_q": _within(thing.dc_q, -10, 10, ""),
    }
