# SPDX-License-Identifier: GPL-3.0-or-later
"""gr-uhd's two blocks in front of a ``FakeRadio``: stations are tried on them where there is no radio.

with fake_usrp(FakeRadio()) as radio:
    sink = blocks.radio_sink("usrp")
"""

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pmt
from gnuradio import gr

from semcom.blocks.media import usrp
from semcom.radio.fake import FakeRadio, FakeUsrpSink
from semcom.radio.timing import TaggedSamples, Time

_LOOK_S = 0.002  # of virtual time, that a look at the clock takes
_PIECE_SAMPLES = 8192


class Claims:
    """Who holds which side of the device; a block that Python has not collected holds its own still."""

    def __init__(self, radio: FakeRadio):
        self.radio, self.lock = radio, threading.RLock()
        self.args, self.opened = "", 0
        self._held: dict[bool, weakref.ref] = {}
        radio.on_event = self._add_event

    def block(self, transmit: bool) -> "FakeUhdBlock | None":
        """The block that holds a side."""
        return self._held[transmit]() if transmit in self._held else None

    def _add_event(self, event: str, time: Time) -> None:
        if (sink := self.block(True)) is not None:
            sink.add_event(event, time)

    def open(self, args: str, transmit: bool) -> "FakeUhdBlock":
        """As gr-uhd's make functions.

        Raises:
            ConfigError: no device, or a side that is taken; in the words of ``usrp.complaint_of``.
        """
        if self.radio.is_gone:
            raise usrp.complaint_of(RuntimeError("LookupError: KeyError: No devices found for ----->"), args)
        if self.block(transmit) is not None:
            error = RuntimeError("RuntimeError: Attempting to reconnect output port!")
            raise usrp.complaint_of(error, args)
        self.args, self.opened, made = args, self.opened + 1, FakeUhdBlock(self, transmit)
        self._held[transmit] = weakref.ref(made)
        return made


class FakeUhdBlock(gr.sync_block):
    """What gr-uhd's blocks offer. The clock moves a little whenever it is looked at.

    Attributes:
        feed: what the source gives, piece by piece, and then ends; None: what the radio receives, for ever.
    """

    def __init__(self, claims: Claims, transmit: bool):
        gr.sync_block.__init__(
            self, "fake usrp", [np.complex64] if transmit else None, None if transmit else [np.complex64]
        )
        self.radio, self.transmit, self.lock = claims.radio, transmit, claims.lock
        self.sink = FakeUsrpSink(self.radio)
        self.feed: list[TaggedSamples] | None = []
        self._due_s = time.monotonic()
        self.set_blkd_input_timer_value(1)
        if transmit:
            self.message_port_register_out(pmt.intern("async_msgs"))
        else:
            self.feed = None if self.radio.is_live else []

    def add_event(self, event: str, time: Time) -> None:
        spec = pmt.cons(pmt.from_long(time.whole), pmt.from_double(time.fraction))
        value = pmt.dict_add(
            pmt.make_dict(), pmt.intern("event_code"), pmt.list_add(pmt.PMT_NIL, pmt.intern(event))
        )
        value = pmt.dict_add(value, pmt.intern("time_spec"), spec)
        self.message_port_pub(pmt.intern("async_msgs"), pmt.cons(pmt.intern("uhd_async_msg"), value))

    def start(self) -> bool:
        if self.transmit:
            self.sink.start()
        else:
            self.radio.restart_receiving()
        return True

    def work(self, input_items, output_items) -> int:
        return self._send(input_items[0]) if self.transmit else self._receive(output_items[0])

    def _send(self, samples: np.ndarray) -> int:
        start = self.nitems_read(0)
        tags = [
            (tag.offset - start, pmt.symbol_to_string(tag.key), _value(tag.value))
            for tag in self.get_tags_in_window(0, 0, len(samples))
        ]
        with self.lock:
            return self.sink.work(samples, tags)

    def _receive(self, out: np.ndarray) -> int:
        if self.feed is None:
            return self._live(out)
        if not self.feed:
            return -1
        if len(self.feed[0].samples) > len(out):
            return 0
        return self._give(self.feed.pop(0), out)

    def _live(self, out: np.ndarray) -> int:
        count = min(len(out), _PIECE_SAMPLES)
        wait_s = self._due_s - time.monotonic()
        if self.radio.is_gone or wait_s > 0:
            time.sleep(min(0.01, max(wait_s, 0.001)))
            return 0
        took_s = count / (self.radio.pace * self.radio.sample_rate_hz)
        self._due_s = max(self._due_s, time.monotonic() - 0.1) + took_s
        with self.lock:
            return self._give(self.radio.receive_live(count), out)

    def _give(self, piece: TaggedSamples, out: np.ndarray) -> int:
        out[: len(piece.samples)] = piece.samples
        for position, key, value in piece.tags:
            value = pmt.to_pmt(value) if not isinstance(value, Time) else _time_tuple(value)
            self.add_item_tag(0, self.nitems_written(0) + position, pmt.intern(key), value)
        return len(piece.samples)

    # -- settings -----------------------------------------------------------------------------------

    def get_time_now(self):
        with self.lock:
            now = self.radio.time_now()
            self.radio.advance(_LOOK_S)
        return SimpleNamespace(get_full_secs=lambda: now.whole, get_frac_secs=lambda: now.fraction)

    def get_antennas(self, channel):
        return self.radio.antennas()

    def set_antenna(self, name, channel):
        self.radio.set_antenna(name)

    def set_subdev_spec(self, name, board):
        if name != "A:A":
            raise RuntimeError("LookupError: KeyError: nothing of that name")
        self.radio.set_subdev(name)

    def set_clock_source(self, name, board):
        self.radio.set_clocks(name, "")

    def set_time_source(self, name, board):
        pass

    def set_samp_rate(self, rate):
        self.radio.set_sample_rate_hz(rate)

    def get_samp_rate(self):
        return self.radio.sample_rate_hz

    def set_center_freq(self, frequency, channel):
        self.radio.set_centre_frequency_hz(frequency)

    def get_center_freq(self, channel):
        return self.radio.centre_frequency_hz

    def set_gain(self, gain, channel):
        self.radio.set_gain_db(gain)

    def get_gain(self, channel):
        return self.radio.gain_db

    def get_sensor_names(self, channel):
        return [name for name in self.radio.sensors if name == "lo_locked"]

    def get_mboard_sensor_names(self, board):
        return [name for name in self.radio.sensors if name != "lo_locked"]

    def get_sensor(self, name, channel):
        return SimpleNamespace(
            to_bool=lambda: bool(self.radio.sensor(name)), to_real=lambda: float(self.radio.sensor(name))
        )

    def get_mboard_sensor(self, name, board):
        return self.get_sensor(name, 0)


@contextmanager
def fake_usrp(radio: FakeRadio) -> Iterator[Claims]:
    """Every ``usrp`` that is opened within is this one."""
    claims, real = Claims(radio), (usrp.make_sink, usrp.make_source)
    usrp.make_sink, usrp.make_source = (
        lambda args: claims.open(args, True),
        lambda args: claims.open(args, False),
    )
    try:
        yield claims
    finally:
        usrp.make_sink, usrp.make_source = real


def _value(value):
    if pmt.is_tuple(value):
        return Time(pmt.to_uint64(pmt.tuple_ref(value, 0)), pmt.to_double(pmt.tuple_ref(value, 1)))
    return pmt.to_python(value)


def _time_tuple(time: Time) -> pmt.pmt_base:
    return pmt.make_tuple(pmt.from_uint64(time.whole), pmt.from_double(time.fraction))
