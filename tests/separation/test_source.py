# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util

import numpy as np
import pytest

from semcom.codec.image import source
from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import samples

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV is not installed (extra `rival`): no HEVC"
)
SOURCES = ["jpeg", pytest.param("hevc", marks=[needs_av, pytest.mark.slow])]


@pytest.fixture(scope="module")
def small():
    """A photograph of 32 x 32."""
    return np.ascontiguousarray(samples()[1].pixels[::8, ::8][:32, :32])


@pytest.mark.parametrize("name", SOURCES)
def test_best_fits_and_more_bytes_make_it_better(small, name):
    coded, psnr = source.CodedPicture(small, name), []
    for budget in (700, 1000, 1400):
        codec, payload = coded.best(budget)
        assert len(payload) <= budget
        decoded = source.decode(payload, codec, (32, 32))
        psnr.append(quality.psnr(decoded, small))
    assert psnr[0] < psnr[1] < psnr[2] and psnr[0] > 20


@pytest.mark.parametrize("name", SOURCES)
def test_zeros_after_the_end_change_nothing(small, name):
    codec, payload = source.CodedPicture(small, name).best(900)
    there = source.decode(payload, codec, (32, 32))
    assert np.array_equal(there, source.decode(payload + bytes(50), codec, (32, 32)))


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_fits_into_two_bytes(small, name):
    assert source.CodedPicture(small, name).best(2) is None


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [(17, 33), (40, 25)])
def test_odd_sizes(name, size):
    pixels = np.ascontiguousarray(samples()[0].pixels[: size[0], : size[1]])
    codec, payload = source.CodedPicture(pixels, name).best(5000)
    decoded = source.decode(payload, codec, size)
    assert decoded.shape == pixels.shape and quality.psnr(decoded, pixels) > 25


@needs_av
def test_a_slice_beats_jpeg_by_far(small):
    codec, payload = source.CodedPicture(small, "hevc").best(120)
    assert codec < 3 and quality.psnr(source.decode(payload, codec, (32, 32)), small) > 20
    assert source.CodedPicture(small, "jpeg").best(120) is None


def test_garbage_and_unknown_codecs_are_no_picture():
    garbage = np.random.default_rng(0).bytes(200)
    assert source.decode(garbage, 3, (32, 32)) is None
    assert source.decode(garbage, 9, (32, 32)) is None
    assert source.decode(b"", 3, (32, 32)) is None


@needs_av
def test_hevc_garbage_is_no_picture_or_one_of_the_right_size():
    for seed in range(5):
        decoded = source.decode(np.random.default_rng(seed).bytes(60), 0, (32, 32))
        assert decoded is None or decoded.shape == (32, 32, 3)


def test_unknown_source_is_refused(small):
    with pytest.raises(ConfigError, match="'bpg'.*hevc, jpeg"):
        source.CodedPicture(small, "bpg")


@pytest.mark.parametrize("start", [None, 0, 45])
@pytest.mark.parametrize("steepness", [0.03, 0.12, 0.5])
def test_the_finest_that_fits_is_found_in_few_encodings(steepness, start):
    generator = np.random.default_rng(1)
    jitter = generator.uniform(-0.2, 0.2, 46)
    sizes = np.sort((1e5 * np.exp(-steepness * np.arange(46) + jitter)).astype(int))[::-1]
    known, asked = {}, []
    budgets = [0, 10**6, *(int(size) for size in sizes[[0, 10, 30, 45]]), int(sizes[20]) - 1]

    def size_of(number):
        asked.append(number)
        return int(sizes[number])

    for budget in budgets:
        right = next((n for n in range(46) if sizes[n] <= budget), 46)
        assert source._first_fitting(46, known, budget, size_of, start) == right
    assert sorted(asked) == sorted(set(asked)), "what was encoded once is known"
    # bisection takes six for each
    assert len(asked) < 5 * len(budgets)
