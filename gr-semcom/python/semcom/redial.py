# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls again where libzmq has given up: it never comes back to a peer that once sent a message beyond all limits.

A peer that was only killed and started again is libzmq's own business; it finds it within a few tenths of a second.
"""

import time
from collections.abc import Callable, Iterator

import zmq
from zmq.utils.monitor import parse_monitor_message

LOST = "connections lost"
CUT_OFF = "connections cut off over a message too large, or one that is not ZMQ's: called again"
_GIVEN_UP_S = 0.3  # libzmq says sooner that it will call again


class Redial:
    """Watches one connecting socket. To be used by the thread that uses the socket.

    Args:
        tell: called with the words to be counted: ``LOST`` when the peer goes, ``CUT_OFF`` also when that was libzmq's
            doing.

    Attributes:
        connected: whether the peer is there, as far as we know.
        monitor: the socket to be polled by those who do not call ``watch`` by the clock.
    """

    def __init__(self, socket: zmq.Socket, address: str, tell: Callable[[str], object]):
        self.socket, self._address, self._tell = socket, address, tell
        self.monitor = socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
        )
        self.connected = False
        self._hung_up_s: float | None = None

    def watch(self) -> None:
        """Reads who came and who went."""
        for event, _ in monitored(self.monitor):
            if event == zmq.EVENT_DISCONNECTED:
                self.connected, self._hung_up_s = False, time.monotonic()
                self._tell(LOST)
            else:
                self._hung_up_s = None
                self.connected = event == zmq.EVENT_CONNECTED

    def tend(self) -> None:
        """Connects anew where libzmq does not, once there is nothing left to be read."""
        if self._hung_up_s is None or time.monotonic() - self._hung_up_s < _GIVEN_UP_S:
            return
        if not self.socket.poll(0):
            self._hung_up_s = None
            self._tell(CUT_OFF)
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
