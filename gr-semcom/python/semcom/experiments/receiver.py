# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver, measured: what the air demands of it, its SNR estimates beside their bound, what the modem costs."""

import functools
import math
import statistics
from collections.abc import Callable

import numpy as np
import torch

from semcom.channel import fading
from semcom.channel.awgn import awgn
from semcom.channel.symbols import symbol_channel
from semcom.experiments.runner import Cell, Experiment, sources
from semcom.experiments.trials import Trial, fly, together, tone, true_snr_db
from semcom.kinds import pictures, quality
from semcom.link import LinkConfig
from semcom.modem import Modem, StreamDetector
from semcom.modem.snr import cramer_rao_db, estimate_snr, fit_flat
from semcom.system import zoo

#: what these results are made by: none is kept beyond a change of it
CODE = "semcom.modem", "semcom.channel"
NOISE_ALONE = "noise alone"
PILOTS, SNR_DB = (64, 128, 256), (-5, 0, 5, 10, 15, 20, 25)
GNURADIO = "m2m4", "svr", "simple"

Condition = Callable[[], Trial | tuple[Trial, torch.Tensor]]


def demands(noise_samples: int) -> Experiment:
    """Detection, offsets, multipath, levels: the demands of docs/architecture.md, a condition a cell."""
    code = (sources(*CODE),)
    cells = [Cell(condition, weights=code) for condition in _conditions()]
    cells.append(Cell((NOISE_ALONE, f"{noise_samples:,} samples, false alarms"), noise_samples, weights=code))
    return Experiment("demands", demand, cells)


def demand(cell: Cell) -> list[str | float]:
    """Headers read of bursts sent, SNR of the payload in dB, RMSE of the estimate in dB; "-" where there is none."""
    if cell.arm[0] == NOISE_ALONE:
        return [str(false_alarms(cell.point)), "-", "-"]
    found = _conditions()[cell.arm]()
    trial, truth = found if isinstance(found, tuple) else (found, None)
    measured, reported = float(trial.snr_db().mean()) if trial.bursts else "-", "-"
    if truth is not None:
        errors = torch.tensor([value - float(truth[i]) for i, value in trial.estimates().items()])
        reported = f"{errors.square().mean().sqrt():.2f}"
    return [f"{len(trial.bursts)}/{len(trial.latents)}", measured, reported]


def _conditions() -> dict[tuple[str, str], Condition]:
    """(demand, condition) to what is flown, with the true SNR in dB where the estimate is held against it."""

    def known(count: int, snr_db: float, **options) -> Condition:
        return lambda: (fly(count, snr_db, **options), torch.full((count,), float(snr_db)))

    def faded(spread: int, snr_db: float) -> Condition:
        def run():
            g = torch.Generator().manual_seed(spread)
            taps = fading.unit_energy(fading.rayleigh_taps(fading.exponential_profile(spread), 200, g))
            return fly(200, snr_db, taps=taps), true_snr_db(taps, snr_db)

        return run

    out: dict[tuple[str, str], Condition] = {}
    for cfo in (0.0, 0.03, -0.03):
        out["noise", f"SNR -5 dB, CFO {100 * cfo:+.0f} %"] = known(2000, -5, k=500, cfo=cfo)
    out["noise", "SNR -7 dB"] = known(1000, -7, k=500)
    for snr_db in (10, 20):
        out["noise", f"SNR {snr_db} dB, longest burst"] = known(100, snr_db, k=8640)
    for ppm in (20, -20):
        for snr_db in (0, 20, 30):
            words = f"{ppm:+d} ppm, SNR {snr_db} dB, longest burst"
            out["sample clock", words] = functools.partial(fly, 50, snr_db, k=8640, ppm=ppm)
    for spread in (4, 16, 32):
        for snr_db in (-5, 0, 10, 20):
            out["multipath", f"exponential to {spread} samples, SNR {snr_db} dB"] = faded(spread, snr_db)
    g = torch.Generator().manual_seed(0)
    levels = 10 ** (3 * torch.rand(200, generator=g) - 1.5)
    out["level", "random over 60 dB, SNR 5 dB"] = known(200, 5, level=levels)
    out["level", "60 dB up and down in turn, SNR 5 dB"] = known(
        200, 5, level=1000.0 ** (torch.arange(200) % 2)
    )
    words = "linewidth 1e-6 of the sample rate, SNR 20 dB"
    out["phase noise", words] = functools.partial(fly, 50, 20, k=8640, linewidth=1e-6)
    for name, condition, interference, options in _heard_beside_bursts():
        own = functools.partial(fly, 200, 10, k=1000, interference=interference, **options)
        out[name, f"{condition}, SNR 10 dB"] = own
    return out


def false_alarms(noise_samples: int) -> int:
    """Bursts found in white noise whose level changes by 60 dB."""
    generator, detector = torch.Generator().manual_seed(1), StreamDetector(Modem(), chunk_samples=2**18)
    found = 0
    for turn in range(noise_samples // 10**6):
        noise = torch.randn(10**6, dtype=torch.complex64, generator=generator)
        found += len(detector.push(noise * 10.0 ** (turn % 7 - 3)))
    return found


def _heard_beside_bursts() -> list[tuple]:
    """(demand, condition, interference, options of ``fly``): what is taken out, and where that ends."""
    dc, carrier = "DC at the receiver", "carrier in band"
    rows = [(dc, f"{level:+d} dB over the burst", tone(level, 0.0), {}) for level in (7, 30, 60)]
    rows += [(dc, f"{level:+d} dB, CFO 1.2 %", tone(level, 0.0), {"cfo": 0.012}) for level in (-3, 30)]
    rows += [(carrier, f"J/S {level:+d} dB", tone(level, 0.0713), {}) for level in (-20, -10, -3, 10, 30)]
    rows.append((carrier, "J/S +10 dB, CFO 2 %", tone(10, -0.2113), {"cfo": 0.02}))
    for count in (4, 8, 9):
        every = together(*(tone(0, -0.45 + 0.073 * i + 0.003 * i * i) for i in range(count)))
        rows.append(("several carriers", f"{count}, each J/S 0 dB", every, {}))
    for apart in (1e-4, 3e-4, 1e-3):
        both = together(tone(10, 0.0713), tone(7, 0.0713 + apart))
        rows.append(("several carriers", f"J/S +10 and +7 dB, {apart:g} of the sample rate apart", both, {}))
    for rate in (1e-9, 1e-8, 3e-8):
        words = f"J/S +10 dB, {rate:g} of the sample rate a sample"
        rows.append(("carrier that drifts", words, tone(10, 0.0713, rate=rate), {}))
    for linewidth in (1e-6, 1e-5, 1e-4):
        words = f"J/S +10 dB, linewidth {linewidth:g} of the sample rate"
        rows.append(("carrier with phase noise", words, tone(10, 0.0713, linewidth=linewidth), {}))
    begins = 525_000  # just after the start of a chunk
    rows.append(("carrier that starts", "J/S +10 dB, within a burst", tone(10, 0.0713, begins=begins), {}))
    rows += [
        ("--cfo-search", f"CFO {100 * cfo:+g} %", None, {"cfo": cfo, "cfo_search": True})
        for cfo in (0.05, -0.0625, 0.1, 0.12)
    ]
    return rows


def pilots(trials: int, gnuradio_estimates: int) -> Experiment:
    """RMSE and bias of the pilot estimator, the bound, and GNU Radio's mpsk_snr_est_cc run in flowgraphs."""
    code, settings = (sources(*CODE),), {"trials": trials, "gnuradio_estimates": gnuradio_estimates}
    cells = [Cell("pilots", f"{count} {snr_db}", weights=code) for count in PILOTS for snr_db in SNR_DB]
    return Experiment("pilots", estimates, cells, settings)


@torch.inference_mode()
def estimates(cell: Cell, trials: int, gnuradio_estimates: int) -> list[str | float]:
    """A row of the table: pilots, SNR, the bound, ours (RMSE, in bounds, bias, error reported), GNU Radio's three."""
    from semcom.blocks import throughput

    count, snr_db = map(int, cell.point.split())
    g = torch.Generator().manual_seed(count + snr_db)
    gain = torch.polar(torch.ones(trials, 1), 2 * math.pi * torch.rand(trials, 1, generator=g))
    phases = math.pi / 2 * torch.randint(0, 4, (trials, count), generator=g)
    known = torch.polar(torch.ones(trials, count), phases)
    received = awgn(gain * known, snr_db, g)
    estimate = estimate_snr(received, fit_flat(received, known))
    error = estimate.snr_db - snr_db
    bound, rmse = float(cramer_rao_db(snr_db, count)), float(error.square().mean().sqrt())
    row = [count, snr_db, bound, rmse, rmse / bound, float(error.mean()), float(estimate.stderr_db.mean())]
    for kind in GNURADIO:
        theirs = throughput.gnuradio_snr_estimates(count, snr_db, gnuradio_estimates, kind)
        good = theirs[np.isfinite(theirs)]
        lost = f" ({100 * (1 - len(good) / len(theirs)):.0f} % NaN)" if len(good) < len(theirs) else ""
        row.append((f"{np.sqrt(np.mean((good - snr_db) ** 2)):.2f}" if len(good) else "-") + lost)
    return row


def cost(data: str, model: str, snr_db, limit: int) -> Experiment:
    """Mean PSNR through the GNU Radio flowgraph over AWGN, and of the codec alone over the same SNR."""
    code = (sources(*CODE, "semcom.blocks", "semcom.link"), zoo.load(model).sha256)
    cells = [Cell(model, float(snr), 1, code) for snr in snr_db]
    return Experiment("modem cost", functools.partial(flown, data=data), cells, {"limit": limit})


def flown(cell: Cell, limit: int, data: str) -> list[float]:
    """A row of the table: SNR, that estimated, PSNR in dB alone, flown, their difference, bursts lost."""
    from semcom.blocks import loopback

    chosen = [pictures.read_picture(path) for path in pictures.list_pictures(data)[:limit]]
    codec, snr, alone = zoo.load(cell.arm), cell.point, []
    results = loopback.run(chosen, LinkConfig(cell.arm, snr, "awgn", seed=cell.seed))
    for number, picture in enumerate(chosen):
        latents = codec.encode_image(picture.pixels, snr)[None]
        generator = torch.Generator().manual_seed(number)
        received, noise_var = symbol_channel("awgn")(latents, torch.tensor([snr]), generator)
        out = codec.decode_image(received[0], snr, picture.pixels.shape[:2], noise_var[0])
        alone.append(float(quality.psnr(picture.pixels, out)))
    through = statistics.mean(result.psnr_db for result in results)
    reported = statistics.mean(result.snr_est_db for result in results)
    lost = sum(result.bursts_lost for result in results)
    return [snr, reported, statistics.mean(alone), through, statistics.mean(alone) - through, lost]
