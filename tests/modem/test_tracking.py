# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts damaged half way: re-timed, weighted, followed; what is lost is erased, and good bursts are left alone."""

import math

import numpy as np
import pytest
import torch

from semcom.air.fading import FadingTaps
from semcom.air.script import Tap
from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.equivalent_snr import equivalent_snr_db
from semcom.modem import BurstHeader, DetectedBurst, Modem, StreamDetector, estimate_snr
from semcom.modem.impulses import blank_impulses

GAP = 1200
K = 8640  # 40 payload symbols


class Flight:
    """One burst through noise and damage; ``damage`` takes and gives samples ``[n]``, gaps around the burst."""

    def __init__(self, damage, snr_db=10.0, k=K, seed=0):
        g = torch.Generator().manual_seed(seed)
        modem = Modem()
        latents = torch.randn(1, k, dtype=torch.complex64, generator=g)
        self.sent = modem.pack_latents(latents)[0]
        burst = modem.modulate(latents, image_id=[7], size=(64, 64), model_hash=1)[0, 0]
        self.first = GAP + modem.profile.preamble_samples + modem.profile.header_samples
        noisy = awgn(torch.nn.functional.pad(burst, (GAP, GAP))[None], snr_db, g)[0]
        detector = StreamDetector(modem)
        found = detector.push(damage(noisy, self.first)) + detector.flush()
        assert len(found) == 1
        self.burst = found[0]
        self.out = modem.demodulate(found)[0]
        assert self.out.header is not None and self.out.header.image_id == 7, self.out.error
        self.was_tracked = len(self.out.pilots_rx) != len(
            modem.demodulate([_clean(modem, latents)])[0].pilots_rx
        )

    def rows(self, values):
        per = Modem().profile.data_per_symbol
        return values[: len(values) // per * per].view(-1, per)

    def error(self):
        """Squared error of each payload symbol's latents ``[S]``."""
        return self.rows((self.out.latents - self.sent).abs().square()).mean(1)

    def reported(self):
        return self.rows(self.out.noise_var).mean(1)

    def estimate_db(self):
        out = self.out
        return float(estimate_snr(out.pilots_rx[None], out.pilots_ref[None], out.pilot_dof).snr_db)


def _clean(modem, latents):
    burst = modem.modulate(latents, image_id=[7], size=(64, 64), model_hash=1)[0, 0]
    return DetectedBurst(awgn(burst[None], 20.0, torch.Generator().manual_seed(3))[0], 0, 0.0, 1.0)


def slip(symbol, count):
    """``count`` samples lost in the middle of a payload symbol, or (negative) inserted: the last ones once more."""

    def damage(samples, first):
        at = first + 288 * symbol + 150
        return torch.cat([samples[:at], samples[at + count :]])

    return damage


@pytest.mark.parametrize("count", [1, 16, 287, 288, 1000, -1, -16, -288, -700])
def test_a_slip_costs_the_symbols_it_hits_and_no_more(count):
    flight = Flight(slip(12, count))
    hit = range(12, 13 + -(-max(count, 0) // 288) + 1)
    # what was inserted pushes the end out of the burst
    end = 40 - (-(-max(-count, 0) // 288) + 1 if count < -20 else 0)
    good = [row for row in range(end) if row not in hit]
    assert flight.error()[good].mean() < 0.115
    assert abs(sum(flight.out.slips) + count) <= 1 and flight.out.slips
    assert flight.out.symbols_erased <= len(hit) + 40 - end
    assert abs(flight.estimate_db() - float(equivalent_snr_db(flight.out.noise_var))) < 0.4


def test_two_slips_of_either_sign():
    def damage(samples, first):
        return slip(8, 37)(slip(25, -3)(samples, first), first)

    flight = Flight(damage)
    good = [row for row in range(40) if row not in (8, 9, 25, 26)]
    assert flight.error()[good].mean() < 0.115 and len(flight.out.slips) >= 2


@pytest.mark.parametrize("symbol, count", [(-7, 5), (-7, 300), (-4, 300), (-2, 20), (-3, -7)])
def test_a_slip_in_the_header(symbol, count):
    flight = Flight(slip(symbol, count))
    rows = slice(2, 37)
    assert flight.error()[rows].mean() < 0.12 and flight.reported()[rows].mean() < 0.13


def test_symbols_zeroed_in_place_are_erased():
    def damage(samples, first):
        samples = samples.clone()
        samples[first + 288 * 20 - 40 : first + 288 * 23] = 0
        return samples

    flight = Flight(damage)
    assert torch.isinf(flight.reported()[20:23]).all() and torch.isfinite(flight.reported()[24:]).all()
    assert flight.out.symbols_erased == 3 and not flight.out.slips
    assert (flight.rows(flight.out.latents)[20:23] == 0).all()
    assert abs(flight.estimate_db() - float(equivalent_snr_db(flight.out.noise_var))) < 0.4


def test_a_burst_cut_short_keeps_what_came():
    flight = Flight(lambda samples, first: samples)
    modem, whole = Modem(), flight.burst
    head = modem.profile.burst_samples(10) + 50
    cut = modem.demodulate([DetectedBurst(whole.samples[:head], 0, whole.cfo, 1.0)])[0]
    assert cut.header == flight.out.header and cut.symbols_erased >= 29
    noise_var = flight.rows(cut.noise_var)
    assert torch.isinf(noise_var[11:]).all() and noise_var[:10].mean() < 0.13


def test_energies_show_where_impulses_are():
    g = torch.Generator().manual_seed(0)
    line = torch.randn(200_000, dtype=torch.complex64, generator=g)
    assert blank_impulses(line, line.view(-1, 16).abs().square().sum(-1)) is line
    line[torch.randperm(len(line), generator=g)[:2000]] *= 100
    energy = line.view(-1, 16).abs().square().sum(-1)
    assert torch.equal(blank_impulses(line, energy) == 0, blank_impulses(line) == 0)


def test_impulses_of_several_lines_are_those_of_each():
    lines = torch.randn(3, 1000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    lines[[0, 1, 2], [100, 500, 800]] *= 100
    together = blank_impulses(lines)
    assert torch.equal(together, torch.stack([blank_impulses(line) for line in lines]))
    assert (together == 0).sum() == 3


def test_impulses_stop_neither_detection_nor_reception():
    def damage(samples, first):
        g = torch.Generator().manual_seed(4)
        hit = torch.rand(len(samples), generator=g) < 1e-3
        hit[GAP + 1200 : GAP + 1700 : 100] = True  # five in the long training
        return samples + 30 * hit

    flight = Flight(damage)
    assert flight.error().mean() < 0.125 and flight.estimate_db() > 9.2


def test_blanking_takes_single_samples_only():
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 4096, dtype=torch.complex64, generator=g)
    burst = noise.clone()
    burst[:, :1100] *= 1e-3  # an edge that rises by 60 dB, within a block
    burst[:, 3010:] *= 1e-3
    assert torch.equal(blank_impulses(burst), burst)
    sparse = torch.where(torch.rand(3, 4096, generator=g) < 0.3, torch.sign(noise.real), 0.0).to(noise.dtype)
    assert torch.equal(blank_impulses(sparse), sparse)  # a converter's least significant bit
    hit = burst.clone()
    hit[1, 2000], hit[2, 500] = 30, 0.1j
    out = blank_impulses(hit)
    assert out[1, 2000] == 0 and out[2, 500] == 0 and int((out != hit).sum()) == 2


@pytest.mark.parametrize("decibels", [6.0, -6.0])
@pytest.mark.parametrize("symbol, snr_db", [(0, 10.0), (5, 10.0), (30, 10.0), (20, 0.0)])
def test_a_gain_step_inside_a_burst(decibels, symbol, snr_db):
    def damage(samples, first):
        gain = torch.ones(len(samples))
        gain[first + 288 * symbol + 100 :] = 10 ** (decibels / 20)
        return samples * gain

    flight = Flight(damage, snr_db)
    good = [row for row in range(40) if row != symbol]
    noise = 10 ** (-snr_db / 10)
    assert 0.85 * noise < flight.error()[good].mean() < 1.25 * noise
    assert (flight.reported()[good] / noise).log().abs().median() < 0.2


def test_noise_in_part_of_a_burst_weighs_on_the_symbols_it_hits():
    def damage(samples, first):
        g = torch.Generator().manual_seed(2)
        part = slice(first + 288 * 10, first + 288 * 14)
        samples = samples.clone()
        samples[part] += math.sqrt(3) * torch.randn(4 * 288, dtype=samples.dtype, generator=g)
        return samples

    flight = Flight(damage)
    reported = torch.where(torch.isinf(flight.reported()), 100.0, flight.reported())
    assert (reported[10:14] > 1.5).all() and reported[[*range(10), *range(14, 40)]].mean() < 0.13


def test_a_carrier_that_comes_up_inside_a_burst_weighs_on_its_neighbourhood():
    def damage(samples, first):
        n = torch.arange(len(samples))
        tone = 2.0 * torch.polar(torch.ones(len(n)), 2 * math.pi * (40.3 / 256) * n)
        return torch.where(n < first + 288 * 20, samples, samples + tone)

    flight = Flight(damage)
    modem = Modem()
    data = modem._equalizer(40).layout.data_carriers[modem.profile.header_symbols :]
    near = (data - (120 + 39)).abs() <= 2
    noise_var, late = flight.rows(flight.out.noise_var), torch.arange(40)[:, None] >= 22
    assert noise_var[near & late].median() > 1.0
    assert noise_var[~late.expand_as(near)].median() < 0.12
    assert noise_var[((data - 159).abs() > 30) & late].median() < 0.25


@pytest.mark.parametrize("ppm", [60, 200, -200])
def test_sample_clocks_far_apart(ppm):
    flight = Flight(lambda samples, first: frontend.sample_clock_offset(samples, ppm), 20.0)
    assert -10 * torch.log10(flight.error().mean()) > 19.2


@pytest.mark.parametrize("doppler", [2e-5, 1e-4])
def test_a_channel_that_moves_is_followed(doppler):
    def damage(samples, first):
        taps = FadingTaps([Tap(0, 0.0), Tap(3, -3.0)], np.random.default_rng(5))
        padded = np.concatenate([samples.numpy(), np.zeros(-len(samples) % 32, np.complex64)])
        return torch.from_numpy(taps.process(padded, doppler))

    flight = Flight(damage, 25.0)
    weight = 1 / (1 + flight.out.noise_var)
    error = (weight * flight.out.latents - flight.sent).abs().square().mean()
    assert -10 * torch.log10(error) > 15  # 6 at most with a channel that stands still
    assert abs(float(equivalent_snr_db(flight.out.noise_var)) - flight.estimate_db()) < 1.1


def test_good_bursts_are_left_alone():
    g = torch.Generator().manual_seed(1)
    modem = Modem()
    for k, snr_db in ((K, -5), (K, 10), (K, 30), (2000, 15), (200, 0), (200, 25)):
        latents = torch.randn(16, k, dtype=torch.complex64, generator=g)
        bursts = modem.modulate(latents, image_id=range(16), size=(64, 64), model_hash=1)[:, 0]
        if snr_db <= 15:
            taps = fading.unit_energy(fading.rayleigh_taps(fading.exponential_profile(8), 8, g))
            bursts = torch.cat([bursts[:8], fading.multipath(bursts[8:], taps)])
        lines = awgn(frontend.sample_clock_offset(bursts, 15), snr_db, g)
        outs = modem.demodulate([DetectedBurst(line, 0, 0.0, 1.0) for line in lines])
        read = [out for out in outs if out.header is not None]
        assert len(read) >= 14
        rows = -(-k // modem.profile.data_per_symbol)
        assert {len(out.pilots_rx) for out in read} == {
            (modem.profile.lts_repeats + modem.profile.header_symbols) * 240 + 24 * rows
        }
        assert not any(out.slips or out.symbols_erased for out in read)


def test_gradients_flow_through_a_burst_in_trouble():
    modem = Modem(dtype=torch.complex128)
    g = torch.Generator().manual_seed(0)
    header = [BurstHeader(image_id=1, burst_index=0, height=8, width=8, latent_count=6, model_hash=5)]
    size = modem.plan(6).burst_samples
    noise = 0.1 * torch.randn(1, size, dtype=torch.complex128, generator=g)
    gain = torch.ones(size, dtype=torch.float64)
    gain[modem.profile.preamble_samples + modem.profile.header_samples :] = 2

    def link(latents):
        sent = modem.modulate_bursts(modem.pack_latents(latents), header)
        out = modem.receive_aligned((sent + noise) * gain, header)
        assert bool(out.trouble.all())
        return torch.view_as_real(out.payload), out.noise_var

    latents = torch.randn(1, 6, dtype=torch.complex128, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(link, (latents,), eps=1e-6, atol=1e-4, fast_mode=True)
    payload, _ = link(latents)
    assert (payload - torch.view_as_real(modem.pack_latents(latents))).abs().mean() < 0.4  # the step is gone


def test_training_and_flight_track_alike():
    flight = Flight(slip(20, 30), 15.0)
    trained = Modem().receive_aligned(
        flight.burst.samples[None, : Modem().plan(K).burst_samples],
        [flight.out.header],
        torch.tensor([flight.burst.cfo], dtype=torch.float64),
    )
    rows = flight.rows(trained.payload[0])[:38]
    assert torch.allclose(rows, flight.rows(flight.out.latents)[:38], atol=0.02)


@pytest.mark.parametrize("rubbish", ["zeros", "constant", "huge", "tiny", "tone", "noise", "nan"])
@pytest.mark.parametrize("k", [100, 3000])
def test_rubbish_behind_a_header_neither_raises_nor_lies(rubbish, k):
    modem, g = Modem(), torch.Generator().manual_seed(0)
    latents = torch.randn(2, k, dtype=torch.complex64, generator=g)
    bursts = awgn(modem.modulate(latents, image_id=[1, 2], size=(64, 64), model_hash=1)[:, 0], 12.0, g)
    tail = bursts[0, modem.profile.preamble_samples + modem.profile.header_samples :]
    n = torch.arange(len(tail))
    tail[:] = {
        "zeros": torch.zeros(len(n)),
        "constant": torch.ones(len(n)),
        "huge": 1e15 * torch.randn(len(n), generator=g),
        "tiny": 1e-15 * torch.randn(len(n), generator=g),
        "tone": torch.polar(torch.ones(len(n)), 0.3 * n),
        "noise": 3 * torch.randn(len(n), generator=g),
        "nan": torch.full((len(n),), math.nan),
    }[rubbish]
    bad, good = modem.demodulate([DetectedBurst(burst, 0, 0.0, 1.0) for burst in bursts])
    assert (good.latents - modem.pack_latents(latents[1:])[0]).abs().square().mean() < 0.1
    if rubbish != "nan":
        assert torch.isfinite(torch.view_as_real(bad.latents)).all() and (bad.noise_var > 0).all()
        # little weight is left, where a tone lies on a pilot; hardly anything elsewhere
        assert float((1 / (1 + bad.noise_var)).mean()) < 0.45
