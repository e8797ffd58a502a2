# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged bursts: samples lost or inserted, impulses, gain steps, part-burst interference, clocks, moving channels.

``Equalizer`` flags the bursts that do not fit its model of a static channel; only those are tracked, since it costs many
times as much. In turn:

1. impulses are blanked (``blank_impulses``);
2. the clock offset is estimated from the header, and each symbol is demodulated at its own time and rate;
3. pilots are correlated with the samples around, and the burst is cut into segments of one delay and one gain each,
   by dynamic programming over the likelihood of all segments (a change point search, Auger and Lawrence 1989);
4. the channel is fitted, as static up to a gain per segment, or as time-varying with a Doppler spread
   (linear MMSE over taps and time, Jakes' correlation), whichever explains the pilots best (evidence);
5. noise is measured symbol by symbol and in the neighbourhood of each carrier; symbols without a trace of their pilots
   are erased.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F

from semcom.cached import cached_tensors
from semcom.modem import ofdm
from semcom.modem.equalize import (
    Equalized,
    Equalizer,
    peak_frequency,
    phasor,
    scatter_rows,
)
from semcom.modem.impulses import blank_impulses
from semcom.modem.tensors import power_of

MAX_SLIP_SAMPLES = 1024  # lost or inserted, taken together; more is erased
_LAG_ROWS = 3  # symbols whose pilots are added in the search for lags
_LAGS_KEPT = 24
_SILENT = 1e-4  # power of a symbol over that of the others: zeros that stand for what was lost
_MAX_SEGMENTS = 6
_SEGMENT_COST = 20.0  # in nepers of likelihood: noise reaches 12 among all lags and places
_HEADER_COHERENCE = 0.6  # 200 ppm leave 0.77 of the last header symbol
_FINE_LIMIT = 1e-4  # cycles per sample
_CLOCK_PRIOR = 150e-6
_DOPPLERS = (1e-5, 3e-5, 2.5e-4, 5e-4)  # cycles per sample, beside the one of the first fit
_FIRST_DOPPLER = 1e-4
_MOVING_COST = 10.0  # nepers of evidence that a channel that moves must have over a static one
_EXCESS_DOUBT = 1.4  # noise of most symbols over that of the long training
_TAP_SEEN = 0.3  # power of a tap over that of its noise
_MOST_TAPS = 24  # of a channel that moves fast
_LEAST_NOISE = 1e-6  # of the power
_FADED_SHARE = 0.02  # of the power: prior of each tap of a channel that moves
_ROW_TROUBLE = 1.7  # noise of a symbol over that of the burst from which on its own estimate is used
_OUTLIER = 12.0  # power of a single pilot's error over its noise
_PATCH_TROUBLE = 2.5  # the same of a neighbourhood of carriers
_PATCH_ROWS, _PATCH_CARRIERS = 3, 6  # on either side
_ERASED_BELOW = 6.0  # squared pilot sum over its variance: noise alone reaches it once in 400 symbols


@dataclass(frozen=True)
class Tracked:
    """An ``Equalized`` burst and what was found on the way.

    slips: ``[B, header_symbols + S]`` samples inserted (lost: negative) before each symbol, 0 where there are none.
    erased: ``[B, S]`` bool, payload symbols erased.
    """

    equalized: Equalized
    slips: torch.Tensor
    erased: torch.Tensor


@dataclass(frozen=True)
class _Rows:
    """Rows of a burst on its carriers, ``[B, ...]``: long training, header, payload; where payload is known."""

    training: torch.Tensor
    header: torch.Tensor
    payload: torch.Tensor


@dataclass(frozen=True)
class _Fit:
    """A channel for each row ``[B, R, active]`` (with gains, phases and drifts), and how well it explains the pilots.

    noise: ``[B]`` of the burst. row_noise: ``[B, R]`` that of the rows relative to it. noisy: ``[B, R]`` rows to be
    looked at one by one. evidence: ``[B]`` in nepers. dof: ``[B]`` parameters fitted. excess: ``[B]`` noise found over
    that of the long training. prior: ``[B, taps]`` power of the taps. frequency, clock: ``[B]`` offsets found on the
    way.
    """

    channel: torch.Tensor
    noise: torch.Tensor
    row_noise: torch.Tensor
    noisy: torch.Tensor
    evidence: torch.Tensor
    dof: torch.Tensor
    excess: torch.Tensor
    prior: torch.Tensor
    frequency: torch.Tensor
    clock: torch.Tensor


# a dataclass of tensors, one burst a row
_Bursts = TypeVar("_Bursts", _Rows, _Fit)


class Tracker:
    """What ``Equalizer`` is to good bursts, for the others; one burst layout."""

    def __init__(self, equalizer: Equalizer):
        self.equalizer, self.layout, self.profile = equalizer, equalizer.layout, equalizer.profile
        layout, p = self.layout, self.profile
        self._rows = p.header_symbols + layout.payload_symbols
        basis = equalizer.basis
        comb = basis[layout.pilot_carriers[p.header_symbols :]]  # [S, pilots, taps]
        whole = basis.conj().T @ basis
        grams = torch.cat(
            [whole.expand(p.lts_repeats + p.header_symbols, -1, -1), comb.conj().transpose(1, 2) @ comb]
        )
        self._grams, self._comb_basis = grams, comb
        self._sizes = torch.tensor(
            [p.active_carriers] * (p.lts_repeats + p.header_symbols)
            + [p.pilots_per_symbol] * layout.payload_symbols
        ).to(layout.row_times)
        self._moving = cached_tensors()(self._make_moving)

    # -- the way through ------------------------------------------------------------------------------

    def track(self, samples: torch.Tensor, cfo: torch.Tensor, header_known: torch.Tensor) -> Tracked:
        """Tracks and equalises bursts.

        Args:
            samples: ``[B, n]`` from the first preamble sample on, zeros where nothing is known; longer than the burst
                where samples may have been inserted.
            cfo: ``[B]`` carrier offset, cycles per sample, double precision.
            header_known: ``[B, header_symbols, active]`` what was sent there.
        """
        samples = blank_impulses(samples)
        none = torch.zeros(len(samples), self._rows, dtype=torch.int64, device=samples.device)
        clock = torch.zeros_like(cfo).to(self.layout.row_times)
        rows = self._cut(samples, cfo, none, clock)
        _, frequency = self.equalizer.soft_header(rows.training, rows.header)
        cfo = cfo + frequency.double()
        rows = self._cut(samples, cfo, none, clock)
        for _ in range(2):
            clock = clock + self._header_clock(rows, header_known)
            rows = self._cut(samples, cfo, none, clock)
        noise = self._training_noise(rows.training)
        fine = self._fine_frequency(rows, header_known, noise)
        frequency, cfo = frequency + fine, cfo + fine.double()
        rows = self._cut(samples, cfo, none, clock)
        slips, segments, gains = self._segments(samples, cfo, clock, rows, header_known, noise)
        retimed = self._cut(samples, cfo, slips, clock) if bool((slips != 0).any()) else rows
        best = self._still(retimed, header_known, segments, gains)
        best = replace(best, clock=best.clock + clock)
        doubt = torch.nonzero(self._doubtful(best)).flatten()
        if len(doubt):
            plain = self._cut(samples[doubt], cfo[doubt], none[doubt], torch.zeros_like(clock[doubt]))
            ways = [
                (plain, none[doubt], torch.zeros_like(clock[doubt])),
                (_take(rows, doubt), none[doubt], clock[doubt]),
                (_take(retimed, doubt), slips[doubt], clock[doubt]),
            ]
            moved, way, took, drift = self._moving_channel(ways, header_known[doubt])
            better = moved.evidence - _MOVING_COST > best.evidence[doubt]
            moved = replace(moved, clock=drift)
            at = doubt[better]
            best = _put(best, at, moved, better)
            retimed = _put(retimed, at, way, better)
            slips = slips.index_put((at,), took[better])
        equalized, erased = self._finish(retimed, header_known, best)
        equalized = replace(equalized, frequency=frequency + best.frequency)
        return Tracked(equalized, torch.diff(slips, dim=1, prepend=torch.zeros_like(slips[:, :1])), erased)

    def mend_header(
        self, samples: torch.Tensor, cfo: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Training and header of bursts whose header could not be read, without impulses and with slips undone.

        Args:
            samples, cfo: as in ``track``, up to the end of the layout.

        Returns:
            As ``Equalizer.soft_header`` takes them, and ``[B]``: whether anything was changed at all.
        """
        blanked = blank_impulses(samples)
        none = torch.zeros(len(samples), self._rows, dtype=torch.int64, device=samples.device)
        clock = torch.zeros(len(samples), dtype=self._sizes.dtype, device=samples.device)
        rows = self._cut(blanked, cfo, none, clock)
        pilots = self._pilots_alone(len(samples))[:, : self.profile.header_symbols]
        noise = self._training_noise(rows.training)
        slips, _, _ = self._segments(blanked, cfo, clock, rows, pilots, noise)
        rows = self._cut(blanked, cfo, slips, clock)
        return rows.training, rows.header, (slips != 0).any(1) | (blanked != samples).any(1)

    def _pilots_alone(self, count: int) -> torch.Tensor:
        """Header and payload symbols ``[count, rows, active]`` of which only the pilots are known."""
        layout = self.layout
        grid = layout.pilots.new_zeros(self._rows, self.profile.active_carriers)
        return grid.scatter(1, layout.pilot_carriers, layout.pilots).expand(count, -1, -1)

    def _moving_channel(
        self, ways: list[tuple[_Rows, torch.Tensor, torch.Tensor]], header_known: torch.Tensor
    ) -> tuple[_Fit, _Rows, torch.Tensor, torch.Tensor]:
        """The best model of a channel that moves.

        Args:
            ways: (rows, slips, clock offset) by which the burst may have been cut.

        Returns:
            The fit, and rows, slips and clock offset of the way that it belongs to.
        """
        rows, slips, clock = ways[0]
        best = self._moved(rows, header_known, _FIRST_DOPPLER)
        every = torch.arange(len(header_known), device=header_known.device)
        for these, lags, drift in ways[1:]:
            if not bool((lags != slips).any() or (drift != clock).any()):
                continue
            fit = self._moved(these, header_known, _FIRST_DOPPLER)
            better = fit.evidence > best.evidence
            at = every[better]
            best, rows = _put(best, at, fit, better), _put(rows, at, these, better)
            slips, clock = slips.index_put((at,), lags[better]), clock.index_put((at,), drift[better])
        prior, noise = best.prior, best.noise
        # taps without power in the first fit are left out: the cost grows with the third power of their number
        count = int((prior > _TAP_SEEN * (noise / self._sizes.sum())[:, None]).sum(1).max().clamp(4))
        taps = prior.topk(min(count, _MOST_TAPS, prior.shape[1]), dim=1).indices
        for doppler in _DOPPLERS:
            fit = self._moved(rows, header_known, doppler, taps, prior)
            better = fit.evidence > best.evidence
            best = _put(best, every[better], fit, better)
        return best, rows, slips, clock

    def _doubtful(self, fit: _Fit) -> torch.Tensor:
        """Bursts ``[B]`` of which more symbols are noisy than single events would explain."""
        first = self.profile.lts_repeats
        return (fit.noisy[:, first:].float().mean(1) > 0.12) | (fit.excess > _EXCESS_DOUBT)

    # -- samples to rows ------------------------------------------------------------------------------

    def _drift(self, clock: torch.Tensor) -> torch.Tensor:
        """Whole samples by which a clock offset has moved header and payload symbols ``[B, rows]``."""
        return (-clock.detach()[:, None] * self._times()[self.profile.lts_repeats :]).round().long()

    def _times(self) -> torch.Tensor:
        """Centres of the rows from the middle of the long training, in samples ``[lts_repeats + rows]``."""
        times = self.layout.row_times
        return times - times[: self.profile.lts_repeats].mean()

    def _cut(self, samples, cfo, slips, clock) -> _Rows:
        """Rows on their carriers, header and payload each ``slips`` ``[B, rows]`` samples later than sent, with the
        offsets of carrier and clock taken out."""
        p = self.profile
        origin = p.sts_samples + p.lts_cp_samples
        starts = torch.cat(
            [
                p.fft_size * torch.arange(p.lts_repeats),
                p.lts_repeats * p.fft_size + p.cp_samples + p.symbol_samples * torch.arange(self._rows),
            ]
        ).to(samples.device)
        inside = torch.arange(p.fft_size, device=samples.device)
        drift = F.pad(self._drift(clock), (p.lts_repeats, 0))
        # a slip happens in the computer: what was lost took its time, too, and the carrier turned on
        time = (starts + drift)[..., None] + inside
        index = origin + time + F.pad(slips, (p.lts_repeats, 0))[..., None]
        known = (index >= 0) & (index < samples.shape[1])
        flat = index.clamp(0, samples.shape[1] - 1).flatten(1)
        cut = samples.gather(1, flat).unflatten(1, index.shape[1:]) * known
        turns = torch.frac(-cfo[:, None, None] * time)
        cut = cut * phasor(turns).to(samples.dtype)
        grid = ofdm.demodulate(cut.flatten(1), p.active_carriers, p.fft_size, 0)
        if bool((clock != 0).any()):
            grid = grid - clock[:, None, None] * self._stretch(cut)
            grid = grid * self.equalizer.ramp(-(clock[:, None] * self._times() + drift) / p.fft_size)
        first, second = p.lts_repeats, p.lts_repeats + p.header_symbols
        return _Rows(grid[:, :first], grid[:, first:second], grid[:, second:])

    def _stretch(self, cut: torch.Tensor) -> torch.Tensor:
        """Carriers of n y'(n), n from the middle of the symbol: what a clock that is off adds to each symbol."""
        size = self.profile.fft_size
        spectrum = torch.fft.fft(cut, norm="ortho")
        number = torch.fft.fftfreq(size, 1 / size, device=cut.device).to(self.layout.row_times)
        slope = torch.fft.ifft(spectrum * (2j * math.pi / size * number), norm="ortho")
        middle = torch.arange(size, device=cut.device).to(self.layout.row_times) - size / 2
        return ofdm.demodulate((slope * middle).flatten(1), self.profile.active_carriers, size, 0)

    def _header_clock(self, rows: _Rows, header_known: torch.Tensor) -> torch.Tensor:
        """Clock offset ``[B]`` by which header symbols lag behind the long training more and more."""
        noise = self._training_noise(rows.training)
        channel = self._training_channel(rows.training, noise)
        dots = rows.header * (header_known * channel[:, None]).conj()
        sums = dots.sum(-1, keepdim=True)
        dots = dots * sums.conj() / sums.abs().clamp_min(torch.finfo(noise.dtype).tiny)
        # symbols that lost their timing carry no information: weigh by how much of the power is coherent
        expected = power_of(channel).sum(-1)[:, None]
        weight = (sums[..., 0].abs() / (expected + torch.finfo(noise.dtype).tiny)).clamp_max(1).detach()
        weight = weight * (weight > _HEADER_COHERENCE)
        k, times = (
            self.layout.carrier_numbers,
            self._times()[self.profile.lts_repeats :][: rows.header.shape[1]],
        )
        per_clock = 2 * math.pi / self.profile.fft_size
        inertia = (power_of(channel) * k.square()).sum(-1)
        ridge = noise / (2 * (per_clock * _CLOCK_PRIOR) ** 2)
        tilt = (dots.imag * k).sum(-1) * weight
        slope = (tilt * times).sum(-1) / ((inertia[:, None] * weight * times.square()).sum(-1) + ridge)
        return slope / per_clock

    def _training_noise(self, training: torch.Tensor) -> torch.Tensor:
        """Noise power ``[B]``, never nothing."""
        floor = _LEAST_NOISE * power_of(training).mean((1, 2)) + torch.finfo(self._sizes.dtype).tiny
        return self.equalizer.training_noise(training) + floor

    def _training_channel(self, training: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        equalizer = self.equalizer
        return equalizer.channel((training * equalizer.lts.conj()).sum(1), equalizer.fit_training, noise)[0]

    # -- segments of one delay and one gain -----------------------------------------------------------

    @torch.no_grad()
    def _segments(self, samples, cfo, clock, rows, header_known, noise):
        """Slips ``[B, rows]`` in samples (whole shift of each header and payload symbol), number of the segment of each
        row ``[B, lts_repeats + rows]``, and gain of each row ``[B, lts_repeats + rows]``, complex."""
        p = self.profile
        head, repeats = p.header_symbols, p.lts_repeats
        channel = self._training_channel(rows.training, noise)
        comb = self._pilots_alone(len(samples))[:, head:]
        reference = torch.cat([header_known, comb], dim=1) * channel[:, None]
        times = self._times()[repeats:]
        drift = self._drift(clock)
        reference = reference * self.equalizer.ramp((clock[:, None] * times + drift) / p.fft_size)

        # correlations at all lags: the pilots' waveform against the samples around each symbol
        span = p.fft_size + 2 * MAX_SLIP_SAMPLES
        origin = p.preamble_samples + p.cp_samples
        starts = origin + p.symbol_samples * torch.arange(self._rows, device=samples.device) + drift
        index = starts[..., None] - MAX_SLIP_SAMPLES + torch.arange(span, device=samples.device)
        known = (index >= 0) & (index < samples.shape[1])
        flat = index.clamp(0, samples.shape[1] - 1).flatten(1)
        around = samples.gather(1, flat).unflatten(1, index.shape[1:]) * known
        time = index - (p.sts_samples + p.lts_cp_samples)
        around = around * phasor(torch.frac(-cfo[:, None, None] * time)).to(samples.dtype)
        wave = ofdm.modulate(reference[:, :, None], p.fft_size, 0)
        spectrum = torch.fft.fft(around, span) * torch.fft.fft(wave, span).conj()
        found = torch.fft.ifft(spectrum)[..., : 2 * MAX_SLIP_SAMPLES + 1]

        level = power_of(around[..., MAX_SLIP_SAMPLES : MAX_SLIP_SAMPLES + p.fft_size]).mean(-1)
        # zeros that stand for lost samples are no evidence of a lag
        present = (level > _SILENT * level.mean(1, keepdim=True)).to(level)
        level = level + torch.finfo(level.dtype).tiny
        energy = present * power_of(reference).sum(-1) / level
        found = found * (present / level)[..., None]

        # a few lags that stand out over a few symbols
        sums = F.pad(found.cumsum(1), (0, 0, 1, 0))
        energies = F.pad(energy.cumsum(1), (1, 0))
        width = min(_LAG_ROWS, self._rows)
        tiny = torch.finfo(energies.dtype).tiny
        runs = (energies[:, width:] - energies[:, :-width]).clamp_min(tiny)[..., None]
        runs = power_of(sums[:, width:] - sums[:, :-width]) / runs
        # and no lag
        kept = F.pad(runs.amax(1).topk(_LAGS_KEPT, dim=-1).indices, (1, 0), value=MAX_SLIP_SAMPLES)
        sums = sums.gather(2, kept[:, None].expand(-1, self._rows + 1, -1))

        # all segments a..b, then the best way to cut the burst into so many
        pieces = sums[:, None] - sums[:, :, None]
        mass = energies[:, None] - energies[:, :, None]
        gain = power_of(pieces) / mass.clamp_min(tiny)[..., None]
        order = torch.arange(self._rows + 1, device=samples.device)
        upward = order[None] > order[:, None]
        score, which = gain.max(-1)
        score = torch.where(upward, score, -torch.inf)
        values, backs = [torch.where(upward[0], gain[:, 0, :, 0], -torch.inf)], []
        for _ in range(_MAX_SEGMENTS - 1):
            total = values[-1][:, :, None] + score - _SEGMENT_COST
            value, back = total.max(1)
            values.append(value)
            backs.append(back)
        number = torch.stack([value[:, -1] for value in values], 1).argmax(1)

        batch = torch.arange(len(samples), device=samples.device)
        end, cuts = torch.full_like(number, self._rows), []
        for turn in range(_MAX_SEGMENTS - 1, -1, -1):
            active = number >= turn
            start = backs[turn - 1][batch, end] if turn else torch.zeros_like(end)
            cuts.append((turn, active, start, end))
            end = torch.where(active, start, end)
        lag = torch.zeros(len(samples), self._rows, dtype=torch.int64, device=samples.device)
        segment, gains, last = (
            torch.zeros_like(lag),
            torch.ones_like(lag, dtype=samples.dtype),
            torch.zeros_like(end),
        )
        for turn, active, start, end in reversed(cuts):
            pick = which[batch, start, end] if turn else torch.zeros_like(end)
            value = pieces[batch, start, end, pick] / mass[batch, start, end].clamp_min(tiny)
            # where pilots are too weak there is no lag to be estimated
            clear = active & (score[batch, start, end] > _SEGMENT_COST)
            last = torch.where(clear, kept[batch, pick] - MAX_SLIP_SAMPLES, last)
            here = active[:, None] & (order[:-1] >= start[:, None]) & (order[:-1] < end[:, None])
            lag = torch.where(here, last[:, None], lag)
            segment = torch.where(here, turn, segment)
            gains = torch.where(here, value[:, None], gains)
        segment = torch.cat([segment.new_zeros(len(segment), repeats), segment], 1)
        # the first segment is that of the training, whose gain is part of the channel
        gains = torch.cat(
            [gains.new_ones(len(gains), repeats), torch.where(segment[:, repeats:] == 0, 1, gains)], 1
        )
        return lag, segment, gains

    # -- channels -------------------------------------------------------------------------------------

    def _known(self, rows: _Rows, header_known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Matched known symbols: full rows ``[B, F, active]`` and the comb's ``[B, S, pilots]``, times known*."""
        layout, head = self.layout, self.profile.header_symbols
        full = torch.cat(
            [rows.training * self.equalizer.lts.conj(), rows.header * header_known.conj()], dim=1
        )
        return full, layout.take_pilots(rows.payload, head) * layout.pilots[head:].conj()

    def _dots(self, full, comb, channel, noise):
        """Matched symbols times conj(channel), ``[B, F, active]`` and ``[B, S, pilots]``, and how much of a row follows
        the channel, squared: ``[B, R]``, 0..1."""
        tiny = torch.finfo(noise.dtype).tiny
        wide = channel[:, None].expand(-1, full.shape[1] + comb.shape[1], -1)
        comb_channel = self._comb(wide)
        # a carrier that came up in the band must not turn the symbol that it hits
        limit = 1.5 * comb_channel.abs() + 3 * noise.sqrt()[:, None, None]
        limited = comb * (limit / comb.abs().clamp_min(tiny)).clamp_max(1).detach()
        full, comb = full * channel.conj()[:, None], limited * comb_channel.conj()
        mass = (
            torch.cat([power_of(wide[:, : full.shape[1]]).sum(-1), power_of(comb_channel).sum(-1)], 1) + tiny
        )
        sums = torch.cat([full.sum(-1), comb.sum(-1)], 1)
        return full, comb, (sums.abs() / mass).clamp_max(1).square().detach()

    def _fine_frequency(self, rows: _Rows, header_known, noise) -> torch.Tensor:
        """Carrier offset ``[B]`` that the rows where they were sent still show, cycles per sample."""
        channel = self._training_channel(rows.training, noise)
        full, comb, coherence = self._dots(*self._known(rows, header_known), channel, noise)
        return peak_frequency(
            torch.cat([full.sum(-1), comb.sum(-1)], 1) * coherence, self._times(), _FINE_LIMIT
        )

    def _taps_of(self, full: torch.Tensor, comb: torch.Tensor) -> torch.Tensor:
        """Matched filter of each row onto the taps, ``[B, R, taps]``: basis^H times matched symbols."""
        return torch.cat(
            [full @ self.equalizer.basis.conj(), torch.einsum("bsp,spl->bsl", comb, self._comb_basis.conj())],
            1,
        )

    def _comb(self, channel: torch.Tensor) -> torch.Tensor:
        """A channel of each row ``[B, R, active]`` at the payload's pilots."""
        first = self.profile.lts_repeats + self.profile.header_symbols
        return self.layout.take_pilots(channel[:, first:], self.profile.header_symbols)

    def _solve(self, matched, weight, basis, prior, noise, kept=None):
        """Linear MMSE of taps times functions of time.

        Args:
            matched: ``[B, R, taps]``. weight: ``[B, R]``. basis: ``[R, K]`` functions of time.
            prior: ``[B, taps]`` power of the taps. noise: ``[B]``. kept: ``[B, T]`` numbers of the taps fitted, the
                others are 0; None: all.

        Returns:
            Taps of each row ``[B, R, taps]``, parameters ``[B]``, and two parts of the evidence ``[B]``: the energy that
            the fit explains, and the logarithm of the determinant.
        """
        every, count = matched.shape[-1], basis.shape[-1]
        grams = self._grams[None]
        if kept is not None:
            grams = self._grams[:, kept[:, :, None], kept[:, None]].transpose(0, 1)
            prior = prior.gather(1, kept)
            matched = matched.gather(2, kept[:, None].expand(-1, matched.shape[1], -1))
        taps = prior.shape[1]
        pairs = torch.einsum("br,rk,rm->bkmr", weight, basis, basis).flatten(1, 2)
        gram = pairs.to(matched.dtype) @ grams.flatten(2)
        gram = gram.view(-1, count, count, taps, taps).transpose(2, 3).reshape(-1, count * taps, count * taps)
        weighted = (weight[..., None] * matched).transpose(1, 2)
        right = (weighted @ basis.to(matched.dtype)).transpose(1, 2).flatten(1)
        ridge = noise[:, None] / prior.repeat(1, count)
        matrix = gram + torch.diag_embed(ridge + 1e-6 * self._sizes.sum()).to(gram.dtype)
        factor, _ = torch.linalg.cholesky_ex(matrix)
        found = torch.cholesky_solve(right[..., None], factor)[..., 0]
        explained = (right.conj() * found).sum(-1).real
        logdet = 2 * torch.diagonal(factor, dim1=1, dim2=2).abs().log().sum(-1) - ridge.log().sum(-1)
        diagonal = torch.diagonal(gram, dim1=1, dim2=2).real
        dof = (diagonal / (diagonal + ridge)).sum(-1)
        rows = basis.to(matched.dtype) @ found.unflatten(1, (count, taps))
        if kept is not None:
            whole = rows.new_zeros(*rows.shape[:2], every)
            rows = whole.scatter(2, kept[:, None].expand(-1, rows.shape[1], -1), rows)
        return rows, dof, explained, logdet

    def _fit(self, full, comb, basis, noise, prior, segments, amplitude, kept=None) -> _Fit:
        """Fits with weights that follow the noise of segments and rows.

        Args:
            full, comb: as ``_known`` gives them, with gains, phases and drifts taken out.
            basis, prior: as in ``_solve``. noise: ``[B]``, the initial value.
            segments: ``[B, R]`` numbers; each has its own noise, as a gain behind the noise scales both.
            amplitude: ``[B, R]`` of the gains taken out. kept: ``[B, T]`` numbers of the taps fitted; None: all.

        Returns:
            Without offsets of carrier and clock, which are 0.
        """
        split = full.shape[1]
        tiny = torch.finfo(noise.dtype).tiny + _LEAST_NOISE * power_of(full).mean((1, 2))[:, None]
        level, first_noise = noise[:, None].expand_as(amplitude), noise
        power = torch.cat([power_of(full).mean(-1), power_of(comb).mean(-1)], 1).detach()
        sizes = self._sizes * (power > _SILENT * power[:, :split].mean(1, keepdim=True))
        whole_comb = comb
        for _ in range(4):
            matched = self._taps_of(full, comb)
            energy = torch.cat([power_of(full).sum(-1), power_of(comb).sum(-1)], 1)
            weight = (noise[:, None] / level).detach() * (sizes > 0)
            taps, dof, explained, logdet = self._solve(matched, weight, basis, prior, noise, kept)
            channel = taps @ self.equalizer.basis.T
            comb_channel = self._comb(channel)
            apart = power_of(whole_comb - comb_channel)
            left = torch.cat([_usual(power_of(full - channel[:, :split])), _usual(apart)], 1) + tiny
            shared = _typical(left, sizes, segments)
            noisy = left > _ROW_TROUBLE * shared
            level = torch.where(noisy, left, shared)
            noise = _typical(left, sizes, torch.zeros_like(segments))[:, 0]
            prior = self._prior(taps, noise)
            # a single pilot that was hit is replaced by the fitted one in the next turn
            comb = torch.where(apart > _OUTLIER * level[:, split:, None], comb_channel, whole_comb)
        excess = level.median(1).values / first_noise
        received = level * amplitude.square()
        rest = (energy * weight).sum(1) - explained
        evidence = -((received.log() * sizes).sum(1) + rest / noise + logdet)
        noise = _typical(received, sizes, torch.zeros_like(segments))[:, 0]
        noisy = noisy | (level > _ROW_TROUBLE * level.median(1, keepdim=True).values)
        row_noise, zero = received / noise[:, None], torch.zeros_like(noise)
        return _Fit(channel, noise, row_noise, noisy, evidence, dof, excess, prior, zero, zero)

    def _prior(self, taps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Power of each tap over the burst, smoothed among neighbours: ``[B, taps]``."""
        floor = 0.1 * noise / self._sizes.sum()
        return (power_of(taps.detach()).mean(1) @ self.equalizer.profile_blur) + floor[:, None]

    def _first_prior(self, training: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Power of each tap ``[B, taps]`` as the long training shows it."""
        equalizer = self.equalizer
        count = self.profile.lts_repeats * self.profile.active_carriers
        matched = (training * equalizer.lts.conj()).sum(1) @ equalizer.basis.conj() / count
        level = noise[:, None] / count
        return ((power_of(matched) @ equalizer.profile_blur - level).clamp_min(0) + 0.1 * level).detach()

    def _still(self, rows: _Rows, header_known, segments, gains) -> _Fit:
        """A static channel but for phase, drift, and a gain per segment."""
        equalizer, times = self.equalizer, self._times()
        tiny = torch.finfo(times.dtype).tiny
        noise = self._training_noise(rows.training)
        channel = self._training_channel(rows.training, noise)
        full, comb = self._known(rows, header_known)
        split = full.shape[1]
        amplitude = gains.abs().clamp_min(0.05)
        turn = gains / gains.abs().clamp_min(tiny) * amplitude
        full, comb = full / turn[:, :split, None], comb / turn[:, split:, None]
        dots_full, dots_comb, coherence = self._dots(full, comb, channel, noise)
        dots = torch.cat([dots_full.sum(-1), dots_comb.sum(-1)], 1)
        same = (segments[:, :, None] == segments[:, None]).to(times)
        smooth = (equalizer.smooth.real * same).to(dots.dtype)
        fine = peak_frequency(dots * coherence, times, limit=_FINE_LIMIT)
        dots = dots * phasor(-fine[:, None] * times)
        summed = torch.einsum("br,brq->bq", dots * coherence, smooth)
        phase = torch.angle(summed) / (2 * math.pi) + fine[:, None] * times
        back = phasor(-phase)
        dots_full, dots_comb = dots_full * back[:, :split, None], dots_comb * back[:, split:, None]
        comb_channel = self._comb(channel[:, None].expand(-1, times.shape[0], -1))
        clock_turn, clock = equalizer.clock_drift(
            dots_full, dots_comb, channel, comb_channel, times, noise, coherence
        )
        full = full * back[:, :split, None] * clock_turn[:, :split]
        comb = comb * back[:, split:, None] * self._comb(clock_turn)
        prior = self._first_prior(rows.training, noise)
        basis = torch.ones(len(times), 1, dtype=times.dtype, device=times.device)
        fit = self._fit(full, comb, basis, noise, prior, segments, amplitude)
        number = segments.amax(1) + 1
        return replace(
            fit,
            channel=fit.channel * (turn * back.conj())[..., None] * clock_turn.conj(),
            evidence=fit.evidence - _SEGMENT_COST * (number - 1),
            dof=fit.dof + equalizer.phase_dof + number - 1,
            frequency=fine,
            clock=clock,
        )

    def _make_moving(self, doppler: float) -> torch.Tensor:
        """Functions of time ``[R, K]`` that a channel of Jakes' spectrum is made of, scaled by its correlation."""
        times = self.layout.row_times.double()
        values, vectors = torch.linalg.eigh(
            torch.special.bessel_j0(2 * math.pi * doppler * (times[:, None] - times).abs())
        )
        count = max(2, int((values > 1e-4 * len(times)).sum()))
        scaled = vectors[:, -count:] * values[-count:].clamp_min(0).sqrt()
        return scaled.to(self.layout.row_times)

    def _moved(self, rows: _Rows, header_known, doppler: float, taps=None, prior=None) -> _Fit:
        """A channel that moves with a Doppler spread, cycles per sample; only the ``taps`` ``[B, T]``, of power
        ``prior`` ``[B, taps]``; None: all, as the long training shows them."""
        noise = self._training_noise(rows.training)
        full, comb = self._known(rows, header_known)
        if prior is None:
            # a tap may be in a fade just then
            power = (power_of(comb).mean((1, 2)) - noise).clamp_min(0)
            prior = self._first_prior(rows.training, noise) + _FADED_SHARE * power[:, None]
        ones = torch.ones_like(self._sizes).expand(len(full), -1)
        none = torch.zeros_like(ones).long()
        return self._fit(full, comb, self._moving(doppler), noise, prior, none, ones, taps)

    # -- the payload ----------------------------------------------------------------------------------

    def _finish(self, rows: _Rows, header_known, fit: _Fit) -> tuple[Equalized, torch.Tensor]:
        """Noise of each symbol and carrier, erasures, and the payload."""
        layout, p = self.layout, self.profile
        head, first = p.header_symbols, p.lts_repeats + p.header_symbols
        tiny = torch.finfo(self._sizes.dtype).tiny
        full, comb = self._known(rows, header_known)
        channel = fit.channel
        payload_channel = channel[:, first:]
        reference = self._comb(channel)

        # a gain of its own for symbols that the channel does not explain, as far as it is significant
        energy = power_of(reference).sum(-1) + tiny
        gain = (comb * reference.conj()).sum(-1) / energy
        left = _usual(power_of(comb - gain[..., None] * reference))
        noisy = fit.noisy[:, first:]
        offset = gain - 1
        doubt = (left / energy / (power_of(offset) + tiny)).clamp_max(1)
        gain = torch.where(noisy, 1 + (1 - doubt) * offset, torch.ones_like(gain))
        reference = reference * gain[..., None]
        left = _usual(power_of(comb - reference))
        statistic = power_of((comb * reference.conj()).sum(-1)) / (
            power_of(reference).sum(-1) * (left + tiny) + tiny
        )
        silent = power_of(comb).mean(-1) < 0.02 * (fit.noise[:, None] + energy / p.pilots_per_symbol)
        erased = (noisy & (statistic < _ERASED_BELOW)) | silent
        row_noise = torch.where(noisy, left / fit.noise[:, None], fit.row_noise[:, first:])

        # noise of the carriers over the burst, then of neighbourhoods that stand out
        full_left = power_of(full - channel[:, :first]) / fit.row_noise[:, :first, None]
        comb_left = power_of(comb - reference) / row_noise.clamp_min(tiny)[..., None]
        comb_left = torch.where(erased[..., None], 0, comb_left)
        visits = scatter_rows(
            torch.full_like(full_left[:, 0], float(first)),
            (~erased).to(comb_left)[..., None].expand_as(comb_left).contiguous(),
            layout.pilot_carriers[head:],
        )
        summed = scatter_rows(full_left.sum(1), comb_left, layout.pilot_carriers[head:])
        noise = self.equalizer.smooth_noise(summed, fit.dof, visits) + tiny
        patch = self._patches(comb_left, noise, erased)
        spread = noise[:, None] * row_noise[..., None] * patch

        weight = payload_channel * gain[..., None]
        strength = power_of(weight) + tiny
        payload = layout.take_data(rows.payload * weight.conj() / strength, head)
        noise_var = layout.take_data(spread / strength, head)
        gone = erased[..., None].expand_as(noise_var)
        payload = torch.where(gone, torch.zeros((), dtype=payload.dtype, device=payload.device), payload)
        noise_var = torch.where(gone, torch.full_like(noise_var, torch.inf), noise_var)

        # the SNR is that of the payload: its pilots, each in units of its noise; an erased one is noise
        known = layout.pilots[head:]
        pilot_noise = layout.take_pilots(spread, head)
        unit = (layout.take_pilots(noise[:, None].expand_as(spread), head) / pilot_noise).sqrt()
        received = comb * unit * known
        expected = reference * unit * known
        sigma = layout.take_pilots(noise[:, None].expand_as(spread), head).sqrt()
        received = torch.where(erased[..., None], sigma * known, received)
        expected = torch.where(erased[..., None], 1e-3 * sigma * known, expected)
        share = comb[0].numel() / float(self._sizes.sum())
        out = Equalized(
            payload,
            noise_var,
            received.flatten(1),
            expected.flatten(1),
            fit.dof * share,
            fit.frequency,
            fit.clock,
            torch.ones_like(fit.dof, dtype=torch.bool),
        )
        return out, erased

    def _patches(self, comb_left: torch.Tensor, noise: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
        """Noise of neighbourhoods over that of their rows and carriers ``[B, S, active]``; 1 where none stands out."""
        head = self.profile.header_symbols
        index = self.layout.pilot_carriers[head:].expand(len(comb_left), -1, -1)
        relative = comb_left / self.layout.take_pilots(noise[:, None].expand(-1, index.shape[1], -1), head)
        grid = noise.new_zeros(len(noise), index.shape[1], noise.shape[1])
        both = torch.stack(
            [
                grid.scatter(2, index, relative),
                grid.scatter(2, index, (~erased).to(grid)[..., None].expand_as(relative).contiguous()),
            ],
            1,
        )
        size = (2 * _PATCH_ROWS + 1, 2 * _PATCH_CARRIERS + 1)
        both = F.avg_pool2d(both, size, 1, (_PATCH_ROWS, _PATCH_CARRIERS), count_include_pad=True)
        ratio = both[:, 0] / both[:, 1].clamp_min(1e-6)
        return torch.where(ratio > _PATCH_TROUBLE, ratio, torch.ones_like(ratio))


def _typical(left: torch.Tensor, sizes: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Noise power ``[B, R]`` that most rows of a segment share: the mean of ``left`` ``[B, R]``, weighed by ``sizes``
    ``[B, R]``, without those far above the segment's median; ``left`` itself where the size is 0."""
    shared = left
    for number in range(int(segments.max()) + 1):
        here = (segments == number) & (sizes > 0)
        median = torch.where(here, left.detach(), torch.nan).nanmedian(1, keepdim=True).values
        weight = (here & (left.detach() <= 1.6 * median)) * sizes
        mean = (left * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)
        shared = torch.where(here & (weight > 0).any(1, keepdim=True), mean, shared)
    return shared


def _usual(power: torch.Tensor) -> torch.Tensor:
    """Mean power ``[...]`` of Gaussian noise ``[..., n]``, read off the lowest five in six: one carrier is no noise."""
    kept = math.ceil(power.shape[-1] * 5 / 6)
    share = kept / power.shape[-1]
    mean = 1 + (1 - share) * math.log(1 - share) / share if share < 1 else 1.0
    return power.sort(-1).values[..., :kept].mean(-1) / mean


def _take(what: _Bursts, at: torch.Tensor) -> _Bursts:
    """The bursts ``at`` of a dataclass of tensors."""
    return type(what)(*(getattr(what, name)[at] for name in what.__dataclass_fields__))


def _put(old: _Bursts, at: torch.Tensor, new: _Bursts, chosen: torch.Tensor) -> _Bursts:
    """``old`` with its bursts ``at`` replaced by the ``chosen`` ones of ``new``: dataclasses of tensors."""
    return type(old)(
        *(
            getattr(old, name).index_put((at,), getattr(new, name)[chosen])
            for name in old.__dataclass_fields__
        )
    )
