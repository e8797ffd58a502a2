# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: what a script says is what a receiver measures, and the seed decides the rest."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.air import Engine, make_script
from semcom.air.chain import generator
from semcom.air.filters import GROUP_DELAY_SAMPLES
from semcom.air.queue import SampleQueue
from semcom.air.speed import CASES, samples_per_second
from semcom.modem import Modem, StreamDetector, estimate_snr

AMPLITUDE = 0.25


def script(transmitter=None, link=None, receiver=None, **rest):
    return make_script(
        {
            "transmitters": {"tx": {"address": "tcp://127.0.0.1:1"} | (transmitter or {})},
            "receivers": {"rx": {"address": "tcp://127.0.0.1:2"} | (receiver or {})},
            "links": [{"from": "tx", "to": "rx"} | (link or {})],
            **rest,
        }
    )


def play(plan, samples: np.ndarray) -> np.ndarray:
    """Samples of transmitter "tx" to those of receiver "rx", silence at the end for what is held back."""
    engine = Engine(plan)
    size = engine.block_samples
    line = np.pad(samples, (0, -len(samples) % size + size)).astype(np.complex64)
    return np.concatenate([engine.process({"tx": block})["rx"] for block in line.reshape(-1, size)])


def noise(count, seed=0) -> np.ndarray:
    parts = np.random.default_rng(seed).standard_normal(2 * count)
    return (parts * AMPLITUDE / math.sqrt(2)).astype(np.float32).view(np.complex64)


def bursts(count=6, k=2000, seed=0) -> np.ndarray:
    """As a transmitter sends them: AMPLITUDE, 600 samples of silence around each."""
    latents = torch.randn(count, k, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    made = Modem().modulate(latents, image_id=range(count), size=(64, 64), model_hash=1)[:, 0]
    return AMPLITUDE * torch.nn.functional.pad(made, (600, 600)).flatten().numpy()


def receive(samples: np.ndarray):
    modem = Modem()
    detector = StreamDetector(modem)
    found = detector.push(torch.from_numpy(samples)) + detector.flush()
    return [burst for burst in modem.demodulate(found) if burst.header is not None]


def estimated_snr_db(samples: np.ndarray) -> float:
    rows = [estimate_snr(b.pilots_rx[None], b.pilots_ref[None], b.pilot_dof) for b in receive(samples)]
    assert len(rows) == 6
    return float(torch.cat([row.snr_db for row in rows]).mean())


EVERYTHING = {
    "transmitter": {"pa_backoff_db": 8.0, "iq_gain_db": 0.3, "iq_phase_deg": 1.0, "dc_i": 0.01},
    "link": {
        "attenuation_db": 2.0,
        "delay_samples": 33.3,
        "delay_spread_samples": 12,
        "doppler_hz": 5.0,
        "cfo_hz": 1234.5,
    },
    "receiver": {
        "snr_db": 20.0,
        "sro_ppm": 12.0,
        "phase_noise_hz": 1.0,
        "iq_gain_db": 0.2,
        "dc_q": 0.01,
        "gain_db": 3.0,
        "adc_bits": 9,
        "drops_per_s": 30.0,
        "drop_samples": 100,
    },
}


def test_a_clean_link_only_delays():
    samples = noise(20_000)
    out = play(script(), samples)
    np.testing.assert_allclose(out[GROUP_DELAY_SAMPLES:][:20_000], samples, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 30_000), max_size=20))
def test_the_same_samples_however_they_were_cut(cuts):
    """Bit for bit, with everything switched on."""
    samples, plan = noise(30_000), script(**EVERYTHING)

    def through_a_queue(pieces):
        engine, queue, out = Engine(plan), SampleQueue(0, 0.0), []
        for piece in [*pieces, np.zeros(-len(samples) % engine.block_samples, np.complex64)]:
            queue.push(piece, 0.0)
            while queue.count >= engine.block_samples:
                out.append(engine.process({"tx": queue.take(engine.block_samples, 0.0)})["rx"])
        return np.concatenate(out)

    whole = through_a_queue([samples])
    assert len(whole) > 20_000
    assert np.array_equal(through_a_queue(np.split(samples, sorted(cuts))), whole)


def test_the_seed_decides():
    samples = noise(20_000)
    one, same, other = (play(script(**EVERYTHING, seed=seed), samples) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert len(other) != len(one) or not np.allclose(one, other)


def test_another_station_changes_nothing_for_the_first():
    stations = {"receivers": {"rx": {"address": "tcp://127.0.0.1:2", "snr_db": 10}}}
    alone = make_script(stations)
    beside = make_script(
        {
            "receivers": {"another": "tcp://127.0.0.1:3"} | stations["receivers"],
            "transmitters": {"also": "tcp://127.0.0.1:4", "tx": "tcp://127.0.0.1:1"},
        }
    )
    samples = noise(10_000)
    np.testing.assert_allclose(play(alone, samples), play(beside, samples), atol=1e-6)


def test_names_make_different_noise():
    draws = [
        generator(*names).standard_normal()
        for names in ((0, "a", "noise"), (0, "b", "noise"), (1, "a", "noise"))
    ]
    assert len(set(draws)) == 3


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_snr_is_what_the_modem_measures(snr_db):
    assert estimated_snr_db(play(script(receiver={"snr_db": snr_db}), bursts())) == pytest.approx(
        snr_db, abs=0.3
    )


def test_attenuation_and_absolute_noise():
    power_db = 20 * math.log10(AMPLITUDE) - 15
    plan = script(link={"attenuation_db": 5.0}, receiver={"noise_power_db": power_db})
    assert estimated_snr_db(play(plan, bursts())) == pytest.approx(10.0, abs=0.3)


def test_a_louder_transmitter_is_received_better():
    plan = script(receiver={"snr_db": 10.0}, signal_amplitude=AMPLITUDE / 2)
    assert estimated_snr_db(play(plan, bursts())) == pytest.approx(16.0, abs=0.3)


def test_offsets_are_what_the_modem_measures():
    plan = script(link={"cfo_hz": -5000.0}, receiver={"snr_db": 25.0})
    found = receive(play(plan, bursts()))
    assert np.mean([burst.cfo for burst in found]) == pytest.approx(-5e-3, abs=5e-6)


def test_clock_offset_moves_bursts():
    """Two impulses a million samples apart, by a clock 100 ppm slow: 100 samples nearer."""
    samples = np.zeros(1_000_100, np.complex64)
    samples[[50, 1_000_050]] = 1
    out = np.abs(play(script(receiver={"sro_ppm": 100.0}), samples))
    first, second = np.flatnonzero(out > 0.6)
    assert second - first == pytest.approx(1_000_000 / (1 + 100e-6), abs=1)


def played_by_clock(plan, samples: np.ndarray) -> np.ndarray:
    """As ``play``, each block with as many samples as the engine asks for."""
    engine, out, at = Engine(plan), [], 0
    while at < len(samples) + engine.block_samples:
        wanted = engine.wanted("tx")
        block = samples[at : at + wanted]
        out.append(engine.process({"tx": np.pad(block, (0, wanted - len(block)))})["rx"])
        at += wanted
    return np.concatenate(out)


@pytest.mark.parametrize(
    "sender, receiver, expected", [(100, 0, 1_000_100), (-100, 0, 999_900), (80, 80, 1_000_000)]
)
def test_a_link_has_the_clock_of_its_transmitter_less_that_of_its_receiver(sender, receiver, expected):
    samples = np.zeros(1_000_100, np.complex64)
    samples[[50, 1_000_050]] = 1
    plan = script(transmitter={"sro_ppm": sender}, receiver={"sro_ppm": receiver})
    out = np.abs(played_by_clock(plan, samples))
    first, second = np.flatnonzero(out > 0.5)[[0, -1]]
    assert second - first == pytest.approx(expected, abs=1)


def test_a_transmitters_clock_costs_nothing_but_its_offset():
    plan = script(transmitter={"sro_ppm": 15.0}, receiver={"snr_db": 20.0})
    assert estimated_snr_db(played_by_clock(plan, bursts())) == pytest.approx(20.0, abs=0.3)


def test_a_transmitters_clock_changes_in_the_timeline():
    plan = script(timeline=[{"at_s": 0.2, "over_s": 0.1, "transmitter": "tx", "set": {"sro_ppm": 150.0}}])
    engine = Engine(plan)
    taken = 0
    for _ in range(400):
        taken += (wanted := engine.wanted("tx"))
        assert len(engine.process({"tx": np.ones(wanted, np.complex64)})["rx"]) == engine.block_samples
    played = 400 * engine.block_samples
    assert 50 < played + 110 - taken < 300  # 150 ppm of 1.3 s, less what the filter holds


def test_bursts_come_through_everything_at_once():
    modest = EVERYTHING | {"receiver": EVERYTHING["receiver"] | {"drops_per_s": 0.0}}
    modest["link"] = modest["link"] | {"doppler_hz": 0.0}
    assert len(receive(play(script(**modest), bursts()))) == 6


def test_links_add_up_and_absent_ones_are_silence():
    stations = {
        "transmitters": {"a": "tcp://127.0.0.1:1", "b": "tcp://127.0.0.1:2"},
        "receivers": {"near": "tcp://127.0.0.1:3", "both": "tcp://127.0.0.1:4"},
        "links": [
            {"from": "a", "to": "near"},
            {"from": "a", "to": "both"},
            {"from": "b", "to": "both", "attenuation_db": 20},
        ],
    }
    engine = Engine(make_script(stations))
    size = engine.block_samples
    a, b = noise(size, 1), noise(size, 2)
    out = engine.process({"a": a, "b": b})
    kept = size - GROUP_DELAY_SAMPLES
    np.testing.assert_allclose(out["near"][GROUP_DELAY_SAMPLES:], a[:kept], atol=1e-6)
    np.testing.assert_allclose(out["both"][GROUP_DELAY_SAMPLES:], (a + 0.1 * b)[:kept], atol=1e-6)
    for _ in range(2):
        out = engine.process({})
    assert not np.any(out["near"]) and not np.any(out["both"])


def test_the_timeline_is_played():
    """Noise of a silent receiver, 20 to 0 dB in half a second, by the time of the samples."""
    plan = script(
        receiver={"snr_db": 20.0},
        timeline=[{"at_s": 0.25, "over_s": 0.5, "receiver": "rx", "set": {"snr_db": 0.0}}],
    )
    out = play(plan, np.zeros(1_000_000))

    def snr_db(at_s):
        piece = out[int(at_s * 1e6) :][:5000]
        return 20 * math.log10(AMPLITUDE) - 10 * math.log10(np.mean(np.abs(piece) ** 2))

    for at_s, wanted in ((0.1, 20), (0.2475, 20), (0.5, 10), (0.7, 2), (0.75, 0), (0.9, 0)):
        assert snr_db(at_s) == pytest.approx(wanted, abs=0.4), at_s


def test_a_delay_grows_by_the_timeline():
    plan = script(timeline=[{"at_s": 0.01, "link": "tx>rx", "set": {"delay_samples": 5000}}])
    samples = noise(40_000)
    out = play(plan, samples)
    np.testing.assert_allclose(out[20_000:40_000], samples[20_000 - 5032 : 40_000 - 5032], atol=1e-6)


def test_converter_and_drops_are_counted():
    plan = script(receiver={"adc_bits": 8, "gain_db": 20.0, "drops_per_s": 100.0, "drop_samples": 50})
    engine, samples = Engine(plan), noise(4096)
    kept = sum(len(engine.process({"tx": samples})["rx"]) for _ in range(100))
    counters = engine.counters["rx"]
    assert counters["samples clipped"] > 10_000
    assert counters["overruns played"] > 20
    assert counters["samples dropped as in an overrun"] == 100 * 4096 - kept


@pytest.mark.parametrize("rate, block", [(1e3, 256), (1e6, 4096), (1e7, 4096), (3e5, 1024)])
def test_blocks_are_some_milliseconds(rate, block):
    assert Engine(script(sample_rate_hz=rate)).block_samples == block


def test_one_core_is_enough():
    """Well above 1 Msample/s with everything on; the figures in docs/air.md are of the same function."""
    assert max(samples_per_second(*CASES["everything"], blocks=60) for _ in range(3)) > 1.2e6
