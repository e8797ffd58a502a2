# SPDX-License-Identifier: GPL-3.0-or-later
"""The telemetry block and the dashboard in a flowgraph: what passes through comes out at the watcher."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from radio_bench import wait_until

from semcom import blocks, keys
from semcom.blocks import pdu as bridge
from semcom.blocks.pdu import Pdu
from semcom.dashboard import digest
from semcom.errors import ConfigError
from semcom.modem import Modem, StreamDetector
from semcom.wire.telemetry import PICTURE, Subscriber


def burst_pdu(snr_db: float = 10.0) -> Pdu:
    modem = Modem()
    payload = torch.randn(1, 500, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    line = modem.modulate(payload, image_id=[5], size=(20, 25), model_hash=7)[0]
    detector = StreamDetector(modem)
    samples = torch.nn.functional.pad(line.flatten(), (600, 600))
    samples = samples + 0.05 * torch.randn(
        samples.shape, dtype=samples.dtype, generator=torch.Generator().manual_seed(1)
    )
    (burst,) = modem.demodulate(detector.push(samples) + detector.flush())
    meta = {
        keys.SNR_DB: snr_db,
        keys.SNR_STDERR_DB: 0.2,
        keys.CFO: 0.004,
        keys.NOISE_VAR: burst.noise_var.numpy(),
        keys.PILOTS_RX: burst.pilots_rx.numpy(),
        keys.PILOTS_REF: burst.pilots_ref.numpy(),
    }
    return Pdu(meta, burst.latents.numpy())


def picture_pdu(image_id: int, shade: int = 9, **meta) -> Pdu:
    pixels = np.full((20, 30, 3), shade, np.uint8)
    return Pdu({keys.IMAGE_ID: image_id, keys.HEIGHT: 20, keys.WIDTH: 30, **meta}, pixels.reshape(-1))


@pytest.fixture
def graph():
    """Runs a telemetry block with a source of messages on each port."""
    import pmt
    from gnuradio import gr

    class Feeder(gr.basic_block):
        def __init__(self, ports):
            gr.basic_block.__init__(self, name="feeder", in_sig=None, out_sig=None)
            for port in ports:
                self.message_port_register_out(pmt.intern(port))

    class Graph:
        def __init__(self, block, ports):
            self.block, self.feeder, self.top, self.got = block, Feeder(ports), gr.top_block(), []
            for port in ports:
                self.top.msg_connect((self.feeder, port), (block, port))
            self.top.start()

        def post(self, port, message):
            message = bridge.to_message(message) if isinstance(message, Pdu) else message
            self.block.to_basic_block()._post(pmt.intern(port), message)

        def stop(self):
            self.top.stop()
            self.top.wait()

    made = []

    def make(block, ports):
        made.append(Graph(block, ports))
        return made[-1]

    yield make
    for one in made:
        one.stop()


PORTS = ("pictures", "bursts", "snr")


@pytest.fixture
def watched(graph):
    """A telemetry block, its graph, and a function that waits until what was received satisfies a condition."""
    block = blocks.telemetry("tcp://127.0.0.1:*", station="rx")
    running, subscriber, got = graph(block, PORTS), Subscriber(block.address), []

    def until(condition, what="a message"):
        def look():
            got.extend(subscriber.receive())
            return condition(got)

        wait_until(look, 15, lambda: f"{what}; counters {dict(block.counters)}")
        return got

    until(lambda messages: messages, "a sign of life")
    yield block, running, until
    subscriber.close()


@pytest.mark.slow
def test_what_passes_through_is_reported(watched):
    block, graph, until = watched
    block.watch("telemetry", block)
    for _ in range(50):
        graph.post("bursts", burst_pdu())
    graph.post("pictures", picture_pdu(3, **{keys.BURSTS_RECEIVED: 1, keys.BURST_COUNT: 2}))
    graph.post("pictures", Pdu.end())
    graph.post("bursts", Pdu({keys.PAPR_DB: 9.25}, None))
    block.on_sent({keys.PAPR_DB: 8.5, keys.IMAGE_ID: 3})
    got = until(
        lambda m: (
            any(digest.LATENTS in one.arrays for one in m)
            and any(one.kind == PICTURE for one in m)
            and sum(len(one.arrays.get(digest.PAPRS_DB, [])) for one in m) == 2
        )
    )
    burst = next(m for m in got if digest.LATENTS in m.arrays)
    assert burst.values[keys.SNR_DB] == 10.0 and burst.values[digest.CFO_HZ] == pytest.approx(4000)
    assert len(burst.arrays[digest.GAIN_DB]) == 240 and np.abs(burst.arrays[digest.GAIN_DB]).max() < 1
    picture = next(m for m in got if m.kind == PICTURE)
    assert picture.values[keys.IMAGE_ID] == 3 and picture.arrays[digest.PIXELS].shape == (20, 30, 3)
    assert picture.values[keys.BURST_COUNT] == 2
    paprs = [float(x) for m in got for x in m.arrays.get(digest.PAPRS_DB, [])]
    assert sorted(paprs) == [8.5, 9.25]
    until(lambda m: any(one.counters.get("telemetry", {}).get("messages published", 0) > 0 for one in m))
    until(lambda m: m[-1].values[digest.BURSTS] == 50)
    assert [m.sequence for m in got] == sorted({m.sequence for m in got})


def test_feedback_at_a_transmitter(watched):
    _, graph, until = watched
    graph.post("snr", bridge.to_dict({keys.SNR_DB: 7.5, keys.SNR_STDERR_DB: 0.5}))
    got = until(lambda m: any(keys.SNR_DB in one.values for one in m))
    latest = next(m for m in got if keys.SNR_DB in m.values)
    assert latest.values[keys.SNR_DB] == 7.5 and 0 <= latest.values[digest.AGE_S] < 5


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on(watched):
    import pmt

    block, graph, until = watched
    good = burst_pdu()
    graph.post("pictures", pmt.intern("garbage"))
    graph.post("pictures", Pdu({keys.HEIGHT: 1, keys.WIDTH: 1}, np.zeros(3, np.uint8)))
    graph.post("bursts", pmt.intern("garbage"))
    graph.post("bursts", Pdu({}, good.data))
    graph.post("snr", bridge.to_dict({"snr_db": "much"}))
    wait_until(
        lambda: sum(block.counters[w] for w in block.counters if "messages published" not in w) >= 5,
        10,
        block.counters.__str__,
    )
    assert "PDU without 'image_id'" in block.counters and "PDU without 'snr_db'" in block.counters
    graph.post("bursts", Pdu({**good.meta, keys.PILOTS_RX: good.meta[keys.PILOTS_RX][:-1]}, good.data))
    until(lambda m: any("not of this link profile" in str(one.values.get("trouble")) for one in m))
    graph.post("bursts", good)
    until(lambda m: any(digest.GAIN_DB in one.arrays for one in m))


def test_nothing_is_prepared_while_nobody_watches(graph):
    block = blocks.telemetry("tcp://127.0.0.1:*")
    running = graph(block, PORTS)
    for number in range(100):
        running.post("pictures", picture_pdu(number))
    time.sleep(0.3)
    assert block.counters["messages published"] == 0 and not block.digest._pictures


@pytest.mark.slow
def test_a_graph_started_again_is_received_again(watched):
    _, graph, until = watched
    graph.stop()
    before = len(until(lambda m: True))
    graph.top.start()
    until(lambda m: len(m) > before + 3, "messages of the second run")


@pytest.mark.timeout(60)
@pytest.mark.slow
def test_a_graph_with_an_end_comes_to_its_end():
    """The block says that it is done a moment after the last block before it, and holds nobody up."""
    from gnuradio import blocks as gr_blocks
    from gnuradio import gr

    source = gr_blocks.vector_source_c([0.0] * 20_000, False)
    detector, watcher, top = blocks.burst_detector(), blocks.telemetry("tcp://127.0.0.1:*"), gr.top_block()
    top.connect(source, detector)
    top.msg_connect((detector, "out"), (watcher, "bursts"))
    began = time.monotonic()
    top.run()
    assert time.monotonic() - began < 30


def test_arguments():
    for bad, words in (
        ({"station": "moon"}, "station"),
        ({"max_rate_hz": 0.0}, "max_rate_hz"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"address": "tcp://0.0.0.0:5599"}, "keys"),
    ):
        with pytest.raises(ConfigError, match=words):
            blocks.telemetry(**{"address": "tcp://127.0.0.1:*", **bad})
    with pytest.raises(ConfigError, match="max_pixels"):
        blocks.dashboard(max_pixels=0)


SCRIPT = """
import sys, time
from gnuradio import gr
from semcom import blocks
from semcom.dashboard.app import application
from semcom.dashboard import digest
from semcom.kinds.pictures import Picture
import numpy as np

app = application()
pictures = [Picture(f"p{i}", np.full((32, 48, 3), 60 + 10 * i, np.uint8)) for i in range(4)]
from semcom.blocks.loopback import LoopbackFlowgraph
from semcom.link import LinkConfig

flowgraph = LoopbackFlowgraph(pictures, LinkConfig(sys.argv[1], 15.0))
view = blocks.dashboard()
view.watch("detector", flowgraph.receptions[0].detector)
flowgraph.msg_connect((flowgraph.source, "out"), (view, "sent"))
flowgraph.msg_connect((flowgraph.receptions[0].decoder, "out"), (view, "pictures"))
flowgraph.msg_connect((flowgraph.receptions[0].estimator, "out"), (view, "bursts"))
flowgraph.msg_connect((flowgraph.receptions[0].estimator, "snr"), (view, "snr"))
view.widget.show()
flowgraph.start()
end = time.monotonic() + 40
state = view.widget.state
while time.monotonic() < end and not (state.psnr_db and state.received.image_id == 3 and len(state.gain_db)):
    app.processEvents()
    time.sleep(0.005)
for _ in range(60):
    app.processEvents()
    time.sleep(0.01)
flowgraph.stop()
flowgraph.wait()
text = {name: tile.value.text() for name, tile in view.widget.tiles.items()}
print("SHOWN", state.received.image_id, state.sent.image_id, float(text["psnr"]) > 3, abs(float(text["snr"]) - 15) < 2)
print("CARRIERS", len(state.gain_db), "FEEDBACK", len(state.snr["tx"]) > 0)
print("COUNTERS", state.stations["rx"].counters.get("detector"), dict(view.counters))
"""


@pytest.mark.slow
def test_the_dashboard_in_a_flowgraph(model):
    pytest.importorskip("pyqtgraph")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, model],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SHOWN 3 3 True True" in result.stdout, result.stdout + result.stderr
    assert "CARRIERS 240 FEEDBACK True" in result.stdout, result.stdout
    assert "'bursts found': 4" in result.stdout and result.stdout.rstrip().endswith("{}"), result.stdout
