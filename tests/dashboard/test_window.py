# SPDX-License-Identifier: GPL-3.0-or-later
"""The window without a screen, in a process of its own (Qt aborts a process that has no display)."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("PyQt5")
pytest.importorskip("pyqtgraph")

SCRIPT = """
import json, sys
import numpy as np
from semcom import keys
from semcom.dashboard import digest
from semcom.dashboard.app import application
from semcom.dashboard.window import BACKGROUND, DashboardWidget
from semcom.wire.telemetry import PICTURE, STATE, Message

app = application()
waiting, now = [], [1000.0]

def source():
    while waiting:
        message = waiting.pop(0)
        if message is None:
            raise RuntimeError("the source broke")
        yield message

window = DashboardWidget(source, clock=lambda: now[0])
window._timer.stop()  # frames by hand
window.show()
out = {}

def frame(seconds=1.0):
    now[0] += seconds
    window.tick()
    for _ in range(5):
        app.processEvents()

def picture(station, image_id, shade, sequence, **more):
    pixels = np.full((40, 60, 3), shade, np.uint8)
    values = {keys.IMAGE_ID: image_id, keys.HEIGHT: 40, keys.WIDTH: 60, **more}
    return Message(PICTURE, station, 1, sequence, values, {}, {digest.PIXELS: pixels})

def numbers():
    return {name: tile.value.text() for name, tile in window.tiles.items()}

frame()
out["before"] = {"links": window.links["rx"].text.text(), "tiles": numbers()}
random = np.random.default_rng(0)
for tick in range(40):
    arrays = {
        digest.LATENTS: random.normal(size=(1024, 2)).astype(np.float32).view(np.complex64)[:, 0],
        digest.PILOTS: np.array([1e30, np.nan, 0.7 + 0.7j], np.complex64),
        digest.GAIN_DB: np.full(240, 0.0 if tick else -np.inf, np.float32),
        digest.CARRIER_SNR_DB: np.full(240, np.nan if tick < 2 else 12.0, np.float32),
    }
    values = {keys.SNR_DB: 12.34, keys.SNR_STDERR_DB: 0.25, digest.CFO_HZ: -4321.0, digest.SPACING_HZ: 3906.25,
              digest.BURSTS: 7 * tick, digest.PICTURES: 2 * tick}
    waiting.append(Message(STATE, "rx", 1, 2 * tick, values, {"burst_detector": {"bursts found": 12_345_678}}, arrays))
    papr = {digest.PAPRS_DB: np.array([9.5], np.float32)}
    waiting.append(Message(STATE, "tx", 1, tick, {keys.SNR_DB: 11.0}, {}, papr))
    frame(0.1)
waiting += [picture("tx", 3, 100, 99, image_name="<b>a & b</b>"),
            picture("rx", 3, 110, 99, bursts_received=2, burst_count=3, snr_db=12.3, latency_s=0.125)]
frame(0.6)
out["after"] = {
    "tiles": numbers(), "snr_unit": window.tiles["snr"]._unit.text(), "links": window.links["rx"].text.text(),
    "captions": [window.sent.caption.text(), window.received.caption.text()],
    "counters": [[window.counters.item(row, column).text() for column in (0, 1)]
                 for row in range(window.counters.rowCount())],
}
shot = window.grab().toImage()
place = lambda widget: widget.mapTo(window, widget.rect().center())
out["shades"] = [shot.pixelColor(place(part._canvas)).red() for part in (window.sent, window.received)]

def colours(widget):
    corner, size = widget.mapTo(window, widget.rect().topLeft()), widget.size()
    return len({shot.pixel(corner.x() + x, corner.y() + y)
                for x in range(0, size.width(), 2) for y in range(0, size.height(), 2)})

plots = ("snr", "constellation", "channel", "papr", "counters")
out["colours"] = {name: colours(getattr(window, name)) for name in plots}
out["line"] = [float(window.snr._line.yData[-1]), float(window.snr._high.yData[-1])]
frames = window.frames
frame(0.01)
out["drawn without news"] = window.frames - frames
waiting.append(None)
frame(0.1)
frame(3.0)
out["silent"] = {"tiles": numbers(), "links": window.links["rx"].text.text(), "problems": dict(window.state.problems)}
waiting.append(Message(STATE, "rx", 2, 0, {keys.SNR_DB: 5.0}, {}, {}))
frame(1.0)
out["restarted"] = {"tiles": numbers(), "links": window.links["rx"].text.text()}
print("OUT", json.dumps(out))
"""


@pytest.fixture(scope="module")
def shown():
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    line = next((line for line in result.stdout.splitlines() if line.startswith("OUT ")), None)
    assert line, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return json.loads(line.removeprefix("OUT "))


@pytest.mark.slow
def test_before_anything_is_received(shown):
    assert shown["before"]["links"] == "nothing received yet"
    assert set(shown["before"]["tiles"].values()) == {"–"}


@pytest.mark.slow
def test_the_figures_are_those_that_were_reported(shown):
    tiles = shown["after"]["tiles"]
    assert tiles["psnr"] == "28.1" and tiles["snr"] == "12.3" and tiles["cfo"] == "-4.32"
    assert tiles["latency"] == "125" and tiles["bursts"] == "70" and tiles["pictures"] == "20.0"
    assert shown["after"]["snr_unit"] == "± 0.25 dB"
    assert shown["line"] == pytest.approx([12.34, 12.84])
    assert shown["after"]["links"] == "last received 0.0 s ago"


def test_both_pictures_and_their_captions(shown):
    assert shown["shades"] == [100, 110]
    sent, received = shown["after"]["captions"]
    assert sent == "#3   <b>a & b</b>   60 x 40"
    assert received == "#3   2 of 3 bursts   SNR 12.3 dB"


def test_counters_by_block_and_gaps(shown):
    counters = shown["after"]["counters"]
    at = counters.index(["rx: burst_detector", ""])
    assert counters[at + 1] == ["   bursts found", "12.3 M"]
    assert ["   messages of rx missed", "59"] in counters


def test_every_plot_shows_something(shown):
    assert min(shown["colours"].values()) > 10, shown["colours"]


def test_nothing_is_drawn_without_news(shown):
    assert shown["drawn without news"] == 0


def test_a_receiver_that_falls_silent_and_comes_back(shown):
    silent = shown["silent"]
    assert (
        silent["links"].startswith("silent for")
        and silent["tiles"]["snr"] == silent["tiles"]["bursts"] == "–"
    )
    assert silent["problems"] == {"RuntimeError: the source broke": 1}
    assert shown["restarted"]["tiles"]["snr"] == "5.0"
    assert shown["restarted"]["links"] == "last received 0.0 s ago, restarted 1 x"


def run(*arguments, **environment):
    program = [sys.executable, "-c", "from semcom.cli.main import app; app()", "dashboard", *arguments]
    return subprocess.run(
        program, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_the_command_takes_a_screenshot_and_reports(tmp_path):
    shot = tmp_path / "new" / "shot.png"
    done = run("--seconds", "3", "--screenshot", str(shot), "--fps-report", QT_QPA_PLATFORM="offscreen")
    assert done.returncode == 0, done.stderr
    assert "frames a second" in done.stdout and shot.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--screenshot", "x.png"], "--seconds"),
        (["--rx", "tcp://192.0.2.1:5580"], "keys"),
        (["--tx", "nonsense"], "nonsense"),
    ],
)
def test_what_a_user_can_get_wrong(arguments, words, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from semcom.cli.main import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["dashboard", *arguments])
    assert done.exit_code == 2 and words in done.output + getattr(done, "stderr", "")


@pytest.mark.slow
def test_no_screen_and_no_qt_are_reported_in_words():
    bare = {name: "" for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    done = run("--seconds", "1", **bare)
    assert done.returncode == 2 and "needs a screen" in done.stderr
    program = "import sys; sys.modules['PyQt5'] = None; from semcom.cli.main import app; app(['dashboard'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "python3-pyqtgraph" in done.stderr and "Traceback" not in done.stderr
