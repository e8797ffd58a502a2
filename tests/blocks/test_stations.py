# SPDX-License-Identifier: GPL-3.0-or-later
"""Transmitter and receiver apart: over a file, over a socket, with a profile that is not the other's."""

import dataclasses
import errno
import json
import os
import resource
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from semcom import keys
from semcom.blocks import stations
from semcom.blocks.media import device_graph
from semcom.blocks.media.fake import fake_usrp
from semcom.blocks.stations import ReceiveStation, StationConfig, TransmitStation, receive, transmit
from semcom.capture.replaying import replay
from semcom.cli.main import app
from semcom.codec.base import Latents
from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import Picture, pixels_sha256, read_picture, samples
from semcom.radio import load_link, watchdog
from semcom.radio.device import load_device, save_device
from semcom.radio.fake import FakeRadio
from semcom.radio.timing import Time
from semcom.security import make_key
from semcom.system import zoo

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def link(tmp_path):
    path = tmp_path / "link.yaml"
    path.write_text("name: test\nmodel: cifar-1-12\namplitude: 0.5\n")
    return str(path)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_transmitters_are_told_apart(tmp_path, link, make_pictures, monkeypatch):
    """Their items have the same numbers, models and sizes; one receiver hears both."""
    monkeypatch.setattr(stations.secrets, "randbelow", lambda count: 7)
    parts = [tmp_path / "a.c64", tmp_path / "b.c64"]
    for sender, part in zip((0, 5), parts, strict=True):
        config = StationConfig(link, f"file:{part}", sender=sender)
        assert transmit(config, list(make_pictures(2)), seconds=30).pictures == 2
    (tmp_path / "air.c64").write_bytes(b"".join(part.read_bytes() for part in parts))
    log = tmp_path / "rx.jsonl"
    config = StationConfig(link, f"file:{tmp_path / 'air.c64'}", log=str(log))
    assert receive(config, out=str(tmp_path / "out"), seconds=30).pictures == 4
    assert [line["sender"] for line in lines_of(log)] == [0, 0, 5, 5]
    written = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert written == ["00007.png", "00008.png", "05-00007.png", "05-00008.png"]


def test_a_file_carries_pictures(tmp_path, link, make_pictures):
    sent, radio = list(make_pictures(3)), f"file:{tmp_path / 'air.c64'}"
    there = transmit(StationConfig(link, radio, log=str(tmp_path / "tx.jsonl")), sent, seconds=30)
    back = receive(
        StationConfig(link, radio, log=str(tmp_path / "rx.jsonl")), out=str(tmp_path / "out"), seconds=30
    )
    assert there.pictures == back.pictures == 3 and there.bursts == back.bursts == 3
    assert back.advice == "" and back.link == there.link
    reported, got = lines_of(tmp_path / "tx.jsonl"), lines_of(tmp_path / "rx.jsonl")
    assert [line["image_id"] for line in reported] == [line["image_id"] for line in got]
    for picture, mine, theirs in zip(sent, reported, got, strict=True):
        assert mine["sha256"] == pixels_sha256(picture.pixels) and mine["image"] == picture.name
        received = read_picture(tmp_path / "out" / f"{theirs['image_id']:05d}.png").pixels
        assert theirs["sha256"] == pixels_sha256(received)
        assert quality.psnr(picture.pixels, received) > 22
        stages = [
            theirs[key] for key in (keys.DETECTED_S, keys.DEMODULATED_S, keys.ESTIMATED_S, keys.DECODED_S)
        ]
        assert stages == sorted(stages) and stages[-1] <= theirs["received_s"]
        assert mine["read_s"] <= mine["sent_s"]
    samples_sent = np.fromfile(tmp_path / "air.c64", np.complex64)
    loud = np.abs(samples_sent[np.abs(samples_sent) > 0])
    assert 0.45 < np.sqrt(np.mean(loud**2)) < 0.52, "the profile's amplitude is the rms of a burst"


@pytest.mark.slow
def test_logs_and_recordings_keep_what_decides_the_symbols(tmp_path, link):
    """Scale, boost, allocation SNR and length of the map are the header's side bits, K follows from the symbols."""
    place = tmp_path / "adaptive.yaml"
    place.write_text("name: adaptive\nmodel: photo-adaptive\namplitude: 0.5\n")
    link = str(place)
    picture, radio, log = samples()[0], f"file:{tmp_path / 'air.c64'}", tmp_path / "tx.jsonl"
    transmit(StationConfig(link, radio, log=str(log)), [picture], seconds=60)
    recorded = tmp_path / "captures"
    receive(StationConfig(link, radio), capture_folder=str(recorded), seconds=60)
    (line,) = lines_of(log)
    (replayed,) = replay(recorded)
    assert line[keys.SIDE] == replayed.header.side > 0
    assert line[keys.LATENT_COUNT] == replayed.header.latent_count == len(replayed.latents)
    codec = zoo.load("photo-adaptive").codec
    images = torch.from_numpy(picture.pixels.transpose(2, 0, 1)[None].copy()).float() / 255
    got = Latents(
        torch.from_numpy(replayed.latents)[None],
        side=torch.tensor([replayed.header.side]),
        noise_var=torch.from_numpy(replayed.noise_var)[None],
    )
    again = codec.send_again(images, got, picture.pixels.shape[:2])
    assert float((again - got.values).abs().square().mean()) < 0.01


def test_names_that_are_not_utf8_cost_nothing(tmp_path, link, make_pictures):
    sent = [
        dataclasses.replace(picture, name=f"caf\udce9{number}.png", path=f"/photos/caf\udce9{number}.png")
        for number, picture in enumerate(make_pictures(3))
    ]
    radio, log = f"file:{tmp_path / 'air.c64'}", tmp_path / "tx.jsonl"
    there = transmit(StationConfig(link, radio, log=str(log)), sent, seconds=30)
    back = receive(StationConfig(link, radio), seconds=30)
    assert there.pictures == back.pictures == 3 and not there.faults
    assert [line["image"] for line in lines_of(log)] == [f"caf\\xe9{number}.png" for number in range(3)]
    assert [line["path"] for line in lines_of(log)] == [picture.path for picture in sent]


def test_one_picture_that_cannot_be_sent_costs_one_picture(tmp_path, link, make_pictures):
    sent = list(make_pictures(4))
    object.__setattr__(sent[1], "name", "\ud800")  # as if it had not been cleaned where it entered
    there = transmit(StationConfig(link, f"file:{tmp_path / 'air.c64'}"), sent, seconds=30)
    assert there.pictures == 3
    assert any("1 pictures could not be sent" in fault for fault in there.faults) and there.exit_status == 1


@pytest.mark.parametrize("limit, sent, status", [(5000, 1, 1), (50, 0, 2)])
def test_pictures_that_a_block_makes_nothing_of_are_said_and_hold_nobody_up(
    tmp_path, make_pictures, limit, sent, status
):
    """None may wait for a picture that was given up behind the source; nothing sent is another exit status."""
    link = tmp_path / "small.yaml"
    link.write_text(f"model: cifar-1-12\nlimits: {{largest_picture_pixels: {limit}}}\n")
    large = Picture("large", np.zeros((96, 96, 3), np.uint8))
    config = StationConfig(str(link), f"file:{tmp_path / 'air.c64'}")
    there = transmit(config, [large, large, *make_pictures(1), large, large], seconds=60)
    assert (there.pictures, there.exit_status) == (sent, status) and there.seconds < 25
    (fault,) = there.faults
    assert f"{5 - sent} pictures could not be sent: picture of more than {limit:,} pixels" in fault


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_logs_keeps_no_picture_from_the_air(tmp_path, link, make_pictures):
    radio = f"file:{tmp_path / 'air.c64'}"
    there = transmit(StationConfig(link, radio, log="/dev/full"), list(make_pictures(12)), seconds=60)
    back = receive(StationConfig(link, radio, log="/dev/full"), seconds=60)
    assert there.pictures == back.pictures == 12
    for summary in (there, back):
        (fault,) = summary.faults
        assert "/dev/full: 12 of 12 lines are missing" in fault and "No space left" in fault
        assert summary.exit_status == 2
        assert sum(summary.counters["log"].values()) == 12


def test_pictures_that_a_full_disk_does_not_take_are_counted_as_such(
    tmp_path, link, make_pictures, monkeypatch
):
    radio, written = f"file:{tmp_path / 'air.c64'}", []
    transmit(StationConfig(link, radio), list(make_pictures(12)), seconds=60)

    def full(path, data):
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(os, "replace", lambda *_: None)
    back = receive(StationConfig(link, radio), out=str(tmp_path / "out"), seconds=60)
    assert (back.pictures, back.written) == (12, 4)
    assert back.faults == ["8 received pictures that cannot be written: No space left on device. Make room."]
    reasons = [what for what in back.counters["image_sink"] if "cannot be written" in what]
    assert len(reasons) == 1 and str(tmp_path) not in reasons[0]


def test_a_full_disk_under_the_samples_ends_the_transmitter_in_words(tmp_path, link, make_pictures):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        config = StationConfig(link, f"file:{tmp_path / 'air.c64'}")
        there = transmit(config, list(make_pictures(2)), repeat=True, seconds=60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert there.seconds < 30 and "cannot be written any further" in there.faults[0]


@pytest.mark.slow
def test_a_transmitter_that_is_stopped_still_sends_the_pictures_it_has_begun(tmp_path, link, make_pictures):
    radio = f"file:{tmp_path / 'air.c64'}"
    config = StationConfig(link, radio, log=str(tmp_path / "tx.jsonl"))
    there = transmit(config, list(make_pictures(2)), repeat=True, seconds=1.0)  # some are always on their way
    back = receive(StationConfig(link, radio), seconds=60)
    reported = lines_of(tmp_path / "tx.jsonl")
    assert len(reported) == there.pictures > 10
    assert there.counters["image_source"]["sent to 'out'"] == there.pictures + 1  # and the end of the stream
    assert back.counters["deepjscc_decoder"]["pictures"] == there.pictures


@pytest.mark.slow
def test_a_transmitter_nobody_listens_to_can_be_stopped(link, make_pictures):
    config = StationConfig(link, f"zmq:{free_address()}")
    began = time.monotonic()
    there = transmit(config, list(make_pictures(1)), repeat=True, seconds=1.0)
    assert there.pictures == 0 and there.exit_status == 2
    assert there.faults == [f"nobody listened at {config.radio[4:]}: nothing was sent"]
    assert time.monotonic() - began < 20


def test_another_profile_is_reported_in_words(tmp_path, link, make_pictures):
    (tmp_path / "other.yaml").write_text("name: other\nmodel: cifar-1-12\n")
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(str(tmp_path / "other.yaml"), radio), make_pictures(1), seconds=30)
    back = receive(StationConfig(link, radio), seconds=30)
    reasons = back.counters["receiver"]
    assert back.pictures == 1
    assert any("give both stations the same link profile file" in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    "modem, found, words",
    [
        ("max_payload_symbols: 20", True, "bursts sent with link profile {theirs:#05x}, but loaded here is"),
        ("pilots_per_symbol: 12", True, "noise, or the stations loaded different link profiles"),
        ("fft_size: 512", False, ""),
    ],
)
@pytest.mark.slow
def test_a_profile_by_which_nothing_can_be_read_is_reported_in_words(
    tmp_path, link, make_pictures, modem, found, words
):
    """Where the header is read by its hash; where it is not, the end of the run says what to compare."""
    other = tmp_path / "other.yaml"
    other.write_text(f"name: test\nmodel: cifar-1-12\namplitude: 0.5\nmodem: {{{modem}}}\n")
    radio = f"file:{tmp_path / 'air.c64'}"
    sent = transmit(StationConfig(str(other), radio), make_pictures(2, 256, 256), seconds=30)
    back = receive(StationConfig(link, radio), seconds=30)
    assert back.pictures == 0
    reasons, theirs = back.counters["receiver"], load_link(other).hash
    assert words == "" or any(words.format(theirs=theirs) in reason for reason in reasons), reasons
    assert back.advice.startswith("no burst was found") != found, back.advice
    mine = f"'test' ({load_link(link).hash:#05x})"
    assert all(word in back.advice for word in ("level", "frequency", "same link profile", mine))
    assert mine in back.link and f"({theirs:#05x})" in sent.link


@pytest.mark.slow
def test_silence_and_no_samples_at_all_are_distinguished(tmp_path, link, make_pictures):
    np.zeros(200_000, np.complex64).tofile(tmp_path / "air.c64")
    silent = receive(StationConfig(radio=f"file:{tmp_path / 'air.c64'}"), seconds=30)
    assert (
        silent.advice.startswith("no burst was found") and "loaded here is no link profile" in silent.advice
    )
    nobody = receive(StationConfig(link, f"zmq:{free_address()}"), seconds=1)
    assert nobody.advice.startswith("no samples came from zmq:")


def test_a_transmitter_that_lingers_can_be_stopped(tmp_path, link, make_pictures):
    radio = f"file:{tmp_path / 'air.c64'}"
    done = transmit(StationConfig(link, radio), make_pictures(1), seconds=2, linger_s=3600.0)
    assert done.pictures == 1
    assert not any("still busy" in what for counted in done.counters.values() for what in counted)


def test_another_key_is_named_and_not_the_level(tmp_path, make_pictures):
    (tmp_path / "keys").mkdir(mode=0o700)
    link, key = tmp_path / "signed.yaml", tmp_path / "keys" / "ann.key"
    link.write_text("name: signed\nmodel: cifar-1-12\nkey: keys/ann.key\n")
    make_key(str(key))
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(str(link), radio), make_pictures(2), seconds=30)
    key.unlink()
    make_key(str(key))
    advice = receive(StationConfig(str(link), radio), seconds=30).advice
    assert advice.startswith("every burst was refused: 2 bursts") and "same key file (key" in advice
    assert "level" not in advice


@pytest.mark.slow
def test_an_inverted_spectrum_is_reported_and_turned_back(tmp_path, link, make_pictures):
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(link, radio), make_pictures(3), seconds=30)
    np.fromfile(tmp_path / "air.c64", np.complex64).conj().tofile(tmp_path / "air.c64")
    empty = receive(StationConfig(link, radio), seconds=30)
    assert empty.pictures == 0 and "start again with --invert-spectrum" in empty.advice
    assert receive(StationConfig(link, radio, invert_spectrum=True), seconds=30).pictures == 3
    (tmp_path / "radio.yaml").write_text("name: bench\ninvert_spectrum: true\n")
    assert StationConfig(link, radio, hardware=str(tmp_path / "radio.yaml")).spectrum_inverted


def test_what_is_odd_about_the_samples_is_reported_at_the_end(tmp_path, link, make_pictures):
    radio, g = f"file:{tmp_path / 'air.c64'}", np.random.RandomState(0)
    hiss = 0.01 * (g.randn(300_000) + 1j * g.randn(300_000))
    (hiss + 0.3).astype(np.complex64).tofile(tmp_path / "air.c64")
    advice = receive(StationConfig(link, radio), seconds=30).advice
    assert "of the power is DC" in advice and "Check the level" in advice


def test_an_offset_beyond_the_preamble_is_reported_and_searched(tmp_path, link, make_pictures):
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(link, radio), make_pictures(3), seconds=30)
    sent = np.fromfile(tmp_path / "air.c64", np.complex64)
    (sent * np.exp(2j * np.pi * 0.08 * np.arange(len(sent)))).astype(np.complex64).tofile(
        tmp_path / "air.c64"
    )
    empty = receive(StationConfig(link, radio), seconds=30)
    assert empty.pictures == 0 and "start again with --cfo-search" in empty.advice
    assert receive(StationConfig(link, radio, cfo_search=True), seconds=30).pictures == 3


def test_another_model_is_reported_in_words(tmp_path, link, make_pictures):
    (tmp_path / "other.yaml").write_text("name: other\nmodel: cifar-1-6\n")
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(str(tmp_path / "other.yaml"), radio), make_pictures(1), seconds=30)
    back = receive(StationConfig(link, radio), seconds=30)
    assert back.pictures == 0 and back.counters["deepjscc_decoder"]["bursts of another model"] == 1


def test_a_socket_carries_pictures_and_a_restarted_transmitter_is_received(link, make_pictures):
    address = free_address()
    config = StationConfig(link, f"zmq:{address}")
    stop, ids = threading.Event(), []
    # it stays until the second transmitter is done, which waits for its samples to be taken
    receiver = ReceiveStation(config, on_picture=lambda meta, pixels: ids.append(meta["image_id"]))
    thread = threading.Thread(target=receiver.run_until, args=(stop, 60, None))
    thread.start()
    for _ in range(2):
        summary = TransmitStation(config, make_pictures(2)).run_until(threading.Event(), 30, None)
        assert summary.pictures == 2
    end = time.monotonic() + 30
    while len(ids) < 4 and time.monotonic() < end:
        time.sleep(0.02)
    stop.set()
    thread.join(30)
    reported = {block.name(): dict(block.counters) for block in receiver.chain}
    assert receiver.summary.pictures == 4 and len(set(ids)) == 4, (ids, reported)


@pytest.mark.slow
def test_the_air_holds_a_fast_transmitter_up(link, make_pictures):
    """Nobody listens: pictures wait at the source instead of piling up or being lost."""
    station = TransmitStation(
        StationConfig(link, f"zmq:{free_address()}"), list(make_pictures(2)), repeat=True
    )
    summary = station.run_until(threading.Event(), 3, None)
    assert summary.pictures < 1000 and not any(
        "dropped" in words for words in summary.counters["burst_modulator"]
    )


@pytest.mark.parametrize(
    "config, words",
    [
        (StationConfig(radio="pigeon"), "none of usrp, soapy, zmq, file"),
        (StationConfig(profile="/nowhere.yaml"), "there is no link profile"),
        (StationConfig(radio="file:/nowhere.c64"), "there is no file of samples"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(config, words):
    with pytest.raises(ConfigError, match=words):
        receive(config, seconds=1)


def test_a_port_in_use_is_named(link):
    address = free_address()
    first = TransmitStation(StationConfig(link, f"zmq:{address}"), samples())
    with pytest.raises(ConfigError, match=address.rsplit(":", 1)[1]):
        TransmitStation(StationConfig(link, f"zmq:{address}"), samples())
    del first


def test_signals_end_a_station_and_are_given_back():
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with stations.stopped_by_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_gains_come_from_the_command_line_then_calibration_then_the_profile(tmp_path, link):
    radio = load_device("b210")
    measured = dataclasses.replace(radio, calibration=dataclasses.replace(radio.calibration, rx_gain_db=33.0))
    save_device(measured, tmp_path / "mine.yaml")
    profile, hardware = load_link(link), str(tmp_path / "mine.yaml")

    def gain_db(transmit, **given):
        return StationConfig(**given).radio_options(profile, transmit)["gain_db"]

    assert gain_db(False, hardware=hardware, gain_db=5.0) == 5.0
    assert gain_db(False, hardware=hardware) == 33.0
    assert gain_db(True, hardware=hardware) == profile.tx_gain_db
    assert gain_db(False) == profile.rx_gain_db


# -- a radio that answers, and one that goes away --------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    """A fake radio behind ``usrp``, and little patience with it."""
    monkeypatch.setattr(watchdog, "LOOK_S", 0.2)
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.6)
    monkeypatch.setattr(device_graph, "_AGAIN_S", 0.2)
    radio = FakeRadio(now=Time(1000, 0.5), buffer_samples=30_000, is_live=True)
    with fake_usrp(radio) as radio.claims:
        yield radio


def test_pictures_count_when_the_radio_has_acknowledged_them(fake, link, make_pictures):
    there = transmit(StationConfig(link, "usrp"), list(make_pictures(3)), seconds=30)
    assert (there.pictures, there.bursts, there.faults, there.exit_status) == (3, 3, [], 0)
    assert there.counters["radio_sink"]["bursts acknowledged by the radio"] == 5


@pytest.mark.slow
def test_a_radio_that_goes_away_while_it_transmits_is_a_failure(fake, link, make_pictures, monkeypatch):
    monkeypatch.setattr(stations, "_GIVE_UP_S", 1.0)

    def tick(summary):
        if summary.pictures >= 3:
            fake.unplug()

    there = transmit(StationConfig(link, "usrp:type=b200"), list(make_pictures(2)), repeat=True, on_tick=tick)
    assert "the radio at usrp:type=b200 no longer answers" in there.faults
    assert f"{there.bursts} of " in there.faults[1] and "bursts were acknowledged" in there.faults[1]
    assert there.exit_status == 1
    assert 3 <= there.pictures < there.counters["burst_modulator"]["bursts sent"]


@pytest.mark.slow
def test_a_radio_that_was_away_for_a_while_costs_what_it_held(fake, link, make_pictures):
    def tick(summary):
        if summary.pictures >= 3 and fake.claims.opened == 1:
            fake.unplug()
        if any("no longer answers" in reason for reason in summary.counters["radio_sink"]):
            fake.plug()

    there = transmit(StationConfig(link, "usrp"), list(make_pictures(30)), on_tick=tick, seconds=60)
    assert 3 <= there.pictures < 30 and there.faults == [
        f"{there.bursts} of 30 bursts were acknowledged by the radio"
    ]
    assert there.bursts >= 15 and fake.claims.opened == 2


@pytest.mark.slow
def test_a_receiver_whose_radio_stays_away_says_so_and_ends(fake, link, monkeypatch):
    monkeypatch.setattr(stations, "_GIVE_UP_S", 1.0)
    summary = receive(
        StationConfig(link, "usrp:type=b200"), on_tick=lambda summary: fake.unplug(), seconds=30
    )
    assert summary.faults == ["the radio at usrp:type=b200 no longer answers"] and summary.seconds < 20


@pytest.mark.slow
def test_a_failure_of_the_radio_is_an_exit_status(fake, link, monkeypatch, tmp_path):
    monkeypatch.setattr(stations, "_GIVE_UP_S", 0.5)
    plug = threading.Timer(3.0, fake.unplug)
    plug.start()
    result = CliRunner().invoke(app, ["tx", "--radio", "usrp", "--link", link, "--repeat", "--json", "-"])
    assert result.exit_code == 1 and "no longer answers" in result.output, result.output
