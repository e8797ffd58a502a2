# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples on ZMQ, PUSH to PULL: complex64 in messages of any whole number of samples.

The wire is gr-zeromq's (push_sink and pull_source at the other end understand it). But its pull_source ends with the
first message that is no whole number of samples, and its sockets know neither keys nor limits; hence these two blocks.
"""

import threading
import time

import numpy as np
import pmt
import zmq
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import IDLE_MS, End, Wish
from semcom.wire.listening import Door
from semcom.wire.redial import Redial
from semcom.wire.samples import BAD, usable
from semcom.wire.sockets import open_socket

_BYTES = np.dtype(np.complex64).itemsize
_MAX_SAMPLES = 2**22  # of a message that comes in
_HIGH_WATER = 16  # messages; a sender soon waits for its listener
_PATIENCE_MS = 50
# few, large buffers downstream: each call of a Python block takes the lock from a picture's decoding
_GATHER_MS = 30
_LINGER_MS = 2000
_DOOR_S = 0.05
_GRACE_S = 0.5  # for what libzmq still holds when the last sample is handed over


def connect_sink(hier: gr.hier_block2, wish: Wish) -> End:
    """Binds and pushes. Raises ConfigError like ``open_socket``."""
    sender = zmq_push(wish)
    hier.connect(hier, sender)
    return End((sender,), sent_all=sender.sent_all)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Connects and pulls. Raises ConfigError like ``open_socket``."""
    receiver = zmq_pull(wish)
    hier.connect(receiver, hier)
    return End((receiver,))


class _Socket:
    """Mixin: a socket that is there from construction on, so that a port in use is reported at once, and again after a
    restart of the flowgraph."""

    def init_socket(self, kind: int, wish: Wish, bind: bool) -> None:
        self._guard: Guarded = wish.guard
        self._open = lambda: open_socket(
            kind,
            wish.address,
            bind=bind,
            max_bytes=_MAX_SAMPLES * _BYTES,
            high_water=_HIGH_WATER,
            keys=wish.keys,
            insecure=wish.insecure,
        )
        self._socket: zmq.Socket | None = self._open()

    def start(self) -> bool:
        if self._socket is None:
            self._socket = self._open()
        return True

    def stop(self) -> bool:
        if self._socket is not None:
            self._socket.close(linger=_LINGER_MS)
            self._socket = None
        return True


class zmq_push(_Socket, gr.sync_block):
    """Stream to messages; waits while nobody listens or the listener is slow."""

    def __init__(self, wish: Wish):
        gr.sync_block.__init__(self, name="zmq_push", in_sig=[np.complex64], out_sig=None)
        self.init_socket(zmq.PUSH, wish, bind=True)
        self._ended_s: float | None = None
        # of the socket: the scheduler's thread, and the doorkeeper's between its calls
        self._lock = threading.Lock()
        self._stopping, self._keeper = threading.Event(), None
        self._door = Door(self._socket, self._guard.count)

    def sent_all(self) -> bool:
        return self._ended_s is not None and time.monotonic() - self._ended_s > _GRACE_S

    def start(self) -> bool:
        self._ended_s = None
        super().start()
        if self._door.socket is not self._socket:
            self._door = Door(self._socket, self._guard.count)
        self._stopping.clear()
        self._keeper = threading.Thread(target=self._keep_door, name="semcom door", daemon=True)
        self._keeper.start()
        return True

    def stop(self) -> bool:
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join()
        return super().stop()

    def _keep_door(self) -> None:
        """GNU Radio calls a sink only when there are samples; connections come at any time."""
        while not self._stopping.wait(_DOOR_S):
            with self._lock:
                self._door.watch()

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._send(input_items[0]), fallback=len(input_items[0]))

    def _send(self, samples: np.ndarray) -> int:
        with self._lock:
            return self._send_locked(samples)

    def _send_locked(self, samples: np.ndarray) -> int:
        if not self._socket.poll(_PATIENCE_MS, zmq.POLLOUT):
            return 0
        try:
            self._socket.send(samples.tobytes(), zmq.NOBLOCK)
        except zmq.Again:  # the listener has just gone: these samples wait for the next one
            return 0
        self._guard.count("samples sent", len(samples))
        if self.get_tags_in_window(0, 0, len(samples), pmt.intern(keys.TAG_END)):
            self._ended_s = time.monotonic()
        return len(samples)


class zmq_pull(_Socket, gr.sync_block):
    """Messages to stream; a message that holds no samples is counted and left out."""

    def __init__(self, wish: Wish):
        gr.sync_block.__init__(self, name="zmq_pull", in_sig=None, out_sig=[np.complex64])
        self.init_socket(zmq.PULL, wish, bind=False)
        self.set_blkd_input_timer_value(IDLE_MS)
        self._left = np.zeros(0, np.complex64)
        self._address = wish.address
        self._redial = Redial(self._socket, wish.address, self._guard.count)

    def start(self) -> bool:
        super().start()
        self._left = self._left[:0]
        if self._redial.socket is not self._socket:
            self._redial = Redial(self._socket, self._address, self._guard.count)
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._receive(output_items[0]), fallback=0)

    def _receive(self, out: np.ndarray) -> int:
        done = self._give(out)
        self._redial.watch()
        self._redial.tend()
        patience_ms, until_s = (_GATHER_MS if done else _PATIENCE_MS), None
        while done < len(out) and self._socket.poll(patience_ms, zmq.POLLIN):
            self._left = self._samples_in(self._socket.recv(zmq.NOBLOCK))
            done += self._give(out[done:])
            until_s = until_s or time.monotonic() + 1e-3 * _GATHER_MS
            patience_ms = max(0, 1e3 * (until_s - time.monotonic()))
        return done

    def _give(self, out: np.ndarray) -> int:
        count = min(len(out), len(self._left))
        out[:count], self._left = self._left[:count], self._left[count:]
        return count

    def _samples_in(self, message: bytes) -> np.ndarray:
        if len(message) % _BYTES:
            self._guard.fail("message that is no whole number of samples, left out")
            return self._left
        samples, bad = usable(np.frombuffer(message, np.complex64))
        if bad:
            self._guard.fail(BAD)
        self._guard.count("samples received", len(samples))
        return samples
