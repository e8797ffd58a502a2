# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconnects where libzmq does not: a peer that once sent a message beyond all limits, or one that has gone silent.

libzmq hangs up on the first for good. The second is a machine that went without a word, whose TCP connection stands
for a minute more: a peer that has promised a message now and then, and keeps its listener waiting, is called anew.

A peer that was only killed and started again is libzmq's own business; it finds it within a few tenths of a second.
"""

import time
from collections.abc import Callable, Iterator

import zmq
from zmq.utils.monitor import parse_monitor_message

LOST = "connections lost"
CUT_OFF = "connections cut off over a message too large, or one that is not ZMQ's: called again"
SILENT = "connections that carried nothing any more: called again"
BEAT_S = 1.0  # a peer that promises says something at least so often
PATIENCE_S = 3.0  # that a listener has, and three beats
_GIVEN_UP_S = 0.3  # libzmq says sooner that it will call again


class Redial:
    """Watches one connecting socket. To be used by the thread that uses the socket.

    Args:
        on_event: called with the words to be counted: ``LOST`` when the peer goes, ``CUT_OFF`` also when that was
            libzmq's doing, ``SILENT`` when it had promised and nothing came.

    Attributes:
        connected: whether the peer is there, as far as we know.
        monitor: the socket to be polled by those who do not call ``watch`` by the clock.
    """

    def __init__(self, socket: zmq.Socket, address: str, on_event: Callable[[str], object]):
        self.socket, self._address, self._on_event = socket, address, on_event
        self.monitor = socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
        )
        self.connected = False
        self._hung_up_s: float | None = None
        self._silent_s: float | None = None

    def heard(self, patience_s: float = PATIENCE_S) -> None:
        """A message came from a peer that says something at least every ``BEAT_S``: silence from now on means that it is
        gone. Not to be called for peers that promise nothing."""
        self._silent_s = time.monotonic() + patience_s

    def watch(self) -> None:
        """Reads who came and who went."""
        for event, _ in monitored(self.monitor):
            if event == zmq.EVENT_DISCONNECTED:
                self.connected, self._hung_up_s = False, time.monotonic()
                self._silent_s = None
                self._on_event(LOST)
            else:
                self._hung_up_s = None
                self.connected = event == zmq.EVENT_CONNECTED

    def tend(self) -> None:
        """Connects anew where libzmq does not, once there is nothing left to be read."""
        now = time.monotonic()
        cut_off = self._hung_up_s is not None and now - self._hung_up_s >= _GIVEN_UP_S
        silent = self._silent_s is not None and now >= self._silent_s
        # what waits is proof of life for one that read late
        if not (cut_off or silent) or self.socket.poll(0):
            return
        self._hung_up_s = self._silent_s = None
        self._on_event(CUT_OFF if cut_off else SILENT)
        self.socket.disconnect(self._address)
        self.socket.connect(self._address)


def monitored(monitor: zmq.Socket) -> Iterator[tuple[int, int]]:
    """What a monitor has to report: events and their values (the connection's file descriptor)."""
    while True:
        try:
            message = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return
        yield message["event"], message["value"]
