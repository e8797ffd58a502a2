# SPDX-License-Identifier: GPL-3.0-or-later
"""What a station reports: the burst's vectors back on their carriers, at a bounded rate."""

import numpy as np
import pytest
import torch

from semcom import keys
from semcom.channel import fading
from semcom.channel.awgn import awgn
from semcom.dashboard import digest
from semcom.dashboard.digest import Burst, CarrierView, Digest, Thinner
from semcom.errors import PduError
from semcom.modem import Modem, ModemProfile, StreamDetector
from semcom.radio import LinkProfile
from semcom.wire.telemetry import pack, unpack

SNR_DB = 20.0


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def burst_through(
    taps: torch.Tensor, latents: int = 1500, profile: ModemProfile | None = None, zeroed=slice(0, 0)
):
    """A demodulated burst that came through an FIR channel at ``SNR_DB``; samples ``zeroed`` of the line were lost."""
    modem, random = Modem(profile), torch.Generator().manual_seed(1)
    payload = torch.randn(1, latents, dtype=torch.complex64, generator=random)
    line = modem.modulate(payload, image_id=[5], size=(20, 25), model_hash=7)[0]
    line = torch.nn.functional.pad(line.flatten(), (600, 600))[None]
    line = awgn(fading.multipath(line, taps), SNR_DB, random)[0]
    line[zeroed] = 0
    detector = StreamDetector(modem)
    (found,) = modem.demodulate(detector.push(line) + detector.flush())
    assert found.header is not None
    return found


def vectors_of(burst):
    return tuple(x.numpy() for x in (burst.latents, burst.noise_var, burst.pilots_rx, burst.pilots_ref))


def response_of(burst, profile=None):
    _, noise_var, pilots_rx, pilots_ref = vectors_of(burst)
    return CarrierView(profile).response(pilots_rx, pilots_ref, noise_var)


@pytest.mark.parametrize("latents", [100, 1500])
def test_the_channel_is_that_of_the_air(latents):
    taps = torch.zeros(9, dtype=torch.complex64)
    taps[0], taps[4], taps[8] = 0.8, 0.5j, -0.33
    response = response_of(burst_through(taps, latents))
    numbers = np.r_[-120:0, 1:121]
    true = sum(complex(taps[d]) * np.exp(-2j * np.pi * numbers * d / 256) for d in (0, 4, 8))
    true_db = 20 * np.log10(np.abs(true)) - 10 * np.log10(np.mean(np.abs(true) ** 2))
    clear = true_db > -10
    assert np.abs(response.gain_db - true_db)[clear].max() < 1.5
    # 20 dB over the mean of the band: the SNR of a carrier is that and its gain
    there = np.isfinite(response.snr_db) & clear
    power_db = 10 * np.log10(np.mean(np.abs(true) ** 2))
    assert np.abs(response.snr_db - (SNR_DB + power_db + true_db))[there].mean() < 1.0
    assert np.isfinite(response.snr_db).sum() == min(240, 216 if latents < 216 else 240) or latents < 216


def test_pilots_are_qpsk_again():
    pilots = response_of(burst_through(torch.ones(1, dtype=torch.complex64))).pilots
    assert 100 < len(pilots) <= digest.MAX_PILOTS
    nearest = (np.sign(pilots.real) + 1j * np.sign(pilots.imag)) / np.sqrt(2)
    assert np.mean(np.abs(pilots - nearest) ** 2) == pytest.approx(10 ** (-SNR_DB / 10), rel=0.35)


def test_a_burst_with_a_hole_is_shown_by_what_came_of_its_payload():
    """Its pilots are those of the payload alone, and some of its noise variances infinite."""
    taps = torch.zeros(9, dtype=torch.complex64)
    taps[0], taps[8] = 0.9, 0.4
    burst = burst_through(
        taps, 4000, zeroed=slice(600 + 1696 + 6 * 288 + 5 * 288, 600 + 1696 + 6 * 288 + 7 * 288)
    )
    assert torch.isinf(burst.noise_var).any() and len(burst.pilots_ref) == 19 * 24
    hole, whole = response_of(burst), response_of(burst_through(taps, 4000))
    there = np.isfinite(hole.gain_db) & (whole.gain_db > -8)
    assert there.sum() > 200 and np.median(np.abs(hole.gain_db - whole.gain_db)[there]) < 1.5
    assert np.nanmedian(np.abs(hole.snr_db - whole.snr_db)) < 1.0 and not np.isinf(hole.snr_db).any()


def test_another_profile_is_refused_in_words():
    burst = burst_through(torch.ones(1, dtype=torch.complex64))
    with pytest.raises(PduError, match="not of this link profile"):
        response_of(burst, ModemProfile(fft_size=512, active_carriers=400, pilots_per_symbol=40))
    latents, noise_var, rx, ref = vectors_of(burst)
    for bad in ((rx[:-1], ref, noise_var), (rx, ref, noise_var[:200]), (rx[:0], ref[:0], noise_var)):
        with pytest.raises(PduError, match="not of this link profile"):
            CarrierView().response(*bad)


def test_of_many_bursts_one_is_looked_into():
    clock = Clock()
    station = Digest("rx", clock=clock)
    vectors, looked = vectors_of(burst_through(torch.ones(1, dtype=torch.complex64))), []

    def look(number):
        looked.append(number)
        return vectors

    for number in range(1000):
        station.add_burst(Burst(float(number), 0.1, 0.01, clock.now, lambda number=number: look(number)))
    (message,) = station.messages()
    assert looked == [999] and message.values[digest.BURSTS] == 1000 and message.values[keys.SNR_DB] == 999.0
    assert message.values[digest.CFO_HZ] == pytest.approx(0.01 * LinkProfile().sample_rate_hz)
    assert len(message.arrays[digest.LATENTS]) <= digest.MAX_LATENTS
    assert len(message.arrays[digest.GAIN_DB]) == 240
    assert sum(map(len, pack(message))) < 30_000
    unpack(pack(message))
    assert station.messages() == []


def test_a_station_without_bursts_shows_signs_of_life():
    clock = Clock()
    station, count = Digest("tx", clock=clock), 0
    for _ in range(100):
        clock.now += 0.04
        count += len(station.messages())
    assert 12 <= count <= 20  # four times a second


def test_counters_are_those_of_the_blocks():
    class Block:
        counters = {"bursts found": 3}

    station = Digest("rx", clock=Clock())
    station.watch("detector", Block())
    station.watch("mine", {"words": 1})
    assert station.messages()[0].counters == {"detector": {"bursts found": 3}, "mine": {"words": 1}}


def test_large_pictures_are_thinned_and_say_so():
    station = Digest("rx", max_pixels=10_000, clock=Clock())
    pixels = np.arange(300 * 400 * 3, dtype=np.uint8).reshape(300, 400, 3)
    station.add_picture({keys.IMAGE_ID: 4, keys.DETECTED_S: 1.0, keys.DECODED_S: 1.25}, pixels)
    picture = station.messages()[0]
    assert picture.values[digest.STEP] == 4 and picture.values[keys.HEIGHT] == 300
    assert np.array_equal(picture.arrays[digest.PIXELS], pixels[::4, ::4])
    assert picture.values[digest.LATENCY_S] == pytest.approx(0.25)


@pytest.mark.parametrize("rate", [5.0, 30.0, 200.0])
def test_two_stations_choose_the_same_pictures(rate):
    """At rates that jitter, without a word between them."""
    random = np.random.default_rng(0)
    chosen = []
    for _ in range(2):
        thinner, now, passed = Thinner(25.0), 0.0, []
        for number in range(65000, 65000 + 2000):
            now += random.exponential(1 / rate)
            if thinner.passes(number % 65536, now):
                passed.append(number)
        chosen.append(set(passed[60:]))
        assert len(passed) / now < 45
    common = chosen[0] & chosen[1]
    assert len(common) >= 0.6 * min(map(len, chosen)) and len(common) > 100
