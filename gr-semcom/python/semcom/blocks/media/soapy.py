# SPDX-License-Identifier: GPL-3.0-or-later
"""Pluto, Lime, HackRF and others through gr-soapy: samples without end, no burst tags, no reports."""

from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import End, Wish
from semcom.blocks.media.bridge import SampleQueue, sample_giver, sample_keeper
from semcom.blocks.media.correction import connect_corrected
from semcom.blocks.media.device_graph import DeviceGraph, Inside
from semcom.errors import ConfigError, MissingError
from semcom.radio.finding import those_connected
from semcom.radio.timing import Time
from semcom.radio.watchdog import Watchdog


def connect_sink(hier: gr.hier_block2, wish: Wish) -> End:
    """Sends all that comes; the modulator must send zeros when it is idle (``Kind.idle``).

    Raises:
        ConfigError: no such radio, an unknown antenna, a rate it cannot make, limits of its profile.
        MissingError: gr-soapy is not installed.
    """
    sink = make("sink", device_args(wish))
    controls = wish.controls(SoapyDevice(sink), transmit=True)
    watcher = end_watcher(wish.guard, lambda: sink.nitems_read(0))
    hier.connect(hier, sink)
    hier.connect(hier, watcher)
    return End((watcher,), controls, watcher.sent_all)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Samples, corrected by the profile's calibration. Raises like ``connect_sink``."""
    queue, args = SampleQueue(), device_args(wish)

    def build(top: gr.top_block) -> Inside:
        source = make("source", args)
        keeper = sample_keeper(queue, wish.guard, wish.sample_rate_hz)
        watchdog = Watchdog(None, lambda now: True)
        keeper.on_samples = watchdog.sign
        connect_corrected(top, source, wish.profile.calibration, keeper)
        return Inside(SoapyDevice(source), watchdog, (keeper, source), keeper.abandon)

    graph = DeviceGraph(f"soapy:{args}", f"soapy:{args}", build, wish, transmit=False)
    giver = sample_giver(queue, wish.guard, graph)
    hier.connect(giver, hier)
    return End((giver,), graph.controls, gone_s=graph.gone_s)


def device_args(wish: Wish) -> str:
    return wish.address or wish.profile.args


def make(kind: str, args: str) -> gr.basic_block:
    """gr-soapy's sink or source for one channel."""
    try:
        from gnuradio import soapy
    except ImportError as error:
        raise MissingError(
            f"radio soapy needs gr-soapy ({error}): install GNU Radio 3.9 or newer, and soapysdr-tools."
        ) from error
    try:
        return getattr(soapy, kind)(args, "fc32", 1, "", "", [""], [""])
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"no SoapySDR radio answers to '{args}' ({error}). {those_connected('soapy')}"
        ) from error


class SoapyDevice:
    """``radio.interface.Device`` of a gr-soapy block, its first channel."""

    def __init__(self, block: gr.basic_block):
        self.block = block

    def antennas(self) -> list[str]:
        return list(self.block.list_antennas(0))

    def set_antenna(self, name: str) -> None:
        self.block.set_antenna(0, name)

    def set_subdev(self, name: str) -> None:
        self.block.set_frontend_mapping(name)

    def set_clocks(self, clock_source: str, time_source: str) -> None:
        if clock_source:
            self.block.set_clock_source(clock_source)

    def set_sample_rate_hz(self, rate_hz: float) -> float:
        self.block.set_sample_rate(0, rate_hz)
        return self.block.get_sample_rate(0)

    def set_centre_frequency_hz(self, frequency_hz: float) -> float:
        self.block.set_frequency(0, frequency_hz)
        return self.block.get_frequency(0)

    def set_gain_db(self, gain_db: float) -> float:
        self.block.set_gain(0, gain_db)
        return self.block.get_gain(0)

    def sensor(self, name: str) -> float | None:
        return None

    def time_now(self) -> Time:
        raise ConfigError("gr-soapy reports no device time: bursts cannot be timed on this radio.")


class end_watcher(gr.sync_block):
    """Sees the tag ``semcom_end`` pass, and knows when the sink beside it has taken that sample."""

    def __init__(self, guard: Guarded, taken: Callable[[], int]):
        gr.sync_block.__init__(self, name="end_watcher", in_sig=[np.complex64], out_sig=None)
        self._guard, self._taken, self._end = guard, taken, None

    def start(self) -> bool:
        self._end = None
        return True

    def sent_all(self) -> bool:
        return self._end is not None and self._taken() > self._end

    def work(self, input_items, output_items) -> int:
        count = len(input_items[0])
        return self._guard.guarded_work(lambda: self._look(count), fallback=count)

    def _look(self, count: int) -> int:
        for tag in self.get_tags_in_window(0, 0, count, pmt.intern(keys.TAG_END)):
            self._end = tag.offset
        return count
