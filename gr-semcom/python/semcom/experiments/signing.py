# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed bursts: what the second header block costs on the air and in the receiver, and what of it is read in noise,
for three sizes of it."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from unittest import mock

import numpy as np
import torch
import typer

from semcom.channel.awgn import awgn
from semcom.experiments.runner import Cell, Experiment, sources
from semcom.experiments.table import markdown_table, page
from semcom.experiments.trials import fly
from semcom.modem import DetectedBurst, ImageAssembler, Modem, ModemProfile, StreamDetector
from semcom.modem import profile as profile_module
from semcom.modem.header import OPEN, SCRAMBLED, SIGNED
from semcom.security import Guard, KeyRing, Signer, guard, make_key, sessions

#: chips that the second block must hold at least, by its symbols
SIZES = {0: None, 3: 1290, 4: 1700, 5: 2100}
SENT = 4  # symbols of the block that stations send
ITEMS = {"32x32 picture": 256, "768x512 picture": 32_768}
AIRTIME, KNOWN, FIRST, TAGS = "samples", "known session", "first of a session", "random tags"
_BURSTS = {-5.0: 2000, -6.0: 1000, -7.0: 1000}  # by SNR in dB
_RANDOM_TAGS = 1_000_000


class Forgetful(Guard):
    """Takes every burst as the first of its session."""

    def recognise(self, *args):
        return None

    def check(self, *args):
        self._known.clear()
        return super().check(*args)


@contextmanager
def some_keys() -> Iterator[None]:
    """A key folder of its own, with the keys ``figure`` and ``stranger``."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, SEMCOM_KEY_FOLDER=folder):
        make_key("figure")
        make_key("stranger")
        yield


@contextmanager
def modem_of(symbols: int, kind: type[Guard] = Guard) -> Iterator[tuple[Modem, Signer | None, int]]:
    """A modem whose second block has so many symbols, with who signs, and how its bursts are sent."""
    if not symbols:
        yield Modem(), None, OPEN
        return
    with mock.patch.object(profile_module, "_AUTH_CHIPS", SIZES[symbols]):
        ring = KeyRing("figure")
        yield Modem(ModemProfile().signed, guard=kind(ring)), Signer(ring), SIGNED


def plan(
    scale: Annotated[float, typer.Option(min=0.001, help="Share of the trials.")] = 1.0,
) -> Experiment:
    """The second header block of signed bursts: docs/figures/security.{csv,md,png}."""
    code = (sources("semcom.modem", "semcom.channel", "semcom.security"),)
    cells = [Cell((AIRTIME, item, symbols, 1), weights=code) for item in ITEMS for symbols in SIZES]
    for what in (KNOWN, FIRST):
        for snr_db, many in _BURSTS.items():
            trials = max(100, round(many * scale))
            cells += [Cell((what, "", symbols, trials), snr_db, weights=code) for symbols in SIZES]
    cells.append(Cell((TAGS, "", SENT, max(1000, round(_RANDOM_TAGS * scale))), weights=code))
    return Experiment("security", measure, cells)


@torch.inference_mode()
def measure(cell: Cell) -> int:
    """Samples of an item's bursts; bursts found and read; random tags that were taken."""
    what, item, symbols, count = cell.arm
    with some_keys():
        if what == TAGS:
            return _forged(int(count))
        kind = Forgetful if what == FIRST else Guard
        with modem_of(int(symbols), kind) as (modem, signer, cipher):
            if what == AIRTIME:
                return modem.plan(ITEMS[str(item)]).airtime_samples
            trial = fly(count, cell.point, k=500, modem=modem, signer=signer, cipher=cipher)
            return len(trial.bursts)


def _forged(count: int) -> int:
    """How many tags of +-1 at random are taken, with a true session's number."""
    ring, random = KeyRing("figure"), np.random.default_rng(0)
    keys, judge, taken = Signer(ring).seal(0, 0, 0).keys, Guard(ring), 0
    for _ in range(count // 1000):
        for chips in random.choice(np.float32([-1, 1]), (1000, sessions.TAG_CHIPS)):
            taken += judge.check([keys.bits], chips, random.bytes(22), 0) != guard.FORGED
    return taken


def rows(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """One row a cell."""
    names = "what", "item", "symbols", "of"
    return [
        dict(zip(names, cell.arm, strict=True)) | {"snr_db": cell.point, "value": result}
        for cell, result in found
    ]


def with_costs(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """As ``rows``, and the receiver's CPU time, measured now."""
    return rows(found) + cost_rows()


@torch.inference_mode()
def cost_rows(rounds: int = 101, chains: int = 30) -> list[dict]:
    """CPU of one thread from a header read to a burst refused; the receive chain's speed over that without a key."""
    with some_keys():
        values = _refusals(rounds)
        values["receive chain, speed over that without a key, median of pairs"] = _speed_ratio(chains)
    return [
        {"what": what, "item": None, "symbols": SENT, "of": None, "snr_db": None, "value": round(value, 3)}
        for what, value in values.items()
    ]


def _refusals(rounds: int) -> dict[str, float]:
    """Of one burst at a time, by why it is refused: ms after its header, and over the time before, in words."""
    found = {}
    with modem_of(SENT) as (modem, signer, _):
        assert signer is not None
        stranger = Signer(KeyRing("stranger"))
        latents = torch.randn(1, 8000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        header: dict[str, Any] = {"image_id": [0], "size": (256, 256), "model_hash": 1, "cipher": SIGNED}
        forged = modem.modulate(latents, seals=[stranger.seal(0, 0, 0)], **header)[0]
        true = modem.modulate(latents, seals=[signer.seal(0, 0, 0)], **header)[0]
        modem.demodulate([DetectedBurst(true[0], 0, 0.0, 1.0)])
        for name, burst in (("forged", forged[0]), ("replayed", true[0])):
            times: list[float] = []
            said: Counter = Counter()
            check = modem._check_tags

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
            found[f"ms to refuse a burst {name} after its header, median"] = 1e3 * np.median(refused - read)
            found[f"ms to refuse a burst {name} after its header, least"] = 1e3 * np.min(refused - read)
            share = np.median((refused - read) / (read - began))
            found[f"time to refuse a burst {name} after its header over that before"] = share
    return {words: float(value) for words, value in found.items()}


def _speed_ratio(rounds: int) -> float:
    """Samples a CPU second with the key over without, median of pairs: detection, demodulation, assembly of 32,768
    symbols."""
    took: dict[int, list[float]] = {OPEN: [], SCRAMBLED: []}
    ring, generator = KeyRing("figure"), torch.Generator().manual_seed(0)
    signer = Signer(ring)
    latents = torch.randn(2, 32_768, dtype=torch.complex64, generator=generator)
    header: dict[str, Any] = {"size": (512, 768), "model_hash": 1}
    modems = {OPEN: Modem(), SCRAMBLED: Modem(ModemProfile().signed, guard=Guard(ring))}
    for turn in range(rounds):
        items = [2 * turn, 2 * turn + 1]
        for cipher, times in [*took.items()][:: 1 if turn % 2 else -1]:
            modem = modems[cipher]
            seals = [] if cipher == OPEN else [signer.seal(0, item, 0, 4) for item in items]
            bursts = modem.modulate(latents, image_id=items, seals=seals, cipher=cipher, **header).flatten(
                0, 1
            )
            line = awgn(torch.nn.functional.pad(bursts, (600, 600)).flatten()[None], 10.0, generator)[0]
            detector, assembler = StreamDetector(modem, chunk_samples=65536), ImageAssembler(modem.profile)
            done: list = []
            began = time.thread_time()
            for burst in modem.demodulate(detector.push(line) + detector.flush()):
                done += assembler.add(
                    burst.header, burst.latents, burst.noise_var, 10.0, session=burst.session
                )
            times.append((time.thread_time() - began) / len(line))
            assert len(done) == 2
    return float(np.median(np.divide(took[OPEN], took[SCRAMBLED])))


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: what, by the size of the block."""
    lines: dict[str, dict[int, str]] = {}
    for row in rows:
        what, count, value = row["what"], row["of"], row["value"]
        if what == AIRTIME:
            words = f"samples of a {row['item']}, {ITEMS[row['item']]:,} symbols"
            plain = next(r["value"] for r in rows if (r["item"], r["symbols"]) == (row["item"], 0))
            cell = f"{value:,} (+{value / plain - 1:.1%})"
        elif what in (KNOWN, FIRST):
            of = "in a session known before" if what == KNOWN else "all as the first of a session"
            words, cell = (
                f"bursts found and read of {count}, {row['snr_db']:+.0f} dB, {of}",
                f"{value / count:.2%}",
            )
        elif what == TAGS:
            words, cell = f"of {count:,} random tags behind random headers: taken", str(value)
        else:
            words, cell = what, f"{value:.2f}"
        lines.setdefault(words, {})[row["symbols"]] = cell
    table = [[words, *(cells.get(symbols, "-") for symbols in SIZES)] for words, cells in lines.items()]
    return page(
        "The second header block of signed bursts",
        "![bursts read over the SNR](security.png)",
        markdown_table(["what", "no key", *(f"{n} symbols" for n in SIZES if n)], table),
        f"Stations send {SENT} symbols. Times are CPU of one thread, in turn within one run, and never kept; random "
        "tags have a chance of at most 2^-54 each by the bound in `security/guard.py`.",
        made_by=made_by,
    )
