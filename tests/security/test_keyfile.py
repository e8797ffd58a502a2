# SPDX-License-Identifier: GPL-3.0-or-later
"""Key files: who may read them, what is refused, and how a key is renewed while stations run."""

import base64
import os
import re

import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.security import KeyRing, keyfile, make_key, renew_key
from semcom.security.keyfile import read_key


def test_made_for_the_owner_alone(key_folder):
    path = key_folder / "alice.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key(path).epochs[-1].key) == 32
    assert read_key(path).epochs[-1].key != read_key(key_folder / "bob.key").epochs[-1].key
    with pytest.raises(ConfigError, match="--renew"):
        make_key("alice")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_of_others_is_refused(key_folder, mode):
    (key_folder / "alice.key").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyRing("alice")


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_write_to_is_refused(key_folder, mode):
    key_folder.chmod(mode)
    with pytest.raises(ConfigError, match="chmod go-w"):
        KeyRing("alice")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\xff",
        "epochs: []",
        "epochs: 3",
        "epochs: [{epoch: 1}]",
        "epochs: [{epoch: 1, secret: c2hvcnQ=}]",
        "epochs: [{epoch: 256, secret: GOOD}]",
        "epochs: [{epoch: 1, secret: GOOD}, {epoch: 1, secret: GOOD}]",
        "epochs: [{epoch: 1, secret: GOOD, not_after: tomorrow}]",
        "epochs: [{epoch: 1, secret: GOOD, not_after: '2030-01-01T00:00:00'}]",
        "{" * 4000,
        "x" * 20000,
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(key_folder, text):
    secret = base64.b64encode(b"s" * 32).decode()
    path = key_folder / "alice.key"
    path.write_text(text.replace("GOOD", secret))
    with pytest.raises(ConfigError, match="key") as caught:
        KeyRing("alice")
    assert secret not in str(caught.value)


def test_absent_and_odd_ones_are_refused(key_folder):
    os.mkfifo(key_folder / "pipe.key", 0o600)
    for name in ("carol", "", "a\0b", str(key_folder), "pipe"):
        with pytest.raises(ConfigError, match="key"):
            KeyRing(name)


def test_expired(key_folder):
    path = renew_key("alice", days=1e-9)
    with pytest.raises(ConfigError, match="expired.*--renew"):
        KeyRing("alice").signing()
    assert path == key_folder / "alice.key"


def test_renewed_while_running(monkeypatch, key_folder):
    monkeypatch.setattr(keyfile, "_LOOK_AGAIN_S", 0.0)
    ring = KeyRing("alice")
    before = ring.signing()
    renew_key("alice")
    after = ring.signing()
    assert after.key != before.key and ring.reading(before.epoch) == before
    (key_folder / "alice.key").write_text("broken")  # a file half copied ends no link
    assert ring.signing() == after and "alice" in ring.fault


def test_command(key_folder):
    made = CliRunner().invoke(app, ["link-key", "dora", "--days", "30"])
    assert made.exit_code == 0 and (key_folder / "dora.key").exists()
    secret = re.search(r'secret: "(.+?)"', (key_folder / "dora.key").read_text())[1]
    assert secret not in made.output
    again = CliRunner().invoke(app, ["link-key", "dora"])
    assert again.exit_code == 2 and "--renew" in again.output
    assert CliRunner().invoke(app, ["link-key", "dora", "--renew"]).exit_code == 0
    assert len(read_key(key_folder / "dora.key").epochs) == 2
