# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the dashboard's screenshot without a screen, and measures how fluent it is.

.venv/bin/python scripts/screenshots.py            # docs/images/dashboard.png
.venv/bin/python scripts/screenshots.py --recording  # the same of a recorded link, on a machine that is busy
.venv/bin/python scripts/screenshots.py --measure  # frames a second and CPU time at 1 Msample/s

The screenshot is of `semcom tx`, `semcom air` (a fading multipath channel) and `semcom rx` at work. To measure the
dashboard alone, a link is run once (codec, modem, a multipath channel, noise) and then played over telemetry at the pace
of the air by a process of its own: what a station would report, without the load of a station.
"""

import argparse
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from semcom import keys
from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.channel.named import CHANNELS
from semcom.dashboard.digest import MAX_RATE_HZ, Burst, Digest
from semcom.kinds.pictures import Picture, samples
from semcom.link.simulate import GAP_SAMPLES
from semcom.modem import ImageAssembler, Modem, StreamDetector, estimate_snr
from semcom.modem.tensors import papr_db
from semcom.radio import LinkProfile
from semcom.system import zoo
from semcom.system.latents import LatentSystem
from semcom.wire.telemetry import Publisher

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "dashboard.png"
CFO_HZ, ROUND_S = 5_000.0, 60.0


@dataclass(frozen=True)
class Transmission:
    """One picture across the link: what each station saw of it. airtime_s: how long it was on the air."""

    sent: Picture
    received: np.ndarray
    bursts: list  # of (DemodulatedBurst, snr_db, stderr_db)
    papr_db: list[float]
    airtime_s: float


def transmit(
    picture: Picture, snr_db: float, taps: torch.Tensor, seed: int, link: LinkProfile
) -> Transmission:
    """Sends a picture through codec, modem and a channel with ``taps``, an offset of ``CFO_HZ`` and noise."""
    model, modem = zoo.load(link.model), Modem(link.modem)
    system = LatentSystem(model)
    sent = system.send([picture.pixels], [snr_db])
    bursts = modem.modulate(sent.symbols, image_id=[0], **sent.header_fields)[0]
    line = torch.nn.functional.pad(bursts, (GAP_SAMPLES, 0)).flatten()[None]
    line = torch.nn.functional.pad(line, (0, GAP_SAMPLES))
    line = frontend.carrier_offset(fading.multipath(line, taps), CFO_HZ / link.sample_rate_hz)
    line = awgn(line, snr_db, torch.Generator().manual_seed(seed))[0]
    detector = StreamDetector(modem)
    assembler = ImageAssembler(modem.profile, system.admits)
    images, seen = [], []
    for burst in modem.demodulate(detector.push(line) + detector.flush()):
        if burst.header is None:
            continue
        snr = estimate_snr(burst.pilots_rx[None], burst.pilots_ref[None], burst.pilot_dof)
        seen.append((burst, float(snr.snr_db), float(snr.stderr_db)))
        images += assembler.add(burst.header, burst.latents, burst.noise_var, float(snr.snr_db))
    image = (images + assembler.flush())[0]
    paprs = [papr_db(burst) for burst in bursts]
    received = system.receive([image])[0].value
    return Transmission(picture, received, seen, paprs, len(line) / link.sample_rate_hz)


def record(steps: int, link: LinkProfile) -> list[list[Transmission]]:
    """Every packaged picture at ``steps`` SNRs, which go down and up between 2 and 20 dB while the channel changes."""
    torch.set_num_threads(1)
    taps = [fading.still_taps(CHANNELS["multipath"].delay_samples, seed) for seed in (3, 7)]
    out = []
    with torch.inference_mode():
        for step in range(steps):
            turn = math.pi * step / steps
            channel = fading.unit_energy((math.cos(turn) * taps[0] + math.sin(turn) * taps[1])[None])[0]
            snr_db = 11 + 9 * math.cos(4 * turn)
            out.append([transmit(picture, snr_db, channel, step, link) for picture in samples()])
    return out


class Player:
    """Reports a recording as two stations would, at the pace of the air."""

    def __init__(self, addresses: dict[str, str], link: LinkProfile):
        self._link, self._number = link, 0
        self._publishers = {name: Publisher(address) for name, address in addresses.items()}
        self._digests = {name: Digest(name, link, MAX_RATE_HZ) for name in addresses}
        self._found, self._sent = {"bursts found": 0}, {"bursts sent": 0}
        self._digests["rx"].watch("receiver", self._found)
        self._digests["tx"].watch("burst_modulator", self._sent)
        self._clock = self._next_report = time.monotonic()

    def play(self, recording: list[list[Transmission]]) -> None:
        """All of it in ``ROUND_S``, again and again until the process is ended."""
        began = self._clock
        while True:
            step = int((self._clock - began) / ROUND_S * len(recording)) % len(recording)
            for shot in recording[step]:
                self._send(shot)

    def _send(self, shot: Transmission) -> None:
        rx, tx = self._digests["rx"], self._digests["tx"]
        meta = {keys.IMAGE_ID: self._number % 65536, keys.IMAGE_NAME: shot.sent.name}
        self._number += 1
        tx.add_picture(meta, shot.sent.pixels)
        begun = time.monotonic()
        for (burst, snr_db, stderr_db), papr in zip(shot.bursts, shot.papr_db, strict=False):
            self._wait(shot.airtime_s / len(shot.bursts))
            self._found["bursts found"] += 1
            self._sent["bursts sent"] += 1
            vectors = tuple(
                x.numpy() for x in (burst.latents, burst.noise_var, burst.pilots_rx, burst.pilots_ref)
            )
            rx.add_burst(
                Burst(snr_db, stderr_db, burst.cfo, time.monotonic(), lambda vectors=vectors: vectors)
            )
            tx.add_snr(snr_db, stderr_db)
            tx.add_papr(papr)
        fields = {
            keys.SNR_DB: sum(snr for _, snr, _ in shot.bursts) / len(shot.bursts),
            keys.BURSTS_RECEIVED: len(shot.bursts),
            keys.BURST_COUNT: len(shot.papr_db),
            keys.MODEL: self._link.model,
            keys.DETECTED_S: begun,
            keys.DECODED_S: time.monotonic(),
        }
        rx.add_picture({**meta, **fields}, shot.received)

    def _wait(self, seconds: float) -> None:
        """Lets time on the air pass; the stations report what is new as often as a telemetry block does."""
        self._clock += seconds
        while (now := time.monotonic()) < self._clock:
            if now >= self._next_report:
                self._next_report = max(self._next_report + 1 / MAX_RATE_HZ, now)
                for name, digest in self._digests.items():
                    for message in digest.messages() if self._publishers[name].is_heard else []:
                        self._publishers[name].send(message)
            time.sleep(max(0.0, min(self._clock, self._next_report) - time.monotonic()))


def play(recording: list[list[Transmission]], addresses: dict[str, str], link: LinkProfile) -> None:
    """The player's process."""
    Player(addresses, link).play(recording)


@contextmanager
def stations(addresses: dict[str, str]) -> Iterator[None]:
    """Transmitter, air and receiver, as a user would start them, until the block is left."""
    to_air, from_air, feedback = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    program = [sys.executable, "-c", "from semcom.cli.main import app; app()"]
    link = ["--link", str(ROOT / "hardware" / "links" / "photo.yaml"), "--feedback", feedback]
    pictures = str(ROOT / "gr-semcom" / "python" / "semcom" / "kinds" / "pictures_data")
    air = ["--snr-db", "16", "--multipath", "12", "--doppler-hz", "0.15", "--cfo-hz", "5000", "--seed", "5"]
    commands = (
        ["air", "--tx", to_air, "--rx", from_air, *air, "--status-every", "0"],
        ["rx", "--radio", f"zmq:{from_air}", *link, "--telemetry", addresses["rx"]],
        [
            "tx",
            pictures,
            "--repeat",
            "--rate",
            "3",
            "--radio",
            f"zmq:{to_air}",
            *link,
            "--telemetry",
            addresses["tx"],
        ],
    )
    started = [
        subprocess.Popen([*program, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


@contextmanager
def player(addresses: dict[str, str], steps: int) -> Iterator[None]:
    """A recorded link, played at the pace of the air, until the block is left."""
    link = LinkProfile()
    arguments = (record(steps, link), addresses, link)
    process = multiprocessing.get_context("spawn").Process(target=play, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--measure", action="store_true", help="play a recording and report; no picture")
    parser.add_argument(
        "--recording", action="store_true", help="picture the recording, not stations at work"
    )
    parser.add_argument("--seconds", type=float, default=75.0, help="how long the dashboard runs")
    parser.add_argument("--steps", type=int, default=30, help="different SNRs and channels in the recording")
    parser.add_argument("--out", type=Path, default=TARGET, help="where the screenshot goes")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

    from semcom.dashboard.app import run
    from semcom.wire.telemetry import Subscriber

    addresses = {
        name: f"tcp://127.0.0.1:{port}" for name, port in zip(("rx", "tx"), free_ports(2), strict=True)
    }
    is_played = options.measure or options.recording
    source = player(addresses, options.steps) if is_played else stations(addresses)
    with source, ExitStack() as stack:
        subscribers = [Subscriber(address) for address in addresses.values()]
        for subscriber in subscribers:
            stack.callback(subscriber.close)
        report = run(subscribers, options.seconds, None if options.measure else options.out, warm_up_s=10.0)
    print(report.in_words() if options.measure else f"wrote {options.out}")


if __name__ == "__main__":
    main()
