# SPDX-License-Identifier: GPL-3.0-or-later
"""The Qt widget, without a screen, in a process of its own (Qt aborts a process that has no display)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PyQt5")
PATHS = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

SCRIPT = """
import sys, time
import numpy as np
import pmt
from gnuradio import gr
from PyQt5 import Qt
from radio_bench import make_recorder
from semcom.blocks.base import meta_of
from semcom import blocks, keys
from semcom.blocks import pdu as bridge

app = Qt.QApplication(sys.argv)
view = blocks.image_view(sample_rate=2e6)
source = make_recorder()
top = gr.top_block()
top.msg_connect((source, "out"), (view, "in"))
throughput = make_recorder()
top.msg_connect((view, "throughput"), (throughput, "in"))
done = make_recorder()
top.msg_connect((view, "done"), (done, "in"))
top.start()
view.widget.resize(700, 400)
view.widget.show()
post = view.to_basic_block()._post

def picture(shade, **meta):
    pixels = np.full((20, 30, 3), shade, np.uint8)
    meta = {keys.IMAGE_ID: 5, keys.HEIGHT: 20, keys.WIDTH: 30, **meta}
    return bridge.to_message(bridge.Pdu(meta, pixels.reshape(-1)))

post(pmt.intern("sent"), picture(100))
post(pmt.intern("sent"), pmt.intern("garbage"))
post(pmt.intern("in"), picture(110, snr_db=9.87, bursts_received=1, burst_count=2, airtime_samples=1000))
end = time.monotonic() + 20
while time.monotonic() < end and not throughput.got:
    time.sleep(0.01)
post(pmt.intern("in"), bridge.to_message(bridge.Pdu({}, np.zeros(3, np.uint8))))
while time.monotonic() < end and (sum(view.counters.values()) < 3 or not throughput.got):
    app.processEvents()
    time.sleep(0.01)
for _ in range(20):
    app.processEvents()
shown = view.widget.grab().toImage()
top.stop()
top.wait()
print("TEXT", view.widget._text.text())
print("THROUGHPUT", bridge.from_vector(pmt.cdr(throughput.got[-1])).tolist())
print("COUNTERS", dict(view.counters))
print("DONE", [meta_of(got)[keys.IMAGE_ID] for got in done.got])
print("SENT", shown.pixelColor(175, 200).red(), "RECEIVED", shown.pixelColor(525, 200).red())
"""


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_shows_both_pictures_and_what_is_known_of_them():
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": PATHS}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=50, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "TEXT PSNR 28.1 dB    SNR estimated 9.9 dB    1 of 2 bursts" in result.stdout, result.stdout
    # 300 of 600 pixels, the others in a burst that was lost, in the 0.5 ms that both bursts took
    assert "THROUGHPUT [0.6" in result.stdout, result.stdout
    assert re.search(r"2 bursts    latency \d+\.\d\d s", result.stdout), result.stdout
    assert "DONE [5]" in result.stdout, result.stdout
    assert "SENT 100 RECEIVED 110" in result.stdout, result.stdout
    assert "message that is not a PDU" in result.stdout and "PDU without 'height'" in result.stdout


NEWEST = """
import sys, threading
import numpy as np
from PyQt5 import Qt
from semcom import blocks, keys
from semcom.blocks.pdu import Pdu

app = Qt.QApplication(sys.argv)
view = blocks.image_view(received_title="")
pictures = [Pdu({keys.IMAGE_ID: n, keys.HEIGHT: 8, keys.WIDTH: 8}, np.full(192, 10 * n, np.uint8)) for n in range(9)]
for pdu in pictures[:5]:  # nobody takes them yet: the worker has not started
    view.enqueue(pdu)
print("WAITING", [pdu.meta[keys.IMAGE_ID] for pdu in view._queue])
from semcom.blocks import pdu as bridge
def send():
    for pdu in pictures[5:]:
        view.on_sent(bridge.to_message(pdu))
sender = threading.Thread(target=send)  # GNU Radio's; Qt has no time for any but the last
sender.start()
sender.join()
view.widget.resize(400, 300)
view.widget.show()
for _ in range(20):
    app.processEvents()
print("COUNTERS", dict(view.counters))
print("SHADE", view.widget.grab().toImage().pixelColor(200, 120).red())
"""


@pytest.mark.timeout(60)
@pytest.mark.slow
def test_the_newest_picture_wins_and_one_picture_fills_the_view():
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    result = subprocess.run(
        [sys.executable, "-c", NEWEST], capture_output=True, text=True, timeout=50, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "WAITING [4]" in result.stdout, result.stdout
    assert "'pictures overtaken by newer ones': 7" in result.stdout, result.stdout
    assert "'pictures shown': 4" in result.stdout and "SHADE 80" in result.stdout, result.stdout


def test_caption():
    from semcom.blocks.image_view import caption

    assert caption(None, float("nan"), 0, 0) == ""
    assert caption(31.26, 10.04, 3, 4) == "PSNR 31.3 dB    SNR estimated 10.0 dB    3 of 4 bursts"


def test_a_sample_rate_that_cannot_be_is_refused_in_words():
    from semcom.blocks import image_view
    from semcom.errors import ConfigError

    with pytest.raises(ConfigError, match="image_view: sample_rate"):
        image_view(sample_rate=0)
    with pytest.raises(ConfigError, match="image_view: received_title"):
        image_view(sent_title="", received_title="")
