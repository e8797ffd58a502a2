# SPDX-License-Identifier: GPL-3.0-or-later
"""Each impairment: the same however the stream is cut, the same as ``semcom.channel`` has it, and as large as set."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.air import fading, filters, frontend
from semcom.air.chain import _Drops
from semcom.air.script import Route, Tap
from semcom.channel import fading as batch_fading
from semcom.channel import frontend as batch


def noise(count, seed=0) -> np.ndarray:
    parts = np.random.default_rng(seed).standard_normal(2 * count) / math.sqrt(2)
    return parts.astype(np.float32).view(np.complex64)


def tone(count, cycles) -> np.ndarray:
    return np.exp(2j * np.pi * cycles * np.arange(count)).astype(np.complex64)


def random(seed=1) -> np.random.Generator:
    return np.random.default_rng(seed)


def error_db(got, wanted) -> float:
    return 10 * math.log10(np.mean(np.abs(got - wanted) ** 2) / np.mean(np.abs(wanted) ** 2))


def in_band(count, edge=0.94, seed=0) -> np.ndarray:
    """Noise in the middle ``edge`` of the band."""
    spectrum = np.fft.fft(noise(count, seed))
    spectrum[np.abs(np.fft.fftfreq(count)) > edge / 2] = 0
    return np.fft.ifft(spectrum).astype(np.complex64)


def make_fir():
    fir = filters.Fir(80)
    fir.set_kernel(noise(70, 5))
    return fir.process


def make_delay():
    line = filters.DelayLine(300, 4096)
    return lambda x: line.process(x, 300)


def make_resampler():
    resampler = filters.Resampler()
    return lambda x: resampler.process(x, 150.0)


def make_oscillator():
    oscillator = frontend.Oscillator()
    return lambda x: oscillator.process(x, 0.0123456789)


def make_phase_noise():
    walk = frontend.PhaseNoise(random())
    return lambda x: walk.process(x, 1e-4)


def make_fading():
    taps = fading.FadingTaps([Tap(0), Tap(5, -3.0)], random())
    return lambda x: taps.process(x, 5e-4)


def make_drops():
    drops = _Drops(random())
    return lambda x: drops.process(x, 1e-3, 77)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 127), max_size=12))
@pytest.mark.parametrize(
    "make",
    [make_fir, make_delay, make_resampler, make_oscillator, make_phase_noise, make_fading, make_drops],
)
def test_a_stream_may_be_cut_anywhere(make, cuts):
    step = fading.GRID if make is make_fading else 1
    samples = noise(128 * 32)
    cuts = sorted(cut * 32 // step * step + (cut % 31) * (step == 1) for cut in cuts)
    whole = make()(samples)
    stage = make()
    pieces = np.concatenate([stage(piece) for piece in np.split(samples, cuts)])
    # a resampler hands out whole rows: at the end it may hold back one more
    assert len(whole) - 64 <= len(pieces) <= len(whole) + 64
    count = min(len(whole), len(pieces))
    np.testing.assert_allclose(pieces[:count], whole[:count], atol=2e-4)


def test_amplifier_is_rapps():
    samples = noise(2000) * 2
    for smoothness in (1.0, 2.0, 3.5):
        wanted = batch.power_amplifier(torch.from_numpy(samples), 3.0, smoothness).numpy()
        got = frontend.power_amplifier(samples, 10 ** (3 / 20), smoothness)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_carrier_offset_is_the_batch_one():
    samples, oscillator = noise(9000), frontend.Oscillator()
    got = np.concatenate([oscillator.process(piece, 0.0217) for piece in np.split(samples, [17, 5000])])
    wanted = batch.carrier_offset(torch.from_numpy(samples), 0.0217).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_carrier_phase_goes_on_when_the_frequency_changes():
    oscillator = frontend.Oscillator()
    ones = np.ones(1000, np.complex64)
    line = np.concatenate([oscillator.process(ones, cycles) for cycles in (0.01, 0.02, 0.0, -0.01)])
    assert np.abs(np.diff(np.unwrap(np.angle(line)))).max() < 2 * np.pi * 0.021


def test_static_multipath_is_the_batch_one():
    taps = Route(delay_spread_samples=16).profile
    kernel = fading.static_kernel(taps, True, random())
    samples, fir = noise(8000), filters.Fir(len(kernel))
    fir.set_kernel(kernel)
    got = np.concatenate([fir.process(piece) for piece in np.split(samples, [100, 3333])])
    wanted = batch_fading.multipath(torch.from_numpy(samples), torch.from_numpy(kernel.astype(np.complex64)))
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4)
    powers = fading.mean_gains(taps) ** 2
    np.testing.assert_allclose(powers, batch_fading.exponential_profile(16).numpy(), rtol=1e-9)
    assert abs(np.linalg.norm(kernel) - 1) < 1e-9


def test_written_taps_have_their_powers_and_phases():
    kernel = fading.static_kernel([Tap(0, 0.0, 0.0), Tap(3, -6.0, 90.0)], False, random())
    assert kernel[3] / kernel[0] == pytest.approx(10 ** (-6 / 20) * 1j)
    assert np.linalg.norm(kernel) == pytest.approx(1)


@pytest.mark.parametrize("ppm", [-200.0, -20.0, 3.0, 200.0])
@pytest.mark.slow
def test_clock_offset_is_the_batch_one_where_that_is_exact(ppm):
    samples = in_band(40_000, 0.8)
    got = filters.Resampler().process(samples, ppm)
    wanted = batch.sample_clock_offset(torch.from_numpy(samples), ppm).numpy()[: len(got)]
    assert len(samples) - len(got) < 64 * 3 + abs(ppm) * 1e-6 * 40_000
    assert error_db(got[100:], wanted[100:]) < -50


@pytest.mark.parametrize("cycles", [0.0, 0.1, -0.25, 0.4, 0.47, -0.47])
@pytest.mark.parametrize("ppm", [200.0, -37.0])
def test_clock_offset_up_to_the_edge_of_the_signal(cycles, ppm):
    """240 of 256 carriers are in use: up to 0.47 cycles per sample. Tones are known at every instant."""
    resampler = filters.Resampler()
    got = np.concatenate([resampler.process(piece, ppm) for piece in np.split(tone(60_000, cycles), 15)])
    wanted = np.exp(2j * np.pi * cycles * np.arange(len(got)) * (1 + ppm * 1e-6))
    assert error_db(got[200:], wanted[200:]) < -50


@pytest.mark.slow
def test_clock_counts_samples_exactly():
    resampler = filters.Resampler()
    piece = np.zeros(4096, np.complex64)
    given_out = sum(len(resampler.process(piece, 200.0)) for _ in range(2000))
    assert abs(given_out - 2000 * 4096 / (1 + 200e-6)) < 200


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.99])
def test_fractional_delay(fraction):
    samples, fir = in_band(20_000), filters.Fir(65)
    fir.set_kernel(filters.fractional_delay(fraction))
    got = fir.process(samples)
    cycles = np.fft.fftfreq(len(samples))
    turned = np.fft.fft(samples) * np.exp(-2j * np.pi * cycles * (filters.GROUP_DELAY_SAMPLES + fraction))
    assert error_db(got[200:], np.fft.ifft(turned)[200:]) < -50


def test_delay_may_change_on_the_way():
    line = filters.DelayLine(250, 10)
    ramp = np.arange(1000, dtype=np.complex64)
    seen = [
        line.process(piece, delay)
        for piece, delay in zip(np.split(ramp, 100), [3] * 50 + [250] * 50, strict=True)
    ]
    assert np.array_equal(np.concatenate(seen[:50])[3:], ramp[:497])
    assert np.array_equal(np.concatenate(seen[51:]), ramp[510 - 250 : 1000 - 250])


@pytest.mark.parametrize("gain_db, phase_deg", [(0.5, 2.0), (-1.0, 0.0), (0.0, -5.0)])
def test_image_rejection(gain_db, phase_deg):
    out = frontend.iq_imbalance(tone(1000, 0.1), gain_db, phase_deg)
    spectrum = np.abs(np.fft.fft(out)) ** 2
    g, p = 10 ** (gain_db / 20), math.radians(phase_deg)
    wanted = (1 + g * g + 2 * g * math.cos(p)) / (1 + g * g - 2 * g * math.cos(p))
    assert spectrum[100] / spectrum[900] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_converter_noise(bits):
    samples = noise(50_000) * 0.2
    out, clipped = frontend.convert(samples, bits, 1.0)
    assert clipped < 5
    step = 2.0 ** (1 - bits)
    assert np.mean(np.abs(out - samples) ** 2) == pytest.approx(2 * step**2 / 12, rel=0.05)
    assert len(np.unique(out.real)) <= 2**bits


def test_converter_clips_and_counts():
    out, clipped = frontend.convert(np.array([2 + 0j, -3j, 0.5, 1 - 1j], np.complex64), 8, 1.0)
    assert clipped == 3  # +1 lies one step above the top of the scale
    assert out.tolist() == [127 / 128, -1j, 0.5, 127 / 128 - 1j]


def test_phase_noise_linewidth():
    turned = frontend.PhaseNoise(random()).process(np.ones(200_000, np.complex64), 1e-4)
    steps = np.angle(turned[1:] * turned[:-1].conj())
    assert steps.var() == pytest.approx(2 * math.pi * 1e-4, rel=0.03)


def test_fading_has_the_power_and_the_spectrum_of_jakes():
    """Over many draws: mean power 1, and at lag t the correlation is J0(2 pi f t)."""
    doppler, count, lag = 5e-4, 4096, 480
    ones = np.ones(count, np.complex64)
    rows = np.stack([fading.FadingTaps([Tap(0)], random(seed)).process(ones, doppler) for seed in range(300)])
    assert np.mean(np.abs(rows) ** 2) == pytest.approx(1, abs=0.05)
    correlation = np.mean(rows[:, lag:] * rows[:, :-lag].conj())
    angles = (np.arange(2000) + 0.5) * np.pi / 2000
    wanted = np.cos(2 * np.pi * doppler * lag * np.sin(angles)).mean()  # J0
    assert abs(correlation - wanted) < 0.08


def test_fading_of_two_taps_is_independent():
    ones = np.zeros(4096, np.complex64)
    ones[0] = 1
    gains = []
    for seed in range(200):
        out = fading.FadingTaps([Tap(0), Tap(9, 0.0)], random(seed)).process(ones, 1e-5)
        gains.append([out[0], out[9]])
        assert np.count_nonzero(out) == 2
    correlation = np.abs(np.corrcoef(np.array(gains).T)[0, 1])
    assert correlation < 0.2


def test_drops_are_as_many_and_as_long_as_set():
    drops, count = _Drops(random()), 10**6
    kept = drops.process(np.arange(count).astype(np.complex64), 1e-4, 500)
    expected = count / (1e4 + 500)
    assert abs(drops.count - expected) < 4 * math.sqrt(expected)
    jumps = np.diff(kept.real.astype(np.int64)) - 1
    assert set(jumps.tolist()) <= {0, 500, 1000}
    assert jumps.sum() >= 500 * (drops.count - 1)
