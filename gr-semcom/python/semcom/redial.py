# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls again where libzmq has given up: it never comes back to a peer that once sent a message beyond all limits.

A peer that was only killed and started again is libzmq's own business; it finds it within a few tenths of a second.
"""

import time
from collections.abc import Iterator

import zmq
from zmq.utils.monitor import parse_monitor_message

_GIVEN_UP_S = 0.3  # libzmq says sooner that it will call again


class Redial:
    """Watches one connecting socket. To be used by the thread that uses the socket.

    Attributes:
        connected: whether the peer is there, as far as we know. losses: how often it went.
        monitor: the socket to be polled by those who do not call ``watch`` by the clock.
    """

    def __init__(self, socket: zmq.Socket, address: str):
        self.socket, self._address = socket, address
        self.monitor = socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
        )
        self.connected, self.losses = False, 0
        self._hung_up_s: float | None = None

    def watch(self) -> None:
        """Reads who came and who went."""
        for event, _ in monitored(self.monitor):
            if event == zmq.EVENT_DISCONNECTED:
                self.connected, self._hung_up_s = False, time.monotonic()
                self.losses += 1
            else:
                self._hung_up_s = None
                self.connected = event == zmq.EVENT_CONNECTED

    def tend(self) -> None:
        """Connects anew where libzmq does not, once there is nothing left to be read."""
        if self._hung_up_s is None or time.monotonic() - self._hung_up_s < _GIVEN_UP_S:
            return
        if not self.socket.poll(0):
            self._hung_up_s = None
            self.socket.disconnect(self._address)
            self.socket.connect(self._address)


def monitored(monitor: zmq.Socket) -> Iterator[tuple[int, int]]:
    """What a monitor has to tell: events and their values (the connection's file descriptor)."""
    while True:
        try:
            told = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return
        yield told["event"], told["value"]
