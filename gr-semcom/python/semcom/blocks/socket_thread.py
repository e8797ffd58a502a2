# SPDX-License-Identifier: GPL-3.0-or-later
"""A block's socket and the one thread that uses it."""

import threading
from collections.abc import Callable

import zmq

from semcom.blocks.base import Guarded, begin_anew, reason_of
from semcom.wire.listening import Door


class SocketThread(Guarded):
    """Mixin of blocks with a ZMQ socket: it is open from the start, served by a thread, closed by ``stop``.

    A block implements ``serve``, and ``wake`` if that waits for anything but the socket.
    """

    def init_socket(self, name: str, open_it: Callable[[], zmq.Socket], binds: bool) -> None:
        """Opens the socket at once, while somebody is there to read what may be wrong with it. One that ``binds`` takes
        ``listening.MAX_PEERS`` connections at most.

        Raises:
            ConfigError: as ``sockets.open_socket``.
        """
        self.init_guard(name)
        self.stopping = threading.Event()
        self._open, self._thread, self._binds = open_it, None, binds
        self._take_socket()

    def _take_socket(self) -> None:
        self._socket = self._open()
        self._door = Door(self._socket, self.count) if self._binds else None

    def serve(self, socket: zmq.Socket) -> None:
        """One round: waits a little, receives or sends. Called until ``stopping`` is set."""
        raise NotImplementedError

    def wake(self) -> None:
        """Called when the block stops, to end a wait in ``serve``."""

    def reset(self) -> None:
        """Forgets what belongs to a former run; called before every start but the first."""

    def start(self) -> bool:
        begin_anew(self)
        if self._thread is not None:
            self.reset()
        self.stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"semcom {self.name()}", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> bool:
        self.stopping.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=5)
        return True

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                if self._socket is None:  # the block has run before
                    self._take_socket()
                if self._door is not None:
                    self._door.watch()
                self.serve(self._socket)
            except Exception as error:  # nothing that a peer sends may end this thread
                self.fail(reason_of(error), error)
                self.stopping.wait(0.01)
        if self._socket is not None:
            self._socket.close()
        self._socket = None
