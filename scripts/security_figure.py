# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed bursts, measured: what the second header block costs on the air and in the receiver, and what of it is read in
noise, for three sizes of it.

.venv/bin/python scripts/security_figure.py [--scale 0.1]
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from tables import write_table

from semcom.channel.awgn import awgn
from semcom.experiments.trials import fly
from semcom.modem import DetectedBurst, ImageAssembler, Modem, ModemProfile, StreamDetector
from semcom.modem import profile as profile_module
from semcom.modem.header import OPEN, SCRAMBLED, SIGNED
from semcom.security import Guard, KeyRing, Signer, guard, make_key, sessions

# chips that the second block must hold at least, by its symbols
SIZES = {0: None, 3: 1290, 4: 1700, 5: 2100}


class Forgetful(Guard):
    """Takes every burst as the first of its session."""

    def recognise(self, *args):
        return None

    def check(self, *args):
        self._known.clear()
        return super().check(*args)


@contextmanager
def modem_of(symbols: int, kind=Guard) -> Iterator[tuple[Modem, Signer | None, int]]:
    """A modem whose second block has so many symbols, with who signs, and how its bursts are sent."""
    if not symbols:
        yield Modem(), None, OPEN
        return
    with mock.patch.object(profile_module, "_AUTH_CHIPS", SIZES[symbols]):
        ring = KeyRing("figure")
        yield Modem(ModemProfile().signed, guard=kind(ring)), Signer(ring), SIGNED


def price_rows() -> list[list]:
    rows = []
    for name, count in (("32x32 picture, 256 symbols", 256), ("768x512 picture, 32,768 symbols", 32_768)):
        samples = []
        for symbols in SIZES:
            with modem_of(symbols) as (modem, _, _):
                samples.append(modem.plan(count).airtime_samples)
        rows.append([f"samples of a {name}", *(f"{n:,} (+{n / samples[0] - 1:.1%})" for n in samples)])
    return rows


def read_rows(snr_db: float, trials: int) -> list[list]:
    rows = []
    for what, kind in (("in a session heard before", Guard), ("all as the first of a session", Forgetful)):
        found = []
        for symbols in SIZES:
            with modem_of(symbols, kind) as (modem, signer, cipher):
                trial = fly(trials, snr_db, k=500, modem=modem, signer=signer, cipher=cipher)
                found.append(f"{trial.found:.2%}")
        rows.append([f"bursts found and read of {trials}, {snr_db:+.0f} dB, {what}", *found])
    return rows


def forged_row(count: int) -> list:
    """Tags of +-1 at random, with a true session's number."""
    ring, random = KeyRing("figure"), np.random.default_rng(0)
    keys, judge, taken = Signer(ring).seal(0, 0, 0).keys, Guard(ring), 0
    for _ in range(count // 1000):
        for chips in random.choice(np.float32([-1, 1]), (1000, sessions.TAG_CHIPS)):
            taken += judge.check([keys.bits], chips, random.bytes(22), 0) != guard.FORGED
    return [f"of {count:,} random tags behind random headers: taken", "-", "-", taken, "-"]


def refusal_rows(rounds: int) -> list[list]:
    """CPU of one thread from a header read to a burst refused, one burst at a time; and over that of all before it."""
    rows = []
    with modem_of(4) as (modem, signer, _):
        stranger = Signer(KeyRing("stranger"))
        latents = torch.randn(1, 8000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        told = {"image_id": [0], "size": (256, 256), "model_hash": 1, "cipher": SIGNED}
        forged = modem.modulate(latents, seals=[stranger.seal(0, 0, 0)], **told)[0]
        true = modem.modulate(latents, seals=[signer.seal(0, 0, 0)], **told)[0]
        modem.demodulate([DetectedBurst(true[0], 0, 0.0, 1.0)])
        for name, burst in (("forged", forged[0]), ("replayed", true[0])):
            times, said, check = [], Counter(), modem._check_tags

            def timed(*args, times=times, check=check):
                times.append(time.thread_time())
                return check(*args)

            with mock.patch.object(modem, "_check_tags", timed):
                for _ in range(rounds):
                    times.append(time.thread_time())
                    said[modem.demodulate([DetectedBurst(burst, 0, 0.0, 1.0)])[0].error] += 1
                    times.append(time.thread_time())
            assert None not in said, said
            began, read, refused = np.array(times).reshape(rounds, 3).T
            after, least = 1e3 * np.median(refused - read), 1e3 * np.min(refused - read)
            share = np.median((refused - read) / (read - began))
            rows += [
                [what, "-", "-", value, "-"]
                for what, value in (
                    (
                        f"a burst {name}: ms of CPU after its header, median (least)",
                        f"{after:.2f} ({least:.2f})",
                    ),
                    (f"a burst {name}: CPU after its header over that before", f"{share:.2f}"),
                )
            ]
    return rows


def speed_row(rounds: int) -> list:
    """Detection, demodulation and assembly of pictures of 32,768 symbols: Msample/s of CPU with the key over without."""
    took: dict[int, list[float]] = {OPEN: [], SCRAMBLED: []}
    ring, generator = KeyRing("figure"), torch.Generator().manual_seed(0)
    signer = Signer(ring)
    latents = torch.randn(2, 32_768, dtype=torch.complex64, generator=generator)
    told = {"size": (512, 768), "model_hash": 1}
    modems = {OPEN: Modem(), SCRAMBLED: Modem(ModemProfile().signed, guard=Guard(ring))}
    for turn in range(rounds):
        items = [2 * turn, 2 * turn + 1]
        for cipher, times in [*took.items()][:: 1 if turn % 2 else -1]:
            modem, profile = modems[cipher], modems[cipher].profile
            seals = [] if cipher == OPEN else [signer.seal(0, item, 0, 4) for item in items]
            bursts = modem.modulate(latents, image_id=items, seals=seals, cipher=cipher, **told).flatten(0, 1)
            line = awgn(torch.nn.functional.pad(bursts, (600, 600)).flatten()[None], 10.0, generator)[0]
            began = time.thread_time()
            detector, assembler, done = (
                StreamDetector(modem, chunk_samples=65536),
                ImageAssembler(profile),
                [],
            )
            for burst in modem.demodulate(detector.push(line) + detector.flush()):
                done += assembler.add(
                    burst.header, burst.latents, burst.noise_var, 10.0, session=burst.session
                )
            times.append((time.thread_time() - began) / len(line))
            assert len(done) == 2
    low, middle, high = np.percentile(np.divide(took[OPEN], took[SCRAMBLED]), (25, 50, 75))
    what = "receive chain, Msample/s of CPU over that without a key, median of pairs (quartiles)"
    return [what, 1, "-", f"{middle:.3f} ({low:.3f} to {high:.3f})", "-"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="share of the trials")
    scale = parser.parse_args().scale
    torch.set_num_threads(1)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        with mock.patch.dict(os.environ, SEMCOM_KEY_FOLDER=folder):
            make_key("figure")
            make_key("stranger")
            rows = price_rows()
            for snr, many in ((-5, 2000), (-6, 1000), (-7, 1000)):
                rows += read_rows(snr, max(100, round(many * scale)))
            rows.append(forged_row(max(1000, round(1_000_000 * scale))))
            rows += refusal_rows(101)
            rows.append(speed_row(30))
    write_table(
        "security",
        "The second header block of signed bursts",
        "scripts/security_figure.py" + (f" --scale {scale:g}" if scale != 1 else ""),
        ["what", "no key", *(f"{n} symbols" for n in SIZES if n)],
        rows,
        "Four symbols are what stations send. Times are CPU of one thread, in turn within one run; random tags have a "
        "chance of at most 2^-54 each by the bound in `security/guard.py`.",
    )


if __name__ == "__main__":
    main()
