# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that connect and say nothing: so many and no more, put out after a while; files are written all the same."""

import errno
import resource
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
import zmq

from semcom.wire.listening import MAX_PEERS, SHUT, Door
from semcom.wire.sockets import open_socket

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def door():
    speaker = open_socket(zmq.PUB, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    counted = Counter()
    made = Door(speaker, lambda what: counted.update((what,)), most=4)
    made.counted = counted
    yield made
    speaker.close()


def callers(address, count, patience_s=0.5):
    """TCP connections that say nothing, called all at once; those that are taken."""
    port, made = int(address.rsplit(":", 1)[1]), [socket.socket() for _ in range(count)]
    for one in made:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    time.sleep(patience_s)
    taken = [one for one in made if one.connect_ex(("127.0.0.1", port)) in (0, errno.EISCONN)]
    for one in made:
        one.settimeout(5)
        if one not in taken:
            one.close()
    return taken


def watched(door, until, within_s=10.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end and not until():
        door.watch()
        time.sleep(0.01)
    return until()


@pytest.mark.slow
def test_the_door_is_shut_when_enough_are_in_and_opened_again(door):
    made = callers(door.address, 4)
    assert watched(door, lambda: door.counted[SHUT] == 1) and len(door.peers) == 4
    assert callers(door.address, 1) == [], "the kernel drops what comes"
    for one in made[:2]:
        one.close()
    assert watched(door, lambda: len(door.peers) == 2), "the others stay"
    with open_socket(zmq.SUB, door.address, bind=False, max_bytes=1000) as listener:

        def is_heard():
            door.socket.send(b"hello", zmq.NOBLOCK)
            return bool(listener.poll(0))

        assert watched(door, is_heard)


@pytest.mark.slow
def test_who_says_nothing_is_put_out(door):
    made = callers(door.address, 3)
    assert watched(door, lambda: len(door.peers) == 3)
    assert watched(door, lambda: not door.peers), "libzmq's own limit is half a minute"
    assert [one.recv(1000)[:1] for one in made] == [b"\xff"] * 3  # its greeting, then the end
    for one in made:
        one.close()


_STATION = """
    import resource, sys, time
    from pathlib import Path
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    from semcom import files
    from semcom.errors import OutputError
    from semcom.wire.telemetry import Publisher
    publisher = Publisher("tcp://127.0.0.1:*")
    print(publisher.address, flush=True)
    sys.stdin.readline()  # they have come
    failed, end = 0, time.monotonic() + 1.5
    while time.monotonic() < end:
        publisher.is_heard
        try:
            files.write_bytes(Path(sys.argv[1]) / "picture", b"x")
            files.append_json_line(Path(sys.argv[1]) / "log", {"a": 1})
        except OutputError:
            failed += 1
        time.sleep(0.02)
    print(failed)
"""


@pytest.mark.slow
def test_files_are_written_whatever_comes(tmp_path):
    """200 silent connections at a limit of 200 descriptors."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1000:
        pytest.skip("this machine allows few descriptors")
    command = [sys.executable, "-c", textwrap.dedent(_STATION), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as station:
        made = callers(station.stdout.readline().strip(), 260, patience_s=2.5)
        assert len(made) > MAX_PEERS
        station.stdin.write("\n")
        station.stdin.flush()
        assert station.stdout.readline() == "0\n"
    for one in made:
        one.close()
