# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual air as a process: an engine, its sockets and a pace."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq

from semcom.air.engine import Engine
from semcom.air.ports import ReceiverPort, TransmitterPort
from semcom.air.script import REAL_TIME, AirScript
from semcom.wire.samples import SEARCH_SAMPLES

# of silence: a detector holds back a burst, its look-ahead, and what it gathers for a search
FLUSH_SAMPLES = 60_000 + SEARCH_SAMPLES
FLUSH_PAUSE_S = 0.5
_HOLD_S = 0.1  # the longest that a sender may be held up within a burst
_MAX_LAG_S = 0.25  # further behind than this, the air skips time and says so
_PATIENCE_S = 1.0
_NAP_S = 0.05


class VirtualAir:
    """Plays a script between programs: opens all its sockets when made, then ``run``. Use it in a ``with``.

    Args:
        script: what the air does. keys: folder of CurveZMQ certificates, "": none. insecure: allows addresses beyond
            this machine without keys.

    Raises:
        ConfigError: an impossible address, or one in use.
    """

    def __init__(self, script: AirScript, keys: str = "", insecure: bool = False):
        self.script = script
        self.engine = Engine(script)
        self._real_time = script.pace == REAL_TIME
        self._block = self.engine.block_samples
        self.transmitters: dict[str, TransmitterPort] = {}
        self.receivers: dict[str, ReceiverPort] = {}
        hold_s = _HOLD_S if self._real_time else 0.0
        hold = max(self._block, int(hold_s * script.sample_rate_hz)) if hold_s else 0
        access = {"keys": keys, "insecure": insecure}
        try:
            for name, one in script.receivers.items():
                self.receivers[name] = ReceiverPort(one.address, script.sample_rate_hz, self._block, **access)
            for name, one in script.transmitters.items():
                room = 2 * (hold + self._block)
                self.transmitters[name] = TransmitterPort(one.address, room, hold, hold_s, **access)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._owners: dict[zmq.Socket, Callable[[], bool | None]] = {}
        for port in (*self.transmitters.values(), *self.receivers.values()):
            self._poller.register(port.monitor, zmq.POLLIN)
            self._owners[port.monitor] = port.watch
        for port in self.transmitters.values():
            self._owners[port.socket] = port.listen
        self._began_s = self._ended_s = None
        self._busy_s = self._skipped_s = 0.0
        self._times_behind = self._flushes = 0

    def __enter__(self) -> "VirtualAir":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        for port in (*self.transmitters.values(), *self.receivers.values()):
            port.close()

    def run(
        self,
        stop: threading.Event,
        seconds: float | None = None,
        on_status: Callable[[dict[str, Any]], None] | None = None,
        status_every_s: float = 10.0,
    ) -> None:
        """Plays until ``stop`` is set, or for ``seconds`` of time on the air.

        Args:
            on_status: called with ``report()`` every ``status_every_s`` seconds.
        """
        self._began_s, self._ended_s = time.monotonic(), None
        limit = float("inf") if seconds is None else seconds * self.script.sample_rate_hz
        next_status_s = self._began_s + status_every_s
        advance = self._real_time_step() if self._real_time else self._free_step()
        while not stop.is_set() and self.engine.samples < limit:
            next(advance)
            if on_status and time.monotonic() >= next_status_s:
                next_status_s = time.monotonic() + status_every_s
                on_status(self.report())
        self._ended_s = time.monotonic()

    def report(self) -> dict[str, Any]:
        """Where things stand: times, real-time factor, load and every counter in words, ready for JSON."""
        end_s = self._ended_s if self._ended_s is not None else time.monotonic()
        wall_s = max(end_s - self._began_s, 1e-9) if self._began_s is not None else 0.0
        played = self.engine.counters
        return {
            "pace": self.script.pace,
            "sample_rate_hz": self.script.sample_rate_hz,
            "time_on_air_s": self.engine.time_s,
            "wall_s": wall_s,
            "real_time_factor": self.engine.time_s / wall_s if wall_s else 0.0,
            "load": self._busy_s / wall_s if wall_s else 0.0,
            "times_behind": self._times_behind,
            "skipped_s": self._skipped_s,
            "flushes": self._flushes,
            "transmitters": {
                name: {"connected": int(port.connected)} | dict(port.counters)
                for name, port in self.transmitters.items()
            },
            "receivers": {
                name: {"connected": port.connected} | dict(port.counters) | played[name]
                for name, port in self.receivers.items()
            },
        }

    # -- paces: generators, one step each time ------------------------------------------------------

    def _real_time_step(self):
        period_s = self._block / self.script.sample_rate_hz
        due_s = time.monotonic() + period_s
        while True:
            self._listen(min(_NAP_S, max(0.0, due_s - time.monotonic())))
            lag_s = time.monotonic() - due_s
            if lag_s >= 0:
                if lag_s > _MAX_LAG_S:
                    self._times_behind += 1
                    self._skipped_s += lag_s
                    due_s += lag_s
                self._play(patience_s=0.0)
                due_s += period_s
            yield

    def _free_step(self):
        last_heard_s, flushed = 0.0, True
        while True:
            ready = any(
                port.queue.count >= self.engine.wanted(name) for name, port in self.transmitters.items()
            )
            if self._listen(0.0 if ready else _NAP_S):
                last_heard_s, flushed = time.monotonic(), False
            if ready:
                self._play(_PATIENCE_S)
            elif not flushed and time.monotonic() - last_heard_s > FLUSH_PAUSE_S:
                self._flushes, flushed = self._flushes + 1, True
                for _ in range(1 + -(-FLUSH_SAMPLES // self._block)):
                    self._play(_PATIENCE_S)
            yield

    def _play(self, patience_s: float) -> None:
        began_s = time.thread_time()
        sent = {}
        for name, port in self.transmitters.items():
            wanted = self.engine.wanted(name)
            samples = port.take(wanted)
            if len(samples):
                sent[name] = np.pad(samples, (0, wanted - len(samples)))
        received = self.engine.process(sent)
        self._busy_s += time.thread_time() - began_s
        for name, samples in received.items():
            self.receivers[name].send(samples, patience_s)

    def _listen(self, timeout_s: float) -> bool:
        """Waits until something comes or the time is over; whether a transmitter has sent anything."""
        for port in self.transmitters.values():
            port.tend()
            # a queue that is full is not listened to: the rest waits at its sender
            self._poller.register(port.socket, zmq.POLLIN if port.has_room else 0)
        # whole milliseconds, rounded up: rounded down, the last one would be spent spinning
        return any([self._owners[socket]() for socket, _ in self._poller.poll(math.ceil(1000 * timeout_s))])
