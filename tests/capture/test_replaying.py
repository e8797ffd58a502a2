# SPDX-License-Identifier: GPL-3.0-or-later
"""A replay gives the very latents of the live run, whatever the bursts were demodulated with."""

import itertools
import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from semcom.capture import BurstNote, CaptureError, CaptureWriter, RecordingInfo, read_recordings
from semcom.capture.inspection import draw, rows, spectrogram_db, summary
from semcom.capture.namespace import header_fields
from semcom.capture.originals import Originals
from semcom.capture.replaying import Replay, dataset, engine, latents_sha256, replay
from semcom.cli.main import app
from semcom.codec.base import Latents
from semcom.kinds.pictures import Picture, pixels_sha256, samples, write_png
from semcom.modem import DetectedBurst, Modem, ModemProfile, estimate_snr
from semcom.system import zoo
from semcom.system.latents import LatentSystem

MODEL = "cifar-1-12"
SNR_DB = 12.0


@pytest.fixture(scope="module")
def model():
    return zoo.load(MODEL)


@pytest.fixture(scope="module")
def pictures():
    """Of several sizes, so that batches are mixed."""
    sizes = itertools.cycle([(32, 32), (40, 64), (96, 96), (32, 32), (200, 200)])
    out = []
    for number, picture in enumerate(samples() * 3):
        h, w = next(sizes)
        at = 20 * (number // 4)
        out.append(Picture(f"{number}.png", np.ascontiguousarray(picture.pixels[at : at + h, at : at + w])))
    return out


@pytest.fixture(scope="module")
def live(model, pictures):
    """Bursts as detected and as received live, in batches of 1 to 7: [(samples, BurstNote)], latents by offset."""
    torch.set_num_threads(1)
    modem, generator, detected = Modem(), torch.Generator().manual_seed(3), []
    with torch.inference_mode():
        for number, picture in enumerate(pictures):
            latents = model.encode_image(picture.pixels, SNR_DB)[None]
            bursts = modem.modulate(
                latents, image_id=[number], size=picture.pixels.shape[:2], model_hash=model.model_hash
            )
            for burst in bursts[0]:
                noise = torch.randn(len(burst), generator=generator, dtype=burst.dtype)
                cfo = float(torch.rand((), generator=generator, dtype=torch.float64)) * 1e-2 / 3
                turn = torch.polar(
                    torch.ones(len(burst), dtype=torch.float64),
                    2 * torch.pi * cfo * torch.arange(len(burst)).double(),
                )
                sent = burst * turn.to(burst.dtype) + noise * 10 ** (-SNR_DB / 20)
                detected.append(DetectedBurst(sent, 5000 + 20_000 * len(detected), cfo, 0.9))
        # none can read it
        detected[4] = replace(detected[4], samples=detected[4].samples * 0 + 1e-3 * noise[0])
        out, latents_of = [], {}
        sizes = itertools.cycle([1, 7, 2, 5, 3])
        while len(out) < len(detected):
            batch = detected[len(out) : len(out) + next(sizes)]
            for burst, result in zip(batch, modem.demodulate(batch), strict=True):
                out.append((burst.samples.numpy(), note(burst, result, batch)))
                latents_of[burst.sample_offset] = result.latents
    return out, latents_of


def note(burst, result, batch):
    found = BurstNote(burst.sample_offset, burst.cfo, sync_quality=burst.quality)
    if result.header is None:
        return replace(found, error=result.error)
    snr = estimate_snr(result.pilots_rx[None], result.pilots_ref[None], result.pilot_dof)
    return replace(
        found,
        cfo_refined=result.cfo,
        **header_fields(result.header, ModemProfile()),
        snr_db=float(snr.snr_db),
        snr_stderr_db=float(snr.stderr_db),
        latents_sha256=latents_sha256(result.latents),
        batch_start=batch[0].sample_offset,
        batch=tuple(b.sample_offset - batch[0].sample_offset for b in batch),
    )


def record(folder, bursts, **options):
    info = RecordingInfo(1e6, 2.45e9, engine=engine())
    writer = CaptureWriter(folder, info, min_free_bytes=0, **options)
    for number, (burst, burst_info) in enumerate(bursts):
        assert writer.write(burst, burst_info, 1000.0 + number)
    writer.close()
    return writer


@pytest.fixture(scope="module")
def folder(live, tmp_path_factory):
    """The live run in several files, so that batches go across them."""
    place = tmp_path_factory.mktemp("captures")
    record(place, live[0], max_file_bytes=300_000)
    assert len(list(place.glob("*.sigmf-meta"))) > 2
    return place


def test_latents_are_those_of_the_live_run_to_the_last_bit(folder, live):
    run = Replay(folder)
    pictures = list(run)
    assert run.same_engine and run.problems == []
    assert {recording.global_info["semcom:frame_version"] for recording in run.recordings} == {3}
    assert run.bursts == len(live[0]) and run.latents_equal == run.latents_known == len(live[0]) - 1
    assert any("not read" in reason for reason in run.counters)
    assert sum(p.latents_equal for p in pictures) == run.latents_equal


def test_it_matters_what_was_demodulated_together(folder, live, tmp_path):
    """Without the batches most latents differ in their last bits: this is what they are recorded for."""
    record(
        tmp_path,
        [(burst, replace(info, batch=None, batch_start=None)) for burst, info in live[0]],
    )
    run = Replay(tmp_path, decode=False)
    list(run)
    assert run.latents_equal < run.latents_known / 2


def test_bursts_whose_batch_is_gone_in_part_are_still_pictures(live, tmp_path, pictures):
    record(tmp_path, [burst for number, burst in enumerate(live[0]) if number != 2])
    run = Replay(tmp_path, decode=False)
    assert len(list(run)) >= len(pictures) - 2
    assert run.counters["bursts demodulated with others that are not in the recordings"] == 1
    assert run.latents_equal > run.latents_known / 2


def test_repeats_that_outnumber_the_pictures_under_way(live, pictures, tmp_path):
    """A file played twice: the last picture lacks a burst while all before it come again, and stays whole."""
    shown = [(burst, info) for burst, info in live[0] if info.image_id is None or info.image_id < 10]
    assert shown[-1][1].image_id == 9 and shown[-1][1].burst_count == 2
    # the last burst is lost, then the recording ends before its picture
    first, again = shown[:-1], shown[:-2]
    later = first[-1][1].sample_offset + 20_000
    again = [(burst, moved(info, later)) for burst, info in again]
    record(tmp_path, first + again)
    run = Replay(tmp_path, decode=False)
    found = list(run)
    assert sorted(p.header.image_id for p in found) == list(range(10))
    assert run.counters["bursts repeated or too late"] == len(again) - 1  # one is never read
    assert run.latents_known == len(first) + len(again) - 2
    for picture in found:
        lacking = picture.header.image_id in (4, 9)
        assert picture.bursts_received == picture.burst_count - lacking
        assert picture.latents_known == picture.bursts_received
    recordings, _ = read_recordings(tmp_path)
    assert sum(summary(recording).pictures for recording in recordings) == len(found)


def moved(info, by):
    start = None if info.batch_start is None else info.batch_start + by
    return replace(info, sample_offset=info.sample_offset + by, batch_start=start)


def test_pictures_and_their_psnr(folder, pictures, tmp_path):
    sent, log = tmp_path / "sent", tmp_path / "sent.log"
    with log.open("w") as file:
        for number, picture in enumerate(pictures):
            path = write_png(sent / picture.name, picture.pixels)
            entry = {"image_id": number, "image": picture.name, "path": str(path), "model": MODEL}
            file.write(
                json.dumps({**entry, "sha256": pixels_sha256(picture.pixels), "sent_utc": 900.0}) + "\n"
            )
    by_log = {p.header.image_id: p for p in replay(folder, originals=Originals(None, log))}
    by_both = {p.header.image_id: p for p in replay(folder, originals=Originals(sent, log))}
    assert len(by_log) >= len(pictures) - 1
    for number, picture in by_log.items():
        assert picture.name == f"{number}.png" and np.array_equal(picture.original, pictures[number].pixels)
        assert picture.pixels.shape == picture.original.shape
        assert by_both[number].psnr_db == picture.psnr_db > 20


def test_the_data_set_for_training(folder, pictures, live, model):
    found = {p.header.image_id: p for p in dataset(folder)}
    for number, picture in found.items():
        k = model.codec.latent_count(*pictures[number].pixels.shape[:2])
        assert picture.latents.shape == picture.noise_var.shape == (k,)
        assert picture.latents.dtype == np.complex64 and picture.pixels is None and picture.original is None
        sent = model.encode_image(pictures[number].pixels, SNR_DB).numpy()
        there = np.isfinite(picture.noise_var)
        error = np.mean(np.abs(picture.latents - sent)[there] ** 2)
        assert 10 * np.log10(1 / error) == pytest.approx(SNR_DB, abs=1.5)
        assert picture.snr_db == pytest.approx(SNR_DB, abs=1.0)


def test_a_model_that_is_not_here_is_named(live, tmp_path):
    bursts = [(burst, info) for burst, info in live[0][:3]]
    record(tmp_path, bursts)
    run = Replay(tmp_path, model="cifar-1-6")
    assert list(run) == [] and run.counters["bursts of another model"] == 3


def test_an_originals_folder_by_hash_not_by_name(folder, pictures, tmp_path):
    """Same name, other picture: not taken for the original."""
    write_png(tmp_path / "0.png", pictures[0].pixels[::-1])
    find = Originals(tmp_path).find
    info = BurstNote(0, 0.0, image_id=0, image="0.png", image_sha256=pixels_sha256(pictures[0].pixels))
    assert find(info, None, (32, 32)) == ("0.png", None, None)
    write_png(tmp_path / "renamed.png", pictures[0].pixels)
    name, pixels, _ = Originals(tmp_path).find(info, None, (32, 32))
    assert name == "0.png" and np.array_equal(pixels, pictures[0].pixels)


def test_a_link_profile_of_another_release_is_refused_in_words(live, tmp_path):
    info = RecordingInfo(1e6, link={"name": "x", "wavelets": 3}, engine=engine())
    writer = CaptureWriter(tmp_path, info, min_free_bytes=0)
    writer.write(*live[0][0], 0.0)
    writer.close()
    with pytest.raises(CaptureError, match="wavelets"):
        replay(tmp_path)


def test_rows_and_summary(folder, live, pictures):
    recordings, _ = read_recordings(folder)
    found = [row for recording in recordings for row in rows(recording)]
    assert len(found) == len(live[0]) and sum(row["error"] is not None for row in found) == 1
    for row, (_, info) in zip(found, live[0], strict=True):
        assert row["cfo_hz"] == pytest.approx((info.cfo_refined or info.cfo) * 1e6)
    totals = [summary(recording) for recording in recordings]
    assert all(total.intact for total in totals)
    assert sum(total.bursts for total in totals) == len(live[0]) == 1 + sum(t.bursts_read for t in totals)
    assert totals[0].snr_db_mean == pytest.approx(SNR_DB, abs=0.5)


@pytest.mark.slow
def test_the_spectrogram_shows_a_tone_where_it_is(folder, tmp_path):
    tone = np.exp(2j * np.pi * 0.25 * np.arange(4096)).astype(np.complex64)
    picture = spectrogram_db(tone)
    assert picture.shape[0] == 256 and (picture.argmax(axis=0) == 128 + 64).all()
    recordings, _ = read_recordings(folder)
    path = draw(recordings, tmp_path / "s.png")
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] > 1000 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    with pytest.raises(CaptureError, match="no burst to draw"):
        draw([], tmp_path / "none.png")


def one_burst(modem, symbols, **fields):
    """One burst as recorded: samples, and what the recorder notes."""
    burst = modem.modulate(symbols, **fields)[0, 0]
    detected = DetectedBurst(burst, 20_000 * fields["image_id"][0], 0.0, 0.9)
    return burst.numpy(), note(detected, modem.demodulate([detected])[0], [detected])


def test_items_that_the_model_does_not_give_are_counted_not_decoded(tmp_path, model, live):
    modem, symbols = Modem(), torch.ones(1, 256, dtype=torch.complex64)
    own = {"size": (10, 1), "model_hash": model.model_hash, "sender": 9, "side": 77}
    bursts = [
        one_burst(modem, symbols, image_id=[1], kind=3, **own),
        one_burst(modem, symbols, image_id=[2], kind=5, **own),
        one_burst(modem, symbols, image_id=[3], kind=3, mode=7, **own),
        one_burst(modem, symbols, image_id=[4], mode=8, **own),
    ]
    record(tmp_path, [*bursts, live[0][0]])
    run = Replay(tmp_path)
    hybrid, first = list(run)
    assert hybrid.value is None and first.value is not None
    assert run.counters["pictures of coded bits and latents of the rest, not decoded here"] == 1
    assert run.counters["bursts of another kind than image"] == 1
    assert not any("models that are not here" in what for what in run.counters)
    assert run.counters["bursts of analog latents of items of kind 5, not read here"] == 1
    assert run.counters["bursts of coded bits of items of kind 3, not read here"] == 1
    (recording,) = read_recordings(tmp_path)[0]
    info = recording.bursts[0].note
    assert (info.kind, info.sender, info.side, info.version, info.burst_count) == (3, 9, 77, 3, 1)
    assert [(row["kind"], row["sender"]) for row in rows(recording)] == [
        (3, 9),
        (5, 9),
        (3, 9),
        (0, 9),
        (0, 0),
    ]


@pytest.fixture
def labelled(tmp_path):
    """A recording of what a classifier sent of six pictures, their folder with classes (two of them not the
    classifier's), and the transmitter's log."""
    loaded, modem = zoo.load("cifar-classifier"), Modem()
    pictures = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    system = LatentSystem(loaded)
    sent = system.send(pictures, [20.0] * 6)
    bursts = [
        one_burst(modem, sent.symbols[number : number + 1], image_id=[number], **sent.header_fields)
        for number in range(6)
    ]
    record(tmp_path / "captures", bursts)
    logits = loaded.codec.receive(Latents(sent.symbols).with_noise(60.0), 60.0, sent.size)
    truth = logits.argmax(dim=1).numpy()
    truth[:2] = (truth[:2] + 1) % 10
    folder = tmp_path / "cifar10"
    folder.mkdir()
    data = pictures.transpose(0, 3, 1, 2).reshape(6, -1)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": truth.tolist()}))
    with (tmp_path / "sent.log").open("w") as log:
        for number, label in enumerate(truth.tolist()):
            entry = {"image_id": number, "image": f"test_{number:05d}", "true_label": label}
            entry |= {"sha256": pixels_sha256(pictures[number]), "sent_utc": 900.0}
            log.write(json.dumps(entry) + "\n")
    return SimpleNamespace(
        captures=tmp_path / "captures", folder=folder, log=tmp_path / "sent.log", truth=truth.tolist()
    )


def test_labels_come_again_and_are_judged_by_the_log_or_the_folder(labelled):
    got = replay(labelled.captures)
    assert [one.kind.name for one in got] == ["label"] * 6 and [one.pixels for one in got] == [None] * 6
    assert all(0.1 <= one.verdict["confidence"] <= 1 and one.verdict["correct"] is None for one in got)
    by_log = replay(labelled.captures, originals=Originals(None, labelled.log))
    assert [one.verdict["correct"] for one in by_log] == [0, 0, 1, 1, 1, 1]
    assert [one.sent.label for one in by_log] == labelled.truth
    # the log without classes, which says the names by which the folder knows them
    lines = [json.loads(line) for line in labelled.log.read_text().splitlines()]
    labelled.log.write_text("".join(json.dumps(line | {"true_label": None}) + "\n" for line in lines))
    assert replay(labelled.captures, originals=Originals(None, labelled.log))[0].sent.label is None
    by_folder = replay(labelled.captures, originals=Originals(labelled.folder, labelled.log))
    assert [one.sent.label for one in by_folder] == labelled.truth
    assert list(dataset(labelled.captures)) == []


def test_the_command_says_labels_confidence_and_error_rate(labelled, tmp_path):
    def said(*more):
        done = CliRunner().invoke(app, ["replay", *map(str, (labelled.captures, *more))])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    files = "--out", tmp_path / "out", "--json", tmp_path / "r.json"
    words = said("--sent-log", labelled.log, *files)
    assert "6 labels, 33.3 % of 6 wrong; latents as recorded, bit for bit: 6 of 6 bursts" in words
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["pictures"] == [] and found["error_rate"] == pytest.approx(1 / 3)
    assert [row["true_label"] for row in found["labels"]] == labelled.truth
    lines = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    assert len(lines) == 7 and lines[0] == "image,image_id,snr_db,label,confidence,true_label,correct"
    assert "wrong" not in said() and "6 of 6 labels cannot be judged" in said("--originals", labelled.folder)
