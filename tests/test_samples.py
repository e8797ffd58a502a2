# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw samples: what is no number or absurdly large becomes 0 and is counted."""

import numpy as np
import pytest

from semcom.wire.samples import LARGEST_PART, usable


@pytest.mark.parametrize("good", [[1 + 1j, -3, 0], [LARGEST_PART * (1 - 1j)], []])
def test_good_samples_are_not_touched(good):
    samples = np.array(good, np.complex64)
    out, bad = usable(samples)
    assert out is samples and bad == 0


def test_each_bad_sample_is_put_to_zero_and_counted():
    samples = np.array(
        [1, np.nan, complex(0, np.inf), 1e30 - 1e30j, complex(0, -2 * LARGEST_PART), 2j], np.complex64
    )
    out, bad = usable(samples)
    assert bad == 4 and out.dtype == np.complex64
    assert np.array_equal(out, np.array([1, 0, 0, 0, 0, 2j], np.complex64))


def test_bytes_that_are_anything():
    out, bad = usable(np.frombuffer(np.random.default_rng(0).bytes(80_000), np.complex64))
    assert 0 < bad < len(out) == 10_000
    assert np.abs(out.view(np.float32)).max() <= LARGEST_PART
