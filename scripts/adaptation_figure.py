# SPDX-License-Identifier: GPL-3.0-or-later
"""What choosing the order by the SNR is worth: docs/figures/adaptation.{csv,png,md}.

.venv/bin/python scripts/adaptation_figure.py        # SEMCOM_DATA: the folder with kodak and photos_valid
"""

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from semcom import keys
from semcom.adaptation.closed_loop import crops
from semcom.adaptation.modulation import OrderChooser
from semcom.adaptation.tolerance import DigitalTrial, Tolerance, tolerance_of, upper_limit
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.modem.labels import symbol_count
from semcom.modulation import ORDERS, constellation
from semcom.system import zoo

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
COMMAND = "scripts/adaptation_figure.py"
HELD_OUT = ("kodak", "photos_valid/div2k_valid_256")
SEED = 7
TRACE_S, HIGH_DB = 60.0, 25.0  # 0 dB to HIGH_DB and back within TRACE_S
SYMBOL_RATE = 5e5  # payload symbols a second, about what 1 Msample/s carries
REPORT_S, STDERR_DB = 0.05, 0.3  # reports come so often, so late, and off by so much
CHOOSER = {"hysteresis_db": 0.5, "dwell_s": 0.5, "wander_db": 0.5}

Sent = list[
    tuple[float, int, bool]
]  # when a picture started in s, its order, whether the chooser called it inside


@dataclass(frozen=True)
class Arm:
    """What came of one way of choosing. Arrays are over the pictures that were sent."""

    name: str
    start_s: np.ndarray
    order: np.ndarray
    inside: np.ndarray
    lost_db: np.ndarray
    sent: int  # in the whole trace; the arrays are an even sample of them
    kept: float  # share of the sample that loses no more than stated

    @property
    def delivered(self) -> float:
        """Pictures inside the stated loss in the whole trace: as all arms have the same symbols, goodput."""
        return self.sent * self.kept


def trace_db(time_s: float | np.ndarray) -> float | np.ndarray:
    """The SNR that the air has at a time."""
    return HIGH_DB * (1 - np.abs(2 * time_s / TRACE_S - 1))


def adaptive(table: Tolerance, latents: int) -> Sent:
    """One picture after the other, each on the order that is chosen when it starts."""
    now_s, heard, random, sent = 0.0, 0, np.random.default_rng(SEED), []
    chooser = OrderChooser(table.max_ber, clock=lambda: now_s, **CHOOSER)
    while now_s < TRACE_S:
        while (heard + 1) * REPORT_S <= now_s:  # the next report was made one interval before it came
            seen_db = trace_db(heard * REPORT_S) + STDERR_DB * random.standard_normal()
            chooser.hear({keys.SNR_DB: float(seen_db), keys.SNR_STDERR_DB: STDERR_DB})
            heard += 1
        choice = chooser.choice()
        sent.append((now_s, choice.order, choice.inside))
        now_s += symbol_count(latents, table.bits_per_latent, choice.order) / SYMBOL_RATE
    return sent


def fixed(order: int, table: Tolerance, latents: int) -> Sent:
    """One picture after the other on one order."""
    every_s = symbol_count(latents, table.bits_per_latent, order) / SYMBOL_RATE
    return [(start_s, order, True) for start_s in np.arange(0.0, TRACE_S, every_s)]


def receive(name: str, sent: Sent, trial: DigitalTrial, table: Tolerance, at_most: int) -> Arm:
    """Sends an even sample of the pictures over the air that each meets."""
    picks = np.unique(np.linspace(0, len(sent) - 1, min(at_most, len(sent))).round().astype(int))
    start_s, order, inside = (
        np.array(column) for column in zip(*(sent[pick] for pick in picks), strict=True)
    )
    rows = np.random.default_rng(SEED).permutation(len(picks)) % len(trial.clean_db)
    lost_db = np.empty(len(picks))
    for one in np.unique(order):
        here = np.flatnonzero(order == one)
        snr_db = trace_db(start_s[here])
        lost_db[here] = trial.clean_db[rows[here]] - trial.psnr_db(int(one), snr_db, SEED, rows[here])
    return Arm(name, start_s, order, inside, lost_db, len(sent), float((lost_db <= table.loss_db).mean()))


def held_out(root: Path, count: int, side: int) -> np.ndarray:
    """uint8 ``[count, side, side, 3]``: random squares of pictures that nothing was trained or calibrated on."""
    files = list(itertools.chain.from_iterable(list_pictures(root / folder) for folder in HELD_OUT))
    chosen = np.random.default_rng(SEED).permutation(len(files))[:count]
    return crops([read_picture(files[pick]).pixels for pick in chosen], count, side, 1, SEED)


def write_csv(arms: list[Arm]) -> None:
    with (FIGURES / "adaptation.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "start_s", "snr_db", "order", "chooser_says_inside", "psnr_loss_db"])
        for arm in arms:
            for start_s, order, inside, lost_db in zip(
                arm.start_s, arm.order, arm.inside, arm.lost_db, strict=True
            ):
                row = (f"{start_s:.3f}", f"{trace_db(start_s):.2f}", order, int(inside), f"{lost_db:.3f}")
                writer.writerow([arm.name, *row])


def describe(arms: list[Arm], table: Tolerance, about: str) -> str:
    """The page."""
    adapted, others = arms[0], arms[1:]
    lines = [
        "| arm | pictures sent | beyond the stated loss | delivered inside it | beside adaptive |",
        "|---|---|---|---|---|",
    ]
    for arm in arms:
        bad = int((arm.lost_db > table.loss_db).sum())
        limit = upper_limit(bad, len(arm.lost_db), 0.95)
        beyond = f"{1 - arm.kept:.1%} (at most {limit:.1%})"
        beside = arm.delivered / adapted.delivered
        lines.append(f"| {arm.name} | {arm.sent} | {beyond} | {arm.delivered:.0f} | {beside:.2f} |")
    thresholds_db = OrderChooser(table.max_ber).thresholds_db
    borne = [
        f"{constellation(order).name} {rate:.2g} ({thresholds_db[order]:.1f} dB)"
        for order, rate in table.max_ber.items()
    ]
    paragraphs = [
        "# Choosing the modulation order by the SNR",
        f"Made by `.venv/bin/python {COMMAND}`.",
        "\n".join(lines),
        _verdict(adapted, others, table),
        f"{about} Stated loss: {table.loss_db:g} dB of PSNR in no more than {table.share:.0%} of pictures, "
        f"by {table.pictures} calibration pictures ({table.data}), with a confidence of {table.confidence:g}. "
        f"Bit error rates borne, and the SNR on AWGN from which they are kept: {'; '.join(borne)}.",
        f"The SNR goes from 0 to {HIGH_DB:g} dB and back within {TRACE_S:g} s; {SYMBOL_RATE:g} payload symbols a "
        f"second, one picture after the other. All arms have the same symbols, so delivered pictures are goodput. "
        f"Reports come every {REPORT_S:g} s, as late, off by {STDERR_DB:g} dB; hysteresis "
        f"{CHOOSER['hysteresis_db']:g} dB, dwell {CHOOSER['dwell_s']:g} s, wander {CHOOSER['wander_db']:g} dB in 1 s. "
        f"Where not even the lowest order is borne, the adaptive link sends on it and says that it is outside; those "
        f"pictures count against it. AWGN behind a perfect modem. Shares are of an even sample of the pictures sent: "
        f"{len(adapted.lost_db)} of the adaptive link's, {len(others[0].lost_db)} of each fixed order's. Limits: "
        f"Clopper-Pearson, 95 %, one-sided.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _verdict(adapted: Arm, others: list[Arm], table: Tolerance) -> str:
    best = max(others, key=lambda arm: arm.delivered)
    called = adapted.lost_db[adapted.inside] > table.loss_db
    text = (
        f"Delivered inside the stated loss, adaptive over the best fixed order ({best.name}, of whose pictures "
        f"{1 - best.kept:.0%} lose more): **{adapted.delivered / best.delivered:.2f}**. Of the pictures that the "
        f"chooser called inside, {called.mean():.1%} lost more than stated."
    )
    keeping = [arm for arm in others if 1 - arm.kept <= table.share]
    if not keeping:
        return f"{text} No fixed order keeps the promise of {table.share:.0%} over this trace."
    best = max(keeping, key=lambda arm: arm.delivered)
    return (
        f"{text} Of the fixed orders that keep the promise of {table.share:.0%} over this trace the best is "
        f"{best.name}: the adaptive link delivers **{adapted.delivered / best.delivered:.2f}** times as much."
    )


def draw(arms: list[Arm], table: Tolerance) -> None:
    adapted, figure = arms[0], Figure(figsize=(9, 8), layout="constrained")
    snr_axis, loss_axis, bar_axis = figure.subplots(3, 1, height_ratios=(3, 3, 2.4))
    time_s = np.linspace(0, TRACE_S, 500)
    snr_axis.plot(time_s, trace_db(time_s), color="#9aa5b1", label="SNR of the air")
    snr_axis.set(ylabel="SNR (dB)", xlim=(0, TRACE_S))
    orders = snr_axis.twinx()
    bits = [constellation(int(order)).bits for order in adapted.order]
    orders.step(adapted.start_s, bits, where="post", color="#1f6f8b")
    orders.set_yticks(
        [constellation(order).bits for order in ORDERS], [constellation(o).name for o in ORDERS]
    )
    snr_axis.set_title("Order chosen (blue) while the SNR (grey) goes up and down", fontsize=10)
    for inside, colour, label in ((True, "#1f6f8b", "called inside"), (False, "#c8553d", "called outside")):
        here = adapted.inside == inside
        loss_axis.plot(adapted.start_s[here], adapted.lost_db[here], ".", color=colour, ms=4, label=label)
    loss_axis.axhline(table.loss_db, color="black", lw=0.8)
    loss_axis.set(ylabel="PSNR lost (dB)", xlabel="time (s)", xlim=(0, TRACE_S))
    loss_axis.set_title(f"Each picture's loss; {table.loss_db:g} dB is stated", fontsize=10)
    loss_axis.legend(frameon=False, loc="lower right")
    names = [arm.name for arm in arms]
    colours = ["#1f6f8b"] + ["#c9d1d9"] * (len(arms) - 1)
    bars = bar_axis.bar(names, [arm.delivered for arm in arms], color=colours)
    bar_axis.bar_label(
        bars, [f"{100 * (1 - arm.kept):.0f} % beyond" for arm in arms], fontsize=8, color="#57606a"
    )
    bar_axis.set(ylabel="pictures inside")
    bar_axis.margins(y=0.15)
    bar_axis.set_title("Pictures delivered inside the stated loss, in the same symbols", fontsize=10)
    for axis in (snr_axis, orders, loss_axis, bar_axis):
        axis.spines[["top"]].set_visible(False)
    figure.savefig(FIGURES / "adaptation.png", dpi=110)


def main(
    data: Annotated[Path, typer.Option(envvar="SEMCOM_DATA", help="Folder with kodak and photos_valid.")],
    model: str = "photo-1-12",
    bits_per_latent: int = 2,
    loss_db: float = 1.0,
    pictures: int = 200,
    side: int = 64,
    sample: int = 500,
    fixed_sample: int = 120,
) -> None:
    """``sample``: of the pictures sent, how many are received and looked at; ``fixed_sample``: of each fixed order's."""
    torch.set_num_threads(1)
    loaded = zoo.load(model)
    table = tolerance_of(loaded.card, bits_per_latent, loss_db=loss_db)
    shown = held_out(data, pictures, side)
    trial = DigitalTrial(loaded, shown, bits_per_latent, table.codebook, table.encoder_snr_db)
    latents = loaded.codec.latent_count(side, side)
    arms = [receive("adaptive", adaptive(table, latents), trial, table, sample)]
    for order in ORDERS:
        name = constellation(order).name
        arms.append(receive(name, fixed(order, table, latents), trial, table, fixed_sample))
        print(f"{name}: {arms[-1].delivered:.0f} of {arms[-1].sent} delivered inside")
    write_csv(arms)
    about = (
        f"`{model}`, {bits_per_latent} bits per latent ({table.codebook} codebook), encoder told "
        f"{table.encoder_snr_db:g} dB; {pictures} held-out squares of {side} pixels from Kodak and DIV2K, "
        f"{trial.clean_db.mean():.1f} dB PSNR without errors."
    )
    text = describe(arms, table, about)
    (FIGURES / "adaptation.md").write_text(text)
    draw(arms, table)
    print(text)


if __name__ == "__main__":
    typer.run(main)
