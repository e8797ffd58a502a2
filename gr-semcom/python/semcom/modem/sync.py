# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding bursts in a stream: when they start and how far off the carrier is.

1. The short training repeats every 16 samples: the correlation of the stream with itself 16 samples later, summed over
   1,024 products, stands out at -5 dB: its squared magnitude is then 59 times its variance on noise. Evaluated once a
   period. The offset range is +-1/32 of the sample rate.
2. Longer lags sharpen the carrier offset.
3. The long training, correlated coherently, gives the timing and confirms the burst: interference that merely
   repeats (a carrier, DC) is rejected here.
"""

import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from semcom.modem.impulses import blank_impulses
from semcom.modem.profile import ModemProfile

SCORE_THRESHOLD = 20.0  # noise exceeds it with probability exp(-20) = 2e-9
QUALITY_THRESHOLD = 0.18
_SEARCH = 320  # samples around the coarse start in which the long training is looked for
_OVERLAP = 64  # samples searched twice: a start estimated a little differently must not fall between searches
_REFINE_LAGS = (128, 512)
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
        self._template = preamble[profile.sts_samples :]
        # the metric window: all the short training but two periods at each end
        self.window = profile.sts_repeats - 6
        self.nms = self.window  # periods within which one burst is reported
        #: samples needed after a burst's start before it can be reported
        self.lookahead = profile.preamble_samples + _SEARCH + (self.nms + 2) * profile.sts_period

    def find(self, samples: torch.Tensor, limit: int | None = None) -> list[Detection]:
        """All bursts in ``samples`` ``[n]`` complex, in order.

        Args:
            limit: only starts before this index are reported (those after want more samples); default: all.

        Returns:
            Detections with non-negative starts, one a burst.
        """
        samples = blank_impulses(samples)  # a single one may hold more energy than a whole preamble
        score, correlation = self._metric(samples)
        if score is None:
            return []
        peaks = F.max_pool1d(score[None, None], 2 * self.nms + 1, stride=1, padding=self.nms)[0, 0]
        where = torch.nonzero((score == peaks) & (score > SCORE_THRESHOLD)).flatten()
        if not len(where):
            return []
        cfo = torch.angle(correlation[where]).double() / (2 * torch.pi * self.profile.sts_period)
        # near the edge of the range noise may have wrapped the angle: the long training tells which it is
        wrap = 1.0 / self.profile.sts_period
        doubtful = cfo.abs() > 0.4 * wrap
        where = torch.cat([where, where[doubtful]])
        cfo = torch.cat([cfo, cfo[doubtful] - wrap * cfo[doubtful].sign()])
        return self._refine(samples, where, cfo, len(samples) if limit is None else limit)

    def _metric(self, samples: torch.Tensor):
        """The score of every 16th position and the lag-16 correlation there; (None, None) if too short.

        The score is |P|^2 / var(P) for noise of the energies found, exponential with mean 1 on noise of any level,
        also where the level jumps within the window.
        """
        period, window = self.profile.sts_period, self.window
        blocks = len(samples) // period
        if blocks < window + 2:
            return None, None
        tidy = samples[: blocks * period].view(blocks, 1, period)
        # batched inner products: block b with block b + 1, and each block's energy
        lag = torch.matmul(tidy[1:], tidy[:-1].conj().transpose(1, 2)).view(-1)
        flat = torch.view_as_real(tidy).view(blocks, 1, 2 * period)
        energy = torch.matmul(flat, flat.transpose(1, 2)).view(-1).double()
        rows = torch.stack([lag.real.double(), lag.imag.double(), energy[:-1] * energy[1:]])
        # running sums in double precision: exact enough for 60 dB of level change between bursts
        sums = F.pad(rows.cumsum(-1), (1, 0))
        real, imag, variance = sums[:, window:] - sums[:, :-window]
        floor = 1e-12 * variance.amax() + torch.finfo(torch.float64).tiny
        score = period * (real.square() + imag.square()) / variance.clamp_min(floor)
        return score.to(lag.real.dtype), torch.complex(real, imag)

    def _refine(self, samples, where, cfo, limit) -> list[Detection]:
        profile = self.profile
        span = (self.window + 1) * profile.sts_period
        index = (where * profile.sts_period)[:, None] + torch.arange(span, device=where.device)
        window = torch.nan_to_num(samples[index.clamp_max(len(samples) - 1)])
        for lag in _REFINE_LAGS:
            product = (window[:, lag:] * window[:, :-lag].conj()).sum(-1)
            left_over = torch.angle(
                product * torch.polar(torch.ones_like(cfo), -2 * torch.pi * cfo * lag).to(product.dtype)
            ).double()
            cfo = cfo + left_over / (2 * torch.pi * lag)

        # the metric window sits three periods inside the short training
        margin = (profile.sts_repeats - self.window) * profile.sts_period // 2
        coarse = where * profile.sts_period - margin
        size = len(self._template)
        first = coarse + profile.sts_samples - _SEARCH
        index = first[:, None] + torch.arange(size + 2 * _SEARCH, device=where.device)
        inside = (index >= 0) & (index < len(samples))
        block = torch.nan_to_num(samples[index.clamp(0, len(samples) - 1)]) * inside
        turns = torch.frac(-cfo[:, None] * torch.arange(index.shape[1], device=cfo.device))
        block = block * torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(block.dtype)
        power, energy = self._long_training_response(block)

        # a burst fills the whole block: silence in it must not be divided by
        quality = power / (energy + 0.01 * energy.amax(-1, keepdim=True) + torch.finfo(power.dtype).tiny)
        noise = quality.median(-1, keepdim=True).values / 0.69
        strong = torch.where(
            quality > torch.maximum(6 * noise, 0.01 * quality.amax(-1, keepdim=True)), quality, 0
        )
        # FFT windows that start at n hold the paths n .. n + cp, n = -cp .. 2 * _SEARCH
        cp = profile.cp_samples
        score = F.pad(strong, (cp, cp)).unfold(-1, cp + 1, 1) @ self._delay_weights(strong)
        best = score.argmax(-1)
        held = (F.pad(quality, (cp, cp)).unfold(-1, cp + 1, 1)[torch.arange(len(best)), best]).sum(-1)
        starts = first + best - cp - profile.sts_samples
        rows = sorted(zip(starts.tolist(), cfo.tolist(), held.tolist(), strict=True), key=lambda row: -row[2])
        kept: list[Detection] = []
        for start, offset, value in rows:  # a handful: the best of those that overlap stays
            clash = any(abs(start - other.start) < profile.preamble_samples for other in kept)
            if value >= QUALITY_THRESHOLD and 0 <= start < limit and not clash:
                kept.append(Detection(start, offset, min(value, 1.0)))
        return sorted(kept, key=lambda detection: detection.start)

    def _delay_weights(self, like: torch.Tensor) -> torch.Tensor:
        """Worth of a path by its delay within the prefix: a little less at the edges, and ties go to early paths."""
        cp = self.profile.cp_samples
        delay = torch.arange(cp + 1, dtype=like.dtype, device=like.device)
        edge = torch.minimum(delay, cp - delay).clamp_max(4) / 4
        return (1 - _EARLIEST) + _EARLIEST * edge - _TILT * delay / cp

    def _long_training_response(self, block: torch.Tensor):
        """|<template, block shifted by tau>|^2 / |template|^2 and the energy under the template, tau = 0..2*_SEARCH."""
        size = 1 << (block.shape[1] - 1).bit_length()
        spectrum = torch.fft.fft(block, size) * torch.fft.fft(self._template, size).conj()
        taus = 2 * _SEARCH + 1
        power = torch.fft.ifft(spectrum)[:, :taus].abs().square() / self._template.abs().square().sum()
        running = F.pad(block.abs().square().double().cumsum(-1), (1, 0))
        energy = running[:, len(self._template) :] - running[:, : -len(self._template)]
        return power, energy[:, :taus].to(power.dtype)


class StreamDetector:
    """Cuts bursts out of an endless stream; feed it buffers of any size.

    A burst is handed out when it cannot grow any more: at the next preamble, or at the longest burst's length.

    Args:
        modem: whose ``detector`` and profile are used.
        chunk_samples: how many new samples are worth a search; smaller is sooner, larger is cheaper.
        patience_s: search after that time all the same, so that a slow stream is not kept waiting; None: never, and
            what is found when depends on nothing but the samples.
    """

    def __init__(self, modem, chunk_samples: int = 131072, patience_s: float | None = None):
        self._detector: Detector = modem.detector
        self._profile: ModemProfile = modem.profile
        self._dtype = modem.dtype
        self._chunk, self._patience = int(chunk_samples), patience_s
        self._last_search = time.monotonic()
        self._pieces: list[torch.Tensor] = []
        self._pending = 0
        # FFT windows open a little before the first path: a burst on the stream's first sample needs that little
        self._buffer = torch.zeros(self._profile.cp_samples, dtype=self._dtype)
        self._origin = -len(self._buffer)  # stream index of the buffer's first sample
        self._searched = 0  # starts before this index of the buffer are decided
        self._waiting: list[
            Detection
        ] = []  # found but perhaps not complete; starts are indices of the buffer
        self._last_start = -(2**62)  # of the last detection, stream index
        self.counters = {"samples searched": 0, "bursts found": 0, "samples that were not numbers": 0}

    def push(self, samples) -> list[DetectedBurst]:
        """Takes samples ``[n]`` (tensor or array, complex) and returns the bursts that are complete by now."""
        piece = torch.as_tensor(samples).to(self._dtype)
        self._pieces.append(piece)
        self._pending += len(piece)
        impatient = self._patience is not None and time.monotonic() - self._last_search > self._patience
        return self._advance(final=False) if self._pending >= self._chunk or impatient else []

    def flush(self) -> list[DetectedBurst]:
        """The stream has ended: the bursts still held back, the last perhaps cut short."""
        self._pieces.append(torch.zeros(self._detector.lookahead, dtype=self._dtype))
        bursts = self._advance(final=True)
        self._buffer, self._searched = self._buffer[:0], 0
        return bursts

    def _advance(self, final: bool) -> list[DetectedBurst]:
        self._buffer = torch.cat([self._buffer, self._clean(torch.cat(self._pieces))])
        self._pieces, self._pending = [], 0
        self._last_search = time.monotonic()
        self._search(len(self._buffer) - self._detector.lookahead)
        bursts = self._take_complete(final)
        keep = min([max(0, self._searched - _OVERLAP), *(detection.start for detection in self._waiting)])
        self._buffer = self._buffer[keep:].clone()
        self._origin += keep
        self._searched -= keep
        self._waiting = [replace(detection, start=detection.start - keep) for detection in self._waiting]
        return bursts

    def _search(self, ready: int) -> None:
        """Looks for starts from where the last search ended to ``ready``: every sample is searched once."""
        if ready <= self._searched:
            return
        first = max(0, self._searched - _OVERLAP)
        for detection in self._detector.find(self._buffer[first:], limit=ready - first):
            start = first + detection.start
            if self._origin + start - self._last_start >= self._profile.preamble_samples:
                self._waiting.append(replace(detection, start=start))
                self._last_start = self._origin + start
        self.counters["samples searched"] += ready - self._searched
        self._searched = ready

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

    def _clean(self, samples: torch.Tensor) -> torch.Tensor:
        """A NaN or an infinity would spread through every sum: zero those samples and count them."""
        if torch.isfinite(torch.view_as_real(samples).sum()):
            return samples
        bad = ~torch.isfinite(torch.view_as_real(samples)).all(-1)
        self.counters["samples that were not numbers"] += int(bad.sum())
        return torch.where(bad, torch.zeros((), dtype=self._dtype), samples)
