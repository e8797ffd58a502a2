# SPDX-License-Identifier: GPL-3.0-or-later
"""Every .block.yml through GRC's own loader, every .grc compiled by grcc; the loopback and the adaptation of the order
run without a screen. The stations' flowgraphs run in test_station_flowgraphs.py, multiuser.grc in tests/blocks."""

import inspect
import json
import re
import subprocess
import sys

import pytest
import torch
import yaml
from grc_bench import FLOWGRAPHS, GRC, best_psnr_db, environment, figures_of, station

from semcom.experiments.trials import true_snr_db

BLOCK_FILES = sorted(GRC.glob("*.block.yml"))
GROUPS = ("Sources", "Codec", "Modem", "Channel", "Radio", "View")
QT = ("semcom_image_view", "semcom_dashboard")
FREE_PORT = {"address": "tcp://127.0.0.1:*"}  # other stations may run on this machine
SOCKETS = {
    "telemetry": FREE_PORT,
    "feedback_sender": FREE_PORT,
    "radio_sink": {"radio": "zmq:tcp://127.0.0.1:*"},
}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def platform(grc_home):
    """GRC's library with our blocks, in a home of its own."""
    from gnuradio import gr
    from gnuradio.grc.core.platform import Platform

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(grc_home))
        patch.setenv("GRC_BLOCKS_PATH", str(GRC))
        platform = Platform(
            name="test",
            prefs=gr.prefs(),
            version=gr.version(),
            version_parts=(gr.major_version(), gr.api_version(), gr.minor_version()),
        )
        platform.build_library()
        yield platform


def test_there_is_a_description_of_every_block():
    from semcom import blocks

    assert {path.name for path in BLOCK_FILES} == {f"semcom_{name}.block.yml" for name in blocks.__all__}


@pytest.mark.parametrize("path", BLOCK_FILES, ids=lambda p: p.name)
def test_block_description(path, platform, caplog):
    from gnuradio.grc.core.schema_checker import BLOCK_SCHEME, Validator

    data = yaml.safe_load(path.read_text())
    checker = Validator(BLOCK_SCHEME)
    assert checker.run(data), checker.messages
    assert not checker.messages
    assert data["id"] in platform.blocks, "GRC's loader refused it"
    assert data["category"].removeprefix("[semcom]/") in GROUPS
    assert data["file_format"] == 1 and data["flags"] == ["python"]
    assert "Input:" in data["documentation"] or "Output:" in data["documentation"]
    numeric = [p["id"] for p in data["parameters"] if p["dtype"] in ("real", "int")]
    for name in numeric:
        assert any(re.search(rf"\b{name}\b", rule) for rule in data.get("asserts", [])), (
            f"no assert on {name}"
        )
        assert not any(p["label"] == name for p in data["parameters"])


@pytest.mark.parametrize("path", BLOCK_FILES, ids=lambda p: p.name)
def test_description_fits_the_class(path, platform):
    from semcom import blocks

    data = yaml.safe_load(path.read_text())
    if data["id"] in QT:
        pytest.importorskip("PyQt5")
    cls = getattr(blocks, data["id"].removeprefix("semcom_"))
    arguments = inspect.signature(cls.__init__).parameters
    for parameter in data["parameters"]:
        if parameter["id"] == "gui_hint":
            continue
        assert parameter["id"] in arguments, f"{cls.__name__} has no argument {parameter['id']}"
        default = arguments[parameter["id"]].default
        stated = str(parameter["default"])
        assert str(default) == stated or float(default) == float(stated), (
            f"{parameter['id']}: {default} is not {stated}"
        )
    callbacks = {callback.split("(")[0] for callback in data["templates"].get("callbacks", [])}
    ours = [base for base in cls.__mro__ if base.__module__.startswith("semcom.")]
    setters = {name for base in ours for name in vars(base) if name.startswith("set_")} - {"set_counts"}
    assert callbacks == setters, "what can change live is a callback"
    if data["id"] != "semcom_image_view":
        block = cls(**SOCKETS.get(cls.__name__, {}))
        for side, ports in (("inputs", block.message_ports_in()), ("outputs", block.message_ports_out())):
            import pmt

            have = set(pmt.to_python(ports)) - {"system"}
            assert have == {p["id"] for p in data.get(side, []) if p["domain"] == "message"}


@pytest.mark.parametrize("path", FLOWGRAPHS, ids=lambda p: p.name)
def test_flowgraph_is_valid(path, platform):
    flowgraph = platform.make_flow_graph()
    flowgraph.import_data(platform.parse_flow_graph(str(path)))
    flowgraph.rewrite()
    flowgraph.validate()
    assert flowgraph.is_valid(), [
        f"{element}: {message}" for element, message in flowgraph.iter_error_messages()
    ]
    assert any(block.key == "import" for block in flowgraph.blocks), (
        "an import block makes grcc fail without semcom"
    )
    boxes = [(b.states["coordinate"], b.name) for b in flowgraph.blocks]
    assert len({tuple(at) for at, _ in boxes}) == len(boxes), "blocks lie on one another"


@pytest.mark.parametrize("path", FLOWGRAPHS, ids=lambda p: p.name)
def test_flowgraph_compiles(path, compiled):
    assert compiled(path.stem).exists()


RUN_LOOPBACK = """
import importlib.util, json, sys, time
from PyQt5 import Qt, QtCore

spec = importlib.util.spec_from_file_location("loopback", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
app = Qt.QApplication(sys.argv)
tb = module.loopback()
tb.start()
tb.show()
began = time.monotonic()

def look():
    shown = tb.view.counters["pictures shown"]
    if shown == 2 and tb.snr_db == 10:
        tb.set_snr_db(16.0)
        tb.set_cfo_hz(9000.0)
        tb.set_delay_samples(8)
    if shown >= 8 or time.monotonic() - began > 60:
        pixels = tb.grab()
        chain = (tb.encoder, tb.modulator, tb.detector, tb.demodulator, tb.estimator, tb.decoder, tb.view)
        print("FIGURES", json.dumps({
            "shown": shown, "size": [pixels.width(), pixels.height()],
            "encoder_snr_db": tb.encoder.snr_now(),
            "samples_per_s": tb.detector.nitems_read(0) / (time.monotonic() - began),
            "counters": {block.name(): dict(block.counters) for block in chain}}))
        tb.stop()
        tb.wait()
        app.quit()

timer = QtCore.QTimer()
timer.timeout.connect(look)
timer.start(100)
app.exec_()
"""


@pytest.mark.slow
def test_loopback_runs_without_a_screen_and_shows_pictures(compiled, tmp_path):
    pytest.importorskip("PyQt5")
    from semcom.blocks.loopback import delay_taps

    script = compiled("loopback")
    result = subprocess.run(
        [sys.executable, "-c", RUN_LOOPBACK, str(script)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=150,
    )
    line = next((line for line in result.stdout.splitlines() if line.startswith("FIGURES ")), None)
    assert line, result.stdout + result.stderr
    figures = json.loads(line.removeprefix("FIGURES "))
    print(figures)
    assert figures["shown"] >= 8 and min(figures["size"]) > 300
    assert figures["counters"]["pilot_snr_estimator"]["sent to 'history'"] > 0
    assert figures["counters"]["burst_demodulator"]["sent to 'constellation'"] > 0
    equivalent_db = float(true_snr_db(torch.tensor([delay_taps(8)]), 16.0))
    assert abs(figures["encoder_snr_db"] - equivalent_db) < 1.5, "the encoder does not get the receiver's SNR"


@pytest.mark.slow
def test_the_modulation_order_follows_the_snr_without_a_screen(compiled, tmp_path):
    """The sweep rises from 0 dB: from BPSK two orders up, each passed to the mapper, and pictures all the while."""
    pytest.importorskip("PyQt5")
    out = tmp_path / "out"
    wish = {"until": ["adapter", "orders stepped up", 2], "folder": str(out)}
    with station(compiled("modulation_adaptation"), wish, home=tmp_path) as graph:
        figures = figures_of(graph)
    counters = figures["counters"]
    assert counters["adapter"]["orders stepped up"] >= 2
    assert counters["mapper"]["orders received"] >= 3, "the first order, and two that are higher"
    assert counters["view"]["pictures shown"] >= 4 and min(figures["window"]) > 300
    psnr_db = [best_psnr_db(picture) for picture in out.glob("*.png")]
    # two bits a latent: 20 dB where all arrive, 10 by chance
    assert len(psnr_db) >= 4 and min(psnr_db) > 15, psnr_db


@pytest.mark.slow
def test_live_pictures_of_a_film_into_a_window_and_a_video(compiled, film, tmp_path):
    """The film, three times in one file, is played at its own pace."""
    pytest.importorskip("PyQt5")
    from semcom.kinds.video import Frames, VideoWriter

    longer, received = VideoWriter(tmp_path / "longer.mp4", 10), tmp_path / "received.mp4"
    for _ in range(3):
        for picture in Frames(film):
            longer.write(picture.pixels)
    longer.close()
    wish = {"until": ["view", "pictures shown", 4]}
    arguments = ("--path", str(longer.path), "--video", str(received))
    with station(compiled("live"), wish, *arguments, home=tmp_path) as graph:
        figures = figures_of(graph)
    counters = figures["counters"]
    assert counters["video_sink"]["pictures written"] >= 3 and min(figures["window"]) > 300
    assert counters["image_source"]["sent to 'out'"] >= 4
    assert len(list(Frames(received))) >= 3
