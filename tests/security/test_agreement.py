# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys agreed for a run: who can agree, who cannot, and what strangers on the network can make of it."""

import threading

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.security import agreement, keyfile
from semcom.security.keyfile import read_key


@pytest.fixture(autouse=True)
def known(key_folder):
    """Stations ann and ben that trust each other, and eve, who trusts both and is trusted by nobody."""
    for name in ("ann", "ben", "eve"):
        _, public = agreement.make_pair(name)
        if name != "eve":
            agreement.trust(name, public)
    return key_folder


def agree(listening=("ann", "ben"), connecting=("ben", "ann"), disturb=lambda address: None, wait_s=5):
    """What both ends come to: an agreement or the error's text, of the one who listens first."""
    listener, ends = agreement.Listener(*listening, "tcp://127.0.0.1:*"), {}

    def wait():
        try:
            ends["listens"] = listener.wait(wait_s)
        except ConfigError as error:
            ends["listens"] = str(error)

    thread = threading.Thread(target=wait)
    thread.start()
    disturb(listener.address)
    try:
        ends["connects"] = agreement.offer(*connecting, listener.address, 3)
    except ConfigError as error:
        ends["connects"] = str(error)
    thread.join()
    return ends["listens"], ends["connects"]


def test_both_ends_have_one_secret_and_each_run_another():
    first, second = agree(), agree()
    assert first[0] == first[1] and second[0] == second[1]
    assert first[0].secret != second[0].secret and len(first[0].secret) == 32


@pytest.mark.parametrize("connecting", [("eve", "ann"), ("ben", "ben")])
@pytest.mark.slow
def test_who_is_not_trusted_gets_nothing(connecting, monkeypatch):
    here, there = agree(connecting=connecting, wait_s=2)
    assert "refused" in here or "no station" in here
    assert "does not hold the trusted key" in there


@pytest.mark.slow
def test_who_listens_must_be_the_trusted_one():
    here, there = agree(listening=("eve", "ben"), wait_s=2)
    assert "no station" in here and "does not hold the trusted key" in there


def test_strangers_on_the_network_change_nothing():
    def disturb(address):
        for message in (b"", b"x" * 200, b"semcom agree 1" + bytes(32), b"semcom agree 1" + b"a" * 64):
            socket = zmq.Context.instance().socket(zmq.REQ)
            socket.linger = 0
            socket.connect(address)
            socket.send(message)
            assert socket.poll(2000) and socket.recv() == b"refused"
            socket.close()

    here, there = agree(disturb=disturb)
    assert here == there and here.secret


def test_who_sees_an_offer_cannot_spoil_it(monkeypatch):
    """Between offer and confirmation: the same offer again, confirmed falsely, and many others."""
    ask = agreement._asked

    def asked(socket, message, end_s, address):
        answer = ask(socket, message, end_s, address)
        if len(answer) == 64:
            public = X25519PrivateKey.generate().public_key
            others = [message[:-32] + agreement._raw(public()) for _ in range(70)]
            for said in (message, message + bytes(32), *others):
                stranger = zmq.Context.instance().socket(zmq.REQ)
                stranger.linger = 0
                stranger.connect(address)
                stranger.send(said)
                assert stranger.poll(2000) and len(stranger.recv()) in (7, 64)
                stranger.close()
        return answer

    monkeypatch.setattr(agreement, "_asked", asked)
    here, there = agree()
    assert here == there and here.secret


def test_each_key_counts():
    """Any of the four that is another one gives another secret; as does the side."""
    a, a_run, b, b_run, other = (X25519PrivateKey.generate() for _ in range(5))
    true = agreement.agreed(a, a_run, b.public_key(), b_run.public_key(), True)
    assert agreement.agreed(b, b_run, a.public_key(), a_run.public_key(), False) == true
    for changed in (
        (other, a_run, b, b_run),
        (a, other, b, b_run),
        (a, a_run, other, b_run),
        (a, a_run, b, other),
    ):
        own, own_run, theirs, their_run = changed
        made = agreement.agreed(own, own_run, theirs.public_key(), their_run.public_key(), True)
        assert made.secret != true.secret and made.offer != true.offer
    with pytest.raises(ConfigError, match="no station makes"):
        agreement.agreed(a, a_run, b.public_key(), X25519PublicKey.from_public_bytes(bytes(32)), True)


def test_it_goes_into_the_key_file(key_folder, monkeypatch):
    made, _ = agree()
    path = agreement.keep(made, "run", 1.0)
    assert path.stat().st_mode & 0o777 == 0o600 and read_key(path).epochs[-1].key == made.secret
    monkeypatch.setattr(keyfile, "_LOOK_AGAIN_S", 0.0)
    ring = keyfile.KeyRing("run")
    later, _ = agree()
    agreement.keep(later, "run", 1.0)
    assert ring.signing().key == later.secret  # a link that runs changes to it
    agreement.keep(later, "run", 1.0)  # of the same number: one epoch of it
    assert len(read_key(path).epochs) <= 2


@pytest.mark.parametrize("ending, read", [("pair", agreement.read_pair), ("trusted", agreement.read_trusted)])
def test_files(key_folder, ending, read):
    path = key_folder / f"ann.{ending}"
    assert path.stat().st_mode & 0o777 == 0o600
    for text in ("", "x" * 44, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="ann"):
            read("ann")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read("ann")
    path.unlink()
    with pytest.raises(ConfigError, match="semcom (key-pair|trust)"):
        read("ann")


def test_names_are_not_taken_over():
    with pytest.raises(ConfigError, match="there already"):
        agreement.make_pair("ann")
    with pytest.raises(ConfigError, match="another public key"):
        agreement.trust("ann", agreement.public_text(X25519PrivateKey.generate()))
    with pytest.raises(ConfigError, match="32 bytes in base 64"):
        agreement.trust("new", "short")
    with pytest.raises(ConfigError, match="small order"):
        agreement.trust("new", "A" * 43 + "=")


@pytest.mark.slow
def test_commands(key_folder):
    run = CliRunner().invoke
    made = run(app, ["key-pair", "zoe"])
    assert made.exit_code == 0 and run(app, ["key-pair", "zoe"]).output == made.output
    assert run(app, ["trust", "zoe", made.output.strip()]).exit_code == 0
    both = run(app, ["agree", "ben", "--pair", "ann"])
    assert both.exit_code == 2 and "--listen or --connect" in both.output
    alone = run(app, ["agree", "ben", "--pair", "ann", "--connect", "tcp://127.0.0.1:1", "--seconds", "1"])
    assert alone.exit_code == 2 and "nobody answers" in alone.output
    assert not (key_folder / "ben.key").exists()

    listener = agreement.Listener("ann", "ben", "tcp://127.0.0.1:*")
    thread = threading.Thread(target=lambda: agreement.keep(listener.wait(20), "ben", 1.0))
    thread.start()
    done = run(app, ["agree", "ann", "--pair", "ben", "--connect", listener.address, "--key", "with-ann"])
    thread.join()
    assert done.exit_code == 0
    assert (
        read_key(key_folder / "ben.key").epochs[-1].key
        == read_key(key_folder / "with-ann.key").epochs[-1].key
    )
