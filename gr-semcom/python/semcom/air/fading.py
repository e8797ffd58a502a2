# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipath: static taps as one kernel, or taps that fade as sums of sinusoids."""

import math

import numpy as np

from semcom.air.script import Tap

GRID = 32  # samples between exact values of a fading tap; straight lines between them
_WAVES = 16


def mean_gains(profile: list[Tap]) -> np.ndarray:
    """Amplitudes ``[L]`` of taps of total power 1."""
    power = 10 ** (np.array([tap.power_db for tap in profile]) / 10)
    return np.sqrt(power / power.sum())


def static_kernel(profile: list[Tap], spread: bool, generator: np.random.Generator) -> np.ndarray:
    """The FIR kernel ``[L]`` complex of taps that stand still, total power 1.

    Args:
        spread: taps are one draw of CN(0, power) each, as in ``semcom.channel.fading``; else they have the powers
            configured, and the phase configured or drawn.
    """
    kernel = np.zeros(max(tap.delay_samples for tap in profile) + 1, complex)
    phases = generator.uniform(0, 2 * np.pi, len(profile))
    draws = generator.standard_normal((len(profile), 2)) @ np.array([1, 1j])
    for tap, gain, phase, draw in zip(profile, mean_gains(profile), phases, draws, strict=True):
        phase_rad = math.radians(tap.phase_deg) if tap.phase_deg is not None else phase
        kernel[tap.delay_samples] += gain * (draw if spread else np.exp(1j * phase_rad))
    return kernel / np.linalg.norm(kernel)


class FadingTaps:
    """Rayleigh taps with Jakes' spectrum: each the sum of 16 waves from directions all around, drawn with the seed.

    Feed it pieces of a multiple of ``GRID`` samples.
    """

    def __init__(self, profile: list[Tap], generator: np.random.Generator):
        count = len(profile)
        self._delays = [tap.delay_samples for tap in profile]
        angles = np.arange(_WAVES) + generator.uniform(0, 1, (count, 1))
        self._directions = np.cos(2 * np.pi * angles / _WAVES)
        self._turns = generator.uniform(0, 1, (count, _WAVES))
        self._gains = (mean_gains(profile) / math.sqrt(_WAVES))[:, None]
        self._past = np.zeros(max(self._delays), np.complex64)
        self._table: tuple[float, int, np.ndarray] = (math.nan, 0, np.empty(0))
        ramp = np.arange(GRID) / GRID
        self._lines = np.stack([1 - ramp, ramp]).astype(np.complex64)

    def process(self, samples: np.ndarray, doppler: float) -> np.ndarray:
        """``[n]`` through the taps as they move; ``doppler``: largest Doppler shift in cycles per sample."""
        count = len(samples)
        gains = self._advance(count, doppler)
        line = np.concatenate([self._past, samples])
        longest = len(self._past)
        self._past = line[count:]
        ends = np.stack([gains[:, :-1], gains[:, 1:]], axis=-1)
        moving = (ends @ self._lines).reshape(len(gains), -1)
        out = np.zeros(count, np.complex64)
        for row, delay in enumerate(self._delays):
            out += moving[row] * line[longest - delay : longest - delay + count]
        return out

    def _advance(self, count: int, doppler: float) -> np.ndarray:
        """Gains ``[L, count / GRID + 1]`` complex64 at the grid's instants, the first of the next piece included."""
        if self._table[:2] != (doppler, count):
            instants = np.arange(count // GRID + 1) * GRID
            turns = (doppler * self._directions)[:, :, None] * instants
            self._table = doppler, count, np.exp(2j * np.pi * turns).astype(np.complex64)
        start = (self._gains * np.exp(2j * np.pi * self._turns)).astype(np.complex64)
        self._turns = np.fmod(self._turns + doppler * count * self._directions, 1.0)
        return (start[:, None, :] @ self._table[2])[:, 0]
