# SPDX-License-Identifier: GPL-3.0-or-later
"""USRPs through gr-uhd: timed bursts out, samples with their times in."""

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import End, Wish, last_line
from semcom.blocks.media.bursts import BurstQueue, burst_collector, burst_emitter
from semcom.blocks.media.correction import connect_corrected
from semcom.errors import ConfigError, MissingError
from semcom.radio.finding import those_connected
from semcom.radio.reports import RxClock
from semcom.radio.timing import Time

_WATCH_SAMPLES = 8192


def connect_sink(hier: gr.hier_block2, wish: Wish) -> End:
    """Bursts by their tx_sob and tx_eob tags.

    Raises:
        ConfigError: no such radio, an unknown antenna, a rate it cannot make, limits of its profile.
        MissingError: gr-uhd is not installed.
    """
    sink = make_sink(device_args(wish))
    controls = wish.controls(UhdDevice(sink), transmit=True)
    queue = BurstQueue()
    emitter = burst_emitter(queue, wish.guard, wish.sample_rate_hz, controls.device.time_now)
    collector = burst_collector(queue, wish.guard)
    hier.connect(hier, collector)
    hier.connect(emitter, sink)
    hier.msg_connect((sink, "async_msgs"), (emitter, "reports"))
    return End((collector, emitter), controls, lambda: emitter.sent_all)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Samples, corrected by the profile's calibration. Raises like ``connect_sink``."""
    source = make_source(device_args(wish))
    controls = wish.controls(UhdDevice(source), transmit=False)
    connect_corrected(hier, source, wish.profile.calibration)
    watcher = rx_watcher(wish.guard, wish.sample_rate_hz)
    hier.connect(source, watcher)
    return End((watcher,), controls)


def device_args(wish: Wish) -> str:
    """UHD's arguments: the profile's, what was named on the command line over them, and the master clock."""
    pairs = {}
    for text in (wish.profile.args, wish.address):
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = item.partition("=")
            pairs[name.strip()] = value.strip()
    if wish.profile.master_clock_rate_hz:
        pairs.setdefault("master_clock_rate", f"{wish.profile.master_clock_rate_hz:g}")
    return ",".join(f"{name}={value}" for name, value in pairs.items())


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
        if "No devices found" in str(error):
            wanted = f"no USRP answers to '{args}'" if args else "no USRP is connected"
            raise ConfigError(f"{wanted}. {those_connected('usrp')}") from error
        raise ConfigError(
            f"the USRP at '{args}' cannot be used: {last_line(error)}. `uhd_usrp_probe` tells more."
        ) from error


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

    def time_now(self) -> Time:
        now = self.block.get_time_now()
        return Time(int(now.get_full_secs()), float(now.get_frac_secs()))


def _translated(what: str, value: str, call) -> None:
    try:
        call()
    except (RuntimeError, ValueError, LookupError) as error:
        raise ConfigError(f"the radio has no {what} '{value}': {last_line(error)}.") from error


class rx_watcher(gr.sync_block):
    """Reads the tags of received samples: counts what overflows cost, keeps device time and frequency."""

    def __init__(self, guard: Guarded, sample_rate_hz: float):
        gr.sync_block.__init__(self, name="rx_watcher", in_sig=[np.complex64], out_sig=None)
        self._guard = guard
        self.clock = RxClock(guard.count, guard.fail, sample_rate_hz)
        self.set_output_multiple(_WATCH_SAMPLES)  # few calls

    def work(self, input_items, output_items) -> int:
        count = len(input_items[0])
        return self._guard.guarded_work(lambda: self._look(count), fallback=count)

    def _look(self, count: int) -> int:
        tags = self.get_tags_in_window(0, 0, count)
        for tag in sorted(tags, key=lambda tag: (tag.offset, str(tag.key) != keys.TAG_RX_RATE)):
            key = pmt.symbol_to_string(tag.key)
            if key == keys.TAG_RX_RATE:
                self.clock.on_rate(pmt.to_double(tag.value))
            elif key == keys.TAG_RX_FREQ:
                self.clock.on_frequency(pmt.to_double(tag.value))
            elif key == keys.TAG_RX_TIME:
                whole, fraction = pmt.tuple_ref(tag.value, 0), pmt.tuple_ref(tag.value, 1)
                self.clock.on_time(tag.offset, Time(pmt.to_uint64(whole), pmt.to_double(fraction)))
        return count
