# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed, measured: the modem on one core, the receive chain in a flowgraph, the codecs.

Library calls are timed in CPU seconds of one thread, which on an idle core are seconds; flowgraphs in seconds of the
clock, ours and GNU Radio's in turn within one run, so that their ratio holds on a busy machine too: on one core, and on
all there are.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from semcom.channel.awgn import awgn
from semcom.codec import build
from semcom.codec.layers.convolution import torchs_own_convolutions
from semcom.modem import Modem, StreamDetector, sequences, v2
from semcom.modulation import ORDERS, constellation, soft_demap
from semcom.system import zoo

PICTURE_SIZES = ((32, 32), (256, 256), (512, 768))
PHOTO_MODELS = ("photo-1-12", "photo-adaptive")
ADJSCC = {"filters": 256, "channels": 8}


def run(progress: Callable[[str], None] | None = None) -> list[dict]:
    """All benchmarks.

    Args:
        progress: called with the name of each measurement before it is made.

    Returns:
        Rows ``{"name", "value", "unit", "note"}``; a value of None means it could not be measured, and note says why.
    """
    return [row for _, rows in parts(progress) for row in rows]


def parts(progress: Callable[[str], None] | None = None) -> Iterator[tuple[str, list[dict]]]:
    """The benchmarks one after the other, as of :func:`run`: name and rows of each as soon as it is made."""
    say = progress or (lambda name: None)
    torch.set_num_threads(1)
    for name, measure in measurements().items():
        say(name)
        with torch.inference_mode():
            rows = measure()
        yield name, rows


def measurements() -> dict[str, Callable[[], list[dict]]]:
    """Every benchmark by its name, in order."""
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    return {
        "modem": modem_rows,
        "interleaving": interleaving_rows,
        "soft demapper": demapper_rows,
        "receive chain in a flowgraph": flowgraph_rows,
        **{f"codecs on {device}": partial(codec_rows, device) for device in devices},
        "codecs' convolutions": convolution_rows,
        "memory of large pictures": memory_rows,
    }


def modem_rows() -> list[dict]:
    """Millions of samples per CPU second: modulate, detect (bursts, and noise alone), demodulate."""
    modem = Modem()
    generator = torch.Generator().manual_seed(0)
    # a 768x512 picture at rho 1/12
    latents = torch.randn(1, 98304, dtype=torch.complex64, generator=generator)

    def modulate():
        return modem.modulate(latents, image_id=[1], size=(512, 768), model_hash=1)

    bursts = modulate()[0]
    line = torch.nn.functional.pad(bursts, (600, 0)).flatten()
    line = awgn(line[None], 10.0, generator)[0]
    noise = torch.randn(2**20, dtype=torch.complex64, generator=generator)

    def detect(samples):
        detector = StreamDetector(modem, chunk_samples=65536)
        found = [burst for piece in samples.split(8192) for burst in detector.push(piece)]
        return found + detector.flush()

    found = detect(line)
    if len(found) != len(bursts):
        raise RuntimeError(f"benchmark: {len(found)} of {len(bursts)} bursts detected")
    samples = bursts.numel()
    note = f"{len(bursts)} bursts of {bursts.shape[1]} samples at a time"
    return [
        _row("modulate", samples / _cpu_seconds(modulate) / 1e6, "Msample/s", note),
        _row(
            "detect",
            len(line) / _cpu_seconds(lambda: detect(line)) / 1e6,
            "Msample/s",
            "bursts back to back, 10 dB",
        ),
        _row("detect, noise alone", len(noise) / _cpu_seconds(lambda: detect(noise)) / 1e6, "Msample/s", ""),
        _row("demodulate", samples / _cpu_seconds(lambda: modem.demodulate(found)) / 1e6, "Msample/s", note),
        _row(
            "demodulate, one burst",
            bursts.shape[1] / _cpu_seconds(lambda: modem.demodulate(found[:1])) / 1e6,
            "Msample/s",
            "a burst alone: latency, not throughput",
        ),
    ]


def interleaving_rows() -> list[dict]:
    """Interleaving and scrambling of an item of a length not met before, beside the tables of frame version 2."""
    rows = []
    for count in (128, 98304):

        def drawn(count=count):
            sequences.permutation.cache_clear()
            sequences.qpsk.cache_clear()
            return v2.interleaving(count), v2.quarter_turns(count)

        def computed(count=count):
            return sequences.interleaving(count), sequences.quarter_turns(count)

        before, now = (1e6 * _cpu_seconds(call, 51) for call in (drawn, computed))
        note = f"{now:.0f} us of CPU for a new length; as tables of frame version 2: {before:.0f} us"
        rows.append(_row(f"interleaving, {count} symbols", count / now, "Msymbol/s", note))
    return rows


def demapper_rows() -> list[dict]:
    """Millions of symbols per CPU second through the soft demapper, each with a noise variance of its own."""
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randn(2**20, dtype=torch.complex64, generator=generator)
    noise_var = 0.01 + torch.rand(len(symbols), generator=generator)
    rows = []
    for order in ORDERS:
        seconds = _cpu_seconds(lambda order=order: soft_demap(symbols, noise_var, order))
        name = f"soft demapper, {constellation(order).name}"
        rows.append(_row(name, len(symbols) / seconds / 1e6, "Msymbol/s", "2^20 symbols at a time"))
    return rows


def flowgraph_rows(rounds: int = 5) -> list[dict]:
    """The receiver block, of one process and of two, the three single blocks that do the same, and GNU Radio's
    ``ofdm_rx``, in turn."""
    try:
        from semcom.blocks import throughput
    except ImportError as error:
        return [
            _row("receive chain in a flowgraph", None, "Msample/s", f"GNU Radio is not importable: {error}")
        ]
    rows = []
    for cores, affinity in (("one core", one_core), ("all cores", all_cores)):
        chains = {
            "GNU Radio digital.ofdm_rx, FFT 256": throughput.gnuradio_ofdm_receiver,
            "receiver block in a flowgraph": throughput.semcom_receiver,
            "receiver block of two processes in a flowgraph": partial(
                throughput.semcom_receiver, processes=2
            ),
            "detector, demodulator, estimator in a flowgraph": partial(
                throughput.semcom_receiver, single_blocks=True
            ),
        }
        with affinity():
            turns = [[run() / 1e6 for run in chains.values()] for _ in range(rounds)]
        for name, speeds in zip(chains, zip(*turns, strict=True), strict=True):
            rows.append(_row(f"{name}, {cores}", statistics.median(speeds), "Msample/s", _spread(speeds)))
        names = "receiver block", "receiver block of two processes", "single blocks"
        for at, name in enumerate(names, 1):
            ratios = [turn[at] / turn[0] for turn in turns]
            name = f"{name}: ratio to GNU Radio, {cores}"
            rows.append(_row(name, statistics.median(ratios), "x", f"{_spread(ratios)}, run by run"))
    return rows


@contextmanager
def one_core() -> Iterator[None]:
    """All threads started inside share one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def all_cores() -> Iterator[None]:
    """Threads run where the system puts them."""
    yield


def codec_rows(device: str = "cpu") -> list[dict]:
    """Milliseconds per picture to encode and to decode, every shipped model beside ADJSCC."""
    models = {name: zoo.load(name, device=device).codec for name in zoo.names()}
    models["ADJSCC (256 filters, rho 1/12)"] = build("adjscc", ADJSCC).to(device).eval()
    rows = []
    for height, width in PICTURE_SIZES:
        image = torch.rand(1, 3, height, width, device=device)
        for name, codec in models.items():
            sent = codec.send(image, 10.0)
            # one run of the slowest is enough to distinguish a second from a millisecond
            repeats = 1 if "ADJSCC" in name and device == "cpu" and height * width > 2**16 else 5
            for verb, call in (
                ("encode", lambda codec=codec, image=image: codec.send(image, 10.0)),
                (
                    "decode",
                    lambda codec=codec, got=sent.with_noise(10.0), size=codec.result_size((height, width)): (
                        codec.receive(got, 10.0, size)
                    ),
                ),
            ):
                seconds = _cpu_seconds(call, repeats) if device == "cpu" else _gpu_seconds(call)
                rows.append(_row(f"{verb} {width}x{height}, {name}", 1e3 * seconds, "ms", device))
    return rows


def convolution_rows(repeats: int = 7) -> list[dict]:
    """How much faster a codec encodes and decodes than with torch's own convolutions, in turn, least CPU times."""
    rows = []
    for name in PHOTO_MODELS:
        codec, image = zoo.load(name).codec, torch.rand(1, 3, 512, 768)

        def there_and_back(codec=codec, image=image) -> float:
            began = time.process_time()
            codec.receive(codec.send(image, 10.0).with_noise(10.0), 10.0, (512, 768))
            return time.process_time() - began

        turns = []
        for _ in range(repeats + 1):
            with torchs_own_convolutions():
                torchs = there_and_back()
            turns.append((torchs, there_and_back()))
        torchs, ours = (min(times) for times in zip(*turns[1:], strict=True))
        note = f"{1e3 * ours:.0f} ms of CPU; with torch's own convolutions {1e3 * torchs:.0f} ms"
        rows.append(_row(f"encode and decode 768x512, {name}: faster by", torchs / ours, "x", note))
    return rows


_PEAK = """
import re, torch
from dataclasses import replace
from semcom.system import zoo
torch.set_num_threads(1)
codec, size = zoo.load({name!r}).codec, (3000, 4000)
with torch.inference_mode():
    sent = codec.send(torch.rand(1, 3, *size), 10.0)
    # a receiver measures noise by subcarrier, and through multipath no two are alike
    noise_var = 0.1 * torch.exp(0.8 * torch.randn(sent.values.shape))
    codec.receive(replace(sent, noise_var=noise_var), 10.0, size)
# ru_maxrss would be at least what this process's parent had when it started it
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


def memory_rows() -> list[dict]:
    """The most memory that a process takes to encode and decode 4000x3000 pixels, in GiB."""
    rows = []
    for model in PHOTO_MODELS:
        got = subprocess.run([sys.executable, "-c", _PEAK.format(name=model)], capture_output=True, text=True)
        name = f"memory to encode and decode 4000x3000, {model}"
        if got.returncode:
            rows.append(_row(name, None, "GiB", f"failed: {got.stderr.strip().splitlines()[-1:]}"))
            continue
        rows.append(_row(name, int(got.stdout) / 2**20, "GiB", "resident at most, Python and torch included"))
    return rows


def _spread(values: Sequence[float]) -> str:
    return f"median of {len(values)}, {min(values):.2f} to {max(values):.2f}"


def _row(name: str, value: float | None, unit: str, note: str) -> dict:
    return {"name": name, "value": value, "unit": unit, "note": note}


def _cpu_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median CPU seconds of this thread, after one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return statistics.median(times)


def _gpu_seconds(call: Callable[[], object], repeats: int = 20) -> float:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats
