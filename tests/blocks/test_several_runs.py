# SPDX-License-Identifier: GPL-3.0-or-later
"""Flowgraphs that are started again, stopped in the middle, locked and unlocked: nothing of a former run gets into the
next, and what a receiver holds when it is stopped is written."""

import threading
import time

import numpy as np
import pytest
from gnuradio import blocks as gr_blocks
from gnuradio import gr
from radio_bench import wait_until

from semcom import blocks, keys
from semcom.blocks.loopback import LoopbackFlowgraph
from semcom.blocks.stations import ReceiveStation, StationConfig, transmit
from semcom.link import LinkConfig

pytestmark = pytest.mark.timeout(120)


def config(model, **options):
    return LinkConfig(model=model, snr_db=20.0, **options)


def run_once(graph):
    graph.start()
    assert graph.receptions[0].sink.ended.wait(30), graph.starved(30)
    graph.stop()
    graph.wait()


def test_three_runs_of_one_top_block_give_three_times_the_pictures(model, make_pictures):
    ids = []
    graph = LoopbackFlowgraph(
        list(make_pictures(5)),
        config(model),
        on_result=lambda user, meta, pixels: ids.append(meta[keys.IMAGE_ID]),
    )
    for run in range(1, 4):
        run_once(graph)
        assert graph.receptions[0].sink.counters["pictures"] == 5 * run, {
            b.name(): b.counters for b in graph.chain
        }
    assert ids == list(range(15)), "numbers go on, so that no picture is taken for one that came before"
    assert (
        graph.receptions[0].detector.counters["bursts found"]
        == graph.receptions[0].decoder.counters["bursts used"]
        == 15
    )
    for block in graph.chain:
        assert not [reason for reason in block.counters if "repeated" in reason or "not processed" in reason]


@pytest.mark.slow
def test_a_run_that_was_stopped_in_the_middle_leaves_nothing_to_the_next(model, make_pictures):
    graph = LoopbackFlowgraph(list(make_pictures(120)), config(model))
    graph.start()
    wait_until(lambda: graph.receptions[0].sink.counters["pictures"] > 3, 20, lambda: graph.starved(20))
    graph.stop()
    graph.wait()
    first = graph.receptions[0].sink.counters["pictures"]
    assert 3 < first < 120
    run_once(graph)
    assert graph.receptions[0].sink.counters["pictures"] == first + 120
    assert graph.receptions[0].decoder.counters["bursts repeated or too late"] == 0


def test_lock_and_unlock_double_nothing(model, make_pictures):
    ids = []
    graph = LoopbackFlowgraph(
        list(make_pictures(200)),
        config(model),
        on_result=lambda user, meta, pixels: ids.append(meta[keys.IMAGE_ID]),
    )
    graph.start()
    wait_until(lambda: len(ids) > 3, 20, lambda: graph.starved(20))
    for _ in range(2):
        graph.lock()
        graph.unlock()
    before = len(ids)
    wait_until(lambda: len(ids) > before + 3, 20, lambda: graph.starved(20))
    graph.stop()
    graph.wait()
    assert len(ids) == len(set(ids)) == graph.receptions[0].sink.counters["pictures"]


@pytest.mark.slow
def test_a_receiver_that_is_stopped_writes_what_it_holds(tmp_path, make_pictures, monkeypatch):
    """Bursts that were read, on their way through slow blocks: every picture of theirs is in the folder."""
    link = tmp_path / "link.yaml"
    link.write_text("name: test\nmodel: cifar-1-12\n")
    radio = f"file:{tmp_path / 'air.c64'}"
    transmit(StationConfig(str(link), radio), list(make_pictures(30)), seconds=30)
    station = ReceiveStation(StationConfig(str(link), radio), out=str(tmp_path / "out"))
    slow = type(station.decoder).process
    monkeypatch.setattr(
        type(station.decoder), "process", lambda self, items: (time.sleep(0.2), slow(self, items))[1]
    )
    stop = threading.Event()

    def tick(summary):
        if summary.counters["receiver"].get("bursts read", 0) >= 10:
            stop.set()

    summary = station.run_until(stop, 60, tick)
    read = summary.counters["receiver"]["bursts read"]
    assert read >= 10 and summary.pictures == read, summary.counters
    assert len(list((tmp_path / "out").glob("*.png"))) == read


def test_a_picture_that_is_half_there_is_decoded_when_the_stream_just_stops(tmp_path, make_pictures):
    """A run that ends without the word that it does: what was held back comes out, as far as it came."""
    link = tmp_path / "link.yaml"
    link.write_text("name: test\nmodel: cifar-1-12\n")
    radio = f"file:{tmp_path / 'air.c64'}"
    there = transmit(StationConfig(str(link), radio), list(make_pictures(1, 256, 256)), seconds=30)
    samples = np.fromfile(tmp_path / "air.c64", np.complex64)
    loud = np.flatnonzero(samples)
    got = []
    chain = [
        blocks.burst_detector(str(link)),
        blocks.burst_demodulator(str(link)),
        blocks.pilot_snr_estimator(),
        blocks.deepjscc_decoder("cifar-1-12", str(link)),
        blocks.image_sink(callback=lambda meta, pixels: got.append(meta)),
    ]
    top = gr.top_block("test", catch_exceptions=True)
    top.connect(gr_blocks.vector_source_c(samples[: loud[len(loud) // 2]]), chain[0])
    for one, other in zip(chain, chain[1:], strict=False):
        top.msg_connect((one, "out"), (other, "in"))
    top.run()
    assert len(got) == 1 and 0 < got[0][keys.BURSTS_RECEIVED] < there.bursts


def test_every_block_that_keeps_anything_says_what_a_start_does_with_it():
    """One without ``start`` or ``reset`` of its own keeps nothing from run to run, or is named here with the reason."""
    stateless = {
        "burst_demodulator": "the time of the last constellation shown",
        "latent_mapper": "the order, which is a setting",
        "radio_sink": "its media start anew, see test_radios",
        "radio_source": "as radio_sink",
        "image_sink": "as ResultSink, which both sinks are",
        "label_sink": "as image_sink",
        "separation_encoder": "as deepjscc_encoder",
        "separation_decoder": "as deepjscc_decoder",
        "dashboard": "shows a history",
        "telemetry": "reports what the blocks count",
    }
    for name in blocks.__all__:
        if name == "image_view":
            continue
        cls = getattr(blocks, name)
        assert {"start", "reset"} & set(vars(cls)) or name in stateless, name
