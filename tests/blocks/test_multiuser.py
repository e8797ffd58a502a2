# SPDX-License-Identifier: GPL-3.0-or-later
"""One transmitter, several users: the flowgraph gives what the loop without GNU Radio gives, and never hangs."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semcom import keys
from semcom.blocks.loopback import LoopbackFlowgraph, run
from semcom.codec import DECODERS
from semcom.errors import SemcomError
from semcom.link import LinkConfig, simulate
from semcom.link.users import named_users

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(120)


def setup(tiny_users, names=tuple(DECODERS), user_snr_db=(), **config):
    model = str(tiny_users["anchor"])
    return LinkConfig(model, **{"snr_db": 12.0, **config}), named_users(model, names, user_snr_db)


@pytest.mark.slow
def test_same_as_without_gnu_radio(tiny_users, make_pictures):
    config, users = setup(tiny_users)
    pictures, calls = list(make_pictures(6, 48, 64)), []
    through_radio = run(pictures, config, users, progress=lambda: calls.append(1))
    plain = simulate(pictures, config, users)
    assert len(calls) == 6 and len(through_radio) == len(plain) == 24
    for one, other in zip(through_radio, plain, strict=True):
        assert (one.item, one.user, one.bursts_sent) == (other.item, other.user, other.bursts_sent)
        assert one.bursts_lost == other.bursts_lost == 0 and one.value.shape == (48, 64, 3)
        assert abs(one.psnr_db - other.psnr_db) < 1.0
        assert abs(one.overhead - other.overhead) < 1e-6


def test_the_first_user_with_the_anchors_decoder_is_the_plain_link(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["anchor", "conv"], seed=0)
    pictures = list(make_pictures(2))
    several = [result for result in simulate(pictures, config, users) if result.user == "anchor"]
    for one, other in zip(several, simulate(pictures, config), strict=True):
        assert np.array_equal(one.value, other.value) and one.snr_est_db == other.snr_est_db


@pytest.mark.parametrize("channel", ["ideal", "rayleigh", "multipath"])
@pytest.mark.slow
def test_channels_of_their_own(channel, tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "conv"], channel=channel, snr_db=20.0)
    results = run(make_pictures(4), config, users)
    estimates = [[r.snr_est_db for r in results if r.user == user.name] for user in users]
    assert all(len(of_one) == 4 for of_one in estimates)
    assert (estimates[0] == estimates[1]) == (channel == "ideal")


def test_users_with_snrs_of_their_own(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"], [5.0, 18.0])
    results = run(make_pictures(6), config, users)
    for user in users:
        estimates = [r.snr_est_db for r in results if r.user == user.name]
        assert abs(np.mean(estimates) - user.snr_db) < 0.5
        assert {r.snr_db for r in results if r.user == user.name} == {user.snr_db}


@pytest.mark.slow
def test_more_pictures_than_the_window_and_a_user_out_of_range(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"], [15.0, -20.0])
    results = run(make_pictures(30), config, users)
    near, far = ([r for r in results if r.user == user.name] for user in users)
    assert len(near) == len(far) == 30 and all(r.value is not None for r in near)
    assert sum(r.value is None for r in far) > 20


@pytest.mark.slow
@pytest.mark.parametrize("send", [run, simulate], ids=["flowgraph", "no-radio"])
def test_every_user_loses_bursts_of_its_own(send, tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"], drop=0.4, snr_db=20.0)
    results = send(make_pictures(24, 300, 300), config, users)
    lost = [[r.bursts_lost for r in results if r.user == user.name] for user in users]
    sent = sum(r.bursts_sent for r in results) / len(users)
    assert lost[0] != lost[1]
    for one in lost:
        assert abs(sum(one) / sent - 0.4) < 4 * (0.4 * 0.6 / sent) ** 0.5
    assert all((r.value is None) == (r.bursts_lost == r.bursts_sent) for r in results)


@pytest.mark.slow
def test_the_same_seeds_lose_the_same_bursts(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"], drop=0.5, snr_db=20.0)
    runs = [[r.bursts_lost for r in run(make_pictures(8), config, users)] for _ in range(2)]
    assert runs[0] == runs[1] and 0 < sum(runs[0])


def test_everything_dropped_ends_in_order(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"], drop=1.0)
    assert all(r.value is None for r in run(make_pictures(12), config, users))


@pytest.mark.slow
def test_a_standstill_names_the_user_that_waits(tiny_users, make_pictures):
    config, users = setup(tiny_users, ["conv", "vgg"])
    flowgraph = LoopbackFlowgraph(make_pictures(2), config, users)
    cut = flowgraph.receptions[1]
    flowgraph.msg_disconnect((cut.estimator, keys.PORT_OUT), (cut.decoder, keys.PORT_IN))
    with pytest.raises(SemcomError, match=r"users that wait: vgg\). Counters: image_source"):
        flowgraph.run_to_end(stall_s=1.0)


RUN = """
import importlib.util, json, sys, time
from PyQt5 import Qt, QtCore

spec = importlib.util.spec_from_file_location("multiuser", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
app = Qt.QApplication(sys.argv[:1])
tb = module.multiuser()
views = {name: getattr(tb, f"{name}_view") for name in ("attention", "conv", "resnet", "vgg")}
tb.start()
tb.show()
tb.set_vgg_snr_db(20.0)
began = time.monotonic()

def look():
    shown = {name: view.counters["pictures shown"] for name, view in views.items()}
    if min(shown.values()) >= 2 or time.monotonic() - began > 60:
        tb.stop()
        tb.wait()
        places = [view.widget.geometry().getRect() for view in views.values()]
        print("FIGURES", json.dumps({"shown": shown, "places": places}))
        app.quit()

timer = QtCore.QTimer()
timer.timeout.connect(look)
timer.start(100)
app.exec_()
"""


@pytest.mark.slow
def test_the_flowgraph_shows_four_pictures_without_a_screen(tmp_path):
    pytest.importorskip("PyQt5")
    if not Path("/usr/bin/grcc").exists():
        pytest.skip("GNU Radio Companion's compiler is not installed")
    clean = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    settings = {
        "HOME": str(tmp_path),
        "GRC_BLOCKS_PATH": str(ROOT / "gr-semcom/grc"),
        "QT_QPA_PLATFORM": "offscreen",
    }

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=clean | settings,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("/usr/bin/grcc", "-o", tmp_path, ROOT / "flowgraphs/multiuser.grc")
    lines = call("-c", RUN, tmp_path / "multiuser.py").splitlines()
    figures = json.loads(next(line for line in lines if line.startswith("FIGURES ")).removeprefix("FIGURES "))
    assert min(figures["shown"].values()) >= 2 and len(figures["shown"]) == 4
    places = figures["places"]
    assert all(width > 50 and height > 50 for _, _, width, height in places)
    for (x, y, width, height), (u, v, *_size) in itertools.combinations(sorted(places), 2):
        assert u >= x + width or v >= y + height, f"views lie on one another: {places}"
