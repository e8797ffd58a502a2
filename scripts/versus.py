# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed beside another commit's, both in one process and in turn, so that the ratios hold on a busy machine too.

.venv/bin/python scripts/versus.py ba065e4
.venv/bin/python scripts/versus.py 2f523fe --no-chain --picture PHOTO      codecs alone, same weights

One thread, CPU seconds; the median of the ratios of paired runs, and the ratio of the shortest. Above 1: faster now.
Each as flowgraphs run it: the search in the scheduler's thread, where nothing turns gradients' bookkeeping off but
the search itself, all else in inference mode.
"""

import importlib
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import typer
from PIL import Image
from tables import markdown_table

ROOT = Path(__file__).resolve().parent.parent
CHUNK_SAMPLES, BUFFER_SAMPLES = 65536, 8192
PHOTO_MODELS = ("photo-1-12", "photo-adaptive")


class Version:
    """The package of one tree. What it imports late is its own, too: ``enter`` puts its modules back."""

    def __init__(self, folder: Path):
        self._modules: dict[str, ModuleType] = {}
        self.enter()
        sys.path.insert(0, str(folder))
        self.modem = importlib.import_module("semcom.modem")
        # before there was a system, the zoo was the codec's; an editable install would find the other tree's
        room = "system" if (folder / "semcom/system").is_dir() else "codec"
        self.zoo = importlib.import_module(f"semcom.{room}.zoo")
        sys.path.pop(0)
        self._modules = _modules()

    def enter(self) -> None:
        for name in _modules():
            del sys.modules[name]
        sys.modules.update(self._modules)

    def seconds(self, run: Callable[[], object]) -> float:
        self.enter()
        began = time.process_time()
        run()
        return time.process_time() - began

    def receive_chain(self, symbols: int) -> dict[str, Callable]:
        """Search, demodulation and both, of bursts of ``symbols`` latents at 10 dB; search of noise alone."""
        self.enter()
        modem, generator = self.modem.Modem(), torch.Generator().manual_seed(1)
        latents = torch.randn(12, symbols, dtype=torch.complex64, generator=generator)
        bursts = modem.modulate(latents, image_id=list(range(12)), size=(512, 768), model_hash=1).flatten(
            0, -2
        )
        line = torch.nn.functional.pad(bursts, (0, 600)).flatten()
        noise = torch.randn(2**20, dtype=torch.complex64, generator=generator)
        line = line + 0.1**0.5 * torch.randn(len(line), dtype=torch.complex64, generator=generator)

        def search(samples: torch.Tensor) -> list:
            detector = self.modem.StreamDetector(modem, chunk_samples=CHUNK_SAMPLES)
            found = [burst for piece in samples.split(BUFFER_SAMPLES) for burst in detector.push(piece)]
            return found + detector.flush()

        @torch.inference_mode()
        def demodulate(bursts: list) -> None:
            modem.demodulate(bursts)

        found = search(line)
        if len(found) != len(bursts):
            raise RuntimeError(f"{len(found)} of {len(bursts)} bursts found.")
        what = f"items of {symbols:,} latents"
        return {
            f"search, {what}": lambda: search(line),
            f"demodulate, {what}": lambda: demodulate(found),
            f"receive chain, {what}": lambda: demodulate(search(line)),
            "search, noise alone": lambda: search(noise),
        }

    def codec(self, model: str):
        self.enter()
        return self.zoo.load(model).codec

    def there_and_back(self, codec, picture: torch.Tensor, unevenness: float) -> Callable:
        """Encodes and decodes a picture ``[1, 3, H, W]``, side information and all.

        Args:
            unevenness: deviation of the logarithm of the symbols' noise variances.
        """
        size, generator = picture.shape[-2:], torch.Generator().manual_seed(0)

        @torch.inference_mode()
        def run():
            sent = codec.send(picture, 10.0)
            noise_var = 0.1 * torch.exp(unevenness * torch.randn(sent.values.shape, generator=generator))
            codec.receive(replace(sent, noise_var=noise_var), 10.0, size)

        return run


def _picture(path: Path | None) -> torch.Tensor:
    """A picture of 768x512 pixels, ``[1, 3, 512, 768]`` in 0..1: that of a file, or soft shapes and noise."""
    if path:
        with Image.open(path) as opened:
            pixels = np.array(opened.convert("RGB").resize((768, 512), Image.Resampling.LANCZOS))
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    shapes = torch.nn.functional.interpolate(
        torch.rand(1, 3, 16, 24, generator=generator), size=(512, 768), mode="bicubic"
    )
    return (shapes + 0.05 * torch.randn(1, 3, 512, 768, generator=generator)).clamp(0, 1)


def main(
    commit: str,
    pairs: int = 41,
    picture: Path | None = None,
    chain: bool = True,
    # about what a receiver measures on an even channel, subcarrier by subcarrier
    unevenness: float = 0.08,
) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        command = ["git", "-C", str(ROOT), "archive", commit, "gr-semcom/python"]
        archive = subprocess.run(command, check=True, capture_output=True).stdout
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(folder)
        then, now = Version(Path(folder) / "gr-semcom/python"), Version(ROOT / "gr-semcom/python")
        rows = []
        for symbols in (1536, 7680) if chain else ():
            old, new = then.receive_chain(symbols), now.receive_chain(symbols)
            for name in old:
                rows.append(_row(name, then, old[name], now, new[name], pairs))
        pixels = _picture(picture)
        for model in PHOTO_MODELS:
            codecs = then.codec(model), now.codec(model)
            # a model may have been trained on since
            codecs[0].load_state_dict(codecs[1].state_dict())
            old_run, new_run = (v.there_and_back(c, pixels, unevenness) for v, c in zip((then, now), codecs))
            name = f"encode and decode 768x512, {model}"
            rows.append(_row(name, then, old_run, now, new_run, pairs // 4))
    print(markdown_table(["what", f"speed / {commit}", "quartiles", "of the shortest runs"], rows))


def _modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "semcom"}


def _row(name: str, then: Version, old: Callable, now: Version, new: Callable, pairs: int) -> list:
    then.seconds(old), now.seconds(new)
    times = []
    for turn in range(pairs):
        both = [(then, old), (now, new)]
        took = [version.seconds(run) for version, run in (both if turn % 2 else both[::-1])]
        times.append(took if turn % 2 else took[::-1])
    ratios = [a / b for a, b in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    shortest = min(a for a, _ in times) / min(b for _, b in times)
    fastest = " and ".join(f"{1e3 * min(times):.0f}" for times in zip(*times, strict=True))
    print(f"{name}: {middle:.2f}; least {fastest} ms", file=sys.stderr)
    return [name, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{shortest:.2f}"]


if __name__ == "__main__":
    typer.run(main)
