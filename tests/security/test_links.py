# SPDX-License-Identifier: GPL-3.0-or-later
"""Links with a key, from pictures to pictures: simulated, over a file as stations, and beside strangers."""

import dataclasses

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from semcom.capture.replaying import Replay
from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.link import LinkConfig, User, simulate
from semcom.modem import modem as modem_module
from semcom.modem.header import UNSIGNED
from semcom.payload.base import Analog
from semcom.payload.quantised import DigitalMode
from semcom.payload.sealed import Sealed
from semcom.radio import load_link
from semcom.security import guard
from semcom.system.make import Coded, payload_with

MODEL = "cifar-1-12"


def config(payload, **options):
    return LinkConfig(MODEL, 10.0, payload=payload, lpips=False, **options)


@pytest.mark.parametrize("inner", [Analog(), DigitalMode(16), pytest.param(Coded(), marks=pytest.mark.slow)])
def test_simulated_links_lose_nothing_by_a_key(make_pictures, inner):
    pictures = list(make_pictures(2))
    plain = simulate(pictures, config(inner, channel="ideal"))
    for cipher in ("none", "scramble"):
        sealed = simulate(pictures, config(Sealed("alice", cipher, inner), channel="ideal"))
        for a, b in zip(plain, sealed, strict=True):
            assert abs(a.scores["psnr_db"] - b.scores["psnr_db"]) < 0.2
            assert b.symbols == a.symbols and b.airtime_samples > a.airtime_samples


def test_each_of_several_users_is_served(make_pictures):
    rows = simulate(
        list(make_pictures(2)), config(Sealed("alice"), channel="ideal"), [User("a"), User("b", seed=2)]
    )
    assert len(rows) == 4 and all(row.bursts_found == row.bursts_sent for row in rows)


def test_settings():
    sealed = payload_with({"key": "alice", "order": "16"})
    assert sealed == Sealed("alice", "scramble", DigitalMode(16))
    assert payload_with({"key": "alice", "cipher": "none"}) == Sealed("alice", "none")
    with pytest.raises(ConfigError, match="--set key=NAME"):
        payload_with({"cipher": "scramble"})
    with pytest.raises(ConfigError, match="choose one of none, scramble"):
        payload_with({"key": "alice", "cipher": "rot13"})


def test_the_hash_of_a_profile(tmp_path):
    def hash_of(text):
        path = tmp_path / "link.yaml"
        path.write_text(f"name: test\n{text}")
        return load_link(path).hash

    plain = hash_of("")
    assert hash_of("cipher: none\n") == plain  # of no meaning without a key
    assert hash_of("key: alice\n") == hash_of("key: /elsewhere/a.key\n") != plain
    assert hash_of("key: alice\ncipher: none\n") != hash_of("key: alice\n")


@pytest.mark.parametrize(
    "text, words",
    [
        ("cipher: rot13", "cipher"),
        ("key: 3", "must be of type str"),
        ("modem: {auth_symbols: 4}", "key"),
        ("key: alice\nmodem: {frame_version: 2, header_symbols: 6}", "leave key and auth_symbols out"),
    ],
)
def test_profiles_that_cannot_be(tmp_path, text, words):
    (tmp_path / "link.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_link(tmp_path / "link.yaml")


class TestStations:
    pytestmark = pytest.mark.timeout(120)

    @pytest.fixture
    def link(self, tmp_path):
        def write(**extra):
            path = tmp_path / f"link-{extra.get('key', 'open').strip('./')}.yaml"
            lines = {"name": "test", "model": MODEL, "amplitude": "0.5"} | extra
            path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
            return str(path)

        return write

    @pytest.fixture
    def stations(self):
        pytest.importorskip("gnuradio")
        from semcom.blocks import stations

        return stations

    @pytest.mark.slow
    def test_only_a_holder_of_the_key_reads(self, stations, tmp_path, link, make_pictures):
        radio = f"file:{tmp_path / 'air.c64'}"
        sent = list(make_pictures(3))
        stations.transmit(stations.StationConfig(link(key="alice"), radio), sent, seconds=30)

        def received(profile):
            return stations.receive(stations.StationConfig(profile, radio), seconds=30)

        back = received(link(key="alice"))
        assert back.pictures == 3
        for profile, words in (
            (link(key="bob"), {guard.FORGED, guard.UNKNOWN}),
            (link(), set()),
            ("", set()),
        ):
            summary = received(profile)
            assert summary.pictures == 0
            said = {word for words in summary.counters.values() for word in words}
            assert not words or said & words, said

    @pytest.mark.slow
    def test_strangers_beside_the_true_one(self, stations, tmp_path, link, make_pictures):
        """Their bursts, and true ones once more, in one stream: the pictures are untouched."""
        made = {}
        for name in ("alice", "bob", ""):
            path = tmp_path / f"{name}.c64"
            profile = link(**({"key": name} if name else {}))
            stations.transmit(
                stations.StationConfig(profile, f"file:{path}"), list(make_pictures(2)), seconds=30
            )
            made[name] = np.fromfile(path, np.complex64)
        both = [made["bob"], made["alice"], made[""], made["alice"], made["bob"]]
        air = tmp_path / "air.c64"
        np.concatenate(both).tofile(air)
        back = stations.receive(stations.StationConfig(link(key="alice"), f"file:{air}"), seconds=30)
        counted = {word: n for words in back.counters.values() for word, n in words.items()}
        assert back.pictures == 2 and counted[guard.REPLAYED] == 2
        assert sum(counted.get(word, 0) for word in (guard.FORGED, guard.UNKNOWN)) >= 4
        assert any("link profile" in word or UNSIGNED in word for word in counted)

    def test_recordings_are_replayed_with_the_key(self, stations, tmp_path, link, make_pictures, key_folder):
        radio, folder = f"file:{tmp_path / 'air.c64'}", tmp_path / "recorded"
        config = stations.StationConfig(link(key="alice"), radio)
        stations.transmit(config, list(make_pictures(2)), seconds=30)
        stations.receive(config, seconds=30, capture_folder=str(folder))
        run = Replay(folder)
        assert len(list(run)) == 2 and run.latents_equal == run.latents_known == 2
        (key_folder / "alice.key").unlink()
        with pytest.raises(ConfigError, match="semcom link-key"):
            list(Replay(folder))

    def test_no_key_at_a_station(self, stations, tmp_path, link):
        (tmp_path / "air.c64").write_bytes(bytes(8))
        for profile in (link(key="carol"), link(key="./carol.key")):
            with pytest.raises(ConfigError, match="semcom link-key"):
                stations.receive(stations.StationConfig(profile, f"file:{tmp_path / 'air.c64'}"), seconds=1)

    def test_set_is_for_the_simulation(self, tmp_path, link):
        told = ["tx", "--radio", f"file:{tmp_path / 'air.c64'}", "--set", "key=alice"]
        done = CliRunner().invoke(app, told)
        assert done.exit_code == 2 and "link profile" in done.output
        assert not (tmp_path / "air.c64").exists()


def test_the_flowgraph_carries_them(make_pictures):
    pytest.importorskip("gnuradio")
    from semcom.blocks import loopback

    rows = loopback.run(list(make_pictures(3)), config(Sealed("alice"), channel="ideal"))
    assert [row.bursts_found for row in rows] == [1, 1, 1]
    assert all(torch.isfinite(torch.tensor(row.scores["psnr_db"])) for row in rows)
    assert modem_module.NO_KEY  # what a receiver without one says


def test_a_transmitter_with_a_number_of_its_own(make_pictures, tmp_path):
    """The tag and the key stream are of the sender that the header names."""
    pytest.importorskip("gnuradio")
    from semcom.blocks import stations

    profile = tmp_path / "link.yaml"
    profile.write_text(f"name: test\nmodel: {MODEL}\nkey: alice\n")
    config = stations.StationConfig(str(profile), f"file:{tmp_path / 'air.c64'}")
    stations.transmit(dataclasses.replace(config, sender=5), list(make_pictures(2)), seconds=30)
    assert stations.receive(config, seconds=30).pictures == 2
