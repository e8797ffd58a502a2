# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom air`` as a user runs it: a process of its own that ends when asked to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from typer.testing import CliRunner

from semcom.cli.main import app

PROGRAM = Path(sys.executable).with_name("semcom")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
def addresses():
    return [f"tcp://127.0.0.1:{port}" for port in free_ports(2)]


@pytest.fixture
def start():
    """Starts ``semcom air`` with arguments and waits until it is ready."""
    running = []

    def begin(*arguments):
        process = subprocess.Popen(
            [PROGRAM, "air", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )
        running.append(process)
        for line in process.stderr:
            if "awaited at" in line:
                return process
        raise AssertionError(f"it ended: {process.communicate()}")

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def run(*arguments):
    return CliRunner().invoke(app, ["air", *map(str, arguments)])


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_it_ends_cleanly_and_says_what_was(start, addresses, tmp_path, number):
    tx, rx = addresses
    process = start("--tx", tx, "--rx", rx, "--json", tmp_path / "counts.json", "--sample-rate", 1e5)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0 and "Traceback" not in err
    assert "real-time factor" in out
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["receivers"]["rx"]["connected"] == 0 and counts["times_behind"] == 0


@pytest.mark.slow
def test_three_processes_and_each_restarted(start, addresses):
    """A sender, the air and a receiver; the air is killed outright and started again between the two others."""
    tx, rx = addresses
    context = zmq.Context.instance()
    sender, listener = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    sender.linger = listener.linger = 0
    listener.set_hwm(10)
    try:
        sender.bind(tx)
        listener.connect(rx)
        air = None
        for value in (0.25, 0.5):
            if air is not None:
                air.kill()
                air.wait()
            air = start("--tx", tx, "--rx", rx, "--sample-rate", 2e5, "--snr-db", 40)
            hears(sender, listener, value)
    finally:
        sender.close()
        listener.close()


def hears(sender, listener, value):
    """Sends a value for as long as it takes to receive it, at most 3 s."""
    message = np.full(1000, value, np.complex64)
    message[900:] = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            sender.send(message.tobytes(), zmq.NOBLOCK)
        except zmq.Again:
            pass
        if listener.poll(50):
            samples = np.frombuffer(listener.recv(), np.complex64)
            if np.sum(np.abs(samples - value) < 0.02) > 100:
                return
    raise AssertionError(f"{value} was not received within 3 s")


def test_a_script_and_its_time_on_air(tmp_path, addresses):
    tx, rx = addresses
    (tmp_path / "a.yaml").write_text(f"transmitters: {{t: '{tx}'}}\nreceivers: {{r: '{rx}'}}\npace: free\n")
    done = run(
        tmp_path / "a.yaml", "--pace", "real-time", "--sample-rate", 1e5, "--seconds", 0.3, "--status-every", 0.1,
        "--json", "-",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["sample_rate_hz"] == 1e5 and report["time_on_air_s"] == pytest.approx(0.3, abs=0.02)
    assert set(report["receivers"]) == {"r"}
    assert "t not received" in done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none.yaml"], "there is no air script 'none.yaml'"),
        (["--snr-db", "1000"], "receiver 'rx': 'snr_db' must be -60 to 120 dB, not 1000.0"),
        (["--snr-db", "nan"], "snr_db"),
        (["--sro-ppm", "500"], "'sro_ppm' must be -200 to 200 ppm"),
        (["--cfo-hz", "6e5"], "'cfo_hz' must be at most half the sample rate"),
        (["--multipath", "-1"], "'delay_spread_samples' must be 0 to 255 samples"),
        (["--sample-rate", "0"], "'sample_rate_hz' must be 1000"),
        (["--pace", "fast"], "--pace"),
        (["--seconds", "0"], "--seconds"),
        (["--seed", "-1"], "--seed"),
        (["--rx", "nowhere"], "address 'nowhere' is none"),
        (["--rx", "tcp://*:5560"], "other machines"),
        (["--json", f"{__file__}/counts.json"], "test_air.py"),
    ],
)
def test_what_is_refused(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert words in " ".join(done.output.split())


def test_a_wrong_name_of_a_script_is_answered_with_those_that_there_are():
    done = run("fadign")
    assert done.exit_code == 2
    assert "did you mean 'fading'? There are classroom, fading" in " ".join(done.output.split())
    assert "elsewhere/fading.yaml" in run("elsewhere/fading.yaml").output


def test_a_script_is_found_by_its_name():
    done = run("fading", "--snr-db", 10)
    assert "write what the channel does into" in " ".join(done.output.split())
    assert "hardware/air/fading.yaml" in "".join(done.output.split())


def test_options_of_the_channel_belong_into_a_script(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    done = run(tmp_path / "a.yaml", "--snr-db", 10, "--tx", "tcp://127.0.0.1:1")
    assert done.exit_code == 2
    assert "snr_db, tx: with a script, write what the channel does into" in " ".join(done.output.split())


def test_a_port_in_use(addresses):
    tx, rx = addresses
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(rx.rsplit(":", 1)[1])))
        taken.listen()
        done = run("--tx", tx, "--rx", rx)
    assert done.exit_code == 2 and "is in use" in " ".join(done.output.split())


def test_it_starts_without_torch():
    """A restarted air must be back before anyone misses it."""
    program = (
        "import sys; from semcom.air.process import VirtualAir\n"
        "print([m for m in ('torch', 'gnuradio', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
