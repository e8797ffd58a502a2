# SPDX-License-Identifier: GPL-3.0-or-later
"""Transmitter, air and receiver as three processes, measured; writes docs/figures.

.venv/bin/python scripts/station_figures.py sustained   # ten minutes at 1 Msample/s: losses, memory, latency by stage
.venv/bin/python scripts/station_figures.py restart     # each process killed and started again
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import typer
from tables import FIGURES, write_table

from semcom.kinds import quality
from semcom.kinds.pictures import read_picture, samples

SEMCOM = Path(sys.executable).with_name("semcom")
app = typer.Typer(help=__doc__, no_args_is_help=True)


class Processes:
    """The three commands, their logs in one folder; whatever still runs at the end is stopped."""

    def __init__(self, folder: Path, snr_db: float, rate: float):
        self.folder = folder
        link = ("--link", str(Path(__file__).resolve().parent.parent / "hardware" / "links" / "photo.yaml"))
        logs = {name: ("--log", str(folder / f"{name}.jsonl")) for name in ("tx", "rx")}
        self.commands = {
            "rx": ("rx", *link, "--out", str(folder / "pictures"), *logs["rx"]),
            "air": ("air", "--snr-db", str(snr_db)),
            "tx": ("tx", *link, "--repeat", "--rate", str(rate), *logs["tx"]),
        }
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        command = [str(SEMCOM), *self.commands[name], "--json", str(self.folder / f"{name}.json")]
        with (self.folder / f"{name}.txt").open("ab") as said:
            self.running[name] = subprocess.Popen(command, stdout=said, stderr=said)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def __enter__(self):
        for name in self.commands:
            self.start(name)
            time.sleep(5)  # who listens is there before who sends
        return self

    def __exit__(self, *_):
        for process in reversed(self.running.values()):
            process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def lines(self, name: str) -> list[dict]:
        file = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def megabytes(self, name: str) -> float:
        pages = Path(f"/proc/{self.running[name].pid}/statm").read_text().split()[1]
        return int(pages) * 4096 / 2**20

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self.running[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def wait_for(what, seconds: float):
    """Calls ``what`` until it gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if got := what():
            return got
        time.sleep(0.02)
    raise SystemExit(f"waited {seconds:g} s in vain")


@app.command()
def sustained(minutes: float = 10.0, snr_db: float = 10.0, rate: float = 3.0, folder: Path = FIGURES) -> None:
    """Photographs at 1 Msample/s through three processes: what is lost, memory, latency by stage, PSNR."""
    with tempfile.TemporaryDirectory() as place, Processes(Path(place), snr_db, rate) as run:
        wait_for(lambda: len(run.lines("rx")) >= 5, 180)
        memory: dict[str, list[float]] = {name: [] for name in run.commands}
        began, busy = time.monotonic(), {name: -run.cpu_s(name) for name in run.commands}
        while time.monotonic() - began < 60 * minutes:
            time.sleep(min(5.0, 6 * minutes))
            for name in memory:
                memory[name].append(run.megabytes(name))
        seconds = time.monotonic() - began
        for name in busy:
            busy[name] += run.cpu_s(name)
        run.running["tx"].send_signal(signal.SIGINT)
        run.running["tx"].wait(20)
        time.sleep(3)
        run.__exit__()
        sent = {(line["image_id"], line["sha256"]): line for line in run.lines("tx")}
        received = run.lines("rx")
        air, tx = (json.loads((run.folder / f"{name}.json").read_text()) for name in ("air", "tx"))
        pictures = {picture.name: picture.pixels for picture in samples()}
        rows, latencies, psnr = [], [], []
        by_id = {line["image_id"]: line for line in sent.values()}
        for line in received:
            came_from = by_id[line["image_id"]]
            stages = (
                ("read_s", "sent_s"),
                ("detected_s", "demodulated_s", "estimated_s", "decoded_s", "received_s"),
            )
            times = [came_from[key] for key in stages[0]] + [line[key] for key in stages[1]]
            latencies.append(np.diff(times))
        for line in received[-len(pictures) :]:
            original = pictures[by_id[line["image_id"]]["image"]]
            got = read_picture(run.folder / "pictures" / f"{line['image_id']:05d}.png").pixels
            psnr.append(float(quality.psnr(original, got)))
        bursts_sent = sum(line["burst_count"] for line in sent.values())
        bursts_used = sum(line["bursts_received"] for line in received)
        in_time = [line for line in sent.values() if began <= line["sent_s"] < began + seconds]
        bursts, burst_samples = (
            sum(line["burst_count"] for line in in_time),
            round(tx["airtime_s"] * air["sample_rate_hz"] / tx["bursts"]),
        )
        filled = bursts * burst_samples / (seconds * air["sample_rate_hz"])
        rows += [
            [
                "stream of samples, bursts and the silence between them, Msample/s",
                air["sample_rate_hz"] / 1e6,
            ],
            ["minutes", seconds / 60],
            [
                "airtime filled by bursts (bursts x samples of one / samples in that time)",
                f"{100 * filled:.1f} % ({bursts} x {burst_samples} / {seconds * air['sample_rate_hz']:.0f})",
            ],
            [
                "real-time factor of the air, and times it fell behind",
                f"{air['real_time_factor']:.4f}, {air['times_behind']}",
            ],
            ["pictures sent", len(sent)],
            ["pictures received", len(received)],
            ["pictures missing, counted in the order of sending", _missing(sent.values(), received)],
            ["bursts sent", bursts_sent],
            ["bursts lost", bursts_sent - bursts_used],
            [f"PSNR of the last {len(psnr)}, dB", float(np.mean(psnr))],
        ]
        for name, values in memory.items():
            warm = np.array(values[len(values) // 10 :])
            drift = 100 * np.abs(warm / warm.mean() - 1).max()
            rows.append([f"memory of {name}, MiB (largest deviation)", f"{warm.mean():.0f} ({drift:.1f} %)"])
            rows.append([f"CPU of {name}, cores", busy[name] / seconds])
        cores, used = len(os.sched_getaffinity(0)), sum(busy.values()) / seconds
        rows.append(
            ["CPU of all three, cores of the machine's", f"{used:.2f} of {cores} ({used / cores:.0%})"]
        )
        spans = 1e3 * np.array(latencies)
        for column, stage in enumerate(
            (
                "read to modulated (encode)",
                "modulated to detected (radio buffers, air, burst length)",
                "demodulate",
                "estimate",
                "decode",
                "write",
            )
        ):
            median, worst = np.percentile(spans[:, column], (50, 99))
            rows.append([f"latency, {stage}, ms: median / 99th percentile", f"{median:.0f} / {worst:.0f}"])
        median, worst = np.percentile(spans.sum(1), (50, 99))
        rows.append(
            ["latency, picture to picture, ms: median / 99th percentile", f"{median:.0f} / {worst:.0f}"]
        )
    write_table(
        "sustained",
        f"tx, air and rx as three processes: 256x256 photographs, {rate:g} a second, AWGN {snr_db:g} dB",
        "scripts/station_figures.py sustained",
        ["what", "value"],
        rows,
        "Air and receiver take every sample of the stream, whether a burst is in it or not; modulating, "
        "demodulating and decoding are work for the bursts alone.",
        folder,
    )


def _missing(sent, received: list[dict]) -> str:
    """Which of the pictures sent never came, the first being 1."""
    came = {line["image_id"] for line in received}
    return ", ".join(str(n) for n, line in enumerate(sent, 1) if line["image_id"] not in came) or "none"


@app.command()
def restart(rounds: int = 5, rate: float = 3.0) -> None:
    """Kills each process in turn and times how long until the next picture comes out."""
    rows = []
    with tempfile.TemporaryDirectory() as place, Processes(Path(place), 10.0, rate) as run:
        wait_for(lambda: len(run.lines("rx")) >= 5, 60)
        for name in ("tx", "air", "rx"):
            times = []
            for _ in range(rounds):
                run.kill(name)
                time.sleep(1.0)
                before, began = len(run.lines("rx")), time.monotonic()
                run.start(name)
                wait_for(lambda before=before: len(run.lines("rx")) > before, 60)
                times.append(time.monotonic() - began)
                time.sleep(1.0)
            rows.append([name, float(np.median(times)), float(max(times))])
    write_table(
        "restart",
        f"A process killed and started again: seconds from its start to the next picture, {rounds} times each",
        "scripts/station_figures.py restart",
        ["process", "median, s", "worst, s"],
        rows,
    )


if __name__ == "__main__":
    app()
