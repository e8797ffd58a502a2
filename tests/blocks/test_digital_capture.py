# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantised latents recorded off the air: replayed to the same bits and the same pictures."""

import numpy as np
import pytest
import torch

from semcom import keys
from semcom.blocks.capture_recorder import _read
from semcom.blocks.pdu import Pdu
from semcom.capture import CaptureWriter, RecordingInfo
from semcom.capture.replaying import Replay, _model_of
from semcom.modem import Modem, StreamDetector
from semcom.modem.header import DIGITAL_MODES
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo

pytestmark = pytest.mark.timeout(60)


def test_notes_name_the_mode_and_replay_finds_model_and_picture(tmp_path):
    model, modem, mode = zoo.load("cifar-1-12"), Modem(), DigitalMode(64)
    code, books = model.codebook_set("uniform")
    pixels = np.full((32, 32, 3), 128, np.uint8)
    pixels[8:20, 10:30] = (200, 40, 90)
    symbols = mode.send(model.encode_image(pixels, 20.0)[None], books)
    bursts = modem.modulate(symbols, image_id=[7], size=(32, 32), model_hash=code, mode=mode.header_mode)[0]
    detector = StreamDetector(modem)
    line = torch.nn.functional.pad(bursts, (600, 9000)).flatten()
    found = detector.push(line) + detector.flush()
    (result,) = modem.demodulate(found)
    header = result.header
    assert header.mode == 5 and header.order == 64 and header.mode in DIGITAL_MODES

    meta = {name: getattr(header, name) for name in ("image_id", "burst_index", "height", "width")}
    meta |= {
        keys.BURST_COUNT: 1,
        keys.LATENT_COUNT: header.latent_count,
        keys.MODE: header.mode,
        keys.MODEL_HASH: code,
    }
    meta |= {keys.SAMPLE_OFFSET: 600, keys.CFO: 0.0, keys.SNR_DB: 40.0}
    note = _read(Pdu(meta, result.latents.numpy()))
    assert note.mode == 5

    named = _model_of(code)
    assert named.card.name == "cifar-1-12"
    assert named.model_hash != code
    writer = CaptureWriter(tmp_path, RecordingInfo(1e6), min_free_bytes=0)
    writer.write(found[0].samples.numpy(), note, 0.0)
    writer.close()
    (picture,) = Replay(tmp_path)
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 12
