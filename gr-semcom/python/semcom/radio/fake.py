# SPDX-License-Identifier: GPL-3.0-or-later
"""A USRP that is not there, with a clock that moves only when it must: what flowgraphs and schedules are tried on.

It behaves as gr-uhd 3.10.5 on UHD 4.3 was observed to, faults included: the empty start of burst of gr-uhd's sink whose
flags UHD puts over those of the next call, lateness that is reported once a packet, bursts that starve, received samples
that are dropped, gains and frequencies clipped without a word, clocks that lock to nothing, and silence when it is gone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from semcom import keys
from semcom.radio.timing import Tag, TaggedSamples, Time

_KEPT_SAMPLES = 10**6


@dataclass
class FakeRadio:
    """One direction of a radio, as ``radio.interface.Device``, and its transmitter and receiver behind UHD's streamers.

    Attributes:
        now: the device's time. Sending into a full buffer moves it; ``advance`` does.
        buffer_samples: how far the host can run ahead of the air.
        on_air: (first sample as a count from time 0, samples [n]) of everything transmitted.
        packet_samples: UHD cuts bursts into packets, each with a time of its own, and reports each that comes too late.
        on_event: called with UHD's name of each report and the device's time then, as it happens.
        sensors: what is locked; a clock_source that is not "internal" locks to a reference if ``reference`` is there.
        is_live: its receiver never ends: time goes on as it is listened to, at most ``pace`` times as fast as ours.
        is_gone: unplugged: clock and commands raise, samples go nowhere, nothing is reported.
        signal: what the receiver gets: sample numbers from time 0 [n] to samples [n].
    """

    sample_rate_hz: float = 1e6
    now: Time = Time(0, 0.0)
    buffer_samples: int = 65000
    gain_range_db: tuple[float, float] = (0.0, 76.0)
    frequency_range_hz: tuple[float, float] = (70e6, 6e9)
    master_clock_hz: float = 32e6
    names: tuple[str, ...] = ("TX/RX", "RX2")
    packet_samples: int = 2000
    on_event: Callable[[str, Time], None] = lambda name, time: None
    signal: Callable[[np.ndarray], np.ndarray] = lambda at: np.zeros(len(at), np.complex64)
    on_air: list[tuple[int, np.ndarray]] = field(default_factory=list)
    antenna: str = "TX/RX"
    gain_db: float = 0.0
    centre_frequency_hz: float = 0.0
    sensors: dict[str, float] = field(default_factory=lambda: {"ref_locked": True, "lo_locked": True})
    reference: bool = False
    is_live: bool = False
    pace: float = 1.0
    is_gone: bool = False

    def __post_init__(self):
        self._cached_flags: tuple[bool, bool] | None = None
        self._position = 0  # sample that the open burst has reached
        self._due = 0  # sample number that the next packet of the burst has by its time
        self._open = False
        self._unanswered: list[int] = []  # ends of bursts whose acknowledgement is due
        self._received = self._pending_tags = None

    # -- what a station asks (radio.interface.Device) -----------------------------------------------

    def antennas(self) -> list[str]:
        return list(self.names)

    def set_antenna(self, name: str) -> None:
        self.antenna = name

    def set_subdev(self, name: str) -> None:
        self.subdev = name

    def set_clocks(self, clock_source: str, time_source: str) -> None:
        self._answer()
        self.clocks = (clock_source, time_source)
        self.sensors["ref_locked"] = self.reference or clock_source in ("", "internal")

    def sensor(self, name: str) -> float | None:
        self._answer()
        return self.sensors.get(name)

    def _answer(self) -> None:
        if self.is_gone:
            raise RuntimeError("RfnocError: OpTimeout: Control operation timed out waiting for ACK")

    def set_sample_rate_hz(self, rate_hz: float) -> float:
        """The nearest that the master clock divides to."""
        self._answer()
        self.sample_rate_hz = self.master_clock_hz / max(1, round(self.master_clock_hz / rate_hz))
        return self.sample_rate_hz

    def set_centre_frequency_hz(self, frequency_hz: float) -> float:
        self._answer()
        self.centre_frequency_hz = float(np.clip(frequency_hz, *self.frequency_range_hz))
        return self.centre_frequency_hz

    def set_gain_db(self, gain_db: float) -> float:
        self._answer()
        self.gain_db = float(np.clip(gain_db, *self.gain_range_db))
        return self.gain_db

    def time_now(self) -> Time:
        self._answer()
        return self.now

    # -- time ---------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Lets time pass: a burst that is open and has no more samples starves, one that is over is acknowledged."""
        self.now = self.now.plus(seconds)
        at = self._sample_of(self.now)
        if self._open and self._position < at:
            self._open = False
            self._report("underflow")
        for end in [end for end in self._unanswered if end <= at]:
            self._unanswered.remove(end)
            self._report("burst_ack", self._time_of(end))

    def _report(self, name: str, time: Time | None = None) -> None:
        if not self.is_gone:
            self.on_event(name, time or self.now)

    def _time_of(self, sample: int) -> Time:
        whole = int(sample // self.sample_rate_hz)
        return Time(whole, (sample - whole * self.sample_rate_hz) / self.sample_rate_hz)

    def _sample_of(self, time: Time) -> int:
        return round(time.whole * self.sample_rate_hz + time.fraction * self.sample_rate_hz)

    # -- transmitting -------------------------------------------------------------------------------

    def send(self, samples: np.ndarray, sob: bool, eob: bool, time: Time | None = None) -> None:
        """UHD's send call for samples [n]. One without samples that starts a burst is kept, and spoils the next one."""
        if not len(samples) and sob:
            self._cached_flags = (sob, eob)
            return
        if self._cached_flags is not None:
            (sob, eob), self._cached_flags = self._cached_flags, None
        if time is not None:
            self._due = self._sample_of(time)
        elif sob:
            self._due = max(self._position, self._sample_of(self.now))
        for at in range(0, len(samples), self.packet_samples):
            last = at + self.packet_samples >= len(samples)
            self._send_packet(samples[at : at + self.packet_samples], eob and last)

    def _send_packet(self, samples: np.ndarray, eob: bool) -> None:
        """A packet goes out at its time, or not at all; of the next one, that is asked again."""
        self._wait_for_room(len(samples))
        if self.is_gone:
            return
        due, self._due = self._due, self._due + len(samples)
        if not self._open and due < self._sample_of(self.now):
            self._report("time_error")
            return
        if not self._open:
            self._open, self._position = True, due
        self.on_air.append((self._position, np.array(samples)))
        self._position += len(samples)
        if eob:
            self._unanswered.append(self._position)
            self._open = False

    def unplug(self) -> None:
        """The radio goes away, with all that it held."""
        self.is_gone, self._open, self._unanswered, self._cached_flags = True, False, [], None

    def plug(self) -> None:
        """It is there again."""
        self.is_gone = False

    def _wait_for_room(self, count: int) -> None:
        """The buffer holds so many samples, whatever the pauses between them: until the oldest leave, time passes."""
        waiting, at = count, self._sample_of(self.now)
        for start, samples in reversed(self.on_air):
            if start + len(samples) <= at:
                break
            if waiting + len(samples) > self.buffer_samples:
                self.advance(max(0.0, (start + len(samples) - at) / self.sample_rate_hz))
                break
            waiting += len(samples)

    def transmitted(self, start: int, count: int) -> np.ndarray:
        """What was on the air in samples start ... start + count; silence where nothing was sent."""
        out = np.zeros(count, np.complex64)
        for at, samples in self.on_air:
            first, last = max(at, start), min(at + len(samples), start + count)
            if first < last:
                out[first - start : last - start] = samples[first - at : last - at]
        return out

    # -- receiving ----------------------------------------------------------------------------------

    def receive(self, count: int) -> TaggedSamples:
        """The next samples [count], with rx_time, rx_rate and rx_freq at the start and after an overflow."""
        tags: list[Tag] = []
        if self._received is None:
            self._received, self._pending_tags = self._sample_of(self.now), True
        if self._pending_tags:
            time = Time.of(0).plus(self._received / self.sample_rate_hz)
            tags = [
                (0, keys.TAG_RX_TIME, time),
                (0, keys.TAG_RX_RATE, self.sample_rate_hz),
                (0, keys.TAG_RX_FREQ, self.centre_frequency_hz),
            ]
            self._pending_tags = False
        at = np.arange(self._received, self._received + count)
        self._received += count
        return TaggedSamples(np.asarray(self.signal(at), np.complex64), tags)

    def receive_live(self, count: int) -> TaggedSamples:
        """As ``receive``; what has been received is past, and is forgotten once it is old."""
        piece = self.receive(count)
        behind_s = (self._received - self._sample_of(self.now)) / self.sample_rate_hz
        if behind_s > 0:
            self.advance(behind_s)
        old = self._received - _KEPT_SAMPLES
        while self.on_air and self.on_air[0][0] + len(self.on_air[0][1]) < old:
            self.on_air.pop(0)
        return piece

    def restart_receiving(self) -> None:
        """A stream begins: at the device's time now, with its tags."""
        self._received = None

    def hear_itself(self, noise_rms: float, seed: int = 0) -> None:
        """From here on the receiver gets what is transmitted, with noise: a cable between the two sockets."""
        random = np.random.default_rng(seed)

        def signal(at: np.ndarray) -> np.ndarray:
            noise = random.normal(size=(2, len(at))) * noise_rms / np.sqrt(2)
            return self.transmitted(int(at[0]), len(at)) + noise[0] + 1j * noise[1]

        self.signal = signal

    def overflow(self, lost: int) -> None:
        """The host was too slow: so many samples are gone, and the stream begins anew."""
        self._received += lost
        self._pending_tags = True


class FakeUsrpSink:
    """gr-uhd's sink in front of a ``FakeRadio``: tags to send calls, cut where gr-uhd cuts them."""

    def __init__(self, radio: FakeRadio):
        self.radio = radio

    def start(self) -> None:
        self.radio.send(np.zeros(0, np.complex64), sob=True, eob=False)

    def work(self, samples: np.ndarray, tags: list[Tag]) -> int:
        """Sends from the first of the samples [n] to the end of a burst or the start of another; returns how many."""
        end, sob, eob, time = len(samples), False, False, None
        for position, key, value in sorted(tags, key=lambda tag: tag[0]):
            if position >= end:
                break
            if key in (keys.TAG_TX_SOB, keys.TAG_TX_TIME):
                if position > 0:
                    end = position
                    break
                if key == keys.TAG_TX_SOB:
                    sob = True
                else:
                    time = value
            elif key == keys.TAG_TX_EOB:
                eob, end = True, position + 1
        self.radio.send(samples[:end], sob, eob, time)
        return end

    def consume(self, piece: TaggedSamples) -> None:
        """All of a piece, in as many calls as it takes."""
        at = 0
        while at < len(piece.samples):
            here = [(position - at, key, value) for position, key, value in piece.tags if position >= at]
            at += self.work(piece.samples[at:], here)
