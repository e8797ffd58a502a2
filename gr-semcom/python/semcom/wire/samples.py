# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw samples as they come from outside, by socket or file: what must not reach a modem or the air."""

import numpy as np

SEARCH_SAMPLES = 131_072
"""New samples that a detector gathers for one search, and so holds back where no more come."""
LARGEST_PART = 1e6  # full scale of a radio is 1
BAD = "samples that are no numbers or absurdly large, put to zero"  # counter


def usable(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Samples [n] complex64, with 0 for those of which a part is no number or beyond ``LARGEST_PART``; how many those
    were. Samples that are all good come back as they are, not copied."""
    parts = np.abs(samples.view(np.float32))
    if not len(samples) or parts.max() <= LARGEST_PART:  # NaN compares false
        return samples, 0
    bad = ~(parts <= LARGEST_PART).reshape(-1, 2).all(1)
    return np.where(bad, np.complex64(0), samples), int(bad.sum())
