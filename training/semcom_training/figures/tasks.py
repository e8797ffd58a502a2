# SPDX-License-Identifier: GPL-3.0-or-later
"""Task codecs with and without the regulariser of their posterior, behind a frozen backbone: seconds a cell.

After the figures 4 to 12 of the Fisher/KL regulariser's paper, with two controls that it leaves out: plain training at a
lower SNR, and comparison at equal Es/N0, for the term moves values outwards and so raises the power under a peak limit.
"""

import statistics
from functools import partial
from typing import Annotated

import torch
import typer

from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.system import zoo
from semcom_training import frozen
from semcom_training.data import data_root
from semcom_training.recipe import make_recipe

BACKBONE = "cifar-task-backbone"
PEAK_SNR_DB = [5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0]
SYMBOL_SNR_DB = [2.5, 5.0, 7.5, 10.0, 15.0]
RAYLEIGH_SNR_DB = [5.0, 10.0, 15.0, 20.0, 25.0]
SENSITIVITY_SNR_DB = [5.0, 10.0, 20.0]
#: (axis, channel) to the SNRs that are measured
CURVES = {
    ("peak", "awgn"): PEAK_SNR_DB,
    ("Es/N0", "awgn"): SYMBOL_SNR_DB,
    ("peak", "rayleigh"): RAYLEIGH_SNR_DB,
}
RANDOM = "5 to 25"
PLAIN, FISHER, KL = "plain", "Fisher", "KL"

_SYSTEMS = {
    "DeepJSCC": ("task-deepjscc", {"dimensions": 8}, {}),
    "DeepJSCC-16": ("task-deepjscc", {"dimensions": 16}, {}),
    "VL-VFE": (
        "vl-vfe",
        {"dimensions": 64},
        {"log-uniform-kl": {"weight": 3e-2, "start": 0.1, "full": 0.3}},
    ),
    "DT-JSCC": ("dt-jscc", {"slots": 16, "codewords": 8}, {"code-entropy": 1e-3}),
}
#: what is added, by what it is called; ramped over the first fifth, or training may stall at ln C
_RAMP = {"start": 0.0, "full": 0.2}
_TERMS = {
    ("DeepJSCC", FISHER): {"fisher": {"weight": 0.1} | _RAMP},
    ("DeepJSCC", KL): {"kl-sampled": {"weight": 20.0} | _RAMP},
    ("DeepJSCC-16", FISHER): {"fisher": {"weight": 0.1} | _RAMP},
    ("VL-VFE", FISHER): {"fisher": {"weight": 10.0, "scale_with_noise": True} | _RAMP},
    ("DT-JSCC", FISHER): {"fisher-discrete": {"weight": 0.3, "snr_db": 8.0} | _RAMP},
}


def plan(
    data: Annotated[str, typer.Option(help="Folder with cifar10 and cifar100; else SEMCOM_DATA.")] = None,
    backbone: Annotated[str, typer.Option(help="Model whose backbone makes the features.")] = BACKBONE,
    seeds: Annotated[int, typer.Option(help="Of DeepJSCC on CIFAR-10, what the claim is about.")] = 3,
    other_seeds: Annotated[int, typer.Option(help="Of the other systems and the other set.")] = 1,
    steps: int = 600,
    full: Annotated[bool, typer.Option(help="Also the papers' other SNRs of training.")] = False,
) -> Experiment:
    """Task codecs with and without the regulariser: docs/figures/tasks.{csv,png,md}."""
    main = [("cifar10", "DeepJSCC", "20", term) for term in (PLAIN, FISHER, KL)]
    main += [("cifar10", "DeepJSCC", t, PLAIN) for t in ("10", RANDOM)]
    main += [("cifar10", "DeepJSCC", "10", FISHER)]
    arms = [("cifar10", "DT-JSCC", "20", term) for term in (PLAIN, FISHER)]
    arms += [("cifar10", "VL-VFE", "10 to 25", term) for term in (PLAIN, FISHER)]
    arms += [("cifar100", "DeepJSCC-16", "20", term) for term in (PLAIN, FISHER)]
    if full:
        main += [("cifar10", "DeepJSCC", "15", term) for term in (PLAIN, FISHER)]
        arms += [("cifar10", "DT-JSCC", "10", term) for term in (PLAIN, FISHER)]
        arms += [("cifar100", "DeepJSCC-16", "10", term) for term in (PLAIN, FISHER)]
    weights = (zoo.load(backbone).sha256,)
    cells = [
        Cell(arm, seed=seed, weights=weights)
        for some, count in ((main, seeds), (arms, other_seeds))
        for arm in some
        for seed in range(1, count + 1)
    ]
    place = partial(measure, data=str(data_root(data)))
    return Experiment("tasks", place, cells, {"backbone": backbone, "steps": steps})


def recipe_of(cell_arm, seed: int, backbone: str, steps: int):
    """What a cell trains."""
    name, system, trained, term = cell_arm
    architecture, arguments, own = _SYSTEMS[system]
    width = zoo.card(backbone).arguments["width"]
    classes = {"cifar10": 10, "cifar100": 100}[name]
    low, _, high = trained.partition(" to ")
    loss = {"cross-entropy": 1} | own | (_TERMS[system, term] if term != PLAIN else {})
    return make_recipe(
        {
            "version": 2,
            "name": "cell",
            "model": {
                "architecture": architecture,
                "arguments": arguments | {"classes": classes, "width": width},
                "frozen": ["backbone"],
            },
            "data": {"folders": [name]},
            "told": {
                "snr_db": {"low": float(low), "high": float(high or low)},
                # a PSK's label is its Es/N0, in the papers too
                "snr_of": "symbol" if system == "DT-JSCC" else "peak",
                "stale_fraction": 0.0,
            },
            "channel": {"name": "awgn", "uneven_fraction": 0.0},
            "loss": loss,
            "optimiser": {"name": "adamw", "learning_rate": 3e-3, "weight_decay": 5e-4, "clip": 5.0},
            "schedule": {"batch": 500, "steps": 2 * steps if system == "VL-VFE" else steps},
            "seed": seed,
        }
    )


def measure(cell: Cell, backbone: str, steps: int, data: str) -> dict:
    """Trains a cell and measures it on the test split: error rates, the Fisher term and the KL it stands for."""
    features = frozen.features_of(cell.arm[0], backbone, data)
    recipe = recipe_of(cell.arm, cell.seed, backbone, steps)
    codec = frozen.train(recipe, features)
    test, labels = features.test, features.test_labels
    result = {"set": features.title, "pictures": len(test), "mean_square": float(codec.mean_square)}
    for (axis, channel), points in CURVES.items():
        es_n0 = [float(codec.symbol_snr_db(snr)) if axis == "peak" else snr for snr in points]
        result[f"{axis} {channel}"] = [
            frozen.error_rate(codec, test, labels, snr_db, channel) for snr_db in es_n0
        ]
    chosen = frozen.error_rate(
        codec, features.held_out, features.held_out_labels, float(codec.symbol_snr_db(20.0))
    )
    result |= {"held out at 20": chosen}
    if cell.arm[1] != "DT-JSCC":
        at = [
            frozen.sensitivity(codec, test[:2000], float(codec.symbol_snr_db(snr)), draws=10)
            for snr in SENSITIVITY_SNR_DB
        ]
        result |= {key: [one[key] for one in at] for key in ("trace", "term", "kl")}
    else:
        with torch.no_grad():
            result["perplexity"] = codec.perplexity(test)
    if cell.arm[1] == "VL-VFE":
        with torch.no_grad():
            snr = codec.symbol_snr_db(torch.tensor(PEAK_SNR_DB))
            result["active"] = codec.active(snr).tolist()
    return result


def rows(found) -> list[dict]:
    """One row a cell, axis, channel and SNR."""
    out = []
    for cell, result in found:
        same = dict(zip(("set", "system", "trained_db", "term"), cell.arm)) | {"set": result["set"]}
        same |= {"seed": cell.seed, "pictures": result["pictures"], "mean_square": result["mean_square"]}
        same |= {
            "held_out_error_percent": 100 * result["held out at 20"],
            "perplexity": result.get("perplexity"),
        }
        for (axis, channel), points in CURVES.items():
            for snr, error in zip(points, result[f"{axis} {channel}"]):
                here = (axis, channel) == ("peak", "awgn")
                number = SENSITIVITY_SNR_DB.index(snr) if here and snr in SENSITIVITY_SNR_DB else None
                more = {
                    key: None if number is None or source not in result else result[source][number]
                    for key, source in (("trace", "trace"), ("term_nats", "term"), ("kl_nats", "kl"))
                }
                active = result.get("active") if here else None
                more["active"] = active[points.index(snr)] if active else None
                out.append(
                    same
                    | {"axis": axis, "channel": channel, "snr_db": snr, "error_percent": 100 * error}
                    | more
                )
    return out


def arms_of(rows: list[dict]) -> list[tuple]:
    """(set, system, trained, term), in the order of the table."""
    return list(dict.fromkeys((r["set"], r["system"], str(r["trained_db"]), r["term"]) for r in rows))


def values(rows: list[dict], arm: tuple, key: str, snr_db: float, axis="peak", channel="awgn") -> list[float]:
    """Of every seed."""
    return [
        r[key]
        for r in rows
        if (r["set"], r["system"], str(r["trained_db"]), r["term"]) == arm
        and (r["axis"], r["channel"], r["snr_db"]) == (axis, channel, snr_db)
        and r[key] is not None
    ]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    parts = [
        _INTRO.format(
            steps=experiment.settings["steps"],
            seeds=len({r["seed"] for r in rows if r["system"] == "DeepJSCC"}),
            others=len({r["seed"] for r in rows if r["system"] != "DeepJSCC"}),
        ),
        "## Error rate over AWGN, peak SNR (figures 4, 5, 6)",
        _errors(rows, "peak", "awgn", PEAK_SNR_DB),
        "## The same at equal Es/N0: the second control",
        _errors(rows, "Es/N0", "awgn", SYMBOL_SNR_DB),
        "## Trained on AWGN, tested on slow Rayleigh fading, peak SNR (figures 7, 8)",
        _errors(rows, "peak", "rayleigh", RAYLEIGH_SNR_DB),
        "## The term and the divergence it stands for (figures 11, 12)",
        _terms(rows),
        "## What is sent",
        _sent(rows),
    ]
    return page("Tasks: the regulariser and its controls", *parts, made_by=made_by)


_INTRO = """\
Only bottleneck and decoder are trained ({steps} steps of 500 features, twice as many for VL-VFE; {seeds} seeds of
DeepJSCC on CIFAR-10, {others} of the rest), behind the convolutions of `cifar-task-backbone`; 45,000 training pictures,
5,000 held out, the last step's weights. The weights of the terms of VL-VFE and DT-JSCC were set with test errors of
first trials in sight, those of DeepJSCC were not. Errors in per cent over all test pictures, 2
draws of the noise each; after ± the standard deviation over seeds. *trained*: SNR of the training in dB (of DT-JSCC
Es/N0, else peak). *Fisher*: DeepJSCC 0.1 Tr I of one class drawn; VL-VFE 10 times the term scaled with the noise;
DT-JSCC 0.3 times the term of the PSK's transitions at 8 dB. *KL*: 20 times the divergence of one sampled noise.
CIFAR-100 is behind the backbone of CIFAR-10, which never saw it. VL-VFE holds its values small (its gate): its Es/N0 is
5 to 11 dB below its peak SNR (last table)."""


def _errors(rows, axis, channel, points) -> str:
    lines = []
    for arm in arms_of(rows):
        cells = [_mean(values(rows, arm, "error_percent", snr, axis, channel)) for snr in points]
        lines.append([*arm, *cells])
    return markdown_table(["set", "system", "trained", "term", *(f"{snr:g} dB" for snr in points)], lines)


def _mean(found: list[float], digits: int = 1) -> str:
    if not found:
        return ""
    spread = f" ±{statistics.stdev(found):.{digits}f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.{digits}f}{spread}"


def _terms(rows) -> str:
    lines = []
    for arm in arms_of(rows):
        if not values(rows, arm, "kl_nats", 10.0):
            continue
        ratio = [
            statistics.mean(values(rows, arm, "term_nats", snr))
            / statistics.mean(values(rows, arm, "kl_nats", snr))
            for snr in (5.0, 10.0, 20.0)
        ]
        nats = [_mean(values(rows, arm, key, 10.0), 3) for key in ("term_nats", "kl_nats")]
        lines.append([*arm, _mean(values(rows, arm, "trace", 10.0), 2), *nats, *ratio])
    head = ["Tr I", "term at 10 dB", "KL at 10 dB", "term / KL at 5 dB", "at 10 dB", "at 20 dB"]
    return markdown_table(["set", "system", "trained", "term", *head], lines)


def _sent(rows) -> str:
    lines = []
    for arm in arms_of(rows):
        power = statistics.mean(values(rows, arm, "mean_square", 10.0))
        active = [_mean(values(rows, arm, "active", snr), 0) for snr in (10.0, 15.0, 20.0, 25.0)]
        used = _mean(values(rows, arm, "perplexity", 10.0))
        lines.append([*arm, power, -10 * torch.tensor(power).log10().item(), *active, used])
    head = ["E z²", "peak SNR over Es/N0, dB", *(f"active at {snr} dB" for snr in (10, 15, 20, 25))]
    return markdown_table(["set", "system", "trained", "term", *head, "codewords in use"], lines)
