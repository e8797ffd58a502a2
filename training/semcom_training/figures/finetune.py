# SPDX-License-Identifier: GPL-3.0-or-later
"""What fine-tuning on a capture wins back of PSNR lost to a poor transmitter."""

import functools
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from semcom.air.chain import transmit
from semcom.air.script import Receiver, Route, Tap, Transmitter
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.pictures import Picture, write_png
from semcom.system import zoo
from semcom_training.data import data_root, image_files, read_image
from semcom_training.finetune import Capture, Options, finetune_user, read_capture, split
from semcom_training.finetune.simulated import air, record
from semcom_training.finetune.users import received_psnr_db

SNR_DB = 20.0
IQ_GAIN_DB, IQ_PHASE_DEG, SMOOTHNESS = 1.0, 5.0, 2.0
#: how far above the mean power the amplifier saturates, in dB
BACKOFFS_DB = (6.0, 3.0, 2.0, 1.0)
RAYS = Route(taps=[Tap(0, 0.0, 0.0), Tap(6, -8.0, 115.0)])
#: what nothing was lost to: the clean transmitter with the same Es/N0, or with as much noise after equalisation
REFERENCES = {"same_esn0": "the same Es/N0", "equal_noise": "equal noise after equalisation"}
ARMS = {
    "clean_same_esn0": "clean, same Es/N0",
    "clean_equal_noise": "clean, equal noise",
    "distorted": "distorted",
    "canceller": "canceller only",
    "fine-tuned": "fine-tuned",
    "control": "control",
}
CLEAN = "clean"


@dataclass(frozen=True)
class Case:
    """A model, and its pictures: side in pixels, how far photos are shrunk, how many; and the training."""

    model: str
    side: int
    shrink: int
    pictures: int
    options: Options


CASES = {
    case.model: case
    for case in (
        Case("cifar-1-12", 32, 4, 320, Options(steps=300, batch=8)),
        Case("photo-1-12", 128, 1, 96, Options(steps=60, batch=4, check_every=20)),
    )
}


def plan(
    data: Annotated[str, typer.Option(help="Folder with photos_train; else SEMCOM_DATA.")] = None,
    models: Annotated[str, typer.Option(help="Which models, with commas.")] = "cifar-1-12,photo-1-12",
) -> Experiment:
    """What fine-tuning on a capture wins back: docs/figures/finetune.{csv,png,md}."""
    chosen = [name for name in models.split(",") if name in CASES]
    cells = [
        Cell(name, point, weights=(zoo.load(name).sha256,))
        for name in chosen
        for point in (CLEAN, *BACKOFFS_DB)
    ]
    own = functools.partial(measure, data=str(data_root(data)))
    return Experiment("finetune", own, cells, {"cases": {name: asdict(CASES[name]) for name in chosen}})


def measure(cell: Cell, cases: dict, data: str) -> dict[str, list[float]]:
    """PSNR in dB of every held-out picture by arm: of the clean transmitter, or of all that a back-off decides."""
    case = CASES[cell.arm]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(case, data_root(data), Path(folder))
        if cell.point == CLEAN:
            psnr = {"clean_same_esn0": bench.psnr(bench.capture("clean", Transmitter(), SNR_DB))}
        else:
            distorted = bench.capture("distorted", poor(cell.point), SNR_DB)
            equal = bench.capture("equal-noise", Transmitter(), SNR_DB + compression_db(cell.point))
            psnr = {
                "clean_equal_noise": bench.psnr(equal),
                "distorted": bench.psnr(distorted),
                "canceller": bench.psnr(distorted, 0),
                "fine-tuned": bench.psnr(distorted, case.options.steps),
                "control": bench.psnr(equal, case.options.steps),
            }
    return {arm: values.tolist() for arm, values in psnr.items()}


def photos(case: Case, root: Path) -> list[Picture]:
    """Middles of training photos, shrunk: none of the sets that codecs are evaluated on."""
    out = []
    for file in image_files(root / "photos_train" / "bsds500", ("val_",))[: case.pictures]:
        image = torch.nn.functional.avg_pool2d(read_image(file)[None].float(), case.shrink)[0]
        top, left = ((size - case.side) // 2 for size in image.shape[1:])
        image = image[:, top : top + case.side, left : left + case.side].round().to(torch.uint8)
        out.append(Picture(f"{file.stem}.png", np.ascontiguousarray(image.permute(1, 2, 0).numpy())))
    return out


def poor(backoff_db: float) -> Transmitter:
    """The transmitter of the distorted arm."""
    return Transmitter(
        pa_backoff_db=backoff_db, pa_smoothness=SMOOTHNESS, iq_gain_db=IQ_GAIN_DB, iq_phase_deg=IQ_PHASE_DEG
    )


def compression_db(backoff_db: float) -> float:
    """By how much the amplifier lowers the wanted signal: one clean channel has that much more noise."""
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(100_000, dtype=torch.complex64, generator=generator).numpy()
    samples *= np.float32(math.sqrt(240 / 256))
    sent = transmit(samples, poor(backoff_db), 1.0)
    return 20 * math.log10(abs(np.vdot(samples, sent) / np.vdot(samples, samples)))


class Bench:
    """The pictures and the model of one case, and what fine-tuning makes of a capture of them."""

    def __init__(self, case: Case, root: Path, folder: Path):
        self.case, self.folder = case, folder
        self.pictures, self.model = photos(case, root), zoo.load(case.model)
        for picture in self.pictures:
            write_png(folder / "sent" / picture.name, picture.pixels)

    def capture(self, way: str, transmitter: Transmitter, snr_db: float) -> Capture:
        """What a receiver records of this transmitter."""
        through = air(transmitter, RAYS, Receiver(snr_db=snr_db))
        record(self.pictures, self.model, SNR_DB, through, self.folder / way)
        capture = read_capture(self.folder / way, self.case.model, self.folder / "sent")
        print(
            f"{self.case.model}, {way}: {len(capture.examples)} pictures at {capture.snr_db:.1f} dB",
            flush=True,
        )
        return capture

    def psnr(self, capture: Capture, steps: int | None = None) -> np.ndarray:
        """PSNR in dB of every held-out picture, ``[N]``; None: of the model as it is, else after so many steps."""
        codec = self.model.codec
        if steps is not None:
            options = Options(**(asdict(self.case.options) | {"steps": steps}))
            outcome = finetune_user(self.case.model, capture, self.folder / "tuned", options, print)
            codec = zoo.load(outcome.card).codec if outcome.card else codec
        return received_psnr_db(codec, split(capture.examples, self.case.options.held_out)[1]).numpy()


def rows(found) -> list[dict]:
    """One row a model and back-off."""
    clean = {cell.arm: result for cell, result in found if cell.point == CLEAN}
    return [
        row(
            CASES[cell.arm],
            cell.point,
            {arm: np.array(psnr) for arm, psnr in (clean[cell.arm] | result).items()},
        )
        for cell, result in found
        if cell.point != CLEAN
    ]


def row(case: Case, backoff_db: float, psnr: dict[str, np.ndarray]) -> dict:
    """Means, what was lost and recovered by each reference, and the standard error of the gain over pictures."""
    mean = {arm: float(psnr[arm].mean()) for arm in ARMS}
    gain = psnr["fine-tuned"] - psnr["distorted"]
    out = {
        "model": case.model,
        "side": case.side,
        "held_out": len(gain),
        "backoff_db": backoff_db,
        "compression_db": -compression_db(backoff_db),
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


def verdict(rows: list[dict]) -> str:
    """Where half of the loss is recovered for every model, and where it is not."""
    words = []
    for reference, name in REFERENCES.items():
        by_backoff = {
            backoff: [one[f"recovered_{reference}"] for one in rows if one["backoff_db"] == backoff]
            for backoff in BACKOFFS_DB
        }
        held = [f"{backoff:g}" for backoff, shares in by_backoff.items() if min(shares) >= 0.5]
        missed = [
            f"{backoff:g} dB ({', '.join(f'{100 * share:.0f} %' for share in shares)})"
            for backoff, shares in by_backoff.items()
            if min(shares) < 0.5
        ]
        words.append(
            f"Beside a clean transmitter at {name}: at a back-off of {', '.join(held) or 'none'} dB"
            + f", not at {'; '.join(missed)}" * bool(missed)
        )
    return f"**Where half or more of the loss is recovered, for both models.** {'. '.join(words)}."


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    psnr = [
        [f"`{one['model']}`", f"{one['backoff_db']:g} dB", *(one[f"{arm}_db"] for arm in ARMS)]
        for one in rows
    ]
    keys = "recovered", "recovered_by_canceller", "recovered_beyond_control"
    shares = [
        [
            f"`{one['model']}`",
            f"{one['backoff_db']:g} dB",
            f"clean, {words}",
            one[f"lost_{reference}_db"],
            *(f"{100 * one[f'{key}_{reference}']:.0f} %" for key in keys),
        ]
        for one in rows
        for reference, words in REFERENCES.items()
    ]
    head = [
        "model",
        "back-off",
        "reference",
        "lost, dB",
        "recovered",
        "by the canceller only",
        "beyond control",
    ]
    models = {one["model"]: one for one in rows}
    errors = ", ".join(
        f"at most {max(o['gain_stderr_db'] for o in rows if o['model'] == name):.2f} dB (`{name}`)"
        for name in models
    )
    lowered = ", ".join(
        f"{one['compression_db']:.2f} dB at {one['backoff_db']:g} dB of back-off"
        for one in rows
        if one["model"] == rows[0]["model"]
    )
    held_out = ", ".join(
        f"{one['held_out']} of {one['side']}x{one['side']} (`{name}`)" for name, one in models.items()
    )
    return page(
        "What fine-tuning on a capture wins back",
        "All figures: [finetune.csv](finetune.csv).",
        f"PSNR in dB on held-out pictures of captures at Es/N0 = {SNR_DB:g} dB. The transmitter: a Rapp amplifier "
        f"(p = {SMOOTHNESS:g}) that saturates so far above the mean power as *back-off* says, behind an I/Q modulator "
        f"off by {IQ_GAIN_DB:g} dB and {IQ_PHASE_DEG:g} degrees. Two rays: the second 6 samples later, 8 dB weaker.",
        markdown_table(["model", "back-off", *ARMS.values()], psnr),
        "What was lost depends on what nothing was lost to:",
        markdown_table(head, shares),
        verdict(rows),
        "![PSNR and share recovered by back-off](finetune.png)",
        "*Clean*: the same two rays without amplifier and I/Q error. *Same Es/N0*: with the noise of the distorted "
        f"arm. *Equal noise*: with more, by what the amplifier lowers the wanted signal ({lowered}), so that both have "
        "the same noise after equalisation; what the amplifier costs in power is then no part of the loss. The "
        f"encoder is given {SNR_DB:g} dB in all arms. *Lost* = clean - distorted; *recovered* = (fine-tuned - "
        "distorted) / lost. *Control*: the same fine-tuning on the clean capture of equal noise, which shows what "
        "further training on such pictures is worth by itself; *beyond control* subtracts that. Standard errors of "
        f"the gain, over pictures: {errors}.",
        "Pictures: middles of BSDS500 photos (not its `val_` ones; for `cifar-1-12` shrunk by 4), one quarter held "
        f"out from the fine-tuning: {held_out}. They were among the photos that `photo-1-12` was first trained on, in "
        "every arm alike. The virtual air is called as a library: no real time, no radio.",
        made_by=made_by,
    )
