# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw samples as they come from outside: what must not reach the modem."""

import numpy as np

MAX_MAGNITUDE = 1e6  # full scale of a radio is 1


def usable(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Samples [n] complex64 with those that are no numbers, or absurdly large, put to 0; and how many those were."""
    if not len(samples) or np.max(np.abs(samples.view(np.float32))) <= MAX_MAGNITUDE:
        return samples, 0
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~(np.abs(samples.astype(np.complex128)) <= MAX_MAGNITUDE)
    return np.where(bad, np.complex64(0), samples), int(bad.sum())
