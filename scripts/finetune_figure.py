# SPDX-License-Identifier: GPL-3.0-or-later
"""What fine-tuning on a capture wins back of PSNR lost to a poor transmitter: docs/figures/finetune.{csv,png,md}.

.venv/bin/python scripts/finetune_figure.py --data FOLDER
"""

import csv
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from semcom.air.chain import transmit
from semcom.air.script import Receiver, Route, Tap, Transmitter
from semcom.codec import zoo
from semcom.pictures import Picture, write_png
from semcom_training.data import data_root, image_files, read_image
from semcom_training.finetune import Options, finetune_user, read_capture, split
from semcom_training.finetune.simulated import air, record
from semcom_training.finetune.users import received_psnr_db

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
COMMAND = "scripts/finetune_figure.py --data FOLDER"
SNR_DB = 20.0
POOR = Transmitter(pa_backoff_db=1.0, pa_smoothness=2.0, iq_gain_db=1.0, iq_phase_deg=5.0)
RAYS = Route(taps=[Tap(0, 0.0, 0.0), Tap(6, -8.0, 115.0)])
#: what nothing was lost to: the clean transmitter with as much noise after equalisation, or with the same Es/N0
REFERENCES = {"equal_noise": "equal noise after equalisation", "same_esn0": "the same Es/N0"}
ARMS = {
    "clean_same_esn0": "clean, same Es/N0",
    "clean_equal_noise": "clean, equal noise",
    "distorted": "distorted",
    "canceller": "canceller only",
    "fine-tuned": "fine-tuned",
    "control": "control",
}
COLOURS = ("#374151", "#6b7280", "#c8553d", "#e9a23b", "#2a9d8f", "#b8c0c8")


@dataclass(frozen=True)
class Case:
    """A model, and its pictures: side in pixels, how far photos are shrunk, how many; and the training."""

    model: str
    side: int
    shrink: int
    pictures: int
    options: Options


CASES = (
    Case("cifar-1-12", 32, 4, 320, Options(steps=300, batch=8)),
    Case("photo-1-12", 128, 1, 96, Options(steps=60, batch=4, check_every=20)),
)


def photos(case: Case, root: Path) -> list[Picture]:
    """Middles of training photos, shrunk: none of the sets that codecs are evaluated on."""
    out = []
    for file in image_files(root / "photos_train" / "bsds500", ("val_",))[: case.pictures]:
        image = torch.nn.functional.avg_pool2d(read_image(file)[None].float(), case.shrink)[0]
        top, left = ((size - case.side) // 2 for size in image.shape[1:])
        image = image[:, top : top + case.side, left : left + case.side].round().to(torch.uint8)
        out.append(Picture(f"{file.stem}.png", np.ascontiguousarray(image.permute(1, 2, 0).numpy())))
    return out


def compression_db() -> float:
    """By how much the amplifier lowers the wanted signal: one clean channel has that much more noise."""
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(100_000, dtype=torch.complex64, generator=generator).numpy()
    samples *= np.float32(math.sqrt(240 / 256))
    return 20 * math.log10(abs(np.vdot(samples, transmit(samples, POOR, 1.0)) / np.vdot(samples, samples)))


def measure(case: Case, root: Path, folder: Path) -> dict[str, np.ndarray]:
    """PSNR in dB of every held-out picture, by arm."""
    pictures, model = photos(case, root), zoo.load(case.model)
    for picture in pictures:
        write_png(folder / "sent" / picture.name, picture.pixels)
    ways = {
        "distorted": (POOR, SNR_DB),
        "clean_equal_noise": (Transmitter(), SNR_DB + compression_db()),
        "clean_same_esn0": (Transmitter(), SNR_DB),
    }
    out = {}
    for way, (transmitter, snr_db) in ways.items():
        record(pictures, model, SNR_DB, air(transmitter, RAYS, Receiver(snr_db=snr_db)), folder / way)
        capture = read_capture(folder / way, case.model, folder / "sent")
        _, held_out = split(capture.examples, case.options.held_out)
        print(f"{case.model}, {way}: {len(capture.examples)} pictures at {capture.snr_db:.1f} dB", flush=True)

        def psnr(steps: int, capture=capture, held_out=held_out, way=way) -> np.ndarray:
            options = Options(**(asdict(case.options) | {"steps": steps}))
            outcome = finetune_user(case.model, capture, folder / f"{way}-{steps}", options, print)
            tuned = zoo.load(outcome.card) if outcome.card else model
            return received_psnr_db(tuned.codec, held_out).numpy()

        out[way] = received_psnr_db(model.codec, held_out).numpy()
        if way == "distorted":
            out["canceller"], out["fine-tuned"] = psnr(0), psnr(case.options.steps)
        elif way == "clean_equal_noise":
            out["control"] = psnr(case.options.steps)
    return out


def row(case: Case, psnr: dict[str, np.ndarray]) -> dict:
    """Means, what was lost and recovered by each reference, and the standard error of the gain over pictures."""
    mean = {arm: float(psnr[arm].mean()) for arm in ARMS}
    gain = psnr["fine-tuned"] - psnr["distorted"]
    out = {
        "model": case.model,
        "side": case.side,
        "held_out": len(gain),
        **{f"{arm}_db": mean[arm] for arm in ARMS},
        "gain_db": float(gain.mean()),
        "gain_stderr_db": float(gain.std(ddof=1) / math.sqrt(len(gain))),
    }
    control = mean["control"] - mean["clean_equal_noise"]
    for reference in REFERENCES:
        lost = mean[f"clean_{reference}"] - mean["distorted"]
        out[f"lost_{reference}_db"] = lost
        out[f"recovered_{reference}"] = out["gain_db"] / lost
        out[f"recovered_by_canceller_{reference}"] = (mean["canceller"] - mean["distorted"]) / lost
        out[f"recovered_beyond_control_{reference}"] = (out["gain_db"] - control) / lost
    return out


def write_csv(rows: list[dict]) -> None:
    with (FIGURES / "finetune.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in one.items()} for one in rows
        )


def verdict(rows: list[dict]) -> str:
    """By which references half of the loss is recovered, for every model."""
    reached = [key for key in REFERENCES if all(one[f"recovered_{key}"] >= 0.5 for one in rows)]
    only = (
        f"at {REFERENCES[reached[0]]} only" if len(reached) == 1 else "by both" if reached else "by neither"
    )
    shares = []
    for key, told in REFERENCES.items():
        by_model = (f"{100 * one[f'recovered_{key}']:.0f} % (`{one['model']}`)" for one in rows)
        shares.append(f"at {told} {', '.join(by_model)}")
    return f"**Half of the loss is recovered {only}**: {'; '.join(shares)}."


def write_markdown(rows: list[dict]) -> None:
    lines = [
        "# What fine-tuning on a capture wins back",
        "",
        f"Made by `.venv/bin/python {COMMAND}`; all figures in [finetune.csv](finetune.csv).",
        "",
        f"PSNR in dB on held-out pictures of captures at Es/N0 = {SNR_DB:g} dB. The transmitter: a Rapp "
        f"amplifier (p = {POOR.pa_smoothness:g}) saturating {POOR.pa_backoff_db:g} dB above the mean power, "
        "behind an I/Q modulator off by "
        f"{POOR.iq_gain_db:g} dB and {POOR.iq_phase_deg:g} degrees. Two rays: the second 6 samples later, 8 dB weaker.",
        "",
        "| model | " + " | ".join(ARMS.values()) + " |",
        "|---" * (1 + len(ARMS)) + "|",
    ]
    for one in rows:
        name = f"`{one['model']}`, {one['held_out']} pictures of {one['side']}x{one['side']}"
        lines.append("| " + " | ".join([name, *(f"{one[f'{arm}_db']:.2f}" for arm in ARMS)]) + " |")
    lines += [
        "",
        "What was lost depends on what nothing was lost to:",
        "",
        "| model | reference | lost, dB | recovered | by the canceller only | beyond control |",
        "|---" * 6 + "|",
    ]
    for one in rows:
        for reference, told in REFERENCES.items():
            keys = ("recovered", "recovered_by_canceller", "recovered_beyond_control")
            shares = [f"{100 * one[f'{key}_{reference}']:.0f} %" for key in keys]
            cells = [f"`{one['model']}`", f"clean, {told}", f"{one[f'lost_{reference}_db']:.2f}", *shares]
            lines.append("| " + " | ".join(cells) + " |")
    errors = ", ".join(f"{one['gain_stderr_db']:.2f} dB (`{one['model']}`)" for one in rows)
    lines += [
        "",
        verdict(rows),
        "",
        "![PSNR by arm](finetune.png)",
        "",
        "*Clean*: the same two rays without amplifier and I/Q error. *Same Es/N0*: with the noise of the distorted "
        f"arm. *Equal noise*: with {-compression_db():.2f} dB more, by which the amplifier lowers the wanted signal, so "
        "that both have the same noise after equalisation; what the amplifier costs in power is then no part of the "
        "loss, and no decoder can win it back. The "
        f"encoder is told {SNR_DB:g} dB in all arms. *Lost* = clean - distorted; *recovered* = (fine-tuned - "
        "distorted) / lost. *Control*: the same fine-tuning on the clean capture of equal noise, which shows what "
        "further training on such pictures is worth by itself; *beyond control* subtracts that. Standard errors of "
        f"the gain, over pictures: {errors}.",
        "",
        "Pictures: middles of BSDS500 photos (not its `val_` ones; for `cifar-1-12` shrunk by 4), one quarter held "
        "out from the fine-tuning. They were among the photos that `photo-1-12` was first trained on, in every arm "
        "alike. The virtual air is called as a library: no real time, no radio.",
        "",
    ]
    (FIGURES / "finetune.md").write_text("\n".join(lines))
    print("\n".join(lines))


def draw(rows: list[dict]) -> None:
    figure = Figure(figsize=(10, 4.4), dpi=110, facecolor="white", layout="constrained")
    for axes, one in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows):
        values = [one[f"{arm}_db"] for arm in ARMS]
        bars = axes.bar(range(len(ARMS)), values, color=COLOURS, width=0.7)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
        axes.set_xticks(range(len(ARMS)), ARMS.values(), rotation=25, ha="right")
        axes.set_ylim(min(values) - 1, max(values) + 0.6)
        shares = (f"{100 * one[f'recovered_{key}']:.0f} % at {told}" for key, told in REFERENCES.items())
        axes.set_title(f"{one['model']}, recovered:\n{', '.join(shares)}", fontsize=9)
        axes.set_ylabel("PSNR, held out (dB)")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURES / "finetune.png")


def main(
    data: Annotated[
        str | None, typer.Option(help="Folder with photos_train. [default: $SEMCOM_DATA]")
    ] = None,
    models: Annotated[str, typer.Option(help="Which models, with commas.")] = "cifar-1-12,photo-1-12",
) -> None:
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        if case.model in models.split(","):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row(case, measure(case, data_root(data), Path(folder))))
    write_csv(rows)
    write_markdown(rows)
    draw(rows)


if __name__ == "__main__":
    typer.run(main)
