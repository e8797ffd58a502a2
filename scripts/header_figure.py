# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of frame version 3 beside that of version 2: what is read in noise, what noise is taken for, what looking
for version 2 costs a receiver of version 3.

.venv/bin/python scripts/header_figure.py [--scale 0.1]
"""

import argparse
import time

import torch
from tables import write_table

from semcom.errors import HeaderError
from semcom.experiments.trials import fly
from semcom.modem import DetectedBurst, Modem, ModemProfile
from semcom.modem.modem import OF_VERSION_2

PROFILES = {2: ModemProfile(frame_version=2, header_symbols=6), 3: ModemProfile()}


def read_row(snr_db: float, trials: int) -> list:
    found = [round(trials * fly(trials, snr_db, k=500, modem=Modem(p)).found) for p in PROFILES.values()]
    return [f"bursts found and read of {trials}, AWGN {snr_db:+.0f} dB", *found]


def noise_rows(headers: int) -> list[list]:
    """Headers decoded from noise alone: those that pass the CRC, and of them those whose fields go together."""
    passed, taken, generator = {2: 0, 3: 0}, {2: 0, 3: 0}, torch.Generator().manual_seed(0)
    for version, profile in PROFILES.items():
        symbols = profile.header_symbols * profile.data_per_symbol
        for _ in range(-(-headers // 10_000)):
            noise = torch.randn(10_000, symbols, dtype=torch.complex64, generator=generator)
            for header in filter(None, profile.header_code.decode(noise)[0]):
                passed[version] += 1
                try:
                    header.check(profile.max_latents_per_burst)
                    taken[version] += 1
                except HeaderError:
                    continue
    what = f"of {headers:,} headers of noise alone"
    return [
        [f"{what}: CRC passed", *passed.values()],
        [f"{what}: taken for a header", *taken.values()],
    ]


def cost_rows(rounds: int) -> list[list]:
    """CPU of one thread to demodulate 16 bursts of noise, and 16 of version 2, with and without the attempt."""
    generator = torch.Generator().manual_seed(1)
    plain, blind = Modem(), Modem()
    blind._of_others = lambda soft, headers, bits: {}
    noise = torch.randn(16, plain.profile.burst_samples(40), dtype=torch.complex64, generator=generator)
    old = Modem(PROFILES[2]).modulate(
        torch.randn(16, 8000, dtype=torch.complex64, generator=generator),
        image_id=range(16),
        size=(256, 256),
        model_hash=1,
    )[:, 0]
    rows = []
    for name, samples in (("noise", noise), ("frame version 2, no noise", old)):
        bursts = [DetectedBurst(row, 0, 0.0, 1.0) for row in samples]
        times = {blind: [], plain: []}
        for _ in range(rounds):
            for modem, took in times.items():
                began = time.thread_time()
                outs = modem.demodulate(bursts)
                took.append((time.thread_time() - began) / len(bursts))
        without, with_it = (1e3 * sorted(took)[rounds // 2] for took in times.values())
        said = sum(out.error == OF_VERSION_2 for out in outs)
        rows.append([f"a burst of {name}: ms without the attempt", "-", without])
        rows.append(
            [f"a burst of {name}: ms with it; said to be of version 2", "-", f"{with_it:.2f}; {said} of 16"]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="share of the trials")
    scale = parser.parse_args().scale
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [
            read_row(snr, max(100, round(many * scale))) for snr, many in ((-5, 2000), (-6, 1000), (-7, 1000))
        ]
        rows += noise_rows(max(20_000, round(2_000_000 * scale)))
        rows += cost_rows(21)
    write_table(
        "header",
        "The burst header of frame versions 2 and 3",
        "scripts/header_figure.py" + (f" --scale {scale:g}" if scale != 1 else ""),
        ["what", "version 2 (17 words in 6 symbols)", "version 3 (20 words in 7 symbols)"],
        rows,
        "A receiver of version 3 looks for version 2 in what failed its own CRC at first look; what it knows is not "
        "looked at again. Times are CPU of one thread, median, in turn within one run.",
    )


if __name__ == "__main__":
    main()
