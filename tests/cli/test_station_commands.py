# SPDX-License-Identifier: GPL-3.0-or-later
"""Three processes, one picture: tx, air and rx share nothing but sockets, and each survives the others."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("gnuradio", reason="needs GNU Radio")
from semcom.kinds import quality
from semcom.kinds.pictures import read_picture, samples

SEMCOM = Path(sys.executable).with_name("semcom")

pytestmark = pytest.mark.timeout(240)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    """The three commands on ports of their own, in one folder."""

    def __init__(self, folder: Path, *, snr_db: float = 10.0, feedback: bool = False):
        self.folder, self.running = folder, {}
        (folder / "link.yaml").write_text("name: test\nmodel: photo-1-12\n")
        up, down, back = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
        link = ("--link", str(folder / "link.yaml"))
        options = ("--feedback", back) if feedback else ()
        self.commands = {
            "rx": (
                "rx",
                *link,
                "--radio",
                f"zmq:{down}",
                "--out",
                str(folder / "out"),
                *self.log("rx"),
                *options,
            ),
            "air": ("air", "--tx", up, "--rx", down, "--snr-db", str(snr_db), "--cfo-hz", "3000"),
            "tx": ("tx", *link, "--radio", f"zmq:{up}", "--repeat", "--rate", "2", *self.log("tx"), *options),
        }

    def log(self, name: str) -> tuple[str, str]:
        return "--log", str(self.folder / f"{name}.jsonl")

    def start(self, name: str, *more: str) -> subprocess.Popen:
        command = [str(SEMCOM), *self.commands[name], *more, "--json", str(self.folder / f"{name}.json")]
        with (self.folder / f"{name}.txt").open("ab") as said:
            self.running[name] = subprocess.Popen(
                command, stdout=said, stderr=said, env={**os.environ, "COLUMNS": "200"}
            )
        return self.running[name]

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def stop(self, name: str) -> dict:
        """Ctrl-C; returns the command's JSON."""
        self.running[name].send_signal(signal.SIGINT)
        assert self.running[name].wait(30) == 0, (self.folder / f"{name}.txt").read_text()
        return json.loads((self.folder / f"{name}.json").read_text())

    def lines(self, name: str) -> list[dict]:
        file = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def more_pictures(self, seconds: float = 60) -> None:
        """Waits until a picture comes out that was not there before."""
        before, deadline = len(self.lines("rx")), time.monotonic() + seconds
        while len(self.lines("rx")) <= before:
            if time.monotonic() > deadline:
                said = {name: (self.folder / f"{name}.txt").read_text() for name in self.commands}
                raise AssertionError(f"no picture for {seconds} s: {said}")
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait()


@pytest.mark.slow
def test_three_processes_one_picture(tmp_path):
    with Bench(tmp_path, feedback=True) as bench:
        for name in ("tx", "rx", "air"):  # whatever the order
            bench.start(name)
        bench.more_pictures()
        bench.more_pictures()
        rx, tx, air = (bench.stop(name) for name in ("rx", "tx", "air"))
    originals = {picture.name: picture.pixels for picture in samples()}
    sent = {line["image_id"]: line for line in bench.lines("tx")}
    lines = bench.lines("rx")
    if lines[-1]["bursts_received"] < lines[-1]["burst_count"]:  # the stop came in the middle of a picture
        lines.pop()
    for line in lines:
        received = read_picture(tmp_path / "out" / f"{line['image_id']:05d}.png").pixels
        assert line["bursts_received"] == line["burst_count"]
        assert abs(line["snr_db"] - 10) < 1
        assert quality.psnr(originals[sent[line["image_id"]]["image"]], received) > 24
    assert rx["pictures"] == len(bench.lines("rx")) >= 2
    assert tx["counters"]["feedback_receiver"]["SNR reports accepted"] > 0
    assert tx["counters"]["deepjscc_encoder"]["SNR feedback received"] > 0
    assert air["times_behind"] == 0 or air["real_time_factor"] > 0.9


@pytest.mark.slow
def test_each_process_may_be_killed_and_started_again(tmp_path):
    with Bench(tmp_path) as bench:
        for name in bench.commands:
            bench.start(name)
        bench.more_pictures()
        for name in bench.commands:
            bench.kill(name)
            bench.start(name)
            bench.more_pictures()


@pytest.mark.slow
def test_a_capture_replays_to_the_same_bits(tmp_path):
    """What ``semcom capture`` records, ``semcom replay`` turns into the very latents of the live run."""
    with Bench(tmp_path) as bench:
        bench.start("air")
        bench.start("tx")
        down = bench.commands["rx"][bench.commands["rx"].index("--radio") + 1]
        run = [str(SEMCOM), "capture", "--out", str(tmp_path / "captures"), "--radio", down, "--link"]
        run += [str(tmp_path / "link.yaml"), "--pictures", "2", "--sent-log", str(tmp_path / "tx.jsonl")]
        done = subprocess.run(run, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    again = [str(SEMCOM), "replay", str(tmp_path / "captures"), "--json", str(tmp_path / "replay.json")]
    again += ["--sent-log", str(tmp_path / "tx.jsonl")]
    done = subprocess.run(again, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    replayed = json.loads((tmp_path / "replay.json").read_text())
    assert replayed["latents_equal"] == replayed["latents_compared"] >= 2, replayed
    assert all(picture["psnr_db"] > 24 for picture in replayed["pictures"]), replayed


@pytest.mark.slow
def test_a_receiver_that_received_nothing_says_what_to_check(tmp_path):
    (tmp_path / "air.c64").write_bytes(bytes(8 * 100_000))
    (tmp_path / "link.yaml").write_text("name: bench\nmodel: cifar-1-12\n")
    run = [
        str(SEMCOM),
        "rx",
        "--link",
        str(tmp_path / "link.yaml"),
        "--radio",
        f"file:{tmp_path / 'air.c64'}",
    ]
    run += ["--json", str(tmp_path / "rx.json")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    said = " ".join(done.stderr.split())
    assert done.returncode == 0 and "no burst was found" in said and "same link profile" in said, said
    report = json.loads((tmp_path / "rx.json").read_text())
    assert report["link"].startswith("link profile 'bench' (0x") and report["link"] in report["advice"]
    assert report["advice"] in said and report["link"] in " ".join(done.stdout.split())


@pytest.mark.slow
def test_mistakes_are_reported_before_anything_runs(tmp_path):
    def complaint(*command: str) -> str:
        done = subprocess.run([str(SEMCOM), *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stdout
        return " ".join(done.stderr.split())

    (tmp_path / "bad.yaml").write_text("sample_rat_hz: 1e6\n")
    assert "did you mean 'sample_rate_hz'" in complaint("tx", "--link", str(tmp_path / "bad.yaml"))
    assert "none of usrp, soapy, zmq, file" in complaint("rx", "--radio", "pigeon")
    assert "semcom keys" in complaint("rx", "--feedback", "tcp://0.0.0.0:5570")
    assert "add --feedback" in complaint("rx", "--target-psnr-db", "30")
