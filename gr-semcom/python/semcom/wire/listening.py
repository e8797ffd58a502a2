# SPDX-License-Identifier: GPL-3.0-or-later
"""A socket that binds takes so many connections and no more; files keep a few descriptors whatever sockets take.

libzmq takes every connection that comes, silent ones too, until the process has no descriptor left: then no picture can
be written, and its thread turns round the one it cannot take. It knows no limit, and letting go of the port would put
out those who are in. So the kernel is made to drop what comes to the port while too many are in: a peer of ours calls
again by itself a second later. Who says nothing that is ZMQ's is put out by libzmq after ``sockets.HANDSHAKE_MS``.
"""

import ctypes
import os
import socket as sockets
import struct
from collections.abc import Callable
from pathlib import Path

import zmq

from semcom.descriptors import reserve
from semcom.wire.redial import monitored

MAX_PEERS = 32
SHUT = "times that no more connections were taken: too many at once"
# Linux, asm-generic/socket.h; the socket module has no names for them
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # a packet filter (BPF) of one instruction: return 0 bytes


class Door:
    """Watches one bound socket. To be used by the thread that uses the socket.

    Args:
        on_event: called with ``SHUT`` whenever the door is shut. most: connections at once; some more come in when many
            call within one round of ``watch``. Only TCP on Linux has a limit.

    Attributes:
        address: where the socket can be reached. peers: descriptors of the connections that are open. monitor: the
            socket to be polled.
    """

    def __init__(self, socket: zmq.Socket, on_event: Callable[[str], object], most: int = MAX_PEERS):
        self.socket, self._on_event, self._most = socket, on_event, most
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self.peers: set[int] = set()
        self._port = _listening(self.address)
        self._is_open = True
        reserve.fill()

    def watch(self) -> tuple[int, int]:
        """Reads who came and who went, opens or shuts the door; how many came and went."""
        came = went = 0
        for event, peer in monitored(self.monitor):
            if event == zmq.EVENT_ACCEPTED:
                self.peers.add(peer)
                came += 1
            elif peer in self.peers:
                self.peers.discard(peer)
                went += 1
        if self._is_open and len(self.peers) >= self._most:
            self._turn(False)
        elif not self._is_open and len(self.peers) <= self._most // 2:
            self._turn(True)
        return came, went

    def _turn(self, to_open: bool) -> None:
        if self._port is None:
            return
        code = ctypes.create_string_buffer(_DROP_ALL)
        program = struct.pack("HP", 1, ctypes.addressof(code))
        end = sockets.socket(fileno=self._port)
        try:
            if to_open:
                end.setsockopt(sockets.SOL_SOCKET, _DETACH_FILTER, 0)
            else:
                end.setsockopt(sockets.SOL_SOCKET, _ATTACH_FILTER, program)
        except OSError:  # a kernel that takes no filters has no limit
            self._port = None
            return
        finally:
            end.detach()  # it is libzmq's
        self._is_open = to_open
        if not to_open:
            self._on_event(SHUT)


def _listening(address: str) -> int | None:
    """The descriptor with which this process listens at tcp://HOST:PORT; None: none, or not on Linux."""
    folder, port = Path("/proc/self/fd"), address.rpartition(":")[2]
    if not (address.startswith("tcp://") and port.isdigit() and folder.is_dir()):
        return None
    for name in os.listdir(folder):
        try:
            end = sockets.socket(fileno=int(name))
        except OSError:  # no socket, or gone
            continue
        try:
            if end.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN) and end.getsockname()[1:2] == (
                int(port),
            ):
                return end.fileno()
        except (OSError, TypeError):
            continue
        finally:
            end.detach()
    return None
