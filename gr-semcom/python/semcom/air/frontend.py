# SPDX-License-Identifier: GPL-3.0-or-later
"""What the analogue parts of a transmitter and a receiver do to samples; none of it remembers but the oscillator.

The amplifier is that of ``semcom.channel.frontend``, in numpy: the air starts in a moment because it loads no torch.
"""

import math

import numpy as np


def iq_imbalance(samples: np.ndarray, gain_db: float, phase_deg: float) -> np.ndarray:
    """Q is ``gain_db`` louder than I and ``phase_deg`` away from a right angle: I + j g exp(j phase) Q."""
    if not gain_db and not phase_deg:
        return samples
    skew = 10 ** (gain_db / 20) * np.exp(1j * math.radians(phase_deg))
    return samples * np.complex64((1 + skew) / 2) + samples.conj() * np.complex64((1 - skew) / 2)


def power_amplifier(samples: np.ndarray, saturation: float, smoothness: float) -> np.ndarray:
    """Rapp's amplifier: amplitude a becomes a / (1 + (a/A)^(2p))^(1/(2p)), A the saturation amplitude, p smoothness."""
    ratio = (samples.real**2 + samples.imag**2) * np.float32(1 / saturation**2)
    if smoothness == 2:  # roots are faster than powers
        gain = 1 / np.sqrt(np.sqrt(1 + ratio * ratio))
    else:
        gain = (1 + ratio ** np.float32(smoothness)) ** np.float32(-0.5 / smoothness)
    return samples * gain


def convert(samples: np.ndarray, bits: int, full_scale: float) -> tuple[np.ndarray, int]:
    """An analogue-to-digital converter: ``bits`` each for I and Q over -full_scale..full_scale.

    Returns:
        The samples on its steps, and how many were clipped.
    """
    steps = 2 ** (bits - 1)
    size = np.float32(full_scale / steps)
    parts = np.ascontiguousarray(samples).view(np.float32)
    codes = np.rint(parts / size)
    limited = np.clip(codes, -steps, steps - 1)
    beyond = codes != limited
    clipped = int(beyond.reshape(-1, 2).any(1).sum()) if beyond.any() else 0
    return (limited * size).view(np.complex64), clipped


class Oscillator:
    """Turns a stream by a frequency that may change between pieces; the phase goes on."""

    def __init__(self):
        self._turns = 0.0
        self._table, self._cycles = np.ones(0, np.complex64), 0.0

    def process(self, samples: np.ndarray, cycles: float) -> np.ndarray:
        """``[n]`` turned by ``cycles`` per sample."""
        count = len(samples)
        if cycles != self._cycles or len(self._table) < count:
            turns = np.arange(count) * cycles
            self._table = np.exp(2j * np.pi * (turns - np.rint(turns))).astype(np.complex64)
            self._cycles = cycles
        now = np.complex64(np.exp(2j * np.pi * self._turns))
        self._turns = math.fmod(self._turns + cycles * count, 1.0)
        return samples * (self._table[:count] * now) if cycles or self._turns else samples


class PhaseNoise:
    """Wiener phase noise of a free-running oscillator: the phase walks by sqrt(2 pi linewidth) rad a sample."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator
        self._phase = 0.0

    def process(self, samples: np.ndarray, linewidth: float) -> np.ndarray:
        """``linewidth``: 3 dB linewidth over the sample rate."""
        steps = self._generator.standard_normal(len(samples), dtype=np.float32)
        phase = np.cumsum(steps, dtype=np.float64) * math.sqrt(2 * math.pi * linewidth) + self._phase
        if len(phase):
            self._phase = math.fmod(phase[-1], 2 * math.pi)
        phase = (phase - 2 * np.pi * np.rint(phase / (2 * np.pi))).astype(np.float32)  # floats: fast sine
        turn = np.empty(len(samples), np.complex64)
        turn.real, turn.imag = np.cos(phase), np.sin(phase)
        return samples * turn
