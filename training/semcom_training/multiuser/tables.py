# SPDX-License-Identifier: GPL-3.0-or-later
"""Schemes beside each other: PSNR by user and SNR over the seeds, where the ordering fails, and the paper's table."""

import math
from collections.abc import Sequence
from pathlib import Path

from semcom import files
from semcom.experiments.style import panels, write_figure
from semcom.experiments.table import markdown_table, write_csv
from semcom_training.multiuser.experiment import Experiment
from semcom_training.multiuser.output import SCHEME_COLOURS, SCHEME_NAMES, digits, mean_and_spread
from semcom_training.multiuser.paper import RAYLEIGH_PSNR_DB
from semcom_training.multiuser.schemes import budget, plan

#: the first of each is expected not to be worse
ORDER = (("two_stage", "iterative"), ("iterative", "simultaneous"), ("two_stage", "simultaneous"))


def budget_table(experiment: Experiment) -> str:
    """Gradient steps that encoder and decoders get under each scheme, as Markdown."""
    users = list(experiment.users)
    rows = []
    for scheme in experiment.schemes:
        steps = budget(plan(scheme, users, experiment.epochs), experiment.steps_per_epoch)
        rows.append([SCHEME_NAMES[scheme], *steps.values()])
    return markdown_table(["gradient steps", "encoder", *users, "losses computed"], rows)


def psnr_rows(experiment: Experiment, cells: Sequence[dict]) -> list[dict]:
    """One row an evaluation set, user, SNR and scheme: mean and sample deviation over the seeds, in dB."""
    rows = []
    for name in experiment.evaluate:
        for user in experiment.users:
            for snr in experiment.snr_db:
                for scheme in experiment.schemes:
                    values = _values(cells, scheme, name, user, snr)
                    mean, spread = mean_and_spread(values)
                    row = {"set": name, "user": user, "snr_db": snr, "scheme": scheme, "seeds": len(values)}
                    rows.append(row | {"psnr_db": mean, "spread_db": spread})
    return rows


def order_rows(experiment: Experiment, cells: Sequence[dict]) -> list[dict]:
    """One row a set, user, SNR and pair of ``ORDER``: the difference in dB, seed by seed with the same initial
    weights and batches, its mean and sample deviation, and whether the mean has the expected sign."""
    rows = []
    for better, worse in ORDER:
        if not {better, worse} <= set(experiment.schemes):
            continue
        for name in experiment.evaluate:
            for user in experiment.users:
                for snr in experiment.snr_db:
                    pairs = zip(*(_values(cells, s, name, user, snr) for s in (better, worse)))
                    mean, spread = mean_and_spread([a - b for a, b in pairs])
                    row = {"set": name, "user": user, "snr_db": snr, "expected": f"{better} >= {worse}"}
                    rows.append(row | {"difference_db": mean, "spread_db": spread, "holds": mean >= 0})
    return rows


def late_gains(cells: Sequence[dict], scheme: str, user: str, part: float = 0.25) -> list[float]:
    """By how many dB a user got better over the last ``part`` of its epochs, by seed: how far from done it is.

    On the watched pictures, at the end of the user's own epochs.
    """
    gains = []
    for cell in sorted((c for c in cells if c["scheme"] == scheme), key=lambda c: c["seed"]):
        own = [e["psnr_db"][user] for e in cell["series"] if e["epoch"] and user in e["epoch"]["users"]]
        gains.append(own[-1] - own[max(0, len(own) - 1 - max(1, round(part * len(own))))])
    return gains


def write_schemes(
    experiment: Experiment, cells: Sequence[dict], folder, name: str, made_by: str
) -> list[Path]:
    """``NAME.csv``, ``NAME_order.csv``, ``NAME.png`` and ``NAME.md`` in ``folder``."""
    folder = Path(folder)
    rows, order = psnr_rows(experiment, cells), order_rows(experiment, cells)
    text = [
        "# Ways to train one encoder for several users",
        f"Made by `{made_by}`; figures in [{name}.csv]({name}.csv), differences seed by seed in "
        f"[{name}_order.csv]({name}_order.csv).",
        scale_words(experiment),
        "PSNR in dB, mean and sample deviation over the seeds.",
    ]
    for one in experiment.evaluate:
        text += [f"## {set_words(experiment, one)}", _psnr_table(experiment, rows, one)]
    text += [
        f"![PSNR by user and scheme]({name}.png)",
        "## Where the paper's ordering holds",
        *_order_words(order),
    ]
    text += [
        "## How near to done",
        f"What the last quarter of a user's epochs still brought, in dB at {experiment.watch_snr_db:g} dB on "
        f"{experiment.watch_images} pictures of {experiment.watch}, mean and sample deviation over the seeds; the "
        "learning rate falls to zero by the end of each user's training, so some of it is that.",
        _late_table(experiment, cells),
    ]
    text += [
        "## What each part was given",
        "Each decoder gets the same steps on the same batches, SNRs, fades and noise, at the same learning rates and "
        "from the same initial weights in every scheme; what the encoder gets follows from the scheme.",
        budget_table(experiment),
    ]
    return [
        write_csv(folder / f"{name}.csv", rows, digits),
        write_csv(folder / f"{name}_order.csv", order, digits),
        _draw(experiment, rows, folder / f"{name}.png"),
        files.write_text(folder / f"{name}.md", "\n\n".join(text) + "\n"),
    ]


def write_paper_table(
    experiment: Experiment, cells: Sequence[dict], folder, name: str, made_by: str
) -> list[Path]:
    """``NAME`` as CSV, PNG and Markdown: the paper's table of PSNR over Rayleigh fading, its figures beside ours."""
    folder, rows = Path(folder), []
    for row in psnr_rows(experiment, cells):
        if row["set"] == experiment.watch:
            family = experiment.users[row["user"]].family
            published = RAYLEIGH_PSNR_DB.get(family, {}).get(row["scheme"], {}).get(row["snr_db"])
            rows.append(row | {"paper_psnr_db": published})
    lines = []
    for user in experiment.users:
        for scheme in experiment.schemes:
            some = [r for r in rows if (r["user"], r["scheme"]) == (user, scheme)]
            ours = [f"{r['psnr_db']:.2f} ± {r['spread_db']:.2f}" for r in some]
            theirs = ["" if r["paper_psnr_db"] is None else f"{r['paper_psnr_db']:.2f}" for r in some]
            lines.append([user, SCHEME_NAMES[scheme], "here", *ours])
            if any(theirs):
                lines.append(["", "", "paper", *theirs])
    text = [
        "# Rayleigh fading, in the paper's format",
        f"Made by `{made_by}`; figures in [{name}.csv]({name}.csv).",
        f"{scale_words(experiment)} Measured on {set_words(experiment, experiment.watch)}.",
        "PSNR in dB. The two kinds of row must not be read as one race: the paper does not state its bandwidth ratio, "
        "trains on DIV2K's training set (here: other photos) with larger networks for far longer, and measures on "
        "other crops. What can be compared is the order of the schemes. The paper's own table breaks that order for "
        "ResNet at 10 and 13 dB, where iterative training wins. Cells left out are those it gives no digits for in "
        "the copy at hand.",
        markdown_table(["user", "scheme", "", *(f"{snr:g} dB" for snr in experiment.snr_db)], lines),
        f"![PSNR by user and scheme, ours and the paper's]({name}.png)",
    ]
    return [
        write_csv(folder / f"{name}.csv", rows, digits),
        draw_paper_table(rows, folder / f"{name}.png"),
        files.write_text(folder / f"{name}.md", "\n\n".join(text) + "\n"),
    ]


def draw_paper_table(rows: Sequence[dict], path: Path) -> Path:
    """A panel a user as PNG: our PSNR with its spread as lines, the paper's figures as open squares.

    Args:
        rows: user, scheme, snr_db, psnr_db, spread_db, and paper_psnr_db (None where the paper gives no digits).
    """
    users = list(dict.fromkeys(row["user"] for row in rows))
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    figure, (axes,) = panels(1, len(users), height=3.4)
    for one, user in zip(axes, users):
        for scheme in schemes:
            some = [row for row in rows if (row["user"], row["scheme"]) == (user, scheme)]
            snrs, psnr, spread = zip(*((r["snr_db"], r["psnr_db"], r["spread_db"]) for r in some))
            colour, words = SCHEME_COLOURS[scheme], SCHEME_NAMES[scheme]
            style = {
                "color": colour,
                "label": f"{words}, here",
                "linewidth": 1.3,
                "markersize": 3,
                "capsize": 2,
            }
            one.errorbar(snrs, psnr, spread, marker="o", **style)
            published = [math.nan if r["paper_psnr_db"] is None else r["paper_psnr_db"] for r in some]
            if not all(map(math.isnan, published)):  # no line over SNRs for which there are no digits
                style = {"color": colour, "label": f"{words}, paper", "linewidth": 0.8, "linestyle": ":"}
                one.plot(snrs, published, marker="s", markersize=4, markerfacecolor="none", **style)
        one.set_title(user, fontsize=10)
        one.set_xticks(sorted({row["snr_db"] for row in rows}))
        one.set_xlabel("average SNR in dB")
    axes[0].set_ylabel("PSNR in dB")
    low, high = (pick(one.get_ylim()[n] for one in axes) for n, pick in enumerate((min, max)))
    for one in axes:
        one.set_ylim(low, high + 0.3 * (high - low))  # with room for the legend
    axes[0].legend(frameon=False, fontsize=7, loc="upper left", ncol=2)
    return write_figure(path, figure)


def scale_words(experiment: Experiment) -> str:
    """The size of an experiment in a sentence or two."""
    e = experiment
    users = ", ".join(f"{name} {u.width}x{u.depth}" for name, u in e.users.items())
    return (
        f"Experiment `{e.name}`: channel {e.channel}, rho = {e.channels}/(6 x {e.stride}²) = {e.rho:.4f}, SNR drawn per "
        f"image from {', '.join(f'{s:g}' for s in e.snr_db)} dB; decoders (width x depth): {users}; {e.epochs} epochs "
        f"of {e.steps_per_epoch} steps a decoder, batches of {e.batch} crops of {e.crop} pixels, mean squared error, "
        f"Adam at {e.learning_rate:g}; seeds {', '.join(map(str, e.seeds))}.{_linear_words(e)}"
    )


def _linear_words(experiment: Experiment) -> str:
    """A sentence about linear paths, where there are any; the first user's is the encoder's as well."""
    straight = [name for name, user in experiment.users.items() if user.linear]
    if not straight:
        return ""
    if len(straight) == len(experiment.users):
        who = "Encoder and decoders have"
    else:
        encoder = "the encoder and " if next(iter(experiment.users)) in straight else ""
        who = f"Of these {encoder}the decoders of {', '.join(straight)} have"
    return (
        f" {who} a linear path (`linear: true`), one convolution beside the network, which starts as a block DCT: "
        "**this is not the paper's network**."
    )


def set_words(experiment: Experiment, name: str) -> str:
    """What an evaluation set is made of."""
    one = experiment.evaluate[name]
    return (
        f"{name}: {one.images} pictures, their middle {one.crop} x {one.crop} pixels, "
        f"{experiment.draws} channel draws each"
    )


def _values(cells, scheme, name, user, snr) -> list[float]:
    chosen = sorted((c for c in cells if c["scheme"] == scheme), key=lambda cell: cell["seed"])
    return [cell["psnr_db"][name][f"{snr:g}"][user] for cell in chosen]


def _psnr_table(experiment, rows, name) -> str:
    lines = []
    for user in experiment.users:
        for scheme in experiment.schemes:
            some = [r for r in rows if (r["set"], r["user"], r["scheme"]) == (name, user, scheme)]
            figures = [f"{r['psnr_db']:.2f} ± {r['spread_db']:.2f}" for r in some]
            lines.append([user, SCHEME_NAMES[scheme], *figures])
    return markdown_table(["user", "scheme", *(f"{snr:g} dB" for snr in experiment.snr_db)], lines)


def _late_table(experiment, cells) -> str:
    lines = []
    for scheme in experiment.schemes:
        found = (mean_and_spread(late_gains(cells, scheme, user)) for user in experiment.users)
        lines.append([SCHEME_NAMES[scheme], *(f"{mean:+.2f} ± {spread:.2f}" for mean, spread in found)])
    return markdown_table(["scheme", *experiment.users], lines)


def _order_words(order: list[dict]) -> list[str]:
    text = []
    for expected in dict.fromkeys(row["expected"] for row in order):
        some = [row for row in order if row["expected"] == expected]
        failed = [row for row in some if not row["holds"]]
        words = expected.replace("_", "-")
        text.append(f"**{words}** holds in {len(some) - len(failed)} of {len(some)} means (set, user, SNR).")
        if failed:
            lines = []
            for key in dict.fromkeys((row["set"], row["user"]) for row in failed):
                mine = [row for row in failed if (row["set"], row["user"]) == key]
                differences = [
                    f"{r['snr_db']:g} dB: {r['difference_db']:+.2f} ± {r['spread_db']:.2f}" for r in mine
                ]
                lines.append([*key, "; ".join(differences)])
            text.append(
                markdown_table(["set", "user", f"does not hold at ({words}, difference in dB)"], lines)
            )
    return text


def _draw(experiment, rows, path: Path) -> Path:
    figure, axes = panels(len(experiment.evaluate), len(experiment.users))
    for line, name in zip(axes, experiment.evaluate):
        for one, user in zip(line, experiment.users):
            for scheme in experiment.schemes:
                some = [r for r in rows if (r["set"], r["user"], r["scheme"]) == (name, user, scheme)]
                snrs, psnr, spread = zip(*((r["snr_db"], r["psnr_db"], r["spread_db"]) for r in some))
                style = {"color": SCHEME_COLOURS[scheme], "label": SCHEME_NAMES[scheme]}
                one.errorbar(snrs, psnr, spread, marker="o", markersize=3, linewidth=1.3, capsize=2, **style)
            one.set_title(f"{user}, {name}", fontsize=10)
            one.set_xticks(experiment.snr_db)
            one.set_xlabel("average SNR in dB")
        line[0].set_ylabel("PSNR in dB")
    axes[0][0].legend(frameon=False, fontsize=8)
    return write_figure(path, figure)
