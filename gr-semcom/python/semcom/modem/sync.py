# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding bursts in a stream: when they start and how far off the carrier is.

1. The short training repeats every 16 samples: the correlation of the stream with itself 16 samples later, summed over
   1,024 products, stands out at -5 dB: its squared magnitude is then 59 times its variance on noise. Evaluated once a
   period. The offset range is +-1/32 of the sample rate.
2. Longer lags sharpen the carrier offset.
3. The long training, correlated coherently, gives the timing and confirms the burst: interference that merely
   repeats is rejected here.

What repeats for longer than the short training makes every position a candidate: those are ranked by how far they rise
above what is before and after, and only as many are looked at as bursts could be. Steady tones are taken out of a
stream before all that (``tones``).
"""

import functools
import math
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from semcom.modem.impulses import blank_impulses
from semcom.modem.profile import ModemProfile
from semcom.modem.tensors import mean_power, power_of, wrapped_phasor
from semcom.modem.tones import ToneRemover
from semcom.wire.samples import SEARCH_SAMPLES

SCORE_THRESHOLD = 20.0  # noise exceeds it with probability exp(-20) = 2e-9
QUALITY_THRESHOLD = 0.18
# of the active carriers; the median of their powers over the mean, of what fills them
_BANDS, _FILLED = 32, 0.1
_SEARCH = 320  # samples around the coarse start in which the long training is looked for
_OVERLAP = 64  # samples searched twice: a start estimated a little differently must not fall between searches
_REFINE_LAGS = (128, 512)
_APART = 72  # periods from a burst's peak at which its metric has vanished
_LEAST_RISE = 10.0  # of a peak's score above the lower side
_TOGETHER = 16  # candidates looked at as one batch
_LEAST_ROOM, _LEAST_TRUST = 4, 0.125
_MIRROR_EVERY = 8  # searches in vain, after as many at the start
_MIRRORED = 2  # candidates a search that are tried with the spectrum inverted
_WRAPPED = 0.6  # of the range of lag 16, beyond which noise may have wrapped the angle
CFO_SEARCH_RANGE = 0.1  # cycles per sample
LOUDEST_SAMPLES = 131072
_LOUDER = 1.05  # less is not worth a copy
TONE_SAMPLES = "samples from which a tone was taken out"
MIRRORED_BURSTS = "bursts with the spectrum inverted, or I and Q swapped"
_EARLIEST, _TILT = 0.02, 0.001


@dataclass(frozen=True)
class Detection:
    """A burst found in a stretch of samples.

    start: index of its first preamble sample, such that the FFT windows hold every path.
    cfo: carrier offset in cycles per sample. quality: share of the energy explained by the long training, 0..1.
    """

    start: int
    cfo: float
    quality: float


@dataclass(frozen=True)
class DetectedBurst:
    """The samples of one burst ``[n]``, from its first preamble sample; see ``Detection`` for the rest."""

    samples: torch.Tensor
    sample_offset: int
    cfo: float
    quality: float


class Detector:
    """Preamble search with one profile. Stateless; see ``StreamDetector`` for a stream."""

    def __init__(self, profile: ModemProfile, preamble: torch.Tensor):
        self.profile = profile
        self._preamble = preamble
        template = preamble[profile.sts_samples :]
        self._template_samples = len(template)
        self._size = 1 << (len(template) + 2 * _SEARCH - 1).bit_length()
        self._spectrum = torch.fft.fft(template, self._size).conj() / template.abs().square().sum().sqrt()
        half = max(_BANDS // 2, self._size * profile.active_carriers // profile.fft_size // 2)
        self._half_active = half - half % (_BANDS // 2)
        self._delay_weights = _delay_weights(profile.cp_samples)
        # the metric window: all the short training but two periods at each end
        self.window = profile.sts_repeats - 6
        self.nms = self.window  # periods within which one burst is reported
        #: samples needed after a burst's start before it can be reported
        self.lookahead = profile.preamble_samples + _SEARCH + (self.nms + 2) * profile.sts_period

    def find(
        self, samples: torch.Tensor, limit: int | None = None, cfo_search: bool = False
    ) -> list[Detection]:
        """All bursts in ``samples`` ``[n]`` complex, finite, in order.

        Args:
            limit: only starts before this index are reported (those after want more samples); default: all.
            cfo_search: look for carrier offsets up to +-``CFO_SEARCH_RANGE``, not only in the range of lag 16.

        Returns:
            Detections with non-negative starts, one a burst.
        """
        samples, energy = self.without_impulses(samples)
        where, correlation = self.candidates(samples, energy=energy)
        return self.confirm(samples, where, correlation, limit=limit, cfo_search=cfo_search)

    def without_impulses(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples ``[n]`` without single loud ones, and their energies, one a period of the short training.

        A single impulse may hold more energy than a whole preamble.
        """
        energy = self._energy(samples)
        blanked = blank_impulses(samples, energy)
        return blanked, energy if blanked is samples else self._energy(blanked)

    def _energy(self, samples: torch.Tensor) -> torch.Tensor:
        period = self.profile.sts_period
        blocks = len(samples) // period
        flat = torch.view_as_real(samples[: blocks * period]).view(blocks, 2 * period)
        return torch.linalg.vecdot(flat, flat)

    def room(self, samples: int) -> int:
        """How many candidates are worth a look: about as many as the shortest bursts could be."""
        return 4 + samples // self.profile.burst_samples(1)

    def candidates(
        self, samples: torch.Tensor, room: int | None = None, energy: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the short training may be: periods and lag-16 correlations ``[c]``, at most ``room`` of them.

        First those that rise highest above what is a short training away: a flat score has none but its ends. Impulses
        must be blanked. ``energy``: as ``without_impulses`` gives it.
        """
        score, correlation = self._metric(samples, self._energy(samples) if energy is None else energy)
        if score is None or score.amax() <= SCORE_THRESHOLD:
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.complex128)
        peaks = F.max_pool1d(score[None, None], 2 * self.nms + 1, stride=1, padding=self.nms)[0, 0]
        where = torch.nonzero((score == peaks) & (score > SCORE_THRESHOLD)).flatten()
        # equals within one window are one plateau
        where = where[torch.diff(where, prepend=where.new_full((1,), -self.nms - 1)) > self.nms]
        sides = F.pad(score, (_APART, _APART))
        rise = score[where] - torch.minimum(sides[where], sides[where + 2 * _APART])
        order = rise.argsort(descending=True, stable=True)[
            : self.room(len(samples)) if room is None else room
        ]
        where = where[order[rise[order] > _LEAST_RISE]]
        return where, correlation[where]

    def confirm(
        self,
        samples: torch.Tensor,
        where: torch.Tensor,
        correlation: torch.Tensor,
        limit: int | None = None,
        cfo_search: bool = False,
    ) -> list[Detection]:
        """Those of the ``candidates`` at which the long training is found, as in ``find``."""
        if not len(where):
            return []
        cfo = torch.angle(correlation).double() / (2 * torch.pi * self.profile.sts_period)
        # lag 16 gives the offset modulo the line spacing of the short training, and near the edge of that range noise
        # may have wrapped the angle: the long training resolves the ambiguity
        wrap = 1.0 / self.profile.sts_period
        if cfo_search or float(cfo.abs().amax()) > (1 - _WRAPPED) * wrap:
            reach = CFO_SEARCH_RANGE / wrap if cfo_search else 0.0
            lines = torch.arange(-int(reach + 1.5), int(reach + 1.5) + 1, device=cfo.device)
            row, line = torch.nonzero(
                (lines == 0) | ((cfo[:, None] / wrap + lines).abs() < max(reach + 0.1, _WRAPPED)),
                as_tuple=True,
            )
            where, cfo = where[row], cfo[row] + wrap * lines[line]
        limit = len(samples) if limit is None else limit
        rows: list[tuple[int, float, float]] = []
        for some in torch.arange(len(where), device=where.device).split(_TOGETHER):
            rows += self._refine(samples, where[some], cfo[some])
        kept: list[Detection] = []
        # the best of those that overlap stays
        for start, offset, value in sorted(rows, key=lambda row: -row[2]):
            clash = any(abs(start - other.start) < self.profile.preamble_samples for other in kept)
            if 0 <= start < limit and not clash:
                kept.append(Detection(start, offset, min(value, 1.0)))
        return sorted(kept, key=lambda detection: detection.start)

    def _metric(self, samples: torch.Tensor, energy: torch.Tensor):
        """The score of every 16th position and the lag-16 correlation there; (None, None) if too short.

        The score is |P|^2 / var(P) for noise of the energies found, exponential with mean 1 on noise of any level,
        also where the level jumps within the window.
        """
        period, window = self.profile.sts_period, self.window
        blocks = len(samples) // period
        if blocks < window + 2:
            return None, None
        tidy = samples[: blocks * period].view(blocks, period)
        # inner products of block b with block b + 1; running sums in double precision: exact enough for 60 dB of level
        # change between bursts
        sums = torch.zeros(3, blocks, dtype=torch.float64, device=samples.device)
        rows = sums[:, 1:]
        rows[:2] = torch.view_as_real(torch.linalg.vecdot(tidy[:-1], tidy[1:])).T
        torch.mul(energy[:-1], energy[1:].double(), out=rows[2])
        rows.copy_(rows.cumsum(-1))
        real, imag, variance = sums[:, window:] - sums[:, :-window]
        floor = 1e-12 * variance.amax() + torch.finfo(torch.float64).tiny
        score = (real * real).addcmul_(imag, imag).div_(variance.clamp_min_(floor)).mul_(period)
        return score.to(energy.dtype), torch.complex(real, imag)

    def _refine(self, samples, where, cfo) -> list[tuple[int, float, float]]:
        """(start, cfo, quality) of the candidates that hold a long training."""
        profile = self.profile
        window = _stretches(samples, where * profile.sts_period, (self.window + 1) * profile.sts_period)
        for lag in _REFINE_LAGS:
            product = torch.linalg.vecdot(window[:, :-lag], window[:, lag:])
            left_over = torch.angle(product * wrapped_phasor(-cfo * lag, product.dtype)).double()
            cfo = cfo + left_over / (2 * torch.pi * lag)

        # the metric window sits three periods inside the short training
        margin = (profile.sts_repeats - self.window) * profile.sts_period // 2
        coarse = where * profile.sts_period - margin
        first = coarse + profile.sts_samples - _SEARCH
        block = _stretches(samples, first, self._template_samples + 2 * _SEARCH)
        block.mul_(_turning(-cfo, block.shape[1], block.dtype))
        spectrum = torch.fft.fft(block, self._size)
        half = self._half_active
        bands = torch.cat([_band_energies(side) for side in (spectrum[:, :half], spectrum[:, -half:])], dim=1)
        # what is narrow in frequency resembles any training, at every delay
        wide = bands.median(-1).values > _FILLED * bands.mean(-1)
        if not wide.any():
            return []
        block, spectrum, first, cfo = _those(wide, block, spectrum, first, cfo)
        power, energy = self._long_training_response(block, spectrum)

        # a burst fills the whole block: silence in it must not be divided by
        quality = power / (energy + 0.01 * energy.amax(-1, keepdim=True) + torch.finfo(power.dtype).tiny)
        # FFT windows that start at n hold the paths n .. n + cp, n = -cp .. 2 * _SEARCH
        cp = profile.cp_samples
        sums = F.pad(F.pad(quality, (cp, cp)).cumsum(-1), (1, 0))
        held = sums[:, cp + 1 :] - sums[:, : -cp - 1]
        hopeful = held.amax(-1) >= QUALITY_THRESHOLD
        if not hopeful.any():
            return []
        quality, held, first, cfo = _those(hopeful, quality, held, first, cfo)
        noise = quality.median(-1, keepdim=True).values / 0.69
        strong = torch.where(
            quality > torch.maximum(6 * noise, 0.01 * quality.amax(-1, keepdim=True)), quality, 0
        )
        score = F.pad(strong, (cp, cp)).unfold(-1, cp + 1, 1) @ self._delay_weights.to(strong)
        best = score.argmax(-1)
        held = held.gather(-1, best[:, None])[:, 0]
        starts = first + best - cp - profile.sts_samples
        return list(zip(starts.tolist(), cfo.tolist(), held.tolist(), strict=True))

    def _long_training_response(self, block: torch.Tensor, spectrum: torch.Tensor):
        """|<template, block shifted by tau>|^2 / |template|^2 and the energy under the template, tau = 0..2*_SEARCH."""
        taus = 2 * _SEARCH + 1
        response = torch.fft.ifft(spectrum * self._spectrum)[:, :taus]
        running = F.pad(power_of(block).double().cumsum(-1), (1, 0))
        energy = running[:, self._template_samples :] - running[:, : -self._template_samples]
        power = power_of(response)
        return power, energy[:, :taus].to(power.dtype)


def _delay_weights(cp: int) -> torch.Tensor:
    """Worth of a path by its delay within the prefix: a little less at the edges, and ties go to early paths."""
    delay = torch.arange(cp + 1)
    edge = torch.minimum(delay, cp - delay).clamp_max(4) / 4
    return (1 - _EARLIEST) + _EARLIEST * edge - _TILT * delay / cp


def _band_energies(side: torch.Tensor) -> torch.Tensor:
    """One side of spectra, ``[c, n]``, to the energies of its bands ``[c, _BANDS / 2]``."""
    flat = torch.view_as_real(side.unflatten(1, (_BANDS // 2, -1))).flatten(2)
    return torch.linalg.vecdot(flat, flat)


def _stretches(samples: torch.Tensor, first: torch.Tensor, count: int) -> torch.Tensor:
    """``[c, count]`` samples from each of ``first`` ``[c]`` on, zeros beyond the ends."""
    rows = []
    for begin in first.tolist():
        row = samples[max(0, begin) : max(0, begin + count)]
        before = min(count, max(0, -begin))
        rows.append(row if len(row) == count else F.pad(row, (before, count - before - len(row))))
    return torch.stack(rows)


def _turning(cfo: torch.Tensor, count: int, dtype: torch.dtype) -> torch.Tensor:
    """exp(2 pi j cfo n) ``[B, count]`` for offsets ``[B]``: an outer product of blocks and what is within one."""
    within = 32
    at = torch.arange(-(-count // within), device=cfo.device) * within
    coarse, fine = (
        wrapped_phasor(cfo[:, None] * n, dtype) for n in (at, torch.arange(within, device=cfo.device))
    )
    return (coarse[:, :, None] * fine[:, None]).flatten(1)[:, :count]


def _those(which: torch.Tensor, *rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The rows that are true; no copies where all are."""
    return rows if bool(which.all()) else tuple(of[which] for of in rows)


def _lasting(x: torch.Tensor) -> torch.Tensor:
    """A copy that is of use outside of inference mode, too."""
    with torch.inference_mode(False):
        return x.clone()


class StreamDetector:
    """Cuts bursts out of an endless stream; feed it buffers of any size.

    A burst is handed out when it cannot grow any more: at the next preamble, or at the longest burst's length.

    Args:
        modem: whose ``detector`` and profile are used.
        chunk_samples: how many new samples are worth a search; smaller is sooner, larger is cheaper.
        patience_s: search after that time all the same, so that a slow stream is not kept waiting; None: never, and
            what is found when depends on nothing but the samples.
        invert_spectrum: take the conjugate of every sample: the transmitter's spectrum comes mirrored, or I and Q are
            swapped.
        cfo_search: find carrier offsets up to +-10 % of the sample rate, not only +-3.1 %.

    Attributes:
        counters: in words. loudest: the loudest samples that came, as they came, at most ``LOUDEST_SAMPLES``: what to
            look at where nothing was found.
    """

    def __init__(
        self,
        modem,
        chunk_samples: int = SEARCH_SAMPLES,
        patience_s: float | None = None,
        invert_spectrum: bool = False,
        cfo_search: bool = False,
    ):
        self._detector: Detector = modem.detector
        self._profile: ModemProfile = modem.profile
        self._dtype = modem.dtype
        self._chunk, self._patience = int(chunk_samples), patience_s
        self._last_search = time.monotonic()
        self._is_fast = False  # the last search was made as there was enough, not out of patience
        self._pieces: list[torch.Tensor] = []
        self._pending = 0
        # FFT windows open a little before the first path: a burst on the stream's first sample needs that little
        self._buffer = torch.zeros(self._profile.cp_samples, dtype=self._dtype)
        self._store = self._buffer  # of which the buffer is the beginning: memory that is used again
        self._origin = -len(self._buffer)  # stream index of the buffer's first sample
        self._searched = 0  # starts before this index of the buffer are decided
        # found but perhaps not complete; starts are indices of the buffer
        self._waiting: list[Detection] = []
        self._last_start = -(2**62)  # of the last detection, stream index
        self._tones = ToneRemover(self._dtype)
        self._invert, self._cfo_search = invert_spectrum, cfo_search
        self.loudest = torch.zeros(0, dtype=self._dtype)
        self._loudest_power = 0.0
        self._refused = 0  # searches that had candidates, but no burst
        self._trust = 1.0  # share of the candidates that are looked at
        self.counters = {"samples searched": 0, "bursts found": 0, "samples that were not numbers": 0}

    def push(self, samples) -> list[DetectedBurst]:
        """Takes samples ``[n]`` (tensor or array, complex) and returns the bursts that are complete by now."""
        piece = torch.as_tensor(samples).to(self._dtype)
        self._pieces.append(piece)
        self._pending += len(piece)
        impatient = self._patience is not None and time.monotonic() - self._last_search > self._patience
        return self._advance(final=False) if self._pending >= self._chunk or impatient else []

    @property
    def is_amid_bursts(self) -> bool:
        """Whether the stream comes fast and a burst has begun that is not complete: more bursts will follow soon."""
        return self._is_fast and bool(self._waiting)

    def flush(self) -> list[DetectedBurst]:
        """The stream has ended: the bursts still held back, the last perhaps cut short."""
        bursts = self._advance(final=True)
        self._buffer, self._searched = self._buffer[:0], 0
        self._tones = ToneRemover(self._dtype)
        return bursts

    @torch.inference_mode()
    def _advance(self, final: bool) -> list[DetectedBurst]:
        held, came = len(self._buffer), self._pending
        self._is_fast = came >= self._chunk and not final
        silence = torch.zeros(self._detector.lookahead if final else 0, dtype=self._dtype)
        self._append([*self._pieces, silence])
        self._pieces, self._pending = [], 0
        self._tidy(self._buffer[held : held + came])
        self._last_search = time.monotonic()
        self._search(len(self._buffer) - self._detector.lookahead)
        bursts = self._take_complete(final)
        keep = min([max(0, self._searched - _OVERLAP), *(detection.start for detection in self._waiting)])
        left = _lasting(self._buffer[keep:])
        if len(self._store) > 2 * (self._chunk + len(left)):
            self._store = left  # one long piece came: its memory is not kept
        else:
            self._store[: len(left)] = left
        self._buffer = self._store[: len(left)]
        self._origin += keep
        self._searched -= keep
        self._waiting = [replace(detection, start=detection.start - keep) for detection in self._waiting]
        return bursts

    def _append(self, pieces: list[torch.Tensor]) -> None:
        """Puts pieces ``[n]`` at the end of the buffer."""
        held = len(self._buffer)
        end = held + sum(len(piece) for piece in pieces)
        if end > len(self._store):
            with torch.inference_mode(False):
                store = torch.empty(max(end, 2 * held), dtype=self._dtype)
            store[:held] = self._buffer
            self._store = store
        torch.cat(pieces, out=self._store[held:end])
        self._buffer = self._store[:end]

    def _search(self, ready: int) -> None:
        """Looks for starts from where the last search ended to ``ready``: every sample is searched once."""
        if ready <= self._searched:
            return
        first = max(0, self._searched - _OVERLAP)
        stretch, energy = self._detector.without_impulses(self._buffer[first:])
        room = max(_LEAST_ROOM, int(self._detector.room(len(stretch)) * self._trust))
        where, correlation = self._detector.candidates(stretch, room, energy)
        confirm = functools.partial(self._detector.confirm, limit=ready - first, cfo_search=self._cfo_search)
        found = confirm(stretch, where, correlation)
        if len(where) and not found:
            self._refused += 1
        if (
            len(where)
            and not found
            and (self._refused <= _MIRROR_EVERY or self._refused % _MIRROR_EVERY == 0)
        ):
            some = slice(_MIRRORED)
            mirrored = confirm(stretch.conj(), where[some], correlation[some].conj())
            self._count(MIRRORED_BURSTS, len(mirrored))
        # where search after search is full of what is no burst, fewer are looked at
        crowded = len(where) == room and not found
        self._trust = max(_LEAST_TRUST, self._trust / 2) if crowded else min(1.0, self._trust * 2)
        for detection in found:
            start = first + detection.start
            if self._origin + start - self._last_start >= self._profile.preamble_samples:
                self._waiting.append(replace(detection, start=start))
                self._last_start = self._origin + start
        self.counters["samples searched"] += ready - self._searched
        self._searched = ready

    @torch.inference_mode(False)  # a burst is of use outside of it, too
    def _take_complete(self, final: bool) -> list[DetectedBurst]:
        bursts = []
        while self._waiting:
            detection, following = self._waiting[0], self._waiting[1:2]
            end = detection.start + self._profile.max_burst_samples
            # a weak detection inside a strong burst is a chance likeness: it must not cut the burst short
            if following and following[0].quality > 0.5 * detection.quality:
                end = min(end, following[0].start)
            elif end > self._searched and not final:
                break
            cut = self._buffer[detection.start : end].clone()
            bursts.append(
                DetectedBurst(cut, self._origin + detection.start, detection.cfo, detection.quality)
            )
            self._waiting.pop(0)
        self.counters["bursts found"] += len(bursts)
        return bursts

    def _count(self, what: str, number: int) -> None:
        if number:
            self.counters[what] = self.counters.get(what, 0) + number

    def _tidy(self, came: torch.Tensor) -> None:
        """What is to be done with every sample before it is searched, in place: ``[n]``."""
        if not len(came):
            return
        power = self._numbers(came)
        if self._invert:
            torch.conj_physical(came, out=came)
        clean = self._tones.clean(came, power)
        if self._tones.frequencies:
            self._count(TONE_SAMPLES, len(came))
        if clean.data_ptr() != came.data_ptr():
            came.copy_(clean)

    def _numbers(self, samples: torch.Tensor) -> float:
        """A NaN or an infinity would spread through every sum: zeroes those samples and counts them.

        The loudest stretch is kept. Returns the mean power.
        """
        power = mean_power(samples)
        if not math.isfinite(power):
            bad = ~torch.isfinite(torch.view_as_real(samples)).all(-1)
            self.counters["samples that were not numbers"] += int(bad.sum())
            samples[bad] = 0
            power = mean_power(samples)
        if len(samples) <= LOUDEST_SAMPLES:
            pieces = [(power, samples)]
        else:
            pieces = [(mean_power(piece), piece) for piece in samples.split(LOUDEST_SAMPLES)]
        for level, piece in pieces:
            if level > _LOUDER * self._loudest_power and 2 * len(piece) >= len(self.loudest):
                self._loudest_power, self.loudest = level, _lasting(piece)
        return power
