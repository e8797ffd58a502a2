# SPDX-License-Identifier: GPL-3.0-or-later
"""A transmitter's, a link's and a receiver's own chain of impairments: blocks of samples in, samples out.

Settings are handed in with every block, since the timeline may have changed them; what follows from them is kept
until it does.
"""

import math
import zlib

import numpy as np

from semcom.air import frontend
from semcom.air.fading import FadingTaps, static_kernel
from semcom.air.filters import HALF_TAPS, DelayLine, Fir, Resampler, fractional_delay
from semcom.air.script import Receiver, Route, Transmitter


def generator(seed: int, *names: str) -> np.random.Generator:
    """Randomness of its own for each named thing: one more receiver changes nothing for the others."""
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32("\n".join(names).encode())]))


def transmit(samples: np.ndarray, settings: Transmitter, amplitude: float) -> np.ndarray:
    """What leaves the antenna: modulator (I/Q, carrier leak), then amplifier. ``amplitude``: the nominal one."""
    samples = frontend.iq_imbalance(samples, settings.iq_gain_db, settings.iq_phase_deg)
    if settings.dc_i or settings.dc_q:
        samples = samples + np.complex64(complex(settings.dc_i, settings.dc_q))
    if settings.pa_backoff_db is not None:
        saturation = amplitude * 10 ** (settings.pa_backoff_db / 20)
        samples = frontend.power_amplifier(samples, saturation, settings.pa_smoothness)
    return samples


class TransmitterClock:
    """A transmitter's samples, by its own clock, to blocks by the clock of the air."""

    def __init__(self):
        self._resampler = Resampler()
        self._rest = np.zeros(0, np.complex64)

    def wanted(self, count: int, sro_ppm: float) -> int:
        """How many samples of the transmitter the next block of ``count`` takes."""
        return self._resampler.wanted(count - len(self._rest), _seen_ppm(sro_ppm))

    def process(self, samples: np.ndarray, count: int, sro_ppm: float) -> np.ndarray:
        """As many samples as were ``wanted`` to ``[count]``."""
        made = np.concatenate([self._rest, self._resampler.process(samples, _seen_ppm(sro_ppm))])
        self._rest = made[count:]
        return made[:count]


def _seen_ppm(sro_ppm: float) -> float:
    """To a transmitter that is slow by ``sro_ppm`` the air is a receiver that is fast by as much."""
    return -sro_ppm / (1 + sro_ppm * 1e-6)


class LinkChain:
    """One link: delay, attenuation and taps, then the carrier offset.

    Every link has a delay of ``GROUP_DELAY_SAMPLES`` beside the one configured.

    Args:
        route: as it is at first. max_delay: the longest there will be. block_samples: of each block.
    """

    def __init__(
        self,
        route: Route,
        sample_rate_hz: float,
        random: np.random.Generator,
        max_delay: float,
        block_samples: int,
    ):
        self._rate = sample_rate_hz
        self._profile = route.profile
        self._static = static_kernel(self._profile, route.delay_spread_samples > 0, random)
        self._delay = DelayLine(math.ceil(max_delay), block_samples)
        self._fir = Fir(2 * HALF_TAPS + len(self._static))
        self._kernel_of: tuple | None = None
        self._fading = FadingTaps(self._profile, random)
        self._oscillator = frontend.Oscillator()

    def process(self, samples: np.ndarray, route: Route) -> np.ndarray:
        """``[n]`` to ``[n]``."""
        whole = math.floor(route.delay_samples)
        samples = self._delay.process(samples, whole)
        samples = self._filter(samples, route.delay_samples - whole, route)
        if route.doppler_hz:
            samples = self._fading.process(samples, route.doppler_hz / self._rate)
        return self._oscillator.process(samples, route.cfo_hz / self._rate)

    def _filter(self, samples: np.ndarray, fraction: float, route: Route) -> np.ndarray:
        """Attenuation, fraction and, unless they fade, taps: one kernel."""
        wanted = route.attenuation_db, fraction, route.doppler_hz > 0
        if wanted != self._kernel_of:
            kernel = fractional_delay(fraction) * 10 ** (-route.attenuation_db / 20)
            self._fir.set_kernel(kernel if route.doppler_hz else np.convolve(kernel, self._static))
            self._kernel_of = wanted
        return self._fir.process(samples)


class ReceiverChain:
    """One receiver: sample clock, oscillator, noise, mixer (I/Q, DC), gain, converter, samples lost.

    ``counters`` has what a user may want to know, in words.
    """

    def __init__(self, name: str, sample_rate_hz: float, amplitude: float, seed: int):
        self._rate, self._amplitude = sample_rate_hz, amplitude
        self._resampler = Resampler()
        self._phase_noise = frontend.PhaseNoise(generator(seed, name, "phase noise"))
        self._noise = generator(seed, name, "noise")
        self._drops = _Drops(generator(seed, name, "drops"))
        self.counters = {"samples clipped": 0, "samples dropped as in an overrun": 0, "overruns played": 0}

    def process(self, samples: np.ndarray, settings: Receiver, has_clock: bool) -> np.ndarray:
        """``[n]`` complex64 to as many as the receiver's clock gives.

        Args:
            has_clock: whether the clock is ever off; if so its filter is always there, however slight the offset.
        """
        if has_clock:
            samples = self._resampler.process(samples, settings.sro_ppm)
        if settings.phase_noise_hz:
            samples = self._phase_noise.process(samples, settings.phase_noise_hz / self._rate)
        samples = self._add_noise(samples, settings)
        samples = frontend.iq_imbalance(samples, settings.iq_gain_db, settings.iq_phase_deg)
        if settings.dc_i or settings.dc_q:
            samples = samples + np.complex64(complex(settings.dc_i, settings.dc_q))
        if settings.gain_db:
            samples = samples * np.float32(10 ** (settings.gain_db / 20))
        if settings.adc_bits is not None:
            samples, clipped = frontend.convert(samples, settings.adc_bits, settings.adc_full_scale)
            self.counters["samples clipped"] += clipped
        if settings.drops_per_s:
            kept = self._drops.process(samples, settings.drops_per_s / self._rate, settings.drop_samples)
            self.counters["samples dropped as in an overrun"] += len(samples) - len(kept)
            self.counters["overruns played"] = self._drops.count
            samples = kept
        return samples

    def _add_noise(self, samples: np.ndarray, settings: Receiver) -> np.ndarray:
        power = noise_power(settings, self._amplitude)
        if not power:
            return samples
        noise = self._noise.standard_normal(2 * len(samples), dtype=np.float32)
        noise *= np.float32(math.sqrt(power / 2))
        return samples + noise.view(np.complex64)


def noise_power(settings: Receiver, amplitude: float) -> float:
    """Power of a noise sample. A modem's symbols have energy amplitude^2, and its transforms are unitary."""
    if settings.snr_db is not None:
        return amplitude**2 * 10 ** (-settings.snr_db / 10)
    return 0.0 if settings.noise_power_db is None else 10 ** (settings.noise_power_db / 10)


class _Drops:
    """Loses stretches of samples at random instants (Poisson)."""

    def __init__(self, random: np.random.Generator):
        self._random = random
        self._left = random.exponential()  # of the time to the next loss, in units of its mean
        self._dropping = 0
        self.count = 0

    def process(self, samples: np.ndarray, rate: float, length: int) -> np.ndarray:
        """``rate``: losses per sample, ``length``: of each. What is left of ``[n]``."""
        kept, at = [], 0
        while at < len(samples):
            if self._dropping:
                step = min(self._dropping, len(samples) - at)
                self._dropping -= step
            else:
                step = min(len(samples) - at, math.ceil(self._left / rate))
                kept.append(samples[at : at + step])
                self._left -= step * rate
                if self._left <= 0:
                    self._left, self._dropping = self._random.exponential(), length
                    self.count += 1
            at += step
        return np.concatenate(kept) if kept else samples[:0]
