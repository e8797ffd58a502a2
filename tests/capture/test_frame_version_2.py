# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of frame version 2, made by the last code that sent it: they replay as they did then, to the last bit.

``frame_version_2/make.py`` says what is in them.
"""

from pathlib import Path

import numpy as np
import pytest

from semcom.capture.replaying import Replay, engine

RECORDED = Path(__file__).parent / "frame_version_2"


@pytest.mark.parametrize("name, numbers", [("three_payloads", [7, 8, 9, 10]), ("a_burst_lost", [65535, 0])])
def test_they_replay_bit_for_bit(name, numbers):
    told = np.load(RECORDED / name / "replayed.npz")
    run = Replay(RECORDED / name)
    pictures = list(run)
    assert [picture.header.image_id for picture in pictures] == numbers and run.problems == []
    # another engine rounds the last bits otherwise
    same = run.same_engine and str(told["engine"]) == engine()
    assert run.latents_known == run.bursts and (run.latents_equal == run.bursts or not same)
    for picture, number in zip(pictures, numbers, strict=True):
        assert picture.bursts_received == told[f"bursts_{number}"][0]
        assert picture.snr_db == told[f"snr_db_{number}"]
        for what, tolerance in (("latents", 1e-3), ("noise_var", 1e-3), ("pixels", 2)):
            got = getattr(picture, what)
            if f"{what}_{number}" not in told:
                assert what == "pixels" and got is None
                continue
            then = told[f"{what}_{number}"]
            assert got.dtype == then.dtype and got.shape == then.shape
            if same:
                assert np.array_equal(got, then)
            else:
                assert np.allclose(got.astype(complex), then.astype(complex), rtol=1e-3, atol=tolerance)
    if name == "a_burst_lost":
        (erased,) = (np.isinf(p.noise_var) for p in pictures if p.header.image_id == 0)
        assert erased.sum() == 128
