# SPDX-License-Identifier: GPL-3.0-or-later
"""The estimate of LWE's hardness beside what the authors of published parameter sets state."""

import math

import pytest

from semcom.errors import ConfigError
from semcom.security.hardness import block_size, core_svp_bits


@pytest.mark.parametrize(
    "dimension, modulus, variance, stated",
    [
        (512, 3329, 1.5, 118),  # Kyber, round 3 of NIST's competition, table 4: 512, 768, 1024
        (768, 3329, 1.0, 182),
        (1024, 3329, 1.0, 256),
        (512, 12289, 4.0, 112),  # NewHope, round 2
        (1024, 12289, 4.0, 257),
    ],
)
def test_published_parameter_sets(dimension, modulus, variance, stated):
    assert core_svp_bits(dimension, modulus, math.sqrt(variance)) == pytest.approx(stated, abs=2.5)


def test_a_dimension_of_192_promises_nothing():
    """That of the public code of DeepJSCEC (Tung and Gunduz 2023), q = 4093 and errors of deviation 1; 640 would do."""
    assert core_svp_bits(192, 4093, 1.0) < 32
    assert core_svp_bits(640, 4093, 1.0) > 128


def test_harder_where_it_should_be():
    base = block_size(512, 4093, 1.0)
    assert block_size(640, 4093, 1.0) > base
    assert block_size(512, 4093, 3.0) > base > block_size(512, 2**20 + 7, 1.0)
    assert block_size(512, 4093, 1.0, samples=100) > base  # fewer samples


@pytest.mark.parametrize(
    "wrong", [{"dimension": 0}, {"modulus": 1}, {"sigma": 0}, {"samples": 0}, {"dimension": 10**9}]
)
def test_values_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=f"'{next(iter(wrong))}' must be"):
        core_svp_bits(**{"dimension": 512, "modulus": 4093, "sigma": 1.0} | wrong)
