# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tuning of a content-adaptive model: what decided the symbols is taken from the capture, not guessed."""

import dataclasses

import numpy as np
import pytest
import torch
from finetune_bench import POOR, RAYS

from semcom.air.script import Receiver
from semcom.capture.replaying import replay
from semcom.codec.image.content_user import ContentPaired
from semcom.kinds.pictures import Picture, samples, write_png
from semcom.link.users import named_users
from semcom.system import zoo
from semcom_training.finetune import Options, finetune_pair, finetune_user, read_capture
from semcom_training.finetune.measuring import encode_again
from semcom_training.finetune.simulated import air, record

MODEL = "photo-adaptive"
QUICK = Options(steps=2, batch=4, check_every=1)
# what the encoder is given at first and later, as feedback would have it
BELIEFS_DB = 20.0, 12.0


def pictures() -> list[Picture]:
    """Twelve parts of the packaged photographs."""
    out = []
    for picture in samples():
        for number, (row, column) in enumerate(((0, 0), (64, 96), (96, 32))):
            cut = picture.pixels[row : row + 128, column : column + 128]
            out.append(Picture(f"{len(out)}-{number}.png", np.ascontiguousarray(cut)))
    return out[:12]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    sent, model = pictures(), zoo.load(MODEL)
    for picture in sent:
        write_png(folder / "sent" / picture.name, picture.pixels)
    for number, belief_db in enumerate(BELIEFS_DB):
        some = sent[6 * number : 6 * number + 6]
        record(some, model, belief_db, air(POOR, RAYS, Receiver(snr_db=20.0)), folder / "air" / str(number))
    return folder


@pytest.fixture(scope="module")
def capture(folder):
    parts = [folder / "air" / str(n) for n in range(len(BELIEFS_DB))]
    both = folder / "air" / "both"
    both.mkdir()
    for part in parts:
        for file in part.iterdir():
            file.rename(both / file.name)
    return read_capture(both, MODEL, folder / "sent")


@pytest.mark.slow
def test_symbols_are_those_of_each_pictures_own_allocation(capture):
    """Two allocation SNRs in one capture: neither is searched for, and what came is what was sent and noise."""
    codec = zoo.load(MODEL).codec
    codes = {example.side >> 6 & 63 for example in capture.examples}
    assert len(capture.examples) == 12 and len(codes) == 2
    for example, sent in zip(capture.examples, encode_again(codec, capture.examples), strict=True):
        error = float((example.received - sent).abs().square().mean())
        assert error < 0.2, example.name


@pytest.mark.slow
def test_a_fine_tuned_decoder_is_a_user_of_its_anchor(folder, capture, tmp_path):
    outcome = finetune_user(MODEL, capture, tmp_path, QUICK)
    # nearly all is the canceller's
    assert outcome.gain_db > 0.2 and outcome.card is not None
    tuned = zoo.load(outcome.card)
    assert isinstance(tuned.codec, ContentPaired) and tuned.model_hash == zoo.load(MODEL).model_hash
    assert named_users(MODEL, [str(outcome.card)])[0].model == str(outcome.card)
    # and it replays the recording by itself
    got = replay(folder / "air" / "both", model=str(outcome.card))
    assert len(got) == 12 and all(picture.pixels is not None for picture in got)
    again = finetune_user(
        outcome.card, capture, tmp_path / "again", dataclasses.replace(QUICK, margin_db=0.0)
    )
    assert again.before_db == pytest.approx(outcome.after_db, abs=1e-3)


@pytest.mark.slow
def test_a_pair_is_tuned_through_the_replayed_channel(capture, tmp_path):
    outcome = finetune_pair(MODEL, capture, tmp_path, dataclasses.replace(QUICK, steps=1, check_every=1))
    assert np.isfinite(outcome.before_db) and np.isfinite(outcome.after_db) and outcome.before_db > 15


def test_a_picture_whose_map_is_lost_is_left_out(folder, capture, monkeypatch):
    from semcom_training.finetune import captured

    codec = zoo.load(MODEL).codec
    example = capture.examples[0]
    assert not captured._side_lost(codec, example)
    lost = dataclasses.replace(example, noise_var=torch.full_like(example.noise_var, torch.inf))
    assert captured._side_lost(codec, lost)
