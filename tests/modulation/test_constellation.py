# SPDX-License-Identifier: GPL-3.0-or-later
"""Points, labels and their agreement with GNU Radio's own constellation objects."""

import numpy as np
import pytest
import torch

from semcom.errors import ConfigError
from semcom.modulation import ORDERS, constellation, map_bits, map_labels, pack_bits, unpack_bits


@pytest.mark.parametrize("order", ORDERS)
def test_mean_power_is_1_and_neighbours_differ_in_one_bit(order):
    shape = constellation(order)
    assert shape.points.dtype == torch.complex64 and len(shape.points) == order == 2**shape.bits
    assert shape.points.abs().square().mean().item() == pytest.approx(1, abs=1e-6)
    distance = (shape.points[:, None] - shape.points[None]).abs() + 10 * torch.eye(order)
    first, second = torch.nonzero(distance < 1.01 * distance.min(), as_tuple=True)
    assert {int(a ^ b).bit_count() for a, b in zip(first.tolist(), second.tolist())} == {1}


@pytest.mark.parametrize("order", ORDERS)
def test_points_and_labels_are_gnuradios(order):
    digital = pytest.importorskip("gnuradio.digital", reason="GNU Radio is not importable")
    if order == 2:
        theirs = digital.constellation_bpsk()
    elif order == 8:
        theirs = digital.constellation_8psk()
    else:
        theirs = digital.qam_constellation(order, differential=False, mod_code="gray")
    points = np.array([theirs.map_to_points_v(label)[0] for label in range(order)])
    points /= np.sqrt(np.mean(np.abs(points) ** 2))
    np.testing.assert_allclose(constellation(order).points.numpy(), points, atol=1e-6)
    assert theirs.bits_per_symbol() == constellation(order).bits


@pytest.mark.parametrize("order", ORDERS)
def test_bits_and_labels_map_alike(order):
    width = constellation(order).bits
    bits = torch.randint(0, 2, (3, 5 * width), generator=torch.Generator().manual_seed(order))
    labels = pack_bits(bits, width)
    assert labels.shape == (3, 5) and torch.equal(unpack_bits(labels, width), bits)
    assert torch.equal(map_bits(bits, order), map_labels(labels, order))
    assert labels[0, 0] == int("".join(map(str, bits[0, :width].tolist())), 2)


def test_first_half_of_a_square_label_is_i():
    points = constellation(64).points.reshape(8, 8)
    assert torch.equal(points.real, points.real[:, :1].expand(8, 8))
    assert torch.equal(points.imag, points.imag[:1].expand(8, 8))
    assert torch.equal(constellation(64).levels, points.real[:, 0])


def test_what_does_not_exist_is_an_error_in_words():
    for order in (0, 3, 32, 1024, True, None, "16"):
        with pytest.raises(ConfigError, match="2, 4, 8, 16, 64, 256"):
            constellation(order)
    with pytest.raises(ConfigError, match="7 bits do not fill labels of 2 bits"):
        map_bits(torch.zeros(7), 4)
