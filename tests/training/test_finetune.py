# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tuning on captures: what is read, what is measured, what is written and what is not."""

import errno
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from finetune_bench import MODEL, POOR, SNR_DB, make_capture

from semcom.air.script import Transmitter
from semcom.capture import CaptureError
from semcom.codec.image.adapted import Adapted
from semcom.codec.image.distortion import PayloadGrid
from semcom.errors import ConfigError, ModelError, OutputError
from semcom.kinds.pictures import write_png
from semcom.modem import Modem, ofdm
from semcom.radio import LinkProfile
from semcom.system import zoo
from semcom_training.finetune import (
    Options,
    finetune_pair,
    finetune_user,
    fresh_examples,
    models,
    read_capture,
    split,
)
from semcom_training.finetune.measuring import encode_again, fit_canceller
from semcom_training.finetune.replayed import ReplayedChannel
from semcom_training.finetune.users import decoder_of, tune_user
from semcom_training.train import TrainingError

QUICK = Options(steps=4, batch=4, check_every=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    make_capture(folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A capture that is quick to read."""
    folder = tmp_path_factory.mktemp("small")
    make_capture(folder, 4, Transmitter())
    return folder


@pytest.fixture(scope="module")
def capture(folder):
    return read_capture(folder / "air", MODEL, folder / "sent")


@pytest.fixture(scope="module")
def few(capture):
    """Enough for a canceller, in less time."""
    return replace(capture, examples=capture.examples[:16])


@pytest.fixture(scope="module")
def codec():
    return zoo.load(MODEL).codec


@pytest.fixture(scope="module")
def sent(capture, codec):
    return encode_again(codec, capture.examples)


def test_every_picture_comes_with_its_original_and_nothing_is_skipped(capture):
    assert len(capture.examples) == 40 and not capture.skipped
    assert all(len(e.received) == len(e.noise_var) == 256 for e in capture.examples)


def test_the_hash_of_a_capture_is_over_its_recordings_hashes(folder, capture):
    content = [
        json.loads(p.read_text())["global"]["core:sha512"] for p in sorted((folder / "air").glob("*-meta"))
    ]
    assert capture.sha256 == hashlib.sha256("".join(content).encode()).hexdigest()


def test_altered_samples_have_a_hash_of_their_own_and_are_reported(tmp_path):
    make_capture(tmp_path, 9)
    before = read_capture(tmp_path / "air", MODEL, tmp_path / "sent")
    data = next((tmp_path / "air").glob("*.sigmf-data"))
    samples = data.read_bytes()
    data.write_bytes(samples[:-1] + bytes([samples[-1] ^ 1]))
    after = read_capture(tmp_path / "air", MODEL, tmp_path / "sent")
    assert not before.skipped and after.sha256 != before.sha256
    assert after.sha256 == hashlib.sha256(hashlib.sha512(data.read_bytes()).hexdigest().encode()).hexdigest()
    ((words, count),) = after.skipped.items()
    assert "samples were altered or cut" in words and count == 1 and len(after.examples) == 9
    card = zoo.card(finetune_user(MODEL, after, tmp_path / "out", replace(QUICK, steps=0)).card)
    assert card.capture["sha256"] == after.sha256 and card.capture["skipped"] == {words: 1}


def test_receptions_of_one_picture_are_on_one_side_of_the_split(capture):
    twice = capture.examples + [replace(e, snr_db=0.0) for e in capture.examples]
    training, held_out = split(twice, 0.25)
    assert {e.key for e in training} & {e.key for e in held_out} == set()
    assert len(held_out) == 20 and split(twice[::-1], 0.25)[1][0].key in {e.key for e in held_out}


def test_the_snr_that_the_encoder_was_given_is_found(capture, codec, sent):
    exact = encode_again(codec, capture.examples, SNR_DB)
    error = torch.stack([(a - b).abs().square().mean() for a, b in zip(sent, exact, strict=True)])
    assert error.mean() < 1e-3


def test_a_payload_grid_is_what_the_modem_sends():
    modem = Modem()
    latents = torch.randn(1, 9000, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    grid = PayloadGrid(modem.profile, 9000)
    p, plan = modem.profile, modem.plan(9000)
    bursts = modem.modulate(latents, image_id=[1], size=(8, 8), model_hash=1)[0]
    tail = bursts[:, p.preamble_samples + p.header_samples :]
    carriers = ofdm.demodulate(tail, p.active_carriers, p.fft_size, p.cp_samples)
    assert plan.burst_count == 2
    assert torch.allclose(grid.put(latents)[0], carriers.flatten(0, 1), atol=1e-5)
    assert torch.allclose(grid.take(grid.put(latents)), latents)
    row, carrier = grid.carriers()
    assert len({(int(r), int(c)) for r, c in zip(row, carrier, strict=True)}) == 9000


def test_the_canceller_takes_out_most_of_the_distortion_on_pictures_it_has_not_seen(capture, codec, sent):
    adapted = Adapted(decoder_of(zoo.load(MODEL)))
    fit_canceller(adapted.canceller, capture.examples[:30], sent[:30], codec.stride)
    before = after = 0.0
    for example, known in zip(capture.examples[30:], sent[30:], strict=True):
        cleaned, _ = adapted.canceller(
            example.received[None], example.noise_var[None], example.grid(codec.stride)
        )
        before += float((example.received - known).abs().square().mean())
        after += float((cleaned[0] - known).abs().square().mean())
    assert after < 0.7 * before


def test_erased_latents_stay_erased_behind_a_canceller(capture, codec, sent):
    adapted = Adapted(decoder_of(zoo.load(MODEL))).eval()
    fit_canceller(adapted.canceller, capture.examples[:8], sent[:8], codec.stride)
    noise_var = capture.examples[0].noise_var.clone()
    noise_var[:100] = torch.inf
    cleaned, left = adapted.canceller(capture.examples[0].received[None], noise_var[None], (8, 8))
    assert (cleaned[0, :100] == 0).all() and torch.isinf(left[0, :100]).all()
    assert torch.isfinite(
        adapted.decode(capture.examples[0].received[None], 0.0, (32, 32), noise_var[None])
    ).all()


def test_the_replayed_channel_has_power_and_spectrum_of_errors_on_held_out_bursts(capture, sent):
    """Within 0.5 dB in all, and within 1.5 dB in each of six bands of carriers."""
    channel = ReplayedChannel(capture.modem, capture.examples[:25], sent[:25])
    _, carrier = PayloadGrid(capture.modem, 256).carriers()
    band = carrier // 40
    real, played = torch.zeros(6), torch.zeros(6)
    generator = torch.Generator().manual_seed(3)
    for example, known in zip(capture.examples[25:], sent[25:], strict=True):
        real.index_add_(0, band, (example.received - known).abs().square())
        for _ in range(8):
            received, noise_var = channel(known[None], generator)
            played.index_add_(0, band, (received[0] - known).abs().square() / 8)
    assert abs(10 * torch.log10(played.sum() / real.sum())) < 0.5
    assert (10 * torch.log10(played / real)).abs().max() < 1.5


def test_gradients_pass_the_replayed_channel(capture, sent):
    channel = ReplayedChannel(capture.modem, capture.examples[:8], sent[:8])
    latents = sent[9][None].clone().requires_grad_(True)
    received, _ = channel(latents, torch.Generator().manual_seed(1))
    received.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(latents.grad)).all() and latents.grad.abs().min() > 0


@pytest.mark.slow
def test_a_later_run_overwrites_nothing(few, tmp_path):
    """A worse rerun, a model tuned again, and one tuned again into another folder: each gets a name of its own."""
    first = finetune_user(MODEL, few, tmp_path, QUICK).card
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    # of fewer pictures: a few steps may gain nothing, and then both would keep the weights that they began with
    fewer = replace(few, examples=few.examples[:14])
    worse = finetune_user(MODEL, fewer, tmp_path, replace(QUICK, steps=0)).card
    assert worse.name == f"{first.stem}-2.json" and zoo.load(worse).sha256 != zoo.load(first).sha256
    lenient = replace(QUICK, margin_db=0.0, learning_rate=1e-4, steps=2)
    again = finetune_user(first, few, tmp_path, lenient)
    elsewhere = finetune_user(first, few, tmp_path / "elsewhere", lenient)
    assert again.card is None or again.card.name == f"{first.stem}-3.json"
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    for outcome in (again, elsewhere):
        if outcome.card is not None:
            assert zoo.load(outcome.card).card.parent == zoo.card(first).reference
            assert zoo.load(outcome.card.with_name(first.name)).sha256 == zoo.load(first).sha256
    assert all(file.suffix in (".json", ".safetensors") for file in tmp_path.iterdir() if file.is_file())


def test_names_are_taken_by_files_and_parents(tmp_path):
    parent = zoo.card(MODEL)
    assert models.free_name("x", parent, tmp_path) == "x"
    assert models.free_name(parent.name, parent, tmp_path) == f"{parent.name}-2"
    (tmp_path / "x.json").touch()
    (tmp_path / "x-2.safetensors").touch()
    assert models.free_name("x", parent, tmp_path) == "x-3"


def test_another_model_of_the_parents_name_is_not_overwritten(few, tmp_path):
    parent = finetune_user(MODEL, few, tmp_path / "a", QUICK).card
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / parent.name).write_text("another")
    with pytest.raises(OutputError, match="is another file than .*choose a new folder"):
        finetune_user(parent, few, tmp_path / "b", QUICK)
    assert [file.name for file in (tmp_path / "b").iterdir()] == [parent.name]
    assert (tmp_path / "b" / parent.name).read_text() == "another"


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_and_no_temporary_folder_is_needed(few, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert finetune_user(MODEL, few, tmp_path / "out", replace(QUICK, steps=0)).card is not None
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        finetune_user(MODEL, few, tmp_path / "out", QUICK)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


@pytest.mark.slow
def test_a_better_decoder_is_written_with_parent_capture_and_tables(capture, tmp_path):
    outcome = finetune_user(MODEL, capture, tmp_path, QUICK)
    assert outcome.gain_db > 0.1 and outcome.card.parent == tmp_path
    loaded, parent = zoo.load(outcome.card), zoo.load(MODEL)
    assert loaded.card.parent == parent.card.reference == loaded.card.anchor
    assert loaded.card.capture["sha256"] == capture.sha256
    assert loaded.model_hash == parent.model_hash and loaded.sha256 != parent.sha256
    before, after = loaded.card.measured
    assert after["values"][0] - before["values"][0] == pytest.approx(outcome.gain_db, abs=0.002)
    image = capture.examples[0].original[None].float() / 255
    assert torch.equal(loaded.codec.encode(image, 10.0), parent.codec.encode(image, 10.0))


@pytest.mark.slow
def test_a_fine_tuned_decoder_can_be_fine_tuned_again(capture, tmp_path):
    first = finetune_user(MODEL, capture, tmp_path, QUICK)
    second = finetune_user(first.card, capture, tmp_path / "again", replace(QUICK, margin_db=0.0, steps=0))
    assert second.before_db == pytest.approx(first.after_db, abs=0.01)
    assert abs(second.gain_db) < 0.3


def test_what_gains_nothing_is_not_written(capture, tmp_path):
    outcome = finetune_user(MODEL, capture, tmp_path, replace(QUICK, margin_db=20.0))
    assert outcome.card is None and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_pair_is_never_worse_than_what_it_started_from(capture, tmp_path):
    wild = replace(QUICK, learning_rate=0.01)
    outcome = finetune_pair(MODEL, capture, tmp_path, wild)
    assert outcome.after_db >= outcome.before_db - 0.01
    assert (outcome.card is None) == (list(tmp_path.iterdir()) == [])


@pytest.mark.slow
def test_a_pair_that_gains_is_a_codec_of_its_own(capture, tmp_path):
    outcome = finetune_pair(MODEL, capture, tmp_path, replace(QUICK, steps=24, check_every=8, margin_db=0.0))
    assert outcome.gain_db > 0
    loaded, parent = zoo.load(outcome.card), zoo.load(MODEL)
    assert loaded.model_hash != parent.model_hash and loaded.card.anchor is None
    assert loaded.card.parent == parent.card.reference


@pytest.mark.slow
def test_a_pair_can_learn_from_pictures_that_were_never_sent(capture, generated, tmp_path):
    fresh = fresh_examples(generated / "pictures", capture, count=48)
    assert len(fresh) == 48 and {e.size for e in fresh} == {(32, 32)}
    options = replace(QUICK, steps=12, check_every=4, margin_db=0.0)
    outcome = finetune_pair(MODEL, capture, tmp_path, options, fresh=fresh)
    assert outcome.after_db >= outcome.before_db - 0.01
    if outcome.card is not None:
        assert "48 crops of pictures that were not captured" in zoo.card(outcome.card).training_data


def test_what_was_captured_is_not_fresh(capture, tmp_path):
    for example in capture.examples[:3]:
        write_png(tmp_path / "same" / f"{example.name}.png", example.original.permute(1, 2, 0).numpy())
    with pytest.raises(ConfigError, match="only pictures that were captured"):
        fresh_examples(tmp_path / "same", capture)
    with pytest.raises(ConfigError, match="there is no folder of pictures"):
        fresh_examples(tmp_path / "absent", capture)


def test_a_loss_that_is_no_number_names_step_and_pictures(capture):
    broken = [replace(e, noise_var=e.noise_var * torch.nan) for e in capture.examples]
    with pytest.raises(TrainingError, match="step 0, pictures shape-"):
        tune_user(zoo.load(MODEL), replace(capture, examples=broken), QUICK)


def test_a_capture_of_another_model_is_refused_in_words(small):
    with pytest.raises(CaptureError, match="nothing that 'photo-1-12' encoded .*bursts of another model: 4"):
        read_capture(small / "air", "photo-1-12", small / "sent")


def test_a_capture_of_another_link_profile_is_refused_in_words(tmp_path):
    make_capture(tmp_path, 2, Transmitter())
    meta = next((tmp_path / "air").glob("*.sigmf-meta"))
    content = json.loads(meta.read_text())
    content["global"]["semcom:link"] = asdict(LinkProfile(name="theirs"))
    meta.write_text(json.dumps(content))
    with pytest.raises(CaptureError, match="recordings of another link profile: 1"):
        read_capture(tmp_path / "air", MODEL, tmp_path / "sent", link=LinkProfile(name="ours"))


def test_a_link_profile_that_is_not_known_is_said(small):
    link = LinkProfile()
    capture = read_capture(small / "air", MODEL, small / "sent", link=link)
    assert len(capture.examples) == 4
    assert sorted(capture.skipped.values()) == [1, 4]  # the recording, and its pictures
    assert all("link profile is not known" in words for words in capture.skipped)


def test_missing_originals_are_counted_and_said_with_the_cure(small, tmp_path):
    with pytest.raises(
        CaptureError, match="original is not known .*the pictures that were sent: --originals.*: 4"
    ):
        read_capture(small / "air", MODEL)
    (tmp_path / "sent").mkdir()
    write_png(tmp_path / "sent" / "other.png", torch.zeros(32, 32, 3, dtype=torch.uint8).numpy())
    with pytest.raises(CaptureError, match="none in the folder of --originals.*: 4"):
        read_capture(small / "air", MODEL, tmp_path / "sent")
    shutil.copytree(small / "air", tmp_path / "air")
    meta = next((tmp_path / "air").glob("*.sigmf-meta"))
    content = json.loads(meta.read_text())
    for annotation in content["annotations"]:  # as without the transmitter's log
        del annotation["semcom:image"], annotation["semcom:image_sha256"]
    meta.write_text(json.dumps(content))
    with pytest.raises(
        CaptureError, match="does not say which they were: give the transmitter's log, --sent-log.*: 4"
    ):
        read_capture(tmp_path / "air", MODEL, small / "sent")
    (tmp_path / "sent.jsonl").write_text("")
    with pytest.raises(CaptureError, match="--sent-log does not name them.*: 4"):
        read_capture(tmp_path / "air", MODEL, small / "sent", tmp_path / "sent.jsonl")


def test_a_partly_corrupt_capture_is_used_as_far_as_it_goes(tmp_path):
    make_capture(tmp_path, 14, POOR)
    data = next((tmp_path / "air").glob("*.sigmf-data"))
    samples = bytearray(data.read_bytes())
    samples[: len(samples) // 8] = bytes(len(samples) // 8)
    data.write_bytes(samples[: len(samples) * 7 // 8])
    capture = read_capture(tmp_path / "air", MODEL, tmp_path / "sent")
    assert 8 <= len(capture.examples) < 14
    assert capture.skipped["bursts whose samples are cut off"] >= 1
    assert any(what.startswith("bursts not read") for what in capture.skipped)


def test_an_empty_folder_is_no_capture(tmp_path):
    with pytest.raises(CaptureError, match="holds no SigMF recording"):
        read_capture(tmp_path, MODEL)


def test_too_few_pictures_are_refused(tmp_path):
    make_capture(tmp_path, 3)
    with pytest.raises(CaptureError, match="3 different pictures .* needs 8"):
        read_capture(tmp_path / "air", MODEL, tmp_path / "sent")


def test_options_out_of_range_are_named():
    with pytest.raises(ConfigError, match="'learning_rate' must be above 0"):
        Options(learning_rate=0.0)


def test_a_user_decoder_is_no_pair(capture, tmp_path):
    user = finetune_user(MODEL, capture, tmp_path, QUICK).card
    with pytest.raises(ModelError, match=f"is a user decoder: give --model '{MODEL}'"):
        finetune_pair(user, capture, tmp_path, QUICK)
