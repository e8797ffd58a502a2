# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom capture``, ``replay`` and ``inspect``, from files to files."""

import errno
import inspect
import json
import os
import socket
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from semcom import capture
from semcom.capture.replaying import engine, latents_sha256
from semcom.cli.capture import capture as capture_command
from semcom.cli.main import app
from semcom.cli.rx import rx
from semcom.kinds import quality
from semcom.kinds.pictures import pixels_sha256, read_picture, samples, write_png
from semcom.modem import DetectedBurst, Modem, estimate_snr
from semcom.system import zoo

MODEL = "cifar-1-12"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pictures():
    return [np.ascontiguousarray(picture.pixels[60:92, 40:88]) for picture in samples()]


@pytest.fixture(scope="module")
def bursts(pictures):
    """One burst a picture, ``[4, n]``, no noise to speak of."""
    model, modem = zoo.load(MODEL), Modem()
    with torch.inference_mode():
        latents = torch.stack([model.encode_image(pixels, 20.0) for pixels in pictures])
        sent = modem.modulate(latents, image_id=range(4), size=(32, 48), model_hash=model.model_hash)
    noise = torch.randn(4, sent.shape[-1], generator=torch.Generator().manual_seed(1), dtype=sent.dtype)
    return sent[:, 0] + 0.1 * noise


@pytest.fixture
def folder(bursts, tmp_path):
    """A recording of four bursts, demodulated one by one; the last could not be read."""
    torch.set_num_threads(1)
    info = capture.RecordingInfo(1e6, 2.45e9, hardware="a test", engine=engine())
    writer = capture.CaptureWriter(tmp_path / "captures", info, min_free_bytes=0)
    for number, burst in enumerate(bursts):
        note = capture.BurstNote(1000 + 9000 * number, 0.0, sync_quality=0.9)
        with torch.inference_mode():
            (got,) = Modem().demodulate([DetectedBurst(burst, note.sample_offset, 0.0, 0.9)])
            snr = estimate_snr(got.pilots_rx[None], got.pilots_ref[None], got.pilot_dof)
        if number == 3:
            burst, note = 0.1 * torch.randn_like(burst), replace(note, error="header failed its CRC")
        else:
            note = replace(
                note,
                **capture.namespace.header_fields(got.header, Modem().profile),
                snr_db=float(snr.snr_db),
                snr_stderr_db=float(snr.stderr_db),
                cfo_refined=got.cfo,
                latents_sha256=latents_sha256(got.latents),
                image=f"{number}.png",
            )
        writer.write(burst.numpy(), note, 1e9 + number)
    writer.close()
    return writer.folder


@pytest.mark.slow
def test_inspect_shows_every_burst_and_draws_them(folder, tmp_path):
    done = run("inspect", folder, "--png", tmp_path / "new" / "s.png", "--json", tmp_path / "i.json")
    assert done.exit_code == 0, done.output
    assert all(words in done.output for words in ("0.png", "2.png", "header", "fits", "s.png"))
    content = json.loads((tmp_path / "i.json").read_text())
    assert [row["image_id"] for row in content["bursts"]] == [0, 1, 2, None]
    assert content["bursts"][3]["error"] == "header failed its CRC"
    (recording,) = content["recordings"]
    assert (recording["bursts"], recording["bursts_read"], recording["pictures"]) == (4, 3, 3)
    assert recording["state"] == "closed" and recording["intact"] and recording["hardware"] == "a test"
    with Image.open(tmp_path / "new" / "s.png") as image:
        assert image.size[0] > 1000


def test_inspect_shows_the_first_rows_and_says_how_many_follow(folder):
    done = run("inspect", folder, "--rows", 1)
    assert done.exit_code == 0 and "3 bursts more" in done.output and "2.png" not in done.output


def test_replay_writes_pictures_and_compares_latents(folder, pictures, tmp_path):
    for number, pixels in enumerate(pictures):
        write_png(tmp_path / "sent" / f"{number}.png", pixels)
    options = ["--out", tmp_path / "out", "--originals", tmp_path / "sent", "--json", tmp_path / "r.json"]
    done = run("replay", folder, *options)
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["latents_equal"] == content["latents_compared"] == 3 and content["same_engine"]
    assert [row["image"] for row in content["pictures"]] == ["0.png", "1.png", "2.png"]
    for row in content["pictures"]:
        assert row["psnr_db"] > 22 and row["snr_db"] == pytest.approx(20, abs=1)
        with Image.open(row["file"]) as image:
            assert image.size == (48, 32)
    assert "3 of 3" in done.output and "not read" in done.output


def test_replay_on_a_full_disk_loses_pictures_and_no_result(folder, tmp_path, monkeypatch):
    whole, written = Path.write_bytes, []

    def full(path, data):
        if path.suffix == ".part" and ".png" in path.name:
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(path)
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run("replay", folder, "--out", tmp_path / "out", "--json", tmp_path / "r.json")
    assert done.exit_code == 2 and "2 pictures cannot be written: No space left" in " ".join(
        done.stderr.split()
    )
    rows = json.loads((tmp_path / "r.json").read_text())["pictures"]
    assert [row["file"] is None for row in rows] == [False, True, True]


def test_replay_says_why_there_is_no_psnr(folder, pictures, tmp_path):
    for number, pixels in enumerate(pictures):
        write_png(tmp_path / "sent" / f"{number}.png", pixels)

    def said(*options):
        done = run("replay", folder, *options)
        assert done.exit_code == 0, done.output
        return " ".join(done.stderr.split())

    assert "no PSNR" not in said() and "no PSNR" not in said("--originals", tmp_path / "sent")
    (tmp_path / "sent" / "1.png").unlink()
    assert "1 of 3 pictures have a name and no PSNR" in said("--originals", tmp_path / "sent")
    (meta,) = folder.glob("*.sigmf-meta")
    content = json.loads(meta.read_text())
    for annotation in content["annotations"]:
        annotation.pop("semcom:image", None)
    meta.write_text(json.dumps(content))
    words = said("--originals", tmp_path / "sent")
    assert "3 of 3 pictures have no name" in words and "--sent-log FILE" in words


def test_json_on_the_standard_output_is_json_alone(folder):
    for command in ("inspect", "replay"):
        assert json.loads(run(command, folder, "--json", "-").stdout)


def test_a_recording_whose_recorder_was_killed_is_repaired(folder, tmp_path):
    (meta,) = folder.glob("*.sigmf-meta")
    content = json.loads(meta.read_text())
    lines = [{"global": {k: v for k, v in content["global"].items() if k != "core:sha512"}}]
    pairs = zip(content["captures"], content["annotations"], strict=True)
    lines += [{"capture": c, "annotation": a} for c, a in pairs]
    meta.with_suffix(".sigmf-journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    meta.unlink()
    done = run("inspect", folder)
    assert done.exit_code == 0 and "cut off" in done.output
    done = run("inspect", folder, "--repair")
    assert done.exit_code == 0 and "completed, 4 bursts" in done.output and "closed" in done.output
    assert meta.exists() and not list(folder.glob("*.sigmf-journal"))


@pytest.mark.parametrize("command", ["inspect", "replay"])
def test_what_is_no_recording_is_refused_in_words(command, folder, tmp_path):
    (meta,) = folder.glob("*.sigmf-meta")
    assert run(command, tmp_path / "nothing").exit_code == 2
    text = meta.read_text()
    for wrong, words in (
        (text[: len(text) // 2], "cut short"),
        (text.replace("cf32_le", "ci8"), "ci8"),
    ):
        meta.write_text(wrong)
        done = run(command, folder)
        assert done.exit_code == 2 and words in " ".join(done.stderr.split()), done.output
    meta.write_text(text)
    meta.with_suffix(".sigmf-data").unlink()
    done = run(command, folder)
    assert done.exit_code == 2 and "is missing" in " ".join(done.stderr.split())


def test_an_unknown_model_and_a_bad_place_are_refused_before_anything_is_done(folder, tmp_path):
    done = run("replay", folder, "--model", "cifar-1-11", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "cifar-1-1" in done.stderr
    (tmp_path / "file").touch()
    assert run("replay", folder, "--out", tmp_path / "file").exit_code == 2
    assert run("inspect", folder, "--png", tmp_path).exit_code == 2


def twice_the_rate(samples):
    """Band-limited interpolation through the whole line's spectrum."""
    half, spectrum = len(samples) // 2, np.fft.fft(samples)
    padded = np.concatenate([spectrum[:half], np.zeros(len(samples)), spectrum[half:]])
    return 2 * np.fft.ifft(padded)


@pytest.fixture(
    params=[
        "cs8 by its ending",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("ci16 SigMF at 2 Msample/s", "cu8 named", "archive")
        ),
    ]
)
def foreign(request, bursts, tmp_path):
    """The same four bursts as another tool records them: arguments for a command, and its path."""
    link = tmp_path / "link.yaml"
    link.write_text(f"name: test\nmodel: {MODEL}\n")
    silence = torch.zeros(4, 700, dtype=bursts.dtype)
    line = torch.cat([torch.cat([silence, bursts], dim=1).flatten(), torch.zeros(40_000, dtype=bursts.dtype)])
    line, rate = line.numpy(), 1e6
    if "2 Msample" in request.param or request.param == "archive":
        line, rate = twice_the_rate(line), 2e6
    parts = line.astype(np.complex128).view(np.float64) / (1.1 * np.abs(line).max())
    if request.param == "cs8 by its ending":
        np.round(127 * parts).astype(np.int8).tofile(tmp_path / "air.cs8")
        return [tmp_path / "air.cs8", "--link", link]
    if request.param == "cu8 named":
        np.round(127.5 + 127 * parts).astype(np.uint8).tofile(tmp_path / "air")
        return [tmp_path / "air", "--link", link, "--sample-type", "cu8"]
    np.round(32767 * parts).astype("<i2").tofile(tmp_path / "air.sigmf-data")
    meta = tmp_path / "air.sigmf-meta"
    info = {"core:datatype": "ci16_le", "core:sample_rate": rate, "core:version": "1.0.0"}
    captures = [{"core:sample_start": 0, "core:frequency": 2.45e9, "core:datetime": "2024-05-01T00:00:00"}]
    meta.write_text(
        json.dumps({"global": info, "captures": captures, "annotations": [{"core:sample_start": 3}]})
    )
    if request.param != "archive":
        return [meta, "--link", link]
    with tarfile.open(tmp_path / "air.sigmf", "w") as packed:
        for name in ("air.sigmf-meta", "air.sigmf-data"):
            packed.add(tmp_path / name, name)
            (tmp_path / name).unlink()
    return [tmp_path / "air.sigmf", "--link", link]


def test_recordings_of_other_tools_are_replayed_and_inspected(foreign, pictures, tmp_path):
    with (tmp_path / "sent.log").open("w") as log:
        for number, pixels in enumerate(pictures):
            entry = {"image_id": number, "image": f"p{number}.png", "sha256": pixels_sha256(pixels)}
            entry |= {"path": str(write_png(tmp_path / "sent" / f"p{number}.png", pixels)), "model": MODEL}
            log.write(json.dumps(entry) + "\n")
    options = ["--out", tmp_path / "out", "--sent-log", tmp_path / "sent.log", "--json", tmp_path / "r.json"]
    done = run("replay", *foreign, *options)
    assert done.exit_code == 0 and "samples of type c" in done.output, done.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert [row["image_id"] for row in content["pictures"]] == [0, 1, 2, 3]
    for row, pixels in zip(content["pictures"], pictures, strict=True):
        psnr_db = quality.psnr(pixels, read_picture(row["file"]).pixels)
        assert psnr_db > 22 and row["psnr_db"] == pytest.approx(psnr_db)
    done = run("inspect", *foreign, "--png", tmp_path / "s.png", "--json", tmp_path / "i.json")
    assert done.exit_code == 0 and "foreign" in done.output, done.output
    content = json.loads((tmp_path / "i.json").read_text())
    assert [row["image_id"] for row in content["bursts"]] == [0, 1, 2, 3]
    assert all(abs(row["snr_db"] - 20) < 1.5 and row["sync_quality"] > 0.9 for row in content["bursts"])
    assert content["recordings"][0]["bursts_read"] == 4 and (tmp_path / "s.png").exists()


@pytest.mark.radio
@pytest.mark.timeout(90)
def test_recordings_of_other_tools_are_received(foreign, pictures, tmp_path):
    path, *options = foreign
    done = run("rx", "--radio", f"file:{path}", *options, "--out", tmp_path / "out", "--seconds", 30)
    assert done.exit_code == 0, done.output
    for number, pixels in enumerate(pictures):
        assert quality.psnr(pixels, read_picture(tmp_path / "out" / f"{number:05d}.png").pixels) > 22


@pytest.mark.radio
def test_samples_of_another_type_are_refused_not_received(tmp_path):
    np.random.default_rng(0).integers(-900, 900, 40_000).astype("<i2").tofile(tmp_path / "air")
    for options, words in (
        (["--radio", f"file:{tmp_path}/air"], "--sample-type"),
        (["--radio", f"file:{tmp_path}/air", "--sample-type", "ci12"], "as in SigMF"),
        (["--radio", f"file:{tmp_path}/air", "--sample-type", "ci16", "--channel", 1], "no channel 1"),
        (["--radio", "zmq", "--sample-type", "ci16"], "are of a file"),
    ):
        done = run("rx", *options, "--seconds", 5)
        assert done.exit_code == 2 and words in " ".join(done.stderr.split()), done.output


@pytest.mark.radio
@pytest.mark.timeout(90)
def test_capture_replay_inspect(bursts, pictures, tmp_path):
    """A receiver on a recorded stream, then its recording again: the same pictures, the same latents."""
    silence = torch.zeros(4, 700, dtype=bursts.dtype)
    line = torch.cat([torch.cat([silence, bursts], dim=1).flatten(), torch.zeros(40_000, dtype=bursts.dtype)])
    line.numpy().tofile(tmp_path / "air.c64")
    (tmp_path / "link.yaml").write_text(f"name: test\nmodel: {MODEL}\n")
    with (tmp_path / "sent.log").open("w") as log:
        for number, pixels in enumerate(pictures):
            entry = {"image_id": number, "image": f"p{number}.png", "sha256": pixels_sha256(pixels)}
            entry |= {"path": str(write_png(tmp_path / "sent" / f"p{number}.png", pixels)), "model": MODEL}
            log.write(json.dumps({**entry, "sent_utc": 0.0}) + "\n")
    options = ["--out", tmp_path / "captures", "--link", tmp_path / "link.yaml", "--seconds", 20]
    options += [
        "--radio",
        f"file:{tmp_path / 'air.c64'}",
        "--sent-log",
        tmp_path / "sent.log",
        "--describe",
        "desk",
    ]
    done = run("capture", *options)
    assert done.exit_code == 0, done.output
    (recording,), _ = capture.read_recordings(tmp_path / "captures")
    assert recording.state == "closed" and recording.checksum_fits() and len(recording.bursts) == 4
    assert (
        recording.global_info["core:hw"] == "desk" and recording.global_info["semcom:link"]["model"] == MODEL
    )
    done = run(
        "replay", tmp_path / "captures", "--sent-log", tmp_path / "sent.log", "--json", tmp_path / "r.json"
    )
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["latents_equal"] == content["latents_compared"] == 4
    assert [row["image"] for row in content["pictures"]] == [f"p{n}.png" for n in range(4)]
    assert all(row["psnr_db"] > 22 for row in content["pictures"])


@pytest.mark.radio
def test_capture_refuses_impossible_bounds_before_it_receives(tmp_path):
    (tmp_path / "air.c64").write_bytes(bytes(8000))
    options = ["--radio", f"file:{tmp_path / 'air.c64'}", "--max-file-mb", 10, "--max-total-mb", 11]
    done = run("capture", "--out", tmp_path / "captures", *options)
    assert done.exit_code == 2 and "max_total_bytes" in done.stderr


@pytest.mark.radio
@pytest.mark.timeout(90)
def test_capture_on_a_full_disk_ends_with_an_error(bursts, tmp_path, monkeypatch):
    """The receiver goes on to the end; but who asked for a recording has not got it."""
    from semcom.capture import writer

    room = SimpleNamespace(f_bavail=2**20, f_frsize=4096)
    full = SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(writer.os, "statvfs", lambda path: full if os.listdir(path) else room)
    silence = torch.zeros(4, 700, dtype=bursts.dtype)
    line = torch.cat([torch.cat([silence, bursts], dim=1).flatten(), torch.zeros(40_000, dtype=bursts.dtype)])
    line.numpy().tofile(tmp_path / "air.c64")
    (tmp_path / "link.yaml").write_text(f"name: test\nmodel: {MODEL}\n")
    options = ["--out", tmp_path / "captures", "--link", tmp_path / "link.yaml", "--seconds", 20]
    options += ["--radio", f"file:{tmp_path / 'air.c64'}", "--json", tmp_path / "c.json"]
    done = run("capture", *options)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and "recording stopped: the disk of" in said and "is full" in said, done.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["pictures"] == 4 and content["counters"]["capture_recorder"]["bursts recorded"] == 1


@pytest.mark.radio
@pytest.mark.timeout(90)
@pytest.mark.slow
def test_capture_takes_keys_and_insecure_as_rx_does(tmp_path, keyed_sender):
    far = ["capture", "--out", tmp_path / "captures", "--radio", "zmq:tcp://192.0.2.1:5550", "--seconds", 0.5]
    done = run(*far)
    assert done.exit_code == 2 and "reaches other machines" in done.stderr
    assert run(*far, "--insecure").exit_code == 0
    done = run(*far, "--keys", tmp_path / "none")
    assert done.exit_code == 2 and "no folder of keys" in " ".join(done.stderr.split())
    address, folder = keyed_sender([bytes(80_000)])
    near = [*far[:4], f"zmq:{address}", "--seconds", 3, "--json", tmp_path / "c.json"]
    assert run(*near, "--keys", folder).exit_code == 0
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["counters"]["radio_source"]["samples received"] == 10_000


@pytest.mark.radio
@pytest.mark.timeout(90)
def test_capture_offers_feedback_telemetry_and_a_log_as_rx_does(bursts, tmp_path, monkeypatch):
    """It is ``rx`` with a recorder."""
    from semcom.blocks import stations

    configs, receive = [], stations.receive
    monkeypatch.setattr(
        stations, "receive", lambda config, **more: configs.append(config) or receive(config, **more)
    )
    shared = set(inspect.signature(rx).parameters) - {"out"}
    assert shared <= set(inspect.signature(capture_command).parameters)
    silence = torch.zeros(4, 700, dtype=bursts.dtype)
    line = torch.cat([torch.cat([silence, bursts], dim=1).flatten(), torch.zeros(40_000, dtype=bursts.dtype)])
    line.numpy().tofile(tmp_path / "air.c64")
    (tmp_path / "link.yaml").write_text(f"name: test\nmodel: {MODEL}\n")
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    feedback, telemetry = (f"tcp://127.0.0.1:{probe.getsockname()[1]}" for probe in probes)
    for probe in probes:
        probe.close()
    options = ["--link", tmp_path / "link.yaml", "--radio", f"file:{tmp_path / 'air.c64'}", "--seconds", 20]
    options += ["--feedback", feedback, "--telemetry", telemetry, "--log", tmp_path / "received.jsonl"]
    done = run("capture", "--out", tmp_path / "captures", *options, "--json", tmp_path / "c.json")
    assert done.exit_code == 0, done.output
    counters = json.loads((tmp_path / "c.json").read_text())["counters"]
    assert counters["capture_recorder"]["bursts recorded"] == 4
    assert "feedback_sender" in counters and configs[0].telemetry == telemetry
    assert len((tmp_path / "received.jsonl").read_text().splitlines()) == 4
