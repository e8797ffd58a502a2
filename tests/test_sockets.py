# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets: who gets in, what is refused and in which words."""

import os
import shutil
import stat
import subprocess
import sys

import pytest
import zmq
from typer.testing import CliRunner

from semcom.errors import ConfigError
from semcom.wire import sockets
from semcom.wire.sockets import bound_address, is_within_machine, make_keys, open_socket

pytestmark = pytest.mark.timeout(60)

ANY_PORT = "tcp://127.0.0.1:*"
WAIT_MS = 5000


@pytest.fixture
def sock():
    """open_socket, and closes what it opened."""
    opened = []

    def make(kind, address, **options):
        opened.append(open_socket(kind, address, **{"max_bytes": 1000, "bind": False} | options))
        return opened[-1]

    yield make
    for socket in opened:
        socket.close()


@pytest.fixture
def folder_of_keys(tmp_path):
    return str(make_keys(tmp_path / "keys"))


def test_what_lies_within_this_machine():
    for address in (
        "tcp://127.0.0.1:5570",
        "tcp://127.8.9.1:1",
        "tcp://localhost:1",
        "ipc:///tmp/x",
        "inproc://x",
    ):
        assert is_within_machine(address), address
    for address in (
        "tcp://*:5570",
        "tcp://0.0.0.0:5570",
        "tcp://10.0.0.1:5570",
        "tcp://127.0.0.1.example.org:5570",
        "tcp://127.0.0.1:5570;10.0.0.1:5570",
        "udp://127.0.0.1:5570",
    ):
        assert not is_within_machine(address), address


@pytest.mark.parametrize(
    "address, bind",
    (
        ("tcp://*:5570", True),
        ("tcp://0.0.0.0:5570", True),
        ("tcp://192.0.2.1:5570", True),
        ("tcp://192.0.2.1:5570", False),
        ("tcp://receiver.example.org:5570", False),
    ),
)
def test_beyond_this_machine_needs_keys(address, bind):
    with pytest.raises(ConfigError, match="semcom keys FOLDER.*insecure"):
        open_socket(zmq.PUB, address, bind=bind, max_bytes=10)


def test_beyond_this_machine_with_keys_or_trust(sock, folder_of_keys):
    for options in ({"keys": folder_of_keys}, {"insecure": True}):
        assert bound_address(sock(zmq.PUB, "tcp://0.0.0.0:*", bind=True, **options)).startswith(
            "tcp://0.0.0.0:"
        )


@pytest.mark.parametrize(
    "address",
    (
        "",
        "5570",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:70000",
        "udp://127.0.0.1:1",
        None,
    ),
)
def test_impossible_addresses(address):
    with pytest.raises(ConfigError, match="address"):
        open_socket(zmq.PUB, address, bind=True, max_bytes=10)


def test_a_connecting_side_must_know_where_to():
    for address in ("tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:5570"):
        with pytest.raises(ConfigError, match="name the host and the port"):
            open_socket(zmq.SUB, address, bind=False, max_bytes=10, insecure=True)


def test_a_port_in_use_is_named(sock):
    address = bound_address(sock(zmq.PUB, ANY_PORT, bind=True))
    with pytest.raises(ConfigError, match=f"{address} is in use: is another semcom"):
        open_socket(zmq.PUB, address, bind=True, max_bytes=10)


def test_a_port_is_free_again_at_once(sock):
    for _ in range(5):
        first = sock(zmq.PUB, ANY_PORT, bind=True)
        address = bound_address(first)
        first.close()
        sock(zmq.PUB, address, bind=True).close()


def test_an_address_of_another_machine_cannot_be_bound():
    with pytest.raises(ConfigError, match="cannot be opened here"):
        open_socket(zmq.PUB, "tcp://192.0.2.1:5570", bind=True, max_bytes=10, insecure=True)


def test_plain_sockets_carry_messages_and_cut_off_large_ones(sock):
    puller = sock(zmq.PULL, ANY_PORT, bind=True)
    bad, good = (sock(zmq.PUSH, bound_address(puller)) for _ in range(2))
    bad.send(b"x" * 1001)
    assert not puller.poll(300)
    good.send(b"y" * 1000)
    assert puller.poll(WAIT_MS) and puller.recv() == b"y" * 1000


def test_a_subscriber_hears_everything(sock):
    publisher = sock(zmq.XPUB, ANY_PORT, bind=True)
    subscriber = sock(zmq.SUB, bound_address(publisher))
    assert publisher.poll(WAIT_MS) and publisher.recv() == b"\x01"  # it has subscribed
    publisher.send(b"whatever")
    assert subscriber.poll(WAIT_MS) and subscriber.recv() == b"whatever"


def test_keys_open_and_others_get_nothing(sock, folder_of_keys, tmp_path):
    intruder = make_keys(tmp_path / "intruder")
    shutil.copy(f"{folder_of_keys}/server.key", intruder)  # public: anybody may have it
    server = sock(zmq.PUSH, ANY_PORT, bind=True, keys=folder_of_keys)
    address = bound_address(server)
    outside = [sock(zmq.PULL, address), sock(zmq.PULL, address, keys=str(intruder))]
    insider = sock(zmq.PULL, address, keys=folder_of_keys)
    for number in range(20):
        assert server.poll(WAIT_MS, zmq.POLLOUT)
        server.send(b"%d" % number)
    for number in range(20):  # PUSH deals them out: all 20 here means that nobody else is in
        assert insider.poll(WAIT_MS) and insider.recv() == b"%d" % number
    assert not any(socket.poll(100) for socket in outside)


def test_a_server_that_is_not_ours_is_sent_nothing(sock, folder_of_keys, tmp_path):
    impostor = make_keys(tmp_path / "impostor")
    shutil.copy(f"{folder_of_keys}/client.key", impostor)
    server = sock(zmq.PULL, ANY_PORT, bind=True, keys=str(impostor))
    client = sock(zmq.PUSH, bound_address(server), keys=folder_of_keys)
    client.send(b"secret")
    assert not server.poll(500)


def test_two_folders_in_one_process_do_not_mix(sock, tmp_path):
    folders = [str(make_keys(tmp_path / name)) for name in "ab"]
    servers = [sock(zmq.PULL, ANY_PORT, bind=True, keys=folder) for folder in folders]
    for server, folder in zip(servers, folders, strict=True):
        client = sock(zmq.PUSH, bound_address(server), keys=folder)
        client.send(folder.encode())
        assert server.poll(WAIT_MS) and server.recv() == folder.encode()
    shutil.copy(f"{folders[0]}/server.key", folders[1])
    sock(zmq.PUSH, bound_address(servers[0]), keys=folders[1]).send(b"b's client at a's server")
    assert not servers[0].poll(300)


def test_secret_keys_are_private(folder_of_keys):
    for name in ("server.key_secret", "client.key_secret"):
        assert stat.S_IMODE(os.stat(f"{folder_of_keys}/{name}").st_mode) == 0o600
    with pytest.raises(ConfigError, match="server.key is there already"):
        make_keys(folder_of_keys)
    os.chmod(f"{folder_of_keys}/client.key_secret", 0o644)
    with pytest.raises(ConfigError, match="others can read .*chmod 600"):
        open_socket(zmq.SUB, "tcp://127.0.0.1:5570", bind=False, max_bytes=10, keys=folder_of_keys)


@pytest.mark.parametrize("place", ["", "server.key", "client.key_secret"])
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_keys_that_others_may_change_are_refused(folder_of_keys, place, mode):
    path = f"{folder_of_keys}/{place}".rstrip("/")
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | mode)
    with pytest.raises(ConfigError, match="others can write to the keys in .*chmod go-w"):
        open_socket(zmq.SUB, "tcp://127.0.0.1:5570", bind=False, max_bytes=10, keys=folder_of_keys)


def test_keys_are_not_made_where_others_may_change_them(tmp_path):
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    with pytest.raises(ConfigError, match="others can write"):
        make_keys(tmp_path / "open")
    assert not list((tmp_path / "open").iterdir())


def test_keys_that_are_not_there(folder_of_keys, tmp_path):
    def refuse(words, keys=folder_of_keys):
        with pytest.raises(ConfigError, match=words):
            open_socket(zmq.SUB, "tcp://127.0.0.1:5570", bind=False, max_bytes=10, keys=keys)

    refuse("no folder of keys", str(tmp_path / "gone"))
    for spoilt in ("curve\n    public-key = short\n", "", "curve\n    public-key\n"):
        (tmp_path / "keys" / "server.key").write_text(spoilt)
        refuse("server.key cannot be read")
    (tmp_path / "keys" / "server.key").unlink()
    refuse("server.key cannot be read")
    shutil.copy(tmp_path / "keys" / "client.key", tmp_path / "keys" / "client.key_secret")
    refuse("holds no secret key")


def test_a_libzmq_without_curve_says_so(monkeypatch, folder_of_keys, tmp_path):
    monkeypatch.setattr(sockets.zmq, "has", lambda what: False)
    with pytest.raises(ConfigError, match="libsodium"):
        open_socket(zmq.PUB, ANY_PORT, bind=True, max_bytes=10, keys=folder_of_keys)
    with pytest.raises(ConfigError, match="libsodium"):
        make_keys(tmp_path / "new")


def test_the_command_makes_keys_that_work(sock, tmp_path):
    from semcom.cli.main import app

    folder = tmp_path / "made"
    result = CliRunner().invoke(app, ["keys", str(folder)])
    assert result.exit_code == 0 and "keep them from everybody else" in result.output
    server = sock(zmq.PULL, ANY_PORT, bind=True, keys=str(folder))
    sock(zmq.PUSH, bound_address(server), keys=str(folder)).send(b"x")
    assert server.poll(WAIT_MS)
    assert CliRunner().invoke(app, ["keys", str(folder)]).exit_code == 2


def test_the_program_ends_with_sockets_open(folder_of_keys):
    script = (
        "import sys, zmq; from semcom.wire.sockets import open_socket\n"
        f"s = open_socket(zmq.PUSH, {ANY_PORT!r}, bind=True, max_bytes=10, keys=sys.argv[1])\n"
        "c = open_socket(zmq.PUSH, 'tcp://127.0.0.1:9', bind=False, max_bytes=10); c.send(b'waits')\n"
    )
    subprocess.run([sys.executable, "-c", script, folder_of_keys], timeout=20, check=True)
