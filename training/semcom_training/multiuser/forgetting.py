# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgetting (Fig. 5 of the paper): what an epoch of training for one user does to another's pictures."""

from collections.abc import Sequence
from pathlib import Path

from semcom import files
from semcom.experiments.style import panels, write_figure
from semcom.experiments.table import markdown_table, write_csv
from semcom_training.multiuser.experiment import Experiment
from semcom_training.multiuser.output import SCHEME_COLOURS, SCHEME_NAMES, digits, mean_and_spread
from semcom_training.multiuser.paper import FORGETTING_PSNR_DB
from semcom_training.multiuser.tables import scale_words, set_words

SCHEMES = ("two_stage", "iterative")  # simultaneous training has no epoch for one user


def forgetting_rows(cells: Sequence[dict], user: str, rival: str) -> list[dict]:
    """One row an epoch of the rival's: the user's PSNR in dB before and after it, and what it lost.

    ``bits`` says whether encoder and the user's decoder are the same to the bit before and after.
    """
    rows = []
    for cell in cells:
        for before, after in zip(cell["series"], cell["series"][1:]):
            epoch = after["epoch"]
            if epoch["users"] != [rival]:
                continue
            same = all(before["digests"][part] == after["digests"][part] for part in ("encoder", user))
            psnr = {"before_db": before["psnr_db"][user], "after_db": after["psnr_db"][user]}
            row = {"scheme": cell["scheme"], "seed": cell["seed"], "rival_epoch": epoch["number"] + 1, **psnr}
            rows.append(
                row | {"lost_db": psnr["before_db"] - psnr["after_db"], "bits": "same" if same else "changed"}
            )
    return rows


def write_forgetting(
    experiment: Experiment, cells: Sequence[dict], folder, name: str, made_by: str, user: str, rival: str
) -> list[Path]:
    """``NAME.csv`` (an epoch of the rival's a row), ``NAME_series.csv`` (an epoch a row), ``NAME.png``, ``NAME.md``."""
    folder = Path(folder)
    rows = forgetting_rows(cells, user, rival)
    lines = []
    for scheme in SCHEMES:
        for seed in experiment.seeds:
            some = [r for r in rows if (r["scheme"], r["seed"]) == (scheme, seed)]
            lost = [r["lost_db"] for r in some]
            mean, spread = mean_and_spread(lost)
            bits = "same" if all(r["bits"] == "same" for r in some) else "changed"
            worst = max(some, key=lambda r: r["lost_db"])
            lines.append(
                [SCHEME_NAMES[scheme], seed, f"{mean:.2f} ± {spread:.2f}", f"{min(lost):.2f}"]
                + [f"{worst['before_db']:.2f} -> {worst['after_db']:.2f} ({worst['lost_db']:.2f})"]
                + [f"{lost[-1]:.2f}", f"{sum(x >= 1 for x in lost)} of {len(lost)}", bits]
            )
    head = ["scheme", "seed", "lost in dB, mean ± deviation over epochs", "least", "most, before -> after"]
    head += ["in the last", "epochs that cost >= 1 dB", "encoder and decoder, bits"]
    before, after = FORGETTING_PSNR_DB
    text = [
        f"# Forgetting: the {user} user before and after a {rival} epoch",
        f"Made by `{made_by}`; every {rival} epoch in [{name}.csv]({name}.csv), every epoch in "
        f"[{name}_series.csv]({name}_series.csv).",
        scale_words(experiment),
        f"PSNR at {experiment.watch_snr_db:g} dB of the first {experiment.watch_images} of "
        f"{set_words(experiment, experiment.watch)}. The paper's Fig. 5 shows {before:.2f} -> {after:.2f} dB at 13 dB. "
        "Under two-stage training nothing that this user depends on moves after stage 1, so its loss is 0 by "
        "construction; here it is measured all the same, and the bits are compared. A negative loss is a gain.",
        *(_overall(rows, scheme) for scheme in SCHEMES),
        markdown_table(head, lines),
        f"![PSNR of the {user} user over the epochs]({name}.png)",
    ]
    return [
        write_csv(folder / f"{name}.csv", rows, digits),
        write_csv(folder / f"{name}_series.csv", _series_rows(cells), digits),
        _draw(experiment, cells, folder / f"{name}.png", user, rival),
        files.write_text(folder / f"{name}.md", "\n\n".join(text) + "\n"),
    ]


def _overall(rows, scheme) -> str:
    lost = [row["lost_db"] for row in rows if row["scheme"] == scheme]
    mean, spread = mean_and_spread(lost)
    return (
        f"**{SCHEME_NAMES[scheme]}**: {mean:.2f} ± {spread:.2f} dB lost per epoch over all {len(lost)}, "
        f"at most {max(lost):.2f}; {sum(value >= 1 for value in lost)} of them cost 1 dB or more."
    )


def _series_rows(cells) -> list[dict]:
    rows = []
    for cell in cells:
        for number, entry in enumerate(cell["series"]):
            trained = "+".join(entry["epoch"]["users"]) if entry["epoch"] else "nobody yet"
            row = {"scheme": cell["scheme"], "seed": cell["seed"], "epoch": number, "trained": trained}
            rows.append(row | {f"{user}_psnr_db": value for user, value in entry["psnr_db"].items()})
    return rows


def _draw(experiment, cells, path: Path, user: str, rival: str) -> Path:
    figure, axes = panels(1, len(SCHEMES), width=5.2, height=3.3)
    for one, scheme in zip(axes[0], SCHEMES):
        some = [cell for cell in cells if cell["scheme"] == scheme]
        for number, cell in enumerate(some):
            values = [entry["psnr_db"][user] for entry in cell["series"]]
            one.plot(values, color=SCHEME_COLOURS[scheme], linewidth=1.2, alpha=1 / (1 + 0.5 * number))
        for number, entry in enumerate(some[0]["series"]):
            if entry["epoch"] and entry["epoch"]["users"] == [rival]:
                one.axvspan(number - 1, number, color="#f2d6cf", linewidth=0)
        one.set_title(f"{SCHEME_NAMES[scheme]} (a line a seed; shaded: {rival} epochs)", fontsize=9)
        one.set_xlabel("epoch, of all users")
    axes[0][0].set_ylabel(f"PSNR of the {user} user at {experiment.watch_snr_db:g} dB")
    low = min(one.get_ylim()[0] for one in axes[0])
    high = max(one.get_ylim()[1] for one in axes[0])
    for one in axes[0]:
        one.set_ylim(max(low, 12), high)
    return write_figure(path, figure)
