# SPDX-License-Identifier: GPL-3.0-or-later
"""Transmitter and receiver flowgraphs, compiled and run as programs of their own: a picture across."""

import re
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from grc_bench import LIMIT_S, ROOT, best_psnr_db, figures_of, running, station

from semcom.radio import load_link

LINK = str(ROOT / "hardware" / "links" / "photo.yaml")
AIR_SNR_DB = 16.0

pytestmark = pytest.mark.timeout(240)
pytest.importorskip("PyQt5")
pytest.importorskip("pyqtgraph")


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / "flowgraphs" / f"{name}.grc").read_text())


def addresses(count: int) -> list[str]:
    """Free ports: all are held until the last is found."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    found = [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in held]
    for one in held:
        one.close()
    return found


@pytest.mark.parametrize("side", ["tx", "rx"])
def test_nothing_else_in_the_graph_changes_with_the_radio(side):
    """Between the usrp and the zmq flowgraph differ the radio's default and the controls of gain and frequency."""
    usrp, zmq = read(f"{side}_usrp"), read(f"{side}_zmq")
    assert usrp["connections"] == zmq["connections"]
    named = [{block["name"]: block for block in graph["blocks"]} for graph in (usrp, zmq)]
    assert set(named[0]) - set(named[1]) == {"gain", "frequency", "gain_db", "frequency_hz"}
    assert set(named[1]) <= set(named[0])
    different = {
        (name, key)
        for name, block in named[1].items()
        for key, value in block["parameters"].items()
        if value != named[0][name]["parameters"][key]
    }
    radio = "radio_sink" if side == "tx" else "radio_source"
    allowed = {("radio", "value"), ("view", "gui_hint"), ("recorder", "centre_frequency_hz")}
    allowed |= {(radio, "gain_db"), (radio, "centre_frequency_hz")}
    allowed |= {("how_to_run", "comment")}
    assert different <= allowed
    assert ("radio", "value") in different


def test_both_stations_take_the_format_from_the_link_profile(compiled):
    """No number of the link profile is typed into a flowgraph."""
    for name in ("tx_usrp", "rx_usrp", "tx_zmq", "rx_zmq"):
        text = yaml.safe_dump(read(name)["blocks"])
        assert load_link(LINK).model not in text
        code = compiled(name).read_text()
        assert "profile = load_link(link)" in code and "profile.model" in code


@pytest.mark.slow
def test_three_programs_over_the_virtual_air(compiled, tmp_path):
    sent_at, received_at, feedback = addresses(3)
    transmitter, receiver = (compiled(f"{side}_zmq") for side in ("tx", "rx"))
    common = ("--link", LINK, "--feedback", feedback)
    air = ["air", "--tx", sent_at, "--rx", received_at, "--snr-db", str(AIR_SNR_DB), "--status-every", "0"]
    enough = tmp_path / "enough"
    tx_wish = {"until_file": str(enough), "set": {"rate": 2.0, "snr_db": 5.0}}
    rx_wish = {"until": ["sink", "pictures", 4], "folder": str(tmp_path / "out")}
    with (
        running("-c", "from semcom.cli.main import app; app()", *air, home=tmp_path),
        station(transmitter, tx_wish, "--radio", f"zmq:{sent_at}", *common, home=tmp_path) as tx,
        station(receiver, rx_wish, "--radio", f"zmq:{received_at}", *common, home=tmp_path) as rx,
    ):
        received = figures_of(rx)
        enough.touch()
        sent = figures_of(tx)
    assert min(received["window"]) > 300
    assert not received["counters"]["view"], "the live view refused something"
    assert received["counters"]["decoder"]["bursts missing"] == 0
    assert sent["counters"]["encoder"]["SNR feedback received"] >= 3
    came = sorted((tmp_path / "out").glob("*.png"))
    assert len(came) >= 4
    assert np.median([best_psnr_db(picture) for picture in came]) > 24


@pytest.mark.slow
def test_the_usrp_flowgraphs_over_a_file(compiled, tmp_path):
    """The same pictures through the very blocks that serve a USRP, with what the command line says instead."""
    samples, out, capture = tmp_path / "air.c64", tmp_path / "out", tmp_path / "capture"
    transmitter, receiver = (compiled(f"{side}_usrp") for side in ("tx", "rx"))
    common = ("--radio", f"file:{samples}", "--link", LINK, "--feedback", addresses(1)[0], "--gain", "3")
    live = {"set": {"gain_db": 5.0, "frequency_hz": 2.451e9}}
    wish = {"until": ["modulator", "bursts sent", 4]} | live
    with station(transmitter, wish, *common, home=tmp_path) as tx:
        figures_of(tx)
    assert samples.stat().st_size > 8 * 100_000
    wish = {"until": ["sink", "pictures", 1], "folder": str(out)} | live
    with station(receiver, wish, *common, "--capture", str(capture), home=tmp_path) as rx:
        received = figures_of(rx)
    assert received["counters"]["recorder"]["bursts recorded"] >= 2
    assert list(capture.glob("*.sigmf-meta"))
    assert best_psnr_db(next(out.glob("*.png"))) > 26


def test_the_transceiver_hears_itself_through_one_device(compiled, tmp_path):
    """Both ends of one fake radio, the SNR back to the encoder, and all of it ended by SIGTERM with status 0."""
    out = tmp_path / "out"
    wish = {"until": ["sink", "pictures", 2], "folder": str(out), "fake_radio": True, "set": {"rate": 2.0}}
    with station(compiled("transceiver_usrp"), wish, "--link", LINK, home=tmp_path) as program:
        counters = figures_of(program)["counters"]
    assert counters["encoder"]["SNR feedback received"] >= 2
    assert counters["radio_sink"]["bursts acknowledged by the radio"] >= 2
    assert not counters["view"], "the live view refused something"
    assert best_psnr_db(next(out.glob("*.png"))) > 26


def listens_to_sigterm(pid: int) -> bool:
    """Whether a process has come as far as the end of its main(): from there on GNU Radio's programs catch SIGTERM."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught.group(1), 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc, to see what a program has come to"
)
@pytest.mark.parametrize("name", ["loopback", "multiuser", "rx_usrp"])
def test_a_program_starts_and_ends_as_a_user_has_it(name, compiled, tmp_path):
    """Until SIGTERM, without test code in the process; the others' main() is run by ``station`` in these tests."""
    program, arguments = compiled(name), []
    if name.startswith("rx"):
        np.zeros(10_000, np.complex64).tofile(tmp_path / "air.c64")
        arguments = ["--radio", f"file:{tmp_path}/air.c64", "--feedback", addresses(1)[0]]
    with running(str(program), *arguments, home=tmp_path) as process:
        end = time.monotonic() + LIMIT_S
        while process.poll() is None and not listens_to_sigterm(process.pid) and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(1)  # of running
        process.terminate()
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and "Traceback" not in output, output
