# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel estimate, carrier and clock tracking, noise per subcarrier. Batched, differentiable.

The channel is modelled as taps within the cyclic prefix (plus a few for fractional delays), fitted by linear MMSE to
every known subcarrier of the burst: long training, the header once decoded, and the pilots. Frequency,
per-symbol phase and clock drift are taken out before the fit.
"""

from dataclasses import dataclass

import torch

from semcom.modem.frame import BurstLayout
from semcom.modem.tensors import power_of

_EARLY_TAPS = 6  # taps modelled before the window start and beyond the prefix: leakage of fractional delays
_LATE_TAPS = 6
_SMOOTH_ROWS = 3  # symbols on either side that share a phase estimate
_SMOOTH_CARRIERS = 8  # carriers on either side that share a noise estimate
_SMOOTH_TAPS = 2  # taps on either side that share a delay profile
_TAP_FLOOR = 0.1  # least prior power of a tap, in units of its noise
# noise of one payload symbol's pilots over that expected from training and header; above it the model does not fit
_ROW_LIMIT = 2.4
_BURST_LIMIT, _BURST_SPREAD = 1.2, 0.8  # the same of all payload symbols; the spread is for short bursts
_HEADER_LIMIT = 1.7  # the same of header symbols over the long training
_SHARE_LIMIT = 14.0  # a squared sum over its variance
# added per pilot: errors that cost some tenths of a dB are tolerated
_ALWAYS_LOSS, _AT_TIMES_LOSS, _LOUDER_LOSS = 0.1, 0.03, 0.01
_MODEL_FLOOR = 1e-3  # what the model may miss of the signal's power
_CLOCK_PRIOR = 40e-6  # prior standard deviation of the clock offset


@dataclass(frozen=True)
class Equalized:
    """A burst after synchronisation, all tensors with a leading batch dimension.

    payload: ``[B, S, data_per_symbol]`` equalised (zero-forced) symbols, channel and level removed.
    noise_var: ``[B, S, data_per_symbol]`` their noise variance, real.
    known, reference: ``[B, P]`` known symbols as received, and fitted channel times known symbol.
    dof: ``[B]`` parameters fitted to them.
    frequency: ``[B]`` residual carrier offset found, cycles per sample.
    clock: ``[B]`` sample clock offset found (1e-6 is one ppm).
    trouble: ``[B]`` bool: the pilots do not fit a static channel with stationary noise.
    """

    payload: torch.Tensor
    noise_var: torch.Tensor
    known: torch.Tensor
    reference: torch.Tensor
    dof: torch.Tensor
    frequency: torch.Tensor
    clock: torch.Tensor
    trouble: torch.Tensor


class Equalizer:
    """The receiver's inner loop for one burst layout."""

    def __init__(self, layout: BurstLayout, long_training: torch.Tensor):
        profile = layout.profile
        self.layout, self.profile = layout, profile
        self.lts = long_training
        taps = torch.arange(-_EARLY_TAPS, profile.cp_samples + _LATE_TAPS + 1, device=long_training.device)
        turns = layout.carrier_numbers[:, None].double() * taps / profile.fft_size
        self.basis = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
        active, head = profile.active_carriers, profile.header_symbols
        visits = torch.zeros(active, dtype=torch.float64, device=long_training.device)
        comb = layout.pilot_carriers[head:].flatten()
        visits.index_add_(0, comb, torch.ones_like(comb, dtype=torch.float64))
        full = visits.new_full((active,), float(profile.lts_repeats))
        self._visits = (full + head + visits).to(layout.row_times)
        self._line = torch.linspace(0, 1, layout.payload_symbols + 1)[1:].to(layout.row_times)
        self._full_visits = (full + head).to(layout.row_times)[None]
        carrier = torch.arange(active, device=long_training.device)
        self._near = ((carrier[:, None] - carrier).abs() <= _SMOOTH_CARRIERS).to(layout.row_times)
        delay = (taps[:, None] - taps).abs()
        near = (delay <= _SMOOTH_TAPS).double()
        blur = 0.5 * near / near.sum(0) + 0.5 * torch.eye(len(taps), device=taps.device)
        self.profile_blur = blur.to(layout.row_times)
        self.fit_training = self._gram(full)
        self._fit_header = self._gram(full + head)
        self._fit_all = self._gram(full + head + visits)
        self.basis = self.basis.to(long_training.dtype)
        self._conjugate_basis = self.basis.conj().resolve_conj()
        repeats = profile.lts_repeats
        # of all rows, in samples from the middle of the long training
        self._times = layout.row_times - layout.row_times[:repeats].mean()
        self._seek_coarse = FrequencySearch(self._times[: repeats + head], limit=2.4e-4)
        self._seek_fine = FrequencySearch(self._times, limit=1e-4)
        rows = len(layout.row_times)
        lag = (torch.arange(rows)[:, None] - torch.arange(rows)).abs()
        self.smooth = (_SMOOTH_ROWS + 1 - lag).clamp_min(0).to(layout.pilots)
        self.phase_dof = rows / (2 * (_SMOOTH_ROWS + 1)) + 2

    def _gram(self, visits: torch.Tensor) -> tuple[float, torch.Tensor]:
        gram = (self.basis.conj().T * visits) @ self.basis
        return float(visits.sum()), gram.to(self.lts.dtype)

    def channel(self, sums: torch.Tensor, visits, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Channel ``[B, active]`` from matched sums over ``visits`` known symbols a carrier, and its parameters ``[B]``.

        Linear MMSE over the taps, with a delay profile read off the taps themselves: a flat channel costs few
        parameters, a dispersive one keeps taps that are each below the noise.
        """
        count, gram = visits
        matched = sums @ self._conjugate_basis
        noise = noise[:, None]
        taps_noise = noise / count
        power = power_of(matched / count)
        profile = (power @ self.profile_blur - taps_noise).clamp_min(0) + _TAP_FLOOR * taps_noise
        tiny = torch.finfo(noise.dtype).tiny
        ridge = torch.diag_embed(noise / (profile + tiny) + 1e-6 * count).to(gram.dtype)
        factor, _ = torch.linalg.cholesky_ex(gram + ridge)
        taps = torch.cholesky_solve(matched[..., None], factor)[..., 0]
        return taps @ self.basis.T, (profile / (profile + taps_noise + tiny)).sum(-1)

    # -- first look: the header ---------------------------------------------------------------------

    def soft_header(self, training: torch.Tensor, header: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Matched-filter outputs of the header symbols and the residual carrier offset.

        Args:
            training: ``[B, lts_repeats, active]`` received long training.
            header: ``[B, header_symbols, active]`` received header symbols.

        Returns:
            ``[B, header_symbols * data_per_symbol]`` soft symbols and ``[B]`` frequency in cycles per sample.
        """
        return self.first_look(training, header)[:2]

    def first_look(
        self, training: torch.Tensor, header: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As ``soft_header``, and the channel ``[B, active]`` by the training."""
        noise = self.training_noise(training)
        channel, _ = self.channel((training * self.lts.conj()).sum(1), self.fit_training, noise)
        repeats, rows = self.profile.lts_repeats, self.profile.header_symbols
        pilots = self.layout.take_pilots(header)
        expected = (
            self.layout.take_pilots((channel[:, None, :]).expand_as(header)) * self.layout.pilots[:rows]
        )
        phasors = torch.cat(
            [
                (training * (self.lts * channel[:, None]).conj()).sum(-1),
                (pilots * expected.conj()).sum(-1),
            ],
            dim=1,
        )
        frequency = self._seek_coarse(phasors)
        turned = header * phasor(-frequency[:, None] * self._times[repeats : repeats + rows])[..., None]
        return self.layout.take_data(turned * channel.conj()[:, None]).flatten(1), frequency, channel

    def soft_header_again(self, training, header, guess, frequency) -> torch.Tensor:
        """Soft symbols as in ``soft_header``, with the channel fitted to the header as first decoded, ``guess``."""
        repeats, rows = self.profile.lts_repeats, self.profile.header_symbols
        turn = phasor(-frequency[:, None] * self._times[: repeats + rows])[..., None]
        training, header = training * turn[:, :repeats], header * turn[:, repeats:]
        sums = (training * self.lts.conj()).sum(1) + (header * guess.conj()).sum(1)
        channel, _ = self.channel(sums, self._fit_header, self.training_noise(training))
        return self.layout.take_data(header * channel.conj()[:, None]).flatten(1)

    def soft_second_block(self, block, channel, frequency) -> torch.Tensor:
        """Matched-filter outputs ``[B, auth_symbols * data_per_symbol]`` of the second header block.

        Args:
            block: ``[B, auth_symbols, active]``, received after the header. channel, frequency: from ``first_look``.
        """
        first, rows = self.profile.lts_repeats + self.profile.header_symbols, block.shape[1]
        head, layout = self.profile.header_symbols, self.layout
        turn = phasor(-frequency[:, None] * self._times[first : first + rows])[..., None]
        matched = block * (turn * channel.conj()[:, None])
        # its own pilots hold the phase, which has gone on since the training
        pilots = layout.pilots[head : head + rows]
        phase = (layout.take_pilots(matched, head) * pilots.conj()).sum((1, 2))
        phase = phase.conj() / phase.abs().clamp_min(torch.finfo(matched.real.dtype).tiny)
        return (layout.take_data(matched, head).flatten(1)) * phase[:, None]

    # -- the whole burst ----------------------------------------------------------------------------

    def equalize(self, training, header, payload, header_known, frequency) -> Equalized:
        """Tracks and equalises a burst whose header is known.

        Args:
            training, header: as in ``soft_header``; payload: ``[B, S, active]``.
            header_known: ``[B, header_symbols, active]`` what was sent there.
            frequency: ``[B]`` from ``soft_header``.
        """
        layout, profile = self.layout, self.profile
        repeats, head = profile.lts_repeats, profile.header_symbols
        times = self._times

        coarse = phasor(-frequency[:, None] * times)[..., None]
        full = torch.cat([training, header], dim=1) * coarse[:, : repeats + head]
        full_known = torch.cat([self.lts.expand(len(header), repeats, -1), header_known], dim=1)
        comb = layout.take_pilots(payload, head) * coarse[:, repeats + head :]
        comb_known = layout.pilots[head:]

        # 1. a first channel from training and header; what is left of phase, row by row
        matched = full * full_known.conj()
        noise = self.training_noise(coarse[:, :repeats] * training)
        channel, _ = self.channel(matched.sum(1), self._fit_header, noise)
        comb_channel = layout.take_pilots(channel[:, None].expand_as(payload), head)
        full_dot = matched * channel.conj()[:, None]
        comb_dot = comb * (comb_known * comb_channel).conj()
        rows = torch.cat([full_dot.sum(-1), comb_dot.sum(-1)], dim=1)
        fine = self._seek_fine(rows)
        along = fine[:, None] * times
        rows = rows * phasor(-along)
        phase = torch.angle(rows @ self.smooth) / (2 * torch.pi) + along
        turn = phasor(-phase)[..., None]

        # 2. clock drift: the part of the phase that grows with time times frequency
        clock_turn, clock = self.clock_drift(
            full_dot * turn[:, : repeats + head],
            comb_dot * turn[:, repeats + head :],
            channel,
            comb_channel,
            times,
            noise,
        )
        turn = turn * clock_turn
        full = full * turn[:, : repeats + head]
        comb = comb * layout.take_pilots(turn[:, repeats + head :], head)

        # 3. the channel from everything known, and what it leaves unexplained
        sums = scatter_rows(
            (full * full_known.conj()).sum(1), comb * comb_known.conj(), layout.pilot_carriers[head:]
        )
        channel, taps = self.channel(sums, self._fit_all, noise)
        dof = taps + self.phase_dof
        comb_reference = layout.take_pilots(channel[:, None].expand_as(payload), head) * comb_known
        full_reference = full_known * channel[:, None]
        full_left = power_of(full - full_reference)
        comb_left = power_of(comb - comb_reference)
        energy = scatter_rows(full_left.sum(1), comb_left, layout.pilot_carriers[head:])
        trouble = self._trouble(full_left, comb_left, comb, comb_reference, channel, noise)
        tiny = torch.finfo(energy.dtype).tiny
        noise = self.smooth_noise(energy, dof) + tiny

        # 4. the payload, in one multiplication
        gain = power_of(channel) + tiny
        weight = turn[:, repeats + head :] * coarse[:, repeats + head :] * (channel.conj() / gain)[:, None]
        return Equalized(
            payload=layout.take_data(payload * weight, head),
            noise_var=layout.take_data((noise / gain)[:, None].expand(payload.shape), head),
            known=torch.cat([full.flatten(1), comb.flatten(1)], dim=1),
            reference=torch.cat([full_reference.flatten(1), comb_reference.flatten(1)], dim=1),
            dof=dof,
            frequency=frequency + fine,
            clock=clock,
            trouble=trouble,
        )

    @torch.no_grad()
    def _trouble(self, full_left, comb_left, comb, reference, channel, training_noise) -> torch.Tensor:
        """Bursts ``[B]`` whose payload's pilots have larger residuals, row by row or in all, than expected from
        training and header.

        Thresholds: of 10^5 good bursts of 40 symbols one in a thousand is flagged, and is then received no worse.
        """
        repeats, head = self.profile.lts_repeats, self.profile.header_symbols
        strength = power_of(channel).mean(-1)
        floor = _MODEL_FLOOR * strength
        rows = full_left.mean(-1) + floor[:, None]
        level = self.smooth_noise(full_left.sum(1), rows.new_zeros(len(rows)), self._full_visits)
        level = level + floor[:, None]
        expected = self.layout.take_pilots(level[:, None].expand(-1, comb.shape[1], -1), head)
        payload = (comb_left / expected).mean(-1)
        # residuals must be noise, not proportional to the signal, neither throughout nor at times; at low SNR a change
        # of gain shows in the power first
        count, power = comb[0].numel(), power_of(comb)
        sums = ((comb - reference) * reference.conj()).sum(-1).cumsum(-1)
        variance = (power_of(reference) * expected).sum((1, 2))
        always = power_of(sums[:, -1]) / variance
        at_times = power_of(sums - self._line * sums[:, -1:]).amax(-1) / variance
        louder = (power / (power_of(reference) + expected) - 1).sum(-1).cumsum(-1)
        louder_always = louder[:, -1].square() / count
        louder_at_times = (louder - self._line * louder[:, -1:]).square().amax(-1) / count
        training = training_noise + floor
        header = rows[:, repeats:]
        silent = power.mean(-1) < 0.05 * (level.mean(-1) + strength)[:, None]
        return (
            (payload > _ROW_LIMIT).any(1)
            | (payload.mean(1) > _BURST_LIMIT + _BURST_SPREAD / payload.shape[1] ** 0.5)
            | (header > _HEADER_LIMIT * training[:, None]).any(1)
            | (header.mean(1) < training / _HEADER_LIMIT)
            | (torch.maximum(always, louder_always) > _SHARE_LIMIT + _ALWAYS_LOSS * count)
            | (at_times > _SHARE_LIMIT + _AT_TIMES_LOSS * count)
            | (louder_at_times > _SHARE_LIMIT + _LOUDER_LOSS * count)
            | silent.any(1)
        )

    def clock_drift(self, full_dot, comb_dot, channel, comb_channel, times, noise, coherence=None):
        """Ridge regression of the phase on time x carrier number: the rotation ``[B, rows, active]``, and ppm*1e-6.

        coherence: ``[B, rows]`` weights of the rows; None: all alike."""
        layout = self.layout
        split = full_dot.shape[1]
        k_full, k_comb = (
            layout.carrier_numbers,
            layout.carrier_numbers[layout.pilot_carriers[-comb_dot.shape[1] :]],
        )
        power = power_of(channel)[:, None]
        weight = torch.cat(
            [
                (power * k_full.square()).sum(-1).expand(-1, split),
                (power_of(comb_channel) * k_comb.square()).sum(-1),
            ],
            dim=1,
        )
        if coherence is not None:
            weight, full_dot, comb_dot = (
                weight * coherence,
                full_dot * coherence[:, :split, None],
                comb_dot * coherence[:, split:, None],
            )
        # the channel was fitted over training and header: measure time from their centre
        centred = times - times[:split].mean()
        tilt = torch.cat([(full_dot.imag * k_full).sum(-1), (comb_dot.imag * k_comb).sum(-1)], dim=1)
        per_clock = 2 * torch.pi / self.profile.fft_size
        ridge = noise / (2 * (per_clock * _CLOCK_PRIOR) ** 2)
        slope = (tilt * centred).sum(-1) / ((weight * centred.square()).sum(-1) + ridge)
        turns = -slope[:, None] * centred / (2 * torch.pi)
        return self.ramp(turns), slope / per_clock

    def ramp(self, turns: torch.Tensor) -> torch.Tensor:
        """exp(2 pi j turns k) on every carrier k, ``[B, rows]`` to ``[B, rows, active]``: an outer product of coarse and
        fine steps, for a tenth of the sines."""
        half = self.profile.active_carriers // 2
        step = 1 << (half.bit_length() + 1) // 2
        coarse = torch.arange(-half, half + 1, step, device=turns.device)
        ramp = (
            phasor(turns[..., None] * coarse)[..., None]
            * phasor(turns[..., None] * torch.arange(step, device=turns.device))[..., None, :]
        )
        ramp = ramp.flatten(-2)
        return torch.cat([ramp[..., :half], ramp[..., half + 1 : 2 * half + 1]], dim=-1)

    def training_noise(self, training: torch.Tensor) -> torch.Tensor:
        """Noise power ``[B]`` from what differs between the first two long training symbols."""
        return power_of(training[:, 1] - training[:, 0]).mean(-1) / 2

    def smooth_noise(self, energy: torch.Tensor, dof: torch.Tensor, visits=None) -> torch.Tensor:
        """Noise power per carrier ``[B, active]`` from residual energies, shared among neighbours.

        visits: ``[1 or B, active]`` known symbols behind each energy; None: all of the burst."""
        visits = self._visits[None] if visits is None else visits
        total = visits.sum(-1)
        return (energy @ self._near) / (visits @ self._near) * (total / (total - dof))[:, None]


def phasor(turns: torch.Tensor) -> torch.Tensor:
    """exp(2 pi j turns). Sine and cosine are vectorised, torch.polar is not: five times as fast."""
    angle = 2 * torch.pi * turns
    return torch.complex(angle.cos(), angle.sin())


def scatter_rows(full: torch.Tensor, comb: torch.Tensor, carriers: torch.Tensor) -> torch.Tensor:
    """``full`` ``[B, active]`` plus the comb values ``[B, S, pilots]`` added at their carriers."""
    return full.index_add(1, carriers.flatten(), comb.flatten(1))


class FrequencySearch:
    """Frequency (cycles per sample, within +-limit) at which phasors ``[B, R]`` at ``times`` ``[R]`` add up best.

    A grid finer than the resolution, then a parabola through the peak: the maximum-likelihood estimate.
    """

    def __init__(self, times: torch.Tensor, limit: float):
        span = float(times[-1] - times[0])
        steps = max(4, int(limit * span * 6) + 1)
        self._grid = torch.linspace(-limit, limit, 2 * steps + 1, dtype=times.dtype, device=times.device)
        self._turns = phasor(-times[:, None] * self._grid)
        self._step = self._grid[1] - self._grid[0]
        self._around = torch.arange(-1, 2, device=times.device)

    def __call__(self, phasors: torch.Tensor) -> torch.Tensor:
        power = power_of(phasors @ self._turns)
        peak = power.argmax(-1, keepdim=True).clamp(1, len(self._grid) - 2)
        left, mid, right = power.gather(-1, peak + self._around).unbind(-1)
        bend = left - 2 * mid + right
        shift = torch.where(bend < 0, 0.5 * (left - right) / bend.clamp_max(-torch.finfo(bend.dtype).tiny), 0)
        return self._grid[peak.squeeze(-1)] + shift.clamp(-1, 1) * self._step


def peak_frequency(phasors: torch.Tensor, times: torch.Tensor, limit: float) -> torch.Tensor:
    """``FrequencySearch`` for times that are used once."""
    return FrequencySearch(times, limit)(phasors)
