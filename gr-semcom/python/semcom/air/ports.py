# SPDX-License-Identifier: GPL-3.0-or-later
"""The air's sockets: one that listens to a transmitter, one that feeds a receiver; what goes wrong is counted."""

import time
from collections import Counter

import numpy as np
import zmq

from semcom.air.queue import SampleQueue
from semcom.wire.listening import Door
from semcom.wire.redial import LOST, Redial
from semcom.wire.samples import usable
from semcom.wire.sockets import open_socket

MAX_MESSAGE_BYTES = 2**22  # half a million samples; a message larger than that is refused
_MAX_BYTES_ON_WIRE = 2 * MAX_MESSAGE_BYTES  # beyond it the sender is disconnected before it fills our memory
_MESSAGES_AT_ONCE = 64
_IN_QUEUE, _OUT_QUEUE_S = 64, 0.5


class TransmitterPort:
    """Listens to one transmitter; it may come and go.

    Attributes:
        connected: whether it is there, as far as we know: before its first sample we may not.

    Args:
        room_samples: how many samples wait here; more wait at the transmitter.
        hold_samples, hold_s: see ``SampleQueue``.
    """

    def __init__(self, address: str, room_samples: int, hold_samples: int, hold_s: float, **keys):
        self.socket = open_socket(
            zmq.PULL, address, bind=False, max_bytes=_MAX_BYTES_ON_WIRE, high_water=_IN_QUEUE, **keys
        )
        self.counters: Counter[str] = Counter()
        self._redial = Redial(self.socket, address, lambda what: self.counters.update((what,)))
        self.monitor = self._redial.monitor
        self.queue = SampleQueue(hold_samples, hold_s)
        self._room = room_samples

    @property
    def connected(self) -> bool:
        return self._redial.connected

    def watch(self) -> None:
        """Reads who came and who went."""
        self._redial.watch()

    def tend(self) -> None:
        """Calls again where ZMQ has given up on a transmitter for good."""
        if self.has_room:
            self._redial.tend()

    def close(self) -> None:
        _close(self.socket)

    @property
    def has_room(self) -> bool:
        return self.queue.count < self._room

    def listen(self) -> bool:
        """Takes what has come, as far as there is room; whether there was anything."""
        received = False
        for _ in range(_MESSAGES_AT_ONCE):
            if not self.has_room:
                break
            try:
                message = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            received = self._redial.connected = True
            samples = self._samples(message)
            self.counters["samples received"] += len(samples)
            self.queue.push(samples, time.monotonic())
        return received

    def take(self, limit: int) -> np.ndarray:
        """Up to ``limit`` samples to be played now."""
        samples = self.queue.take(limit, time.monotonic())
        self.counters["samples played"] += len(samples)
        if self.queue.cuts:
            self.counters["silences within a transmission"] = self.queue.cuts
        return samples

    def _samples(self, message: bytes) -> np.ndarray:
        """The samples of a message; of one that cannot be right, none."""
        if len(message) > MAX_MESSAGE_BYTES or len(message) % 8:
            too_large = len(message) > MAX_MESSAGE_BYTES
            self.counters["messages too large" if too_large else "messages that hold no whole samples"] += 1
            return np.zeros(0, np.complex64)
        samples, bad = usable(np.frombuffer(message, np.complex64))
        if bad:
            self.counters["samples that are no numbers, played as silence"] += bad
        return samples


class ReceiverPort:
    """Feeds one receiver; it may come and go. Nothing here waits longer than it was asked to."""

    def __init__(self, address: str, sample_rate_hz: float, block_samples: int, **keys):
        high_water = max(4, round(_OUT_QUEUE_S * sample_rate_hz / block_samples))
        self.socket = open_socket(
            zmq.PUSH, address, bind=True, max_bytes=2**16, high_water=high_water, **keys
        )
        self.counters: Counter[str] = Counter()
        self._door = Door(self.socket, lambda what: self.counters.update((what,)))
        self.monitor, self.address = self._door.monitor, self._door.address
        self._stalled = False

    @property
    def connected(self) -> int:
        """How many receivers are there; more than one share the samples between them."""
        return len(self._door.peers)

    def watch(self) -> None:
        """Reads who came and who went."""
        for what, times in zip(("connections made", LOST), self._door.watch(), strict=True):
            if times:
                self.counters[what] += times
        if self.connected > 1:
            self.counters["receivers at once (they share the samples)"] = self.connected

    def close(self) -> None:
        _close(self.socket)

    def send(self, samples: np.ndarray, patience_s: float) -> None:
        """Offers samples; drops and counts them where nobody takes them.

        Args:
            patience_s: how long a receiver that is there may take to make room; it gets no more of it until it has.
        """
        if not len(samples):
            return
        message = samples.tobytes()
        sent = self._offer(message)
        if not sent and self.connected and patience_s and not self._stalled:
            deadline = time.monotonic() + patience_s
            while not sent and self.connected and (left := deadline - time.monotonic()) > 0:
                self.socket.poll(min(1000 * left, 50), zmq.POLLOUT)
                sent = self._offer(message)
                self.watch()
        self._stalled = not sent
        lost = (
            "samples dropped, receiver too slow" if self.connected else "samples dropped, no receiver there"
        )
        self.counters["samples sent" if sent else lost] += len(samples)

    def _offer(self, message: bytes) -> bool:
        try:
            self.socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def _close(socket: zmq.Socket) -> None:
    socket.disable_monitor()
    socket.close(0)
