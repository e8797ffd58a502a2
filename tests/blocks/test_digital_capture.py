# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised latents and coded bits recorded off the air: replayed to the same bits and the same pictures."""

import numpy as np
import pytest
import torch

from semcom import keys
from semcom.blocks.capture_recorder import _read
from semcom.blocks.pdu import Pdu
from semcom.capture import CaptureWriter, RecordingInfo
from semcom.capture.namespace import BurstNote
from semcom.capture.replaying import Replay, _model_of
from semcom.kinds import quality
from semcom.modem import Modem, StreamDetector
from semcom.modem.header import DIGITAL_MODES, MODE_CODED
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo
from semcom.system.coded import Coded
from semcom.system.make import make

pytestmark = pytest.mark.timeout(60)


def recorded(folder, bursts) -> BurstNote:
    """The note of one burst that a receiver heard, written to ``folder`` with its samples."""
    modem = Modem()
    detector = StreamDetector(modem)
    line = torch.nn.functional.pad(bursts, (600, 9000)).flatten()
    (found,) = detector.push(line) + detector.flush()
    (result,) = modem.demodulate([found])
    header = result.header
    meta = {name: getattr(header, name) for name in ("image_id", "burst_index", "height", "width", "mode")}
    meta |= {keys.BURST_COUNT: 1, keys.LATENT_COUNT: header.latent_count, keys.MODEL_HASH: header.model_hash}
    meta |= {keys.SAMPLE_OFFSET: 600, keys.CFO: 0.0, keys.SNR_DB: 40.0}
    note = _read(Pdu(meta, result.latents.numpy()))
    writer = CaptureWriter(folder, RecordingInfo(1e6), min_free_bytes=0)
    writer.write(found.samples.numpy(), note, 0.0)
    writer.close()
    return note


@pytest.fixture
def pixels():
    pixels = np.full((32, 32, 3), 128, np.uint8)
    pixels[8:20, 10:30] = (200, 40, 90)
    return pixels


def test_notes_name_the_mode_and_replay_finds_model_and_picture(tmp_path, pixels):
    model, mode = zoo.load("cifar-1-12"), DigitalMode(64)
    code, books = model.codebook_set("uniform")
    symbols = mode.send(model.encode_image(pixels, 20.0)[None], books)
    bursts = Modem().modulate(symbols, image_id=[7], size=(32, 32), model_hash=code, mode=mode.header_mode)[0]
    assert recorded(tmp_path, bursts).mode == 5 == mode.header_mode and 5 in DIGITAL_MODES
    named = _model_of(code)
    assert named.card.name == "cifar-1-12"
    assert named.model_hash != code
    (picture,) = Replay(tmp_path)
    assert picture.header.order == 64
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 12


def test_coded_bits_are_replayed_without_a_model(tmp_path, pixels):
    pixels = pixels.repeat(4, 0).repeat(4, 1)
    sent = make("photo-1-12", Coded(source="jpeg")).send([pixels], [20.0])
    bursts = Modem().modulate(sent.symbols, image_id=[7], **sent.header_fields)[0]
    assert recorded(tmp_path, bursts).mode == MODE_CODED
    replay = Replay(tmp_path)
    (picture,) = replay
    assert quality.psnr(pixels, picture.pixels) > 25
    assert +replay.counters == {"bursts used": 1, "pictures": 1}
