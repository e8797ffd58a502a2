# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of frame version 2, made by the last code that sent it: they replay as they did then, to the last bit.

``frame_version_2/make.py`` says what is in them.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from semcom.capture import CaptureError, open_recording
from semcom.capture.replaying import Replay, engine, link_of
from semcom.modem import ModemProfile
from semcom.modem.header import MODE_CODED
from semcom.modem.modem import OF_VERSION_2
from semcom.radio import LinkProfile

RECORDED = Path(__file__).parent / "frame_version_2"


@pytest.mark.parametrize("name, numbers", [("three_payloads", [7, 8, 9, 10]), ("a_burst_lost", [65535, 0])])
def test_they_replay_bit_for_bit(name, numbers):
    content = np.load(RECORDED / name / "replayed.npz")
    run = Replay(RECORDED / name)
    pictures = list(run)
    assert [picture.header.image_id for picture in pictures] == numbers and run.problems == []
    # another engine rounds the last bits otherwise
    same = run.same_engine and str(content["engine"]) == engine()
    assert run.latents_known == run.bursts and (run.latents_equal == run.bursts or not same)
    for picture, number in zip(pictures, numbers, strict=True):
        assert picture.bursts_received == content[f"bursts_{number}"][0]
        assert picture.snr_db == content[f"snr_db_{number}"]
        for what, tolerance in (("latents", 1e-3), ("noise_var", 1e-3), ("pixels", 2)):
            got = getattr(picture, what)
            if f"{what}_{number}" not in content:
                # the last code that sent it did not decode coded bits
                assert what == "pixels" and picture.header.mode == MODE_CODED and got.std() > 10
                continue
            then = content[f"{what}_{number}"]
            assert got.dtype == then.dtype and got.shape == then.shape
            if same:
                assert np.array_equal(got, then)
            else:
                assert np.allclose(got.astype(complex), then.astype(complex), rtol=1e-3, atol=tolerance)
    if name == "a_burst_lost":
        (erased,) = (np.isinf(p.noise_var) for p in pictures if p.header.image_id == 0)
        assert erased.sum() == 128


@pytest.mark.parametrize("name", ["three_payloads", "a_burst_lost"])
def test_they_say_nothing_of_a_version_and_that_says_it(name):
    recording = open_recording(next((RECORDED / name).glob("*.sigmf-meta")))
    assert "semcom:frame_version" not in recording.global_info
    link = link_of(recording, LinkProfile())
    assert link.modem.frame_version == 2 and link.modem.header_symbols == 6
    assert recording.global_info.get("semcom:link_hash", 0) in (0, link.hash)
    assert {burst.note.link_hash for burst in recording.bursts} <= {0, link.hash}


def said_to_be_of(version, tmp_path):
    """The first recording, as if its receiver had read that version."""
    folder = shutil.copytree(RECORDED / "three_payloads", tmp_path / "copy")
    meta = folder / "three_payloads.sigmf-meta"
    content = json.loads(meta.read_text())
    content["global"]["semcom:frame_version"] = version
    meta.write_text(json.dumps(content))
    return folder


def test_a_link_that_has_a_key_now_had_none_then():
    link = LinkProfile(key="alice")
    then = link.at_frame_version(2)
    assert link.modem.auth_symbols and then == LinkProfile().at_frame_version(2)
    assert then.hash == LinkProfile().at_frame_version(2).hash


def test_a_receiver_of_version_3_that_recorded_them_could_not_read_them(tmp_path):
    run = Replay(said_to_be_of(3, tmp_path))
    assert list(run) == []
    # the one hit by an impulse in its payload too: its header is whole
    assert run.counters[f"bursts not read: {OF_VERSION_2}"] == 4


@pytest.mark.parametrize("version", [1, 4, "three", None, [2]])
def test_another_version_is_refused_in_words(version, tmp_path):
    with pytest.raises(
        CaptureError, match="this release reads 2 and 3. Replay it with the release that recorded it"
    ):
        list(Replay(said_to_be_of(version, tmp_path)))


def test_samples_that_another_tool_recorded_are_read_with_a_profile_that_says_so(tmp_path):
    """A raw file, in which bursts are searched for: the link profile names the version, which no station loads."""
    data = np.fromfile(RECORDED / "three_payloads" / "three_payloads.sigmf-data", "<c8")
    bursts = [data[at : at + 4700] for at in range(0, len(data), 4700)][:2]
    quiet = (
        0.2 * torch.randn(3, 9000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).numpy()
    )
    np.concatenate([quiet[0], bursts[0], quiet[1], bursts[1], quiet[2]]).tofile(tmp_path / "raw.cf32")
    profile = tmp_path / "link.yaml"
    profile.write_text("name: old\nmodem: {frame_version: 2, header_symbols: 6}\n")
    assert [p.header.image_id for p in Replay(tmp_path / "raw.cf32", link=profile)] == [7, 8]
    run = Replay(tmp_path / "raw.cf32")
    assert list(run) == [] and run.counters[f"bursts not read: {OF_VERSION_2}"] == 2
    assert ModemProfile().frame_version == 3
