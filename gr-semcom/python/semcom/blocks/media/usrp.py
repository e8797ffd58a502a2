# SPDX-License-Identifier: GPL-3.0-or-later
"""USRPs through gr-uhd: timed bursts out, samples with their times in."""

import re

from gnuradio import gr

from semcom.blocks.media import End, Wish, last_line
from semcom.blocks.media.bridge import SampleQueue, sample_giver, sample_keeper
from semcom.blocks.media.bursts import BurstQueue, burst_collector, burst_emitter
from semcom.blocks.media.correction import connect_corrected
from semcom.blocks.media.device_graph import DeviceGraph, Inside
from semcom.errors import ConfigError, MissingError
from semcom.radio.finding import those_connected
from semcom.radio.timing import Time
from semcom.radio.watchdog import Watchdog

_SERIES = ("b200", "x300", "n3xx", "e3xx", "x4xx", "usrp2", "usrp1", "mpmd")  # UHD's names of device types
# UHD over the network and over USB, and the kernel
_CLAIMED = (
    "double-claim",
    "claim this device",
    "libusb_error_busy",
    "device or resource busy",
    "already in use",
)


def connect_sink(hier: gr.hier_block2, wish: Wish) -> End:
    """Bursts by their tx_sob and tx_eob tags.

    Raises:
        ConfigError: no such radio, an unknown antenna, a rate it cannot make, limits of its profile.
        MissingError: gr-uhd is not installed.
    """
    queue, args = BurstQueue(), device_args(wish)

    def build(top: gr.top_block) -> Inside:
        sink = make_sink(args)
        device = UhdDevice(sink)
        emitter = burst_emitter(queue, wish.guard, wish.sample_rate_hz, device.time_now, wish.on_answer)
        watchdog = Watchdog(device.time_now, lambda now: emitter.reports.overdue(now))
        emitter.on_report_received = watchdog.sign
        top.connect(emitter, sink)
        top.msg_connect((sink, "async_msgs"), (emitter, "reports"))
        return Inside(device, watchdog, (emitter, sink), emitter.abandon)

    graph = DeviceGraph(f"usrp:{wish.address or args}", args, build, wish, transmit=True)
    collector = burst_collector(queue, wish.guard, graph)
    hier.connect(hier, collector)
    return End((collector,), graph.controls, lambda: queue.answered, gone_s=graph.gone_s)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Samples, corrected by the profile's calibration. Raises like ``connect_sink``."""
    queue, args = SampleQueue(), device_args(wish)

    def build(top: gr.top_block) -> Inside:
        source = make_source(args)
        device, keeper = UhdDevice(source), sample_keeper(queue, wish.guard, wish.sample_rate_hz)
        watchdog = Watchdog(device.time_now, lambda now: True)
        keeper.on_samples = watchdog.sign
        connect_corrected(top, source, wish.profile.calibration, keeper)
        return Inside(device, watchdog, (keeper, source), keeper.abandon)

    graph = DeviceGraph(f"usrp:{wish.address or args}", args, build, wish, transmit=False)
    giver = sample_giver(queue, wish.guard, graph)
    hier.connect(giver, hier)
    return End((giver,), graph.controls, gone_s=graph.gone_s)


def device_args(wish: Wish) -> str:
    """UHD's arguments: the profile's, what was named on the command line over them, and the master clock.

    An address alone (usrp:192.168.10.2) stands for addr=, a serial number for serial=, a series (usrp:b200) for type=.

    Raises:
        ConfigError: a word that is none of these.
    """
    pairs = {}
    for text in (wish.profile.args, wish.address):
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (item if "=" in item else _spelt_out(item)).partition("=")
            pairs[name.strip()] = value.strip()
    if wish.profile.master_clock_rate_hz:
        pairs.setdefault("master_clock_rate", f"{wish.profile.master_clock_rate_hz:g}")
    return ",".join(f"{name}={value}" for name, value in pairs.items())


def _spelt_out(word: str) -> str:
    if word.lower() in _SERIES:
        return f"type={word.lower()}"
    if re.fullmatch(r"[0-9A-Fa-f]{6,8}", word):
        return f"serial={word}"
    if re.fullmatch(r"[\w-]+(\.[\w-]+)+|localhost|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+", word):
        return f"addr={word}"
    raise ConfigError(
        f"radio usrp: '{word}' is neither name=value, as type=b200, nor an address, a serial number or a series ("
        f"{', '.join(_SERIES)})."
    )


def make_sink(args: str) -> gr.basic_block:
    """gr-uhd's sink for one channel. Without a length tag, so that tx_sob and tx_eob count."""
    return _make(lambda uhd, stream: uhd.usrp_sink(args, stream, ""), args)


def make_source(args: str) -> gr.basic_block:
    return _make(lambda uhd, stream: uhd.usrp_source(args, stream), args)


def _make(call, args: str) -> gr.basic_block:
    try:
        from gnuradio import uhd
    except ImportError as error:
        raise MissingError(
            f"radio usrp needs gr-uhd ({error}): install GNU Radio with UHD, and uhd-host."
        ) from error
    try:
        return call(uhd, uhd.stream_args(cpu_format="fc32", otw_format="sc16", channels=[0]))
    except (RuntimeError, ValueError, LookupError) as error:
        raise complaint_of(error, args) from error


def complaint_of(error: Exception, args: str) -> ConfigError:
    """What UHD has against opening the radio, in words."""
    text = str(error)
    if "No devices found" in text:
        wanted = f"no USRP answers to '{args}'" if args else "no USRP is connected"
        return ConfigError(f"{wanted}. {those_connected('usrp')}")
    if any(word in text.lower() for word in _CLAIMED):
        return ConfigError(
            f"another program uses the USRP at '{args}', and a USRP serves one program at a time: end that one. One "
            "program that both transmits and receives on it is semcom loopback --radio usrp, or transceiver_usrp.grc."
        )
    if "reconnect output port" in text or "reconnect input port" in text:
        return ConfigError(
            f"this program already has a transmitter or receiver of that kind on the USRP at '{args}': end that first."
        )
    return ConfigError(
        f"the USRP at '{args}' cannot be used: {last_line(error)}. `uhd_usrp_probe` shows more."
    )


class UhdDevice:
    """``radio.interface.Device`` of a gr-uhd block, its first channel."""

    def __init__(self, block: gr.basic_block):
        self.block = block

    def antennas(self) -> list[str]:
        return list(self.block.get_antennas(0))

    def set_antenna(self, name: str) -> None:
        self.block.set_antenna(name, 0)

    def set_subdev(self, name: str) -> None:
        _translated("subdevice", name, lambda: self.block.set_subdev_spec(name, 0))

    def set_clocks(self, clock_source: str, time_source: str) -> None:
        if clock_source:
            _translated("clock source", clock_source, lambda: self.block.set_clock_source(clock_source, 0))
        if time_source:
            _translated("time source", time_source, lambda: self.block.set_time_source(time_source, 0))

    def set_sample_rate_hz(self, rate_hz: float) -> float:
        self.block.set_samp_rate(rate_hz)
        return self.block.get_samp_rate()

    def set_centre_frequency_hz(self, frequency_hz: float) -> float:
        self.block.set_center_freq(frequency_hz, 0)
        return self.block.get_center_freq(0)

    def set_gain_db(self, gain_db: float) -> float:
        self.block.set_gain(gain_db, 0)
        return self.block.get_gain(0)

    def sensor(self, name: str) -> float | None:
        if name in self.block.get_sensor_names(0):
            value = self.block.get_sensor(name, 0)
        elif name in self.block.get_mboard_sensor_names(0):
            value = self.block.get_mboard_sensor(name, 0)
        else:
            return None
        return float(value.to_bool() if name.endswith("_locked") else value.to_real())

    def time_now(self) -> Time:
        now = self.block.get_time_now()
        return Time(int(now.get_full_secs()), float(now.get_frac_secs()))


def _translated(what: str, value: str, call) -> None:
    try:
        call()
    except (RuntimeError, ValueError, LookupError) as error:
        raise ConfigError(f"the radio has no {what} '{value}': {last_line(error)}.") from error
