# SPDX-License-Identifier: GPL-3.0-or-later
"""What telling the encoder the receiver's SNR is worth: docs/figures/feedback.{csv,png,md}.

.venv/bin/python scripts/feedback_figure.py
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from semcom.adaptation import closed_loop as loop
from semcom.kinds.pictures import samples
from semcom.system import zoo

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
COMMAND = "scripts/feedback_figure.py"
SEED = 5
DOPPLER = 0.02  # cycles a burst
MODELS = {"cifar-1-12": (32, 2), "photo-1-12": (128, 1)}  # side of the pictures, and how far they are shrunk
ARMS = {
    "genie": loop.genie(),
    **{f"closed, {delay} late": loop.closed_loop(delay, seed=SEED) for delay in (0, 1, 2, 5, 10)},
    **{f"open, {snr} dB": loop.open_loop(snr) for snr in (0, 10, 20)},
}
COLOURS = {"cifar-1-12": "#1f6f8b", "photo-1-12": "#c8553d"}

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

Row = dict[str, float | str]


def measure(bursts: dict[str, int]) -> tuple[list[Row], dict[str, np.ndarray]]:
    """A row for each channel, model and arm; and the traces."""
    longest = max(bursts.values())
    traces = {
        "ramp 20, 0, 20 dB": loop.ramp_db(longest),
        "Rayleigh, mean 12 dB": loop.rayleigh_db(longest, 12.0, DOPPLER, SEED),
    }
    pictures, rows = [picture.pixels for picture in samples()], []
    for name, (side, shrink) in MODELS.items():
        model, count = zoo.load(name), bursts[name]
        sent = loop.crops(pictures, count, side, shrink, SEED)
        for channel, trace_db in traces.items():
            best = loop.psnr_db(model, sent, trace_db[:count], ARMS["genie"], SEED)
            for arm, tell in ARMS.items():
                psnr = best if arm == "genie" else loop.psnr_db(model, sent, trace_db[:count], tell, SEED)
                rows.append(
                    {
                        "channel": channel,
                        "model": name,
                        "arm": arm,
                        "bursts": count,
                        "psnr_db": float(psnr.mean()),
                        "psnr_stderr_db": loop.standard_error(psnr),
                        "beside_genie_db": float((psnr - best).mean()),
                        "beside_genie_stderr_db": loop.standard_error(psnr - best),
                    }
                )
            print(f"{name}, {channel}: done")
    return rows, traces


def write_csv(rows: list[Row]) -> None:
    with (FIGURES / "feedback.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        )


def write_markdown(rows: list[Row]) -> None:
    channels, models = (list(dict.fromkeys(row[key] for row in rows)) for key in ("channel", "model"))
    columns = [(channel, model) for channel in channels for model in models]
    lines = [
        "# What feedback is worth",
        "",
        f"Made by `.venv/bin/python {COMMAND}`; all figures in [feedback.csv](feedback.csv).",
        "",
        *_BEFORE.splitlines(),
        "",
        "| encoder told | " + " | ".join(f"{model}, {channel}" for channel, model in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for arm in ARMS:
        cells = [
            next(r for r in rows if (r["channel"], r["model"], r["arm"]) == (*column, arm))
            for column in columns
        ]
        if arm == "genie":
            words = [f"{cell['psnr_db']:.2f} ± {cell['psnr_stderr_db']:.2f}" for cell in cells]
        else:
            words = [
                f"{cell['beside_genie_db']:+.3f} ± {cell['beside_genie_stderr_db']:.3f}" for cell in cells
            ]
        lines.append(f"| {arm} | " + " | ".join(words) + " |")
    counts = dict.fromkeys(f"{row['bursts']} of `{row['model']}`" for row in rows)
    after = _AFTER.format(counts=" and ".join(counts), doppler=DOPPLER)
    lines += ["", "![loss beside the genie](feedback.png)", "", *after.splitlines(), ""]
    (FIGURES / "feedback.md").write_text("\n".join(lines))
    print("\n".join(lines))


def draw(rows: list[Row], traces: dict[str, np.ndarray]) -> None:
    figure = Figure(figsize=(11, 7.2), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(2, len(traces), height_ratios=[1, 1.5])
    arms = [arm for arm in ARMS if arm != "genie"]
    for column, (channel, trace_db) in enumerate(traces.items()):
        shown = slice(0, 128)
        top, bottom = axes[0, column], axes[1, column]
        top.plot(trace_db[shown], color="#222222", lw=1.8, label="true")
        for arm, colour in (("closed, 1 late", "#2a9d8f"), ("closed, 10 late", "#e9a23b")):
            top.plot(ARMS[arm](trace_db)[shown], color=colour, lw=1.1, label=arm)
        top.axhline(10, color="#999999", lw=1, ls="--", label="open, 10 dB")
        top.set(title=channel, xlabel="burst", ylabel="SNR the encoder is told (dB)")
        if column == 0:  # the other has no room for it
            top.legend(fontsize=8, frameon=False, loc="upper center")
        for number, (model, colour) in enumerate(COLOURS.items()):
            cells = [
                next(r for r in rows if (r["channel"], r["model"], r["arm"]) == (channel, model, arm))
                for arm in arms
            ]
            at = np.arange(len(arms)) + (number - 0.5) * 0.22
            bottom.errorbar(
                [cell["beside_genie_db"] for cell in cells],
                at,
                xerr=[2 * cell["beside_genie_stderr_db"] for cell in cells],
                fmt="o",
                ms=5,
                capsize=3,
                color=colour,
                label=model,
            )
        bottom.axvline(0, color="#222222", lw=0.8)
        bottom.set_yticks(range(len(arms)), arms)
        bottom.invert_yaxis()
        bottom.grid(axis="x", color="#dddddd", lw=0.6)
        bottom.set_xlabel("PSNR beside the genie's (dB), with two standard errors")
        bottom.legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(FIGURES / "feedback.png")


def main(
    small: Annotated[int, typer.Option(help="Bursts of 32 x 32 pictures.")] = 512,
    large: Annotated[int, typer.Option(help="Bursts of 128 x 128 pictures.")] = 256,
) -> None:
    """Regenerates the figure; some five minutes on one core."""
    torch.set_num_threads(1)
    FIGURES.mkdir(parents=True, exist_ok=True)
    rows, traces = measure(dict(zip(MODELS, (small, large), strict=True)))
    write_csv(rows)
    write_markdown(rows)
    draw(rows, traces)


if __name__ == "__main__":
    typer.run(main)
