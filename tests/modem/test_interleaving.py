# SPDX-License-Identifier: GPL-3.0-or-later
"""A lost burst is scattered over the picture, whatever the number of its latents, as a drawn table would scatter it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.modem import ModemProfile, sequences, v2

LENGTHS = (128, 300, 17_000, 98_304)
FIRST = [12, 7, 16, 5, 0, 3, 15, 18, 14, 10, 1, 4, 9, 17, 11, 6, 8, 13, 19, 2]
CHECKS = [61049, 35872, 12903, 44120]
TURNS = [0, 3, 3, 0, 0, 3, 1, 1, 0, 3, 2, 1]


@given(st.integers(1, 5000))
@settings(max_examples=100, deadline=None)
def test_every_latent_has_one_place(count):
    order = sequences.interleaving(count)
    assert order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", [98_304, 2**17 - 1, 8641])
def test_every_latent_has_one_place_in_long_pictures(count):
    assert np.array_equal(np.sort(sequences.interleaving(count)), np.arange(count))


def test_it_is_the_same_for_ever():
    """A change is another frame version."""
    assert sequences.interleaving(20).tolist() == FIRST
    turns = np.angle(sequences.quarter_turns(12)) / (np.pi / 2) - 0.5
    assert (np.rint(turns).astype(int) % 4).tolist() == TURNS
    checks = [int((np.arange(k) * sequences.interleaving(k) % 65521).sum() % 65521) for k in LENGTHS]
    assert checks == CHECKS


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("apart", [1, 2, 216])
def test_neighbours_of_a_burst_are_far_apart(count, apart):
    """Neighbours, and symbols of one subcarrier: as far as two places drawn evenly, which is a third of all."""
    order = sequences.interleaving(count)
    distance = np.abs(order[apart % count :] - order[: -(apart % count)])
    assert abs(distance.mean() / count - 1 / 3) < 3 * 0.24 / np.sqrt(len(distance) / 2) + 0.01
    assert (distance < count / 50).mean() < 0.04 + 3 * np.sqrt(0.04 / len(distance))


@pytest.mark.parametrize("height, width, planes", [(64, 96, 16), (32, 32, 16), (48, 64, 16)])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_lost_burst_leaves_no_pattern_in_a_plane(height, width, planes, which):
    """No frequency of the erased places stands out, and no block of 8 x 8 loses much more than its share."""
    count = height * width * planes
    plan = ModemProfile().plan(count)
    lost = np.zeros(plan.burst_count * plan.latents_per_burst, bool).reshape(plan.burst_count, -1)
    lost[which] = True
    erased = np.zeros(count, bool)
    erased[sequences.interleaving(count)] = lost.flatten()[:count]
    share = erased.mean()
    for plane in erased.reshape(planes, height, width):
        spectrum = np.abs(np.fft.fft2(plane - plane.mean())) ** 2 / (plane.size * share * (1 - share))
        # of drawn places each is exponential of mean 1: more than 20 in one of 10^5 planes
        assert spectrum.max() < 25
        blocks = plane.reshape(height // 8, 8, width // 8, 8).mean((1, 3))
        assert np.abs(blocks - share).max() < 5.5 * np.sqrt(share * (1 - share) / 64)


def test_the_scrambling_sequence_is_white_and_one_sequence_for_all_lengths():
    turns = sequences.quarter_turns(98_304)
    assert np.allclose(np.abs(turns), 1)
    spectrum = np.abs(np.fft.fft(turns)) ** 2 / len(turns)
    assert spectrum.max() < 25
    assert np.array_equal(turns[:300], sequences.quarter_turns(300))


def test_it_is_not_version_2s():
    assert not np.array_equal(sequences.interleaving(300), v2.interleaving(300))
