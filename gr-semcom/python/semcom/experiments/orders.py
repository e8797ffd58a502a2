# SPDX-License-Identifier: GPL-3.0-or-later
"""What choosing the modulation order by the SNR is worth, beside every fixed order, over an SNR that rises and falls."""

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from semcom import keys
from semcom.adaptation.closed_loop import crops
from semcom.adaptation.modulation import OrderChooser
from semcom.adaptation.tolerance import DigitalTrial, Tolerance, tolerance_of, upper_limit
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds.pictures import list_pictures, read_picture
from semcom.modem.labels import symbol_count
from semcom.modulation import ORDERS, constellation
from semcom.system import zoo

HELD_OUT = ("kodak", "photos_valid/div2k_valid_256")
SEED = 7
TRACE_S, HIGH_DB = 60.0, 25.0  # 0 dB to HIGH_DB and back within TRACE_S
SYMBOL_RATE = 5e5  # payload symbols a second, about what 1 Msample/s carries
REPORT_S, STDERR_DB = 0.05, 0.3  # reports come so often, so late, and off by so much
CHOOSER = {"hysteresis_db": 0.5, "dwell_s": 0.5, "wander_db": 0.5}
ADAPTIVE = "adaptive"

# when a picture started in s, its order, whether the chooser called it inside
Sent = list[tuple[float, int, bool]]


def plan(
    data: Annotated[Path, typer.Option(envvar="SEMCOM_DATA", help="Folder with kodak and photos_valid.")],
    model: str = "photo-1-12",
    bits_per_latent: int = 2,
    loss_db: float = 1.0,
    pictures: int = 200,
    side: int = 64,
    sample: int = 500,
    fixed_sample: int = 120,
) -> Experiment:
    """What choosing the order by the SNR is worth: docs/figures/adaptation.{csv,png,md}.

    ``sample``: of the pictures sent, how many are received and looked at; ``fixed_sample``: of each fixed order's.
    """
    settings = {
        "model": model,
        "bits_per_latent": bits_per_latent,
        "loss_db": loss_db,
        "pictures": pictures,
        "side": side,
        "sample": sample,
        "fixed_sample": fixed_sample,
    }
    names = [ADAPTIVE, *(constellation(order).name for order in ORDERS)]
    cells = [Cell(name, seed=SEED, weights=(zoo.load(model).sha256,)) for name in names]
    return Experiment("orders", functools.partial(measure, data=str(data)), cells, settings)


def trace_db(time_s):
    """The SNR that the air has at a time."""
    return HIGH_DB * (1 - np.abs(2 * time_s / TRACE_S - 1))


def adaptive(table: Tolerance, latents: int) -> Sent:
    """One picture after the other, each on the order that is chosen when it starts."""
    now_s, received, random, sent = 0.0, 0, np.random.default_rng(SEED), []
    chooser = OrderChooser(table.max_ber, clock=lambda: now_s, **CHOOSER)
    while now_s < TRACE_S:
        while (received + 1) * REPORT_S <= now_s:  # the next report was made one interval before it came
            seen_db = trace_db(received * REPORT_S) + STDERR_DB * random.standard_normal()
            chooser.hear({keys.SNR_DB: float(seen_db), keys.SNR_STDERR_DB: STDERR_DB})
            received += 1
        choice = chooser.choice()
        sent.append((now_s, choice.order, choice.inside))
        now_s += symbol_count(latents, table.bits_per_latent, choice.order) / SYMBOL_RATE
    return sent


def fixed(order: int, table: Tolerance, latents: int) -> Sent:
    """One picture after the other on one order."""
    every_s = symbol_count(latents, table.bits_per_latent, order) / SYMBOL_RATE
    return [(start_s, order, True) for start_s in np.arange(0.0, TRACE_S, every_s)]


def sent_by(arm: str, table: Tolerance, latents: int) -> Sent:
    """What an arm sends over the trace."""
    if arm == ADAPTIVE:
        return adaptive(table, latents)
    return fixed(next(o for o in ORDERS if constellation(o).name == arm), table, latents)


@functools.lru_cache(1)
def _trial(model: str, bits_per_latent: int, loss_db: float, pictures: int, side: int, data: str):
    loaded = zoo.load(model)
    table = tolerance_of(loaded.card, bits_per_latent, loss_db=loss_db)
    shown = held_out(Path(data), pictures, side)
    return table, DigitalTrial(loaded, shown, bits_per_latent, table.codebook, table.encoder_snr_db)


def measure(cell: Cell, model, sample: int, fixed_sample: int, side: int, data: str, **settings) -> dict:
    """An even sample of an arm's pictures, received over the air that each meets."""
    table, trial = _trial(model, side=side, data=data, **settings)
    sent = sent_by(cell.arm, table, zoo.load(model).codec.latent_count(side, side))
    at_most = sample if cell.arm == ADAPTIVE else fixed_sample
    picks = np.unique(np.linspace(0, len(sent) - 1, min(at_most, len(sent))).round().astype(int))
    start_s, order, inside = (np.array(column) for column in zip(*(sent[p] for p in picks), strict=True))
    pictures = np.random.default_rng(cell.seed).permutation(len(picks)) % len(trial.clean_db)
    lost_db = np.empty(len(picks))
    for one in np.unique(order):
        here = np.flatnonzero(order == one)
        got_db = trial.psnr_db(int(one), trace_db(start_s[here]), cell.seed, pictures[here])
        lost_db[here] = trial.clean_db[pictures[here]] - got_db
    columns = {"start_s": start_s, "order": order, "inside": inside, "lost_db": lost_db}
    about = {"sent": len(sent)}
    return about | {name: values.tolist() for name, values in columns.items()}


def held_out(root: Path, count: int, side: int) -> np.ndarray:
    """uint8 ``[count, side, side, 3]``: random squares of pictures that nothing was trained or calibrated on."""
    files = list(itertools.chain.from_iterable(list_pictures(root / folder) for folder in HELD_OUT))
    chosen = np.random.default_rng(SEED).permutation(len(files))[:count]
    return crops([read_picture(files[pick]).pixels for pick in chosen], count, side, 1, SEED)


def rows(found) -> list[dict]:
    """One row a picture that was received."""
    return [
        {
            "arm": cell.arm,
            "start_s": start_s,
            "snr_db": float(trace_db(start_s)),
            "order": order,
            "chooser_says_inside": int(inside),
            "psnr_loss_db": lost_db,
        }
        for cell, result in found
        for start_s, order, inside, lost_db in zip(
            *(result[key] for key in ("start_s", "order", "inside", "lost_db")), strict=True
        )
    ]


@dataclass(frozen=True)
class Outcome:
    """What came of one arm.

    sent: in the whole trace. lost_db: of an even sample of them. kept: share of the sample that loses no more than
    stated. delivered: inside the stated loss in the whole trace: as all arms have the same symbols, goodput.
    """

    name: str
    sent: int
    lost_db: np.ndarray
    kept: float
    delivered: float


def outcomes(rows: list[dict], experiment: Experiment) -> tuple[Tolerance, list[Outcome]]:
    """What is stated, and what came of every arm."""
    settings = experiment.settings
    loaded = zoo.load(settings["model"])
    table = tolerance_of(loaded.card, settings["bits_per_latent"], loss_db=settings["loss_db"])
    latents, out = loaded.codec.latent_count(settings["side"], settings["side"]), []
    for name in dict.fromkeys(row["arm"] for row in rows):
        lost_db = np.array([row["psnr_loss_db"] for row in rows if row["arm"] == name])
        sent, kept = len(sent_by(name, table, latents)), float((lost_db <= table.loss_db).mean())
        out.append(Outcome(name, sent, lost_db, kept, sent * kept))
    return table, out


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    table, arms = outcomes(rows, experiment)
    adapted, others = arms[0], arms[1:]
    lines = []
    for arm in arms:
        bad = int((arm.lost_db > table.loss_db).sum())
        beyond = f"{1 - arm.kept:.1%} (at most {upper_limit(bad, len(arm.lost_db), 0.95):.1%})"
        lines.append([arm.name, arm.sent, beyond, f"{arm.delivered:.0f}", arm.delivered / adapted.delivered])
    head = ["arm", "pictures sent", "beyond the stated loss", "delivered inside it", "beside adaptive"]
    thresholds_db = OrderChooser(table.max_ber).thresholds_db
    borne = [
        f"{constellation(order).name} {rate:.2g} ({thresholds_db[order]:.1f} dB)"
        for order, rate in table.max_ber.items()
    ]
    settings = experiment.settings
    inside = np.array([row["chooser_says_inside"] for row in rows if row["arm"] == adapted.name]) == 1
    return page(
        "Choosing the modulation order by the SNR",
        markdown_table(head, lines),
        _verdict(adapted, others, table, inside),
        f"`{settings['model']}`, {settings['bits_per_latent']} bits per latent ({table.codebook} codebook), encoder "
        f"given {table.encoder_snr_db:g} dB; {settings['pictures']} held-out squares of {settings['side']} pixels from "
        f"Kodak and DIV2K. Stated loss: {table.loss_db:g} dB of PSNR in no more than {table.share:.0%} of pictures, "
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
        made_by=made_by,
    )


def _verdict(adapted: Outcome, others: list[Outcome], table: Tolerance, inside: np.ndarray) -> str:
    best = max(others, key=lambda arm: arm.delivered)
    called = adapted.lost_db[inside] > table.loss_db
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
