# SPDX-License-Identifier: GPL-3.0-or-later
"""What giving the encoder the receiver's SNR is worth (``semcom.adaptation.closed_loop``)."""

import functools

import numpy as np

from semcom.adaptation import closed_loop as loop
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.pictures import samples
from semcom.system import zoo

SEED = 5
DOPPLER = 0.02  # cycles a burst
MODELS = {"cifar-1-12": (32, 2), "photo-1-12": (128, 1)}  # side of the pictures, and how far they are shrunk
GENIE = "genie"
ARMS = {
    GENIE: loop.genie(),
    **{f"closed, {delay} late": loop.closed_loop(delay, seed=SEED) for delay in (0, 1, 2, 5, 10)},
    **{f"open, {snr} dB": loop.open_loop(snr) for snr in (0, 10, 20)},
}
CHANNELS = {
    "ramp 20, 0, 20 dB": loop.ramp_db,
    "Rayleigh, mean 12 dB": functools.partial(loop.rayleigh_db, mean_db=12.0, doppler=DOPPLER, seed=SEED),
}
_BEFORE = """\
Difference in PSNR from an encoder that knows the SNR which its burst will meet (genie), in dB, with its standard
error. The first row is the genie's own PSNR, with the much larger spread over pictures and channel."""
_AFTER = """\
Bursts: {counts}, one picture a burst; random crops of the packaged photographs (32 x 32 after halving for
`cifar-1-12`, 128 x 128 for `photo-1-12`). The ramp takes 128 bursts; Rayleigh has Jakes' spectrum and a Doppler of
{doppler} cycles a burst, which is 1 Hz at 50 bursts a second. Estimates are off by 0.4 dB and go through `SnrTracker`.
All arms see the same pictures, channel and noise; standard errors are of the paired difference, from means of 16
neighbouring bursts. The decoder knows what it received in all arms.

This is the codecs over AWGN and fading on latents behind a perfect equaliser, one SNR a burst; the estimates are the
true SNR with a synthetic error. It is not the live stations: no samples, no detection, no pilots, no socket."""


def plan(small: int = 512, large: int = 256) -> Experiment:
    """What feedback is worth: docs/figures/feedback.{csv,png,md}; some five minutes on one core."""
    bursts = dict(zip(MODELS, (small, large), strict=True))
    cells = [
        Cell((channel, model, arm, bursts[model]), seed=SEED, weights=(zoo.load(model).sha256,))
        for model in MODELS
        for channel in CHANNELS
        for arm in ARMS
    ]
    return Experiment("feedback", measure, cells, {"longest": max(bursts.values())})


def measure(cell: Cell, longest: int) -> list[float]:
    """PSNR in dB of every burst.

    Args:
        longest: bursts of the trace that is drawn, of which the cell takes the first.
    """
    channel, name, arm, count = cell.arm
    side, shrink = MODELS[name]
    sent = loop.crops([picture.pixels for picture in samples()], count, side, shrink, SEED)
    trace_db = CHANNELS[channel](longest)[:count]
    return loop.psnr_db(zoo.load(name), sent, trace_db, ARMS[arm], cell.seed).tolist()


def rows(found) -> list[dict]:
    """Each arm beside the genie of its channel and model, burst by burst."""
    psnr = {cell.arm[:3]: np.array(result, np.float32) for cell, result in found}
    out = []
    for (channel, model, arm), own in psnr.items():
        beside = own - psnr[channel, model, GENIE]
        out.append(
            {
                "channel": channel,
                "model": model,
                "arm": arm,
                "bursts": len(own),
                "psnr_db": float(own.mean()),
                "psnr_stderr_db": loop.standard_error(own),
                "beside_genie_db": float(beside.mean()),
                "beside_genie_stderr_db": loop.standard_error(beside),
            }
        )
    return out


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    channels, models = (list(dict.fromkeys(row[key] for row in rows)) for key in ("channel", "model"))
    columns = [(channel, model) for channel in channels for model in models]
    by_key = {(row["channel"], row["model"], row["arm"]): row for row in rows}
    lines = []
    for arm in ARMS:
        some = [by_key[(*column, arm)] for column in columns]
        if arm == GENIE:
            lines.append([arm, *(f"{row['psnr_db']:.2f} ± {row['psnr_stderr_db']:.2f}" for row in some)])
        else:
            losses = (f"{row['beside_genie_db']:+.3f} ± {row['beside_genie_stderr_db']:.3f}" for row in some)
            lines.append([arm, *losses])
    table = markdown_table(["encoder given", *(f"{model}, {channel}" for channel, model in columns)], lines)
    counts = " and ".join(dict.fromkeys(f"{row['bursts']} of `{row['model']}`" for row in rows))
    after = _AFTER.format(counts=counts, doppler=DOPPLER)
    picture, source = "![loss beside the genie](feedback.png)", "All figures: [feedback.csv](feedback.csv)."
    return page("What feedback is worth", source, _BEFORE, table, picture, after, made_by=made_by)
