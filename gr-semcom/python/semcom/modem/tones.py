# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking steady tones out of a stream: DC of a zero-IF receiver, carriers of others, spurs.

What correlates with itself at every lag hides the short training, and a tone that lies between two carriers once the
carrier offset is removed leaks into all of them. So tones are taken out first, by subtraction of their own slowly
varying amplitudes: a notch would take out a line of the short training for good, and ring after every burst.

1. Survey: spectra of a few stretches, each over its own median. A tone stands out in nearly all of them, the short
   training and whatever else comes in bursts only in some: what is averaged is 1/(1 + p), which a few quiet stretches
   outweigh. A peak is held against its neighbours as well: a coloured channel is no tone.
   Where the last survey saw nothing and the power has stayed the same, the next one waits for a while.
2. Frequency: the peak of the spectrum of the whole chunk, within the survey's bin.
3. Amplitude: the mean over +-``REACH`` samples, weighted by the inverse of the power that is left without the tones: the
   least-squares estimate where bursts of any level come and go.
"""

import math

import torch
import torch.nn.functional as F

from semcom.modem.tensors import mean_power, power_of, wrapped_phasor

MAX_TONES = 8
REACH = 1024  # samples on either side that share an amplitude: the notch is a quarter of a carrier wide
_HISTORY = 8192  # samples before a chunk that take part in its estimates
_ENOUGH = 32768  # samples examined in all, where as many have been received
_SEGMENT = 1024
_FEW, _MANY = 8, 48  # stretches of the first survey, of the second
_LEAST = 8  # below that many stretches nothing is decided: the short training of one burst fills two
_SEEN = 5.4  # of 1/mean(1/(1+p)) - 1, which is 0.68 on noise; what is present half of the time reaches 2.4
_CONTRAST = 8.0  # over the median of the neighbours
_NEAR, _NARROW, _FAR = 4, 8, 28  # bins away: the nearest neighbour, how many identify a line, the farthest
_DUST = 1e-7  # of the strongest power: rounding
_NOTHING = 1e-10  # of the energy that was in a block: rounding of the tones
_GOLDEN = (math.sqrt(5) - 1) / 2
_BLOCK = 64  # samples for which an amplitude is constant
_FAST, _DRIFT = 256, 8192  # samples on either side: of an amplitude whose phase is followed, of a frequency
_COARSE = 4  # blocks taken together where a frequency is estimated
_ROUNDS = 3
_CALM = 3.5  # the same as _SEEN; below it there was no tone
_PATIENT = 2**19  # samples until a spectrum without tones is surveyed again
_CHANGE = 0.02  # of the power: a tone may have begun
_REST = 8  # chunks for which a bin is skipped that repeatedly was no tone; the first time 1
_GONE = 0.003  # of the power of all else; below it the tone has ended
_EVEN = 2.0  # the most over the least residual energy, below which all blocks have the same weight
_WORTH = 1.02  # gain of the steady power from which a drift is followed
_STEADY = 0.3  # of the power in a block's band; less is no tone
_CLOSE = 2  # tones that cannot be resolved within REACH


class ToneRemover:
    """Takes tones out of a stream, chunk by chunk; a stream without tones passes unchanged, bit for bit.

    A tone is found from about -18 dB of the power of all else, whatever else it is, and followed through slow changes of
    phase and level. At most ``MAX_TONES`` are taken out, the strongest.

    Attributes:
        frequencies: of the tones taken out of the last chunk, cycles per sample.
    """

    def __init__(self, dtype: torch.dtype):
        self._past = torch.zeros(0, dtype=dtype)
        self._window = torch.blackman_window(_SEGMENT, periodic=True, dtype=dtype.to_real())
        self._turn = 0.0
        self._rest = torch.zeros(_SEGMENT, dtype=torch.long)  # chunks for which a bin is skipped
        self._doubt = torch.ones(_SEGMENT, dtype=torch.long)  # chunks for which it would be
        self._calm, self._waited, self._level = False, 0, 0.0
        self._resting = 0  # chunks until none is skipped
        self._dust = 0.0  # power of a bin that is rounding alone
        self.frequencies: list[float] = []

    def clean(self, samples: torch.Tensor, power: float | None = None) -> torch.Tensor:
        """The next samples ``[n]`` of the stream, finite, to the same without tones ``[n]``.

        ``power``: their mean power, where it is known.
        """
        power = mean_power(samples) if power is None else power
        new, past = len(samples), self._past
        if new < _ENOUGH:
            samples = torch.cat([past[-(_ENOUGH - new) :], samples])
            self._past = samples[-_ENOUGH:].clone()
        else:
            self._past = samples[-_HISTORY:].clone()
        known, self.frequencies = torch.tensor(self.frequencies, dtype=torch.float64), []
        self._dust = 0.0
        if self._resting:
            self._resting -= 1
            self._rest.sub_(1).clamp_min_(0)
        found = known if len(known) or not self._due(new, power) else self._find(samples)
        if len(found):
            line = torch.cat([past[-_HISTORY:], samples]) if new >= _ENOUGH else samples
            samples = line = F.pad(line, (-len(line) % _BLOCK, 0))  # a copy, of whole blocks
            whole = _block_energy(line.view(-1, _BLOCK))
            self._dust = _DUST * float(self._window.sum().square()) * float(whole.mean()) / _BLOCK
            for turn in range(_ROUNDS):
                fresh = turn > 0 or not len(known)
                for group in _apart(found.tolist())[:_CLOSE]:
                    steady, restless = _subtract(line, torch.tensor(group, dtype=torch.float64), fresh)
                    self.frequencies += steady
                    self._give_up(restless)
                # the rounding error of a tone without noise may resemble any tone
                blocks = line.view(-1, _BLOCK)
                blocks[_block_energy(blocks) < _NOTHING * whole] = 0
                found = self._find(line)
                if not len(found):
                    break
            else:
                self._give_up(self._where(self._survey(line, _FEW) > _SEEN))
        return samples[len(samples) - new :]

    def _due(self, new: int, power: float) -> bool:
        """Whether to survey: where there was no tone and the power has not changed, no strong one has begun."""
        self._waited += new
        if self._calm and self._waited < _PATIENT and abs(power - self._level) <= _CHANGE * self._level:
            return False
        self._calm, self._waited, self._level = False, 0, power
        return True

    def _give_up(self, frequencies: list[float]) -> None:
        """What remains after all rounds, or moves, is no tone: it is skipped for some chunks."""
        if not frequencies:
            return
        self._resting = _REST
        places = [round(frequency * _SEGMENT) for frequency in frequencies]
        near = range(-_NEAR + 1, _NEAR)
        bins = sorted({(place + step) % _SEGMENT for place in places for step in near})
        # a tone that begins within a chunk seems to move, once
        self._rest[bins] = self._doubt[bins]
        self._doubt[bins] = (2 * self._doubt[bins]).clamp_max(_REST)

    @staticmethod
    def _where(bins: torch.Tensor) -> list[float]:
        return (torch.nonzero(bins).flatten().double() / _SEGMENT).tolist()

    def _find(self, line: torch.Tensor) -> torch.Tensor:
        """Frequencies of tones in ``[n]`` to the bin, strongest first; none where there is no more to take out."""
        room = MAX_TONES - len(self.frequencies)
        nothing = torch.zeros(0, dtype=torch.float64)
        if len(line) < _LEAST * _SEGMENT or room <= 0:
            return nothing
        seen = self._survey(line, _FEW)
        highest = float(seen.amax())
        self._calm = highest < _CALM
        if self._calm:
            self._doubt.fill_(1)
        if highest <= _SEEN:
            return nothing
        suspects = seen > _SEEN
        if not (suspects & (self._rest == 0)).any():
            return nothing
        seen = self._survey(line, _MANY)
        bins = torch.nonzero((seen > _SEEN) & (self._rest == 0)).flatten()
        bins = bins[seen[bins].argsort(descending=True)][: 8 * MAX_TONES]
        away = torch.arange(_NEAR, _FAR + 1, device=seen.device)
        right, left = (seen[(bins[:, None] + side * away) % _SEGMENT] for side in (1, -1))
        level = torch.cat([left, right], dim=-1).median(-1).values
        # a wide peak is no tone, even where its far neighbours are empty
        level = torch.maximum(level, torch.maximum(left[:, :_NARROW].amin(-1), right[:, :_NARROW].amin(-1)))
        peak = seen[bins] >= torch.maximum(seen[bins - 1], seen[(bins + 1) % _SEGMENT])
        bins = bins[(seen[bins] > _CONTRAST * level) & peak]
        if not len(bins):
            self._give_up(self._where(suspects))
            return nothing
        return torch.tensor(_apart((bins.double() / _SEGMENT).tolist())[0][:room], dtype=torch.float64)

    def _survey(self, line: torch.Tensor, count: int) -> torch.Tensor:
        """1/mean(1/(1+p)) - 1 of each bin ``[_SEGMENT]`` over up to ``count`` stretches.

        p is the power over its stretch's median.
        """
        count = min(count, len(line) // _SEGMENT)
        step, first = len(line) / count, []
        for stretch in range(count):
            # bursts may be periodic, so the stretches must not be
            self._turn = (self._turn + _GOLDEN) % 1.0
            first.append(int(stretch * step + self._turn * (step - _SEGMENT)))
        spectra = torch.stack([line[at : at + _SEGMENT] for at in first]).mul_(self._window)
        spectra = torch.fft.fft(spectra)
        power = spectra.real.square().addcmul_(spectra.imag, spectra.imag)  # [count, _SEGMENT]
        self._dust = max(self._dust, _DUST * float(power.amax()), torch.finfo(power.dtype).tiny)
        level = power[:, ::7].median(-1, keepdim=True).values.clamp_min_(self._dust)
        return level.div(power.add_(level)).mean(0).reciprocal_().sub_(1)


def _apart(frequencies: list[float]) -> list[list[float]]:
    """Frequencies in groups that can be resolved within ``REACH`` samples, the first as large as possible."""
    groups: list[list[float]] = []
    for frequency in frequencies:  # a handful
        for group in groups:
            if all(abs((frequency - other + 0.5) % 1.0 - 0.5) > (_NEAR - 0.5) / _SEGMENT for other in group):
                group.append(frequency)
                break
        else:
            groups.append([frequency])
    return groups


def _subtract(line: torch.Tensor, near: torch.Tensor, fresh: bool) -> tuple[list[float], list[float]]:
    """Takes tones out of ``line`` ``[n]`` of whole blocks, in place.

    Args:
        near: ``[T]`` frequencies, cycles per sample. fresh: they are known to within half a cycle per
            ``_BLOCK * _COARSE`` samples and no better.

    Returns:
        The frequencies found, of those that are still there: of steady tones, and of what moves too fast to be one.
    """
    blocks = line.view(-1, _BLOCK)
    middle = _BLOCK * torch.arange(len(blocks), dtype=torch.float64, device=line.device) + (_BLOCK - 1) / 2
    if fresh:
        near = near + _offsets(
            _means(blocks, _ramps(near, line.dtype)) * wrapped_phasor(-near[:, None] * middle, line.dtype)
        )
    ramps, turns = _ramps(near, line.dtype), wrapped_phasor(-near[:, None] * middle, line.dtype)
    means = _means(blocks, ramps)
    drift = _drift(means * turns)
    follow = turns * wrapped_phasor(-drift.cumsum(-1) * _BLOCK, line.dtype)
    # where two tones are near each other the phase followed is that of neither
    gain = _band_power(means * follow) > _WORTH * _band_power(means * turns)
    drift, turns = drift * gain[:, None], torch.where(gain[:, None], follow, turns)
    weight = torch.ones_like(turns[:1].real)
    amplitude = torch.zeros_like(turns)
    for turn in range(2):
        seen = means * turns if turn == 0 else _means(blocks, ramps) * turns + amplitude
        smooth = _smooth(torch.cat([weight * seen.real, weight * seen.imag, weight]), REACH)
        better = torch.complex(*(smooth[:-1] / smooth[-1:]).unflatten(0, (2, -1)).unbind(0)).to(line.dtype)
        blocks.addmm_(((better - amplitude) * turns.conj()).T, ramps.conj(), alpha=-1)
        amplitude = better
        if turn == 0:  # bursts of any level come and go: weights follow the residual energy
            left = _block_energy(blocks)[None]
            near_by = F.avg_pool1d(left[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]
            mean = left.mean() + torch.finfo(left.dtype).tiny
            even = near_by.amax() <= _EVEN * near_by.amin()
            if even or mean < _NOTHING * _BLOCK * power_of(amplitude).mean(-1).sum():
                break
            weight = 1 / (near_by / mean + 1e-3)
    power = power_of(amplitude).mean(-1)
    there = power * _BLOCK > _GONE * mean
    steady = power > _STEADY * power_of(seen).mean(-1)
    return (near + drift[:, -1])[there & steady].tolist(), near[there & ~steady].tolist()


def _band_power(amplitudes: torch.Tensor) -> torch.Tensor:
    """Power ``[T]`` of what is steady over ``REACH`` in each row of ``[T, K]``."""
    return _smooth(torch.cat([amplitudes.real, amplitudes.imag]), REACH).square().sum(-1).view(2, -1).sum(0)


def _drift(amplitudes: torch.Tensor) -> torch.Tensor:
    """What is left of the frequency of each row of ``[T, K]`` at each block, cycles per sample; float64 ``[T, K]``."""
    count = amplitudes.shape[1]
    parts = _smooth(torch.cat([amplitudes.real, amplitudes.imag]), _FAST)[:, ::_COARSE].unflatten(0, (2, -1))
    steps = torch.complex(*parts.unbind(0))
    steps = F.pad(steps[:, :-1].conj() * steps[:, 1:], (1, 0)).cumsum(-1)
    place = torch.arange(steps.shape[1], device=steps.device)
    half = _DRIFT // _BLOCK // _COARSE
    around = steps[:, (place + half).clamp_max(len(place) - 1)] - steps[:, (place - half).clamp_min(0)]
    return (around.angle() / (2 * math.pi * _BLOCK * _COARSE)).repeat_interleave(_COARSE, -1)[:, :count]


def _ramps(frequencies: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """exp(-2 pi j f n) about the middle of a block, ``[T, _BLOCK]``."""
    within = torch.arange(_BLOCK, dtype=torch.float64, device=frequencies.device) - (_BLOCK - 1) / 2
    return wrapped_phasor(-frequencies[:, None] * within, dtype)


def _means(blocks: torch.Tensor, ramps: torch.Tensor) -> torch.Tensor:
    """Mean of each block of ``[K, _BLOCK]`` turned back by each ramp, ``[T, K]``."""
    return (blocks @ (ramps / _BLOCK).T).T


def _offsets(amplitudes: torch.Tensor) -> torch.Tensor:
    """Frequency in cycles per sample of the strongest line in each row of ``[T, K]``; float64 ``[T]``."""
    rows = amplitudes.shape[1] // _COARSE
    coarse = amplitudes[:, : rows * _COARSE].unflatten(1, (rows, _COARSE)).sum(-1)
    size = 1 << (4 * rows - 1).bit_length()
    power = torch.fft.fft(coarse, size).abs().double()
    place = power.argmax(-1, keepdim=True)
    left, mid, right = (power.gather(-1, (place + d) % size)[:, 0] for d in (-1, 0, 1))
    bend = (left - 2 * mid + right).clamp_max(-torch.finfo(power.dtype).tiny)
    turns = (place[:, 0] + (0.5 * (left - right) / bend).clamp(-0.5, 0.5)) / size
    return ((turns + 0.5) % 1.0 - 0.5) / (_BLOCK * _COARSE)


def _smooth(rows: torch.Tensor, reach: int) -> torch.Tensor:
    """Rows ``[r, K]`` of blocks summed under a triangle of +-``reach`` samples: two running sums; float64."""
    half = reach // _BLOCK
    rows = F.pad(rows.double(), (half - 1, half - 1))
    for _ in range(2):
        sums = F.pad(rows.cumsum(-1), (1, 0))
        rows = sums[:, half:] - sums[:, :-half]
    return rows


def _block_energy(blocks: torch.Tensor) -> torch.Tensor:
    """``[K, n]`` to ``[K]``."""
    flat = torch.view_as_real(blocks).flatten(1)
    return torch.linalg.vecdot(flat, flat)
