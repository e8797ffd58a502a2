# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole chain as one flowgraph: nothing lost on a clean channel, loss counted, never a hang, memory
flat."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from gnuradio import blocks as gr_blocks
from gnuradio import gr

from semcom import keys
from semcom.blocks.loopback import LoopbackFlowgraph, delay_taps, make_channel, run
from semcom.errors import ModelError, SemcomError
from semcom.kinds.pictures import Picture
from semcom.link import LinkConfig, simulate

pytestmark = pytest.mark.timeout(120)


def test_same_as_without_gnu_radio(model, make_pictures):
    pictures, config, calls = list(make_pictures(12, 48, 64)), LinkConfig(model, 10.0), []
    through_radio = run(pictures, config, progress=lambda: calls.append(1))
    plain = simulate(pictures, config)
    assert len(calls) == 12
    for one, other in zip(through_radio, plain, strict=True):
        assert one.item == other.item and one.bursts_lost == 0 and one.value.shape == (48, 64, 3)
        assert (one.bursts_sent, one.rho) == (other.bursts_sent, other.rho)
        assert abs(one.overhead - other.overhead) < 1e-6 and abs(one.papr_db - other.papr_db) < 1e-3
        assert abs(one.psnr_db - other.psnr_db) < 1.0
    assert abs(np.mean([r.psnr_db for r in through_radio]) - np.mean([r.psnr_db for r in plain])) < 0.2
    assert abs(np.mean([r.snr_est_db for r in through_radio]) - 10) < 0.2
    assert through_radio[0].real_time_factor > 0


@pytest.mark.slow
def test_ideal_channel_loses_none_of_60(model, make_pictures):
    results = run(make_pictures(60), LinkConfig(model, 20.0, channel="ideal"))
    assert [r.item for r in results] == [f"wave{i}" for i in range(60)]
    assert sum(r.bursts_lost for r in results) == 0
    assert min(r.snr_est_db for r in results) > 40


@pytest.mark.slow
def test_pictures_of_many_sizes_and_several_bursts(model):
    random = np.random.default_rng(0)
    sizes = [(1, 1), (7, 300), (64, 64), (500, 640), (33, 32), (32, 32)]
    pictures = [Picture(f"{h}x{w}", random.integers(0, 255, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
    results = run(pictures, LinkConfig(model, 20.0))
    assert [r.value.shape[:2] for r in results] == sizes
    assert sum(r.bursts_lost for r in results) == 0 and max(r.bursts_sent for r in results) > 2


@pytest.mark.parametrize(
    "config",
    [
        {"channel": "awgn", "cfo_hz": 30_000.0},
        {"channel": "awgn", "cfo_hz": -30_000.0, "sro_ppm": 20.0},
        {"channel": "ideal", "sro_ppm": -20.0},
        {"channel": "multipath", "seed": 3},
        # at -5 dB one header in 300 is lost: test_air_demands counts them
        {"channel": "awgn", "snr_db": -3.0},
    ],
)
def test_impaired_channels_lose_nothing(config, model, make_pictures):
    results = run(make_pictures(10, 48, 48), LinkConfig(model, **{"snr_db": 15.0, **config}))
    assert sum(r.bursts_lost for r in results) == 0


@pytest.mark.slow
def test_clock_offset_costs_no_quality(model, make_pictures):
    pictures = list(make_pictures(6, 120, 120))
    straight, skewed = (
        np.mean([r.psnr_db for r in run(pictures, LinkConfig(model, 20.0, sro_ppm=ppm))])
        for ppm in (0.0, 20.0)
    )
    assert skewed > straight - 0.3


def test_rayleigh_runs_and_varies(model, make_pictures):
    results = run(make_pictures(10, 48, 48), LinkConfig(model, 25.0, channel="rayleigh", seed=2))
    assert sum(r.bursts_lost for r in results) <= 2


@pytest.mark.slow
def test_dropped_bursts_are_counted_and_pictures_come(model, make_pictures):
    results = run(make_pictures(8, 300, 300), LinkConfig(model, 15.0, drop=0.3, seed=1))
    lost, sent = sum(r.bursts_lost for r in results), sum(r.bursts_sent for r in results)
    assert sent > 8 and 0 < lost < sent
    assert all((r.value is None) == (r.bursts_found == 0) for r in results)
    again = run(make_pictures(8, 300, 300), LinkConfig(model, 15.0, drop=0.3, seed=1))
    assert [r.bursts_lost for r in again] == [r.bursts_lost for r in results]


def test_everything_dropped_ends_in_order(model, make_pictures):
    results = run(make_pictures(40), LinkConfig(model, 15.0, drop=1.0))
    assert [r.value for r in results] == [None] * 40
    assert all(r.psnr_db is None and r.bursts_lost == r.bursts_sent == 1 for r in results)


def test_no_pictures_at_all(model):
    assert run([], LinkConfig(model, 10.0)) == []


def test_unknown_model_is_refused_before_anything_starts():
    with pytest.raises(ModelError, match="no model"):
        run([], LinkConfig("nonesuch", 10.0))


@pytest.mark.slow
def test_a_standstill_names_the_block_that_starves(model, make_pictures):
    flowgraph = LoopbackFlowgraph(make_pictures(2), LinkConfig(model, 10.0))
    flowgraph.msg_disconnect(
        (flowgraph.receptions[0].demodulator, keys.PORT_OUT),
        (flowgraph.receptions[0].estimator, keys.PORT_IN),
    )
    with pytest.raises(
        SemcomError, match="'pilot_snr_estimator' is the first block that waits.*burst_detector: "
    ):
        flowgraph.run_to_end(stall_s=1.0)


@pytest.mark.slow
def test_the_encoder_hears_the_receiver(model, make_pictures):
    flowgraph = LoopbackFlowgraph(make_pictures(30), LinkConfig(model, 4.0))
    flowgraph.encoder.set_snr_db(20.0)
    flowgraph.msg_connect(
        (flowgraph.receptions[0].estimator, keys.PORT_SNR), (flowgraph.encoder, keys.PORT_SNR)
    )
    flowgraph.run_to_end()
    assert abs(flowgraph.encoder.snr_now() - 4) < 1.5
    # what is said of the last pictures, of which 8 are on their way, comes when the encoder has ended
    assert 15 <= flowgraph.encoder.counters["SNR feedback received"] <= 30


# -- the channel has the SNR it says -----------------------------------------------------------------


def through(channel, samples):
    source, sink, top = gr_blocks.vector_source_c(samples.tolist()), gr_blocks.vector_sink_c(), gr.top_block()
    top.connect(source, *channel, sink)
    top.run()
    return np.array(sink.data(), dtype=np.complex64)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 25.0])
def test_noise_power_is_the_convention(snr_db):
    noise = through(make_channel(LinkConfig("any", snr_db)), np.zeros(400_000, np.complex64))
    assert abs(-10 * np.log10(np.mean(np.abs(noise) ** 2)) - snr_db) < 0.05
    assert abs(np.mean(noise.real**2) / np.mean(noise.imag**2) - 1) < 0.02


@pytest.mark.slow
def test_fading_and_multipath_keep_the_mean_power():
    taps = np.array(delay_taps(16))
    assert len(taps) == 17 and abs(np.sum(np.abs(taps) ** 2) - 1) < 1e-5 and len(delay_taps(0)) == 1
    power = [
        np.mean(
            np.abs(
                through(
                    make_channel(LinkConfig("any", 60.0, channel="rayleigh", seed=seed)),
                    np.ones(2_000, np.complex64),
                )
            )
            ** 2
        )
        for seed in range(300)
    ]
    assert 0.8 < np.mean(power) < 1.2


# -- memory ------------------------------------------------------------------------------------------


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def send_many(model: str, count: int) -> dict:
    """Sends ``count`` pictures of 32 x 32 through one flowgraph; resident memory as it goes, and what was
    lost."""
    random = np.random.default_rng(0)
    memory, received = [], []

    def pictures():
        for number in range(count):
            yield Picture(str(number), random.integers(0, 255, (32, 32, 3), dtype=np.uint8))

    def on_result(user, meta, pixels):
        received.append(meta[keys.IMAGE_ID])
        if len(received) % max(count // 40, 1) == 0:
            memory.append(resident_mib())

    flowgraph = LoopbackFlowgraph(pictures(), LinkConfig(model, 20.0), on_result=on_result)
    seconds = flowgraph.run_to_end()
    settled = memory[len(memory) // 5 :]  # the first fifth warms caches and buffers
    return {
        "pictures": count,
        "lost": count - len(set(received)),
        "seconds": seconds,
        "first_mib": settled[0],
        "last_mib": settled[-1],
        "largest_mib": max(settled),
        "growth": settled[-1] / settled[0] - 1,
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_flat_and_none_is_lost(model):
    """SEMCOM_LONG=1 sends 2,000 pictures with the CIFAR model that ships, and asks for +-2 %."""
    long = bool(os.environ.get("SEMCOM_LONG"))
    figures = send_many("cifar-1-12" if long else model, 2000 if long else 200)
    print(figures)
    assert figures["lost"] == 0
    assert abs(figures["growth"]) < (0.02 if long else 0.03)
