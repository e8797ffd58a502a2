# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of frame version 3 beside that of version 2: what is read in noise, what noise is taken for, what looking
for version 2 costs a receiver of version 3."""

import time

import torch

from semcom.errors import HeaderError
from semcom.experiments.runner import Cell, Experiment, sources
from semcom.experiments.trials import fly
from semcom.modem import DetectedBurst, Modem, ModemProfile
from semcom.modem.modem import OF_VERSION_2

PROFILES = {2: ModemProfile(frame_version=2, header_symbols=6), 3: ModemProfile()}
AWGN, NOISE = "AWGN", "noise alone"
_BURSTS = {-5: 2000, -6: 1000, -7: 1000}  # by SNR in dB
_AT_ONCE = 10_000


def plan(scale: float) -> Experiment:
    """Cells of both versions; ``scale``: share of 2,000 and 1,000 bursts and of 2,000,000 headers of noise."""
    code, cells = (sources("semcom.modem", "semcom.channel"),), []
    for version in PROFILES:
        for snr_db, many in _BURSTS.items():
            cells.append(Cell((AWGN, version, max(100, round(many * scale))), snr_db, weights=code))
        cells.append(Cell((NOISE, version, max(20_000, round(2_000_000 * scale))), weights=code))
    return Experiment("header", measure, cells)


@torch.inference_mode()
def measure(cell: Cell) -> list[int]:
    """Over AWGN: bursts found and read. Of noise alone: headers that pass the CRC, those whose fields go together."""
    what, version, count = cell.arm
    profile = PROFILES[version]
    if what == AWGN:
        return [round(count * fly(count, cell.point, k=500, modem=Modem(profile)).found)]
    passed = taken = 0
    generator = torch.Generator().manual_seed(version)
    symbols = profile.header_symbols * profile.data_per_symbol
    for _ in range(-(-count // _AT_ONCE)):
        noise = torch.randn(_AT_ONCE, symbols, dtype=torch.complex64, generator=generator)
        for header in filter(None, profile.header_code.decode(noise)[0]):
            passed += 1
            try:
                header.check(profile.max_latents_per_burst)
                taken += 1
            except HeaderError:
                continue
    return [passed, taken]


def rows(found: list[tuple[Cell, list[int]]]) -> list[list]:
    """Results as rows of the table: what, of version 2, of version 3."""
    out: dict[str, list] = {}
    for cell, result in found:
        what, _, count = cell.arm
        if what == AWGN:
            out.setdefault(f"bursts found and read of {count}, AWGN {cell.point:+.0f} dB", []).append(
                result[0]
            )
            continue
        for outcome, number in zip(("CRC passed", "taken for a header"), result, strict=True):
            out.setdefault(f"of {count:,} headers of noise alone: {outcome}", []).append(number)
    return [[what, *numbers] for what, numbers in out.items()]


@torch.inference_mode()
def cost_rows(rounds: int = 21) -> list[list]:
    """CPU of one thread to demodulate 16 bursts of noise, and 16 of version 2, with and without the attempt."""
    generator = torch.Generator().manual_seed(1)
    plain, blind = Modem(), Modem()
    blind._of_others = lambda soft, headers, bits: {}  # type: ignore[method-assign]
    noise = torch.randn(16, plain.profile.burst_samples(40), dtype=torch.complex64, generator=generator)
    latents = torch.randn(16, 8000, dtype=torch.complex64, generator=generator)
    old = Modem(PROFILES[2]).modulate(latents, image_id=range(16), size=(256, 256), model_hash=1)[:, 0]
    out = []
    for name, samples in (("noise", noise), ("frame version 2, no noise", old)):
        bursts = [DetectedBurst(row, 0, 0.0, 1.0) for row in samples]
        times: dict[Modem, list[float]] = {blind: [], plain: []}
        for _ in range(rounds):
            for modem, took in times.items():
                began = time.thread_time()
                outs = modem.demodulate(bursts)
                took.append((time.thread_time() - began) / len(bursts))
        without, with_it = (1e3 * sorted(took)[rounds // 2] for took in times.values())
        said = sum(burst.error == OF_VERSION_2 for burst in outs)
        what = f"a burst of {name}: ms with it; said to be of version 2"
        out.append([f"a burst of {name}: ms without the attempt", "-", without])
        out.append([what, "-", f"{with_it:.2f}; {said} of 16"])
    return out
