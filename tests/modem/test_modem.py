# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import fields

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semcom.channel import fading
from semcom.channel.awgn import awgn
from semcom.errors import ConfigError, HeaderError
from semcom.experiments.trials import fly
from semcom.modem import BurstHeader, DetectedBurst, Modem, ModemProfile, StreamDetector
from semcom.modem.header import MAX_BURSTS, SIGNED
from semcom.security import Seal
from semcom.security.sessions import session_keys


def one_burst(modem, k=700, seed=0, **fields):
    latents = torch.randn(1, k, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    names = {
        "image_id": 1,
        "burst_index": 0,
        "height": 32,
        "width": 32,
        "latent_count": k,
        "model_hash": 7,
    } | fields
    return latents, modem.modulate_bursts(modem.pack_latents(latents), [BurstHeader(**names)])[0]


def test_snr_is_es_over_n0_after_the_fft():
    # +-0.05 dB: 60 bursts of 8,640 latents, measured on the equalised payload of an otherwise perfect channel
    trial = fly(60, 10, k=8640)
    # the estimate of the channel costs 0.05 dB
    assert float(trial.snr_db().mean()) == pytest.approx(10, abs=0.12)


def test_latents_come_back_unchanged_without_noise(modem):
    latents, burst = one_burst(modem)
    out = modem.demodulate([DetectedBurst(burst, 0, 0.0, 1.0)])[0]
    assert out.header.image_id == 1 and out.error is None
    assert torch.allclose(out.latents, modem.pack_latents(latents)[0], atol=2e-3)


def test_power_is_one_per_latent_and_samples_are_unitary(modem):
    latents = torch.randn(2, 17000, dtype=torch.complex64)
    latents = latents / latents.abs().square().mean(1, keepdim=True).sqrt()
    bursts = modem.modulate(latents, image_id=[1, 2], size=(256, 256), model_hash=1)
    payload = bursts[..., modem.profile.preamble_samples + modem.profile.header_samples :]
    assert payload.abs().square().mean() == pytest.approx(240 / 256, rel=0.02)


def test_overhead_of_a_256x256_picture_is_at_most_45_percent(modem):
    plan = modem.plan(256 * 256 * 3 // 12)
    assert plan.overhead <= 0.45
    assert plan.airtime_samples == plan.burst_count * plan.burst_samples


def test_gradients_flow_from_received_to_sent_latents():
    modem = Modem(dtype=torch.complex128)
    g = torch.Generator().manual_seed(0)
    header = [BurstHeader(image_id=1, burst_index=0, height=8, width=8, latent_count=6, model_hash=5)]
    taps = fading.rayleigh_taps(fading.exponential_profile(8), 1, g)
    noise = 0.1 * torch.randn(1, modem.plan(6).burst_samples, dtype=torch.complex128, generator=g)

    def link(latents):
        sent = modem.modulate_bursts(modem.pack_latents(latents), header)
        out = modem.receive_aligned(fading.multipath(sent, taps) + noise, header)
        return torch.view_as_real(out.payload), out.noise_var

    latents = torch.randn(1, 6, dtype=torch.complex128, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(link, (latents,), eps=1e-6, atol=1e-5)


def test_training_and_flight_run_the_same_receiver(modem):
    latents, burst = one_burst(modem)
    noisy = awgn(burst[None], 12, torch.Generator().manual_seed(1))
    flown = modem.demodulate([DetectedBurst(noisy[0], 0, 0.0, 1.0)])[0]
    trained = modem.receive_aligned(noisy, [flown.header])
    assert torch.equal(flown.latents, trained.payload[0])


def test_a_batch_gives_what_single_bursts_give(modem):
    bursts = [
        DetectedBurst(awgn(one_burst(modem, k, seed=k)[1][None], 10)[0], 0, 0.0, 1.0)
        for k in (50, 700, 700, 3000)
    ]
    together = modem.demodulate(bursts)
    for burst, out in zip(bursts, together, strict=True):
        alone = modem.demodulate([burst])[0]
        assert alone.header == out.header
        assert torch.allclose(alone.latents, out.latents, atol=1e-3)


def test_any_buffer_size_finds_the_same_bursts(modem):
    g = torch.Generator().manual_seed(2)
    gaps = [0, 1, 200, 5000, 16]
    parts = [
        torch.nn.functional.pad(one_burst(modem, 900 + 500 * i, seed=i)[1], (gap, 0))
        for i, gap in enumerate(gaps)
    ]
    stream = awgn(torch.cat([*parts, torch.zeros(100)])[None], 15, g)[0]
    reference = None
    for size in (100, 4096, 33_333, len(stream)):
        detector, found = StreamDetector(modem, chunk_samples=1000), []
        for piece in stream.split(size):
            found += detector.push(piece)
        found += detector.flush()
        headers = [out.header for out in modem.demodulate(found)]
        assert len(headers) == len(gaps) and all(headers)
        offsets = [b.sample_offset for b in found]
        reference = reference or offsets
        assert all(abs(a - b) <= 2 for a, b in zip(offsets, reference, strict=True))


def test_samples_that_are_not_numbers_are_counted_and_survived(modem):
    _, burst = one_burst(modem)
    stream = torch.nn.functional.pad(burst, (5000, 3000))
    stream[100:110] = float("nan")
    stream[4000] = complex(float("inf"), 0)
    detector = StreamDetector(modem)
    found = detector.push(stream) + detector.flush()
    assert len(found) == 1 and modem.demodulate(found)[0].header is not None
    assert detector.counters["samples that were not numbers"] == 11


def test_bursts_that_cannot_be_read_say_why(modem):
    _, burst = one_burst(modem, k=3000)
    _, absurd = one_burst(modem, k=700, height=8191, width=8191, latent_count=700, burst_index=400)
    _, future = one_burst(modem, version=4)
    noise = torch.randn(5000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    cases = [
        (burst[:2000], "before its header"),
        (burst[:3800], "before its payload"),
        (noise, "CRC"),
        (absurd, "burst 400 of 1 cannot be"),
        (future, "version 4"),
        (torch.zeros(5000, dtype=torch.complex64), ""),
    ]
    outs = modem.demodulate([DetectedBurst(samples, 0, 0.0, 1.0) for samples, _ in cases])
    for out, (_, words) in zip(outs, cases, strict=True):
        assert out.header is None and words in out.error


def test_a_header_that_could_not_be_read_back_is_not_sent(modem):
    with pytest.raises(HeaderError, match="image_id is 70000"):
        modem.modulate(torch.ones(1, 10, dtype=torch.complex64), image_id=[70000], size=(8, 8), model_hash=1)
    with pytest.raises(ConfigError, match="does not fit a frame .* send a smaller one"):
        modem.plan(2**22)
    short = Modem(ModemProfile(max_payload_symbols=1))
    most = short.profile.max_latents_per_burst * MAX_BURSTS
    assert short.plan(most).burst_count == MAX_BURSTS
    with pytest.raises(
        ConfigError, match="takes 513 bursts of 1 payload symbols, and headers count 512: send"
    ):
        short.modulate(
            torch.ones(1, most + 1, dtype=torch.complex64), image_id=[1], size=(600, 600), model_hash=1
        )


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"active_carriers": 300}, "below fft_size"),
        ({"pilots_per_symbol": 7}, "divide"),
        ({"cp_samples": 0}, "positive"),
        ({"sts_period": 24}, "divide fft_size"),
        ({"lts_cp_samples": 8}, "lts_cp_samples"),
        ({"lts_repeats": 1}, "lts_repeats must be 2 to 8"),
        ({"fft_size": 2**30}, "fft_size must be 32 to 4096"),
        ({"sts_repeats": 1}, "sts_repeats must be 8 to 4096"),
        ({"sts_repeats": 2**20}, "sts_repeats must be"),
        ({"max_payload_symbols": 2**20}, "max_payload_symbols must be"),
        ({"max_payload_symbols": 1000}, "longer than 262144"),
        ({"fft_size": 10**400}, "fft_size must be"),
        ({"header_symbols": 1, "active_carriers": 60, "pilots_per_symbol": 6}, "too few for the header"),
        ({"pilots_per_symbol": 240}, "leave room"),
        ({"sts_period": 128}, "at least four times"),
        ({"sts_period": 8, "sts_repeats": 8}, "128 samples or more"),
        ({"lts_cp_samples": 512}, "<= fft_size"),
        ({"fft_size": 2048, "max_payload_symbols": 10}, "a fifth of fft_size"),
        ({"cp_samples": True}, "whole number"),
    ],
)
def test_impossible_profiles_are_refused_in_words(wrong, words):
    with pytest.raises(ConfigError, match=words):
        ModemProfile(**wrong)


def test_another_numerology_works():
    profile = ModemProfile(
        fft_size=128,
        cp_samples=16,
        active_carriers=120,
        pilots_per_symbol=12,
        lts_cp_samples=32,
        header_symbols=12,
        max_payload_symbols=30,
    )
    modem = Modem(profile)
    latents = torch.randn(1, 1000, dtype=torch.complex64)
    burst = modem.modulate(latents, image_id=[3], size=(64, 64), model_hash=1)[0, 0]
    stream = awgn(torch.nn.functional.pad(burst, (3000, 3000))[None], 15)[0]
    detector = StreamDetector(modem)
    out = modem.demodulate(detector.push(stream) + detector.flush())
    assert len(out) == 1 and out[0].header.image_id == 3


_SIZES = st.sampled_from((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 70, 100, 128, 240, 256, 512))


class _Everybody:
    """A guard that takes whatever names the session that the test signs with."""

    keys = session_keys(bytes(32), 1, 2)

    def recognise(self, soft_tag, message, burst):
        return None

    def check(self, sent, soft_tag, message, burst):
        return self.keys if sent[0] == self.keys.bits else "another session"


@settings(max_examples=40, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([f.name for f in fields(ModemProfile)]), _SIZES, max_size=3),
    signed=st.booleans(),
)
def test_a_profile_is_refused_or_works(changes, signed):
    """What is accepted can be sent and read; the rest is said before anything of that size is made."""
    try:
        profile = ModemProfile(**changes).signed if signed else ModemProfile(**changes)
    except ConfigError:
        return
    assume(profile.max_burst_samples < 60_000)
    told = {}
    if profile.auth_symbols:
        told = {"cipher": SIGNED, "seals": [Seal(_Everybody.keys, bytes(32))]}
    modem, g = Modem(profile, guard=_Everybody() if told else None), torch.Generator().manual_seed(1)
    latents = torch.randn(1, min(300, profile.max_latents_per_burst), dtype=torch.complex64, generator=g)
    burst = modem.modulate(latents, image_id=[7], size=(64, 64), model_hash=1, **told)[0]
    line = awgn(torch.nn.functional.pad(burst, (800, 800)), 25, g)[0]
    detector = StreamDetector(modem)
    read = modem.demodulate(detector.push(line) + detector.flush())
    assert [out.header.image_id for out in read if out.header is not None] == [7]


def test_a_modem_used_in_inference_mode_first_still_passes_gradients():
    modem = Modem()
    latents = torch.randn(1, 300, dtype=torch.complex64)
    what = {"image_id": [1], "size": (32, 32), "model_hash": 7}
    with torch.inference_mode():
        sent = modem.modulate(latents, **what)[0]
        modem.demodulate(StreamDetector(modem).push(torch.nn.functional.pad(sent.flatten(), (600, 6000))))
    headers = [BurstHeader(image_id=1, burst_index=0, height=32, width=32, latent_count=300, model_hash=7)]
    again = modem.modulate(latents.requires_grad_(), **what)[0]
    modem.receive_aligned(again, headers).payload.abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(latents.grad)).all() and latents.grad.abs().sum() > 0
