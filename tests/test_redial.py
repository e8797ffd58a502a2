# SPDX-License-Identifier: GPL-3.0-or-later
"""A listener finds its speaker again: killed and restarted, cut off by libzmq for good, or gone without a word."""

import socket
import threading
import time
from collections import Counter

import pytest
import zmq

from semcom.wire.redial import CUT_OFF, LOST, SILENT, Redial
from semcom.wire.sockets import bound_address, open_socket

pytestmark = pytest.mark.timeout(60)


class Listener:
    """A SUB or PULL socket with its Redial, served as blocks and ports do."""

    def __init__(self, kind, address):
        self.socket = open_socket(kind, address, bind=False, max_bytes=1000, high_water=16)
        self.counted = Counter()
        self.redial = Redial(self.socket, address, lambda what: self.counted.update((what,)))
        self.patience_s = None  # that the speaker's promise allows

    def hears(self, speaker, within_s):
        """Seconds until a message that ``speaker`` keeps sending arrives; infinite if none did in time."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            try:
                speaker.send(b"hello", zmq.NOBLOCK)
            except zmq.Again:  # a PUSH that nobody listens to
                pass
            self.redial.watch()
            self.redial.tend()
            if self.socket.poll(20):
                self.socket.recv()
                if self.patience_s:
                    self.redial.heard(self.patience_s)
                return time.monotonic() - began
        return float("inf")


PAIRS = pytest.mark.parametrize("speaks, listens", [(zmq.PUB, zmq.SUB), (zmq.PUSH, zmq.PULL)])


@pytest.fixture
def listener():
    """listener(kind, address); closed at the end."""
    made = []

    def make(kind, address):
        made.append(Listener(kind, address))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


@PAIRS
@pytest.mark.slow
def test_a_speaker_that_was_restarted_is_received_within_a_second(listener, speaks, listens):
    speaker = open_socket(speaks, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    address = bound_address(speaker)
    ours = listener(listens, address)
    assert ours.hears(speaker, 5) < 1
    speaker.close()
    time.sleep(0.5)
    ours.redial.watch()
    assert not ours.redial.connected and ours.counted == {LOST: 1}
    speaker = open_socket(speaks, address, bind=True, max_bytes=1000)
    assert ours.hears(speaker, 5) < 1
    assert ours.counted == {LOST: 1}, "libzmq came back by itself"
    speaker.close()


@PAIRS
@pytest.mark.slow
def test_a_speaker_that_was_cut_off_is_reconnected_within_a_second(listener, speaks, listens):
    speaker = open_socket(speaks, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    ours = listener(listens, bound_address(speaker))
    assert ours.hears(speaker, 5) < 1
    while ours.socket.poll(100):
        ours.socket.recv()
    speaker.send(b"x" * 1001)
    end = time.monotonic() + 5
    while not ours.counted and time.monotonic() < end:
        ours.redial.watch()
    assert ours.counted == {LOST: 1}
    assert ours.hears(speaker, 5) < 1
    assert ours.counted == {LOST: 1, CUT_OFF: 1}
    speaker.close()


def test_a_speaker_whose_machine_went_without_a_word_is_left_for_its_successor(listener):
    """A line that no longer carries anything, yet is not closed either: TCP's own probes take half a minute."""
    speaker = open_socket(zmq.PUB, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    with DeadLine(bound_address(speaker)) as line:
        ours = listener(zmq.SUB, line.address)
        ours.patience_s = 0.5
        assert ours.hears(speaker, 5) < 1
        line.die()
        while ours.socket.poll(200):
            ours.socket.recv()
        assert ours.hears(speaker, 10) < 6
        assert ours.counted[SILENT] == 1
    speaker.close()


@pytest.mark.slow
def test_a_listener_that_does_not_read_for_a_while_keeps_its_line(listener):
    """libzmq's heartbeats hung up on it: its answers lay behind the messages that nobody read."""
    speaker = open_socket(zmq.PUB, "tcp://127.0.0.1:*", bind=True, max_bytes=10**6, high_water=4)
    ours = listener(zmq.SUB, bound_address(speaker))
    ours.patience_s = 0.3  # far less than it will not read
    assert ours.hears(speaker, 5) < 1
    end = time.monotonic() + 5.5
    while time.monotonic() < end:
        for _ in range(50):
            speaker.send(b"x" * 900, zmq.NOBLOCK)
        time.sleep(0.02)
    ours.redial.watch()
    ours.redial.tend()  # late, but there is something to be read
    assert ours.counted == {} and ours.hears(speaker, 5) < 1
    speaker.close()


def test_a_peer_that_promised_nothing_may_be_silent(listener):
    speaker = open_socket(zmq.PUB, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    ours = listener(zmq.SUB, bound_address(speaker))
    assert ours.hears(speaker, 5) < 1
    while ours.socket.poll(100):
        ours.socket.recv()
    time.sleep(0.5)
    ours.redial.watch()
    ours.redial.tend()
    assert ours.counted == {}
    speaker.close()


class DeadLine:
    """Carries connections to a port, until those that are there ``die``: held open, and carrying nothing more."""

    def __init__(self, target):
        self._target = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._door.getsockname()[1]}"
        self._ends, self._alive = [], []

    def __enter__(self):
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, *_):
        for end in [self._door, *self._ends]:
            end.close()

    def die(self):
        for alive in self._alive:
            alive.clear()

    def _answer(self):
        while True:
            try:
                near = self._door.accept()[0]
            except OSError:
                return
            far, alive = socket.create_connection(self._target), threading.Event()
            alive.set()
            self._ends += near, far
            self._alive.append(alive)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink, alive), daemon=True).start()

    @staticmethod
    def _carry(source, sink, alive):
        try:
            while data := source.recv(4096):
                if not alive.is_set():
                    return
                sink.sendall(data)
        except OSError:
            return
