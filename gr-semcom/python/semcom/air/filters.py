# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that remember: FIR, delay, and the resampler of a clock that is off. Streams in pieces, numpy only.

A FIR filter is one matrix product: rows of 32 outputs, each from its window of inputs, times a banded matrix. It costs
about as much as adding noise.
"""

import math

import numpy as np

HALF_TAPS = 32
GROUP_DELAY_SAMPLES = HALF_TAPS  # of every link: what its interpolation filter needs
_BETA = 6.2  # 65 dB from 0.94 of the band on
_ROW = 32
_ORDER = 5  # of the polynomials in the resampler's fraction: -65 dB
_FRACTION_MARGIN = 0.01  # 32 outputs at 200 ppm drift by 0.0064 of a sample


def interpolation_kernel(offset: np.ndarray) -> np.ndarray:
    """Windowed sinc at distances ``offset`` in samples (any shape): error below -60 dB up to 0.94 of the band."""
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (offset / (HALF_TAPS + 1)) ** 2, 0, None))) / np.i0(_BETA)
    return np.sinc(offset) * window


def fractional_delay(fraction: float) -> np.ndarray:
    """FIR kernel ``[2 HALF_TAPS + 1]`` that delays by GROUP_DELAY_SAMPLES + ``fraction`` samples, 0 <= fraction < 1."""
    return interpolation_kernel(np.arange(-HALF_TAPS, HALF_TAPS + 1) - fraction)


class Fir:
    """A complex FIR filter over a stream; ``set_kernel`` at any time, the stream goes on.

    Args:
        max_taps: the longest kernel there will be.
    """

    def __init__(self, max_taps: int):
        self._past = np.zeros(max_taps - 1, np.complex64)
        self._max_taps = max_taps

    def set_kernel(self, kernel: np.ndarray) -> None:
        """``kernel`` ``[L]``: output n is the sum of kernel[l] times input n - l."""
        taps = np.zeros(self._max_taps, np.complex64)
        taps[: len(kernel)] = kernel
        width = _ROW + self._max_taps - 1
        matrix = np.zeros((width, _ROW), np.complex64)
        for column in range(_ROW):
            matrix[column : column + self._max_taps, column] = taps[::-1]
        self._matrix = matrix

    def process(self, samples: np.ndarray) -> np.ndarray:
        """``[n]`` complex64 to ``[n]``."""
        line = np.concatenate([self._past, samples])
        self._past = line[len(samples) :]
        return _rows_times(line, len(samples), self._matrix)


def _rows_times(line: np.ndarray, count: int, matrix: np.ndarray) -> np.ndarray:
    """Windows of ``line`` every 32 samples times ``matrix``; ``[count]`` outputs."""
    rows = -(-count // _ROW)
    short = (rows - 1) * _ROW + len(matrix) - len(line)
    if short > 0:
        line = np.concatenate([line, np.zeros(short, line.dtype)])
    windows = np.lib.stride_tricks.as_strided(
        line, (rows, len(matrix)), (_ROW * line.itemsize, line.itemsize), writeable=False
    )
    return (np.ascontiguousarray(windows) @ matrix).reshape(-1)[:count]


class DelayLine:
    """Whole samples of delay, up to ``max_delay``, which may change; pieces have up to ``max_piece`` samples."""

    def __init__(self, max_delay: int, max_piece: int):
        self._ring = np.zeros(max_delay + max_piece, np.complex64)
        self._at = 0  # of the next sample to be written

    def process(self, samples: np.ndarray, delay: int) -> np.ndarray:
        """``[n]`` to ``[n]``, ``delay`` samples late."""
        size, count = len(self._ring), len(samples)
        _write(self._ring, self._at, samples)
        out = _read(self._ring, (self._at - delay) % size, count)
        self._at = (self._at + count) % size
        return out


def _write(ring: np.ndarray, at: int, samples: np.ndarray) -> None:
    first = min(len(samples), len(ring) - at)
    ring[at : at + first] = samples[:first]
    ring[: len(samples) - first] = samples[first:]


def _read(ring: np.ndarray, at: int, count: int) -> np.ndarray:
    first = min(count, len(ring) - at)
    return np.concatenate([ring[at : at + first], ring[: count - first]])


_SPARE = 4  # input samples, for rounding


class Resampler:
    """What a receiver sees whose sample clock is slow by some ppm: samples at instants t (1 + ppm 1e-6).

    Windowed-sinc interpolation whose taps are polynomials in the fraction of a sample (Farrow). It holds back
    ``HALF_TAPS`` samples and a row; the delay is none.
    """

    def __init__(self):
        self._line = np.zeros(HALF_TAPS, np.complex64)  # input from index _first on
        self._first = -HALF_TAPS
        self._next = 0.0  # instant of the next output, in input samples
        self._matrix = _farrow_matrix()

    def wanted(self, count: int, ppm: float) -> int:
        """How many more input samples make sure that at least ``count`` come out."""
        ahead = self._first + len(self._line) - self._next
        return max(0, math.ceil(count * (1 + ppm * 1e-6) + HALF_TAPS + _ROW + _SPARE - ahead))

    def process(self, samples: np.ndarray, ppm: float) -> np.ndarray:
        """``[n]`` to about n / (1 + ppm 1e-6) samples; over time exactly as many as the clock gives."""
        self._line = np.concatenate([self._line, samples])
        step = 1 + ppm * 1e-6
        # a row's last output may need one input more than its first, plus HALF_TAPS ahead of that
        ready = self._first + len(self._line) - HALF_TAPS - _ROW - 2 - self._next
        rows = max(0, int(ready / (step * _ROW)) + 1) if ready >= 0 else 0
        if not rows:
            return np.zeros(0, np.complex64)
        begins = self._next + np.arange(rows) * (_ROW * step)
        nearest = np.rint(begins).astype(np.int64)
        index = (nearest - self._first - HALF_TAPS)[:, None] + np.arange(_ROW + 2 * HALF_TAPS)
        windows = self._line[index]
        parts = np.stack([windows.real, windows.imag]) @ self._matrix  # [2, rows, (order + 1) * 32]
        parts = parts.reshape(2, rows, _ORDER + 1, _ROW)
        fraction = ((begins - nearest)[:, None] + np.arange(_ROW) * (step - 1)).astype(np.float32)
        value = parts[:, :, _ORDER]
        for power in range(_ORDER - 1, -1, -1):
            value = value * fraction + parts[:, :, power]
        out = np.empty(rows * _ROW, np.complex64)
        out.real, out.imag = value.reshape(2, -1)
        self._next += rows * _ROW * step
        keep = max(0, int(self._next) - HALF_TAPS - 2 - self._first)
        self._line, self._first = self._line[keep:], self._first + keep
        if self._first > 2**20:  # a double keeps a fraction to 1e-9 whatever the stream's length
            self._first, self._next = self._first - 2**20, self._next - 2**20
        return out


def _farrow_matrix() -> np.ndarray:
    """``[32 + 2 HALF_TAPS, (order + 1) * 32]``: windows of input to the coefficients of each output's polynomial."""
    limit = 0.5 + _FRACTION_MARGIN
    nodes = limit * np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    taps = interpolation_kernel(np.arange(-HALF_TAPS, HALF_TAPS + 1)[None, :] - nodes[:, None])
    coefficients = np.polynomial.polynomial.polyfit(nodes, taps, _ORDER)
    matrix = np.zeros((_ROW + 2 * HALF_TAPS, _ORDER + 1, _ROW), np.float32)
    for column in range(_ROW):
        matrix[column : column + 2 * HALF_TAPS + 1, :, column] = coefficients.T
    return matrix.reshape(len(matrix), -1)
