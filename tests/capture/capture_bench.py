# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated bursts and notes, and the validator that others will use on our files."""

import warnings

import numpy as np

from semcom.capture import BurstNote, RecordingInfo

INFO = RecordingInfo(sample_rate_hz=1e6, centre_frequency_hz=2.45e9, hardware="a test", engine="none")


def samples_of(offset: int, count: int) -> np.ndarray:
    """Samples that say where they belong."""
    return (
        np.random.default_rng(offset).standard_normal((count, 2)).astype(np.float32).view(np.complex64)[:, 0]
    )


def note_of(offset: int, **fields) -> BurstNote:
    header = dict(image_id=offset % 65536, burst_index=0, burst_count=1, height=8, width=8, latent_count=16)
    return BurstNote(offset, 0.001 / 3, **{**header, "model_hash": 7, "snr_db": 9.75, **fields})


def validate(meta) -> None:
    """What ``sigmf_validate`` does, with every warning an error."""
    import sigmf

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sigmf.fromfile(meta).validate()
