# SPDX-License-Identifier: GPL-3.0-or-later
"""The three theorems as figures and tables (what is measured is in ``theory.py``)."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from semcom import files
from semcom.experiments.style import COLOURS, INK, panels, write_figure
from semcom.experiments.table import markdown_table, write_csv
from semcom_training.multiuser import theory
from semcom_training.multiuser.cells import PROBE, Cells
from semcom_training.multiuser.output import SCHEME_NAMES, digits, mean_and_spread
from semcom_training.multiuser.schemes import plan
from semcom_training.multiuser.system import System
from semcom_training.multiuser.tables import scale_words


def write_theory(
    cells: Cells,
    folder,
    name: str,
    made_by: str,
    steps: int,
    step_sizes: Sequence[float],
    users_steps: int = 20,
) -> list[Path]:
    """``NAME_1_cosine``, ``NAME_2_independence``, ``NAME_3_descent`` as CSV and PNG, ``NAME_2_alone.csv``, ``NAME.md``.

    Args:
        steps: of stage 1 (Adam, fresh batches) on whose way and at whose end the descent is measured; plain gradient
            descent is then followed for as many steps on one batch, for each of ``step_sizes``.
        users_steps: that users are trained for, alone and together, behind the frozen encoder.
    """
    folder, e = Path(folder), cells.experiment
    seed = e.seeds[0]
    rows = theory.cosine_rows(cells.all())
    shared = [row for row in rows if _all_trained(e, row)]
    cosine_files = [
        write_csv(folder / f"{name}_1_cosine.csv", rows, digits),
        _draw_cosines(e, rows, folder / f"{name}_1_cosine.png"),
    ]

    system = System(e, seed).to(cells.device)
    course = theory.adam_descent(cells, system, seed, steps)
    batch = cells.batch(seed, PROBE)
    norms = {
        encoder: theory.gradient_norms(system, batch, encoder == "trained")
        for encoder in ("trained", "frozen")
    }
    flat = [{"encoder_is": encoder, **row} for encoder, some in norms.items() for row in some]
    bits = theory.alone_and_together(cells, system, seed, users_steps)
    independence_files = [
        write_csv(folder / f"{name}_2_independence.csv", flat, digits),
        write_csv(folder / f"{name}_2_alone.csv", bits, digits),
        _draw_norms(norms, folder / f"{name}_2_independence.png"),
    ]

    descents = {size: theory.gradient_descent(system, batch, size, steps) for size in step_sizes}
    adam = [{"method": "Adam, fresh batches", "step": n, "loss": loss} for n, loss in enumerate(course)]
    blank = {"step_size": "", "decrease": "", "predicted": "", "smoothness": ""}
    plain = [{"method": "gradient descent, one batch", **row} for some in descents.values() for row in some]
    descent_files = [
        write_csv(folder / f"{name}_3_descent.csv", [row | blank for row in adam] + plain, digits),
        _draw_descent(course, descents, folder / f"{name}_3_descent.png"),
    ]
    text = [
        "# The theory, measured",
        f"Made by `{made_by}`.",
        scale_words(e),
        "## Theorem 1: users' gradients at the shared encoder",
        "Cosine between the gradients of two users' losses by the encoder, on one fixed batch after every epoch. "
        f"Counted where every user has been trained at least once and the encoder is shared. All: "
        f"[{name}_1_cosine.csv]({name}_1_cosine.csv).",
        _cosine_table(e, shared),
        f"![cosines over training]({name}_1_cosine.png)",
        "## Theorem 2: independence behind a frozen encoder",
        f"Norm of the gradient of one user's loss by each part, after {steps} steps of stage 1 (seed {seed}): "
        f"[{name}_2_independence.csv]({name}_2_independence.csv).",
        *(_norm_table(encoder, some) for encoder, some in norms.items()),
        f"![gradient norms]({name}_2_independence.png)",
        f"Each user trained for {users_steps} steps behind the frozen encoder, once alone and once with all the others: "
        f"[{name}_2_alone.csv]({name}_2_alone.csv).",
        markdown_table(
            [
                "user",
                "it moved",
                "its bits, alone and together",
                "others' bits, when alone",
                "encoder's bits",
            ],
            [list(row.values()) for row in bits],
        ),
        "## Theorem 3: descent of stage 1",
        _adam_words(course),
        f"From there, gradient descent of {steps} steps on that batch, nothing else moving: "
        f"[{name}_3_descent.csv]({name}_3_descent.csv). The first order predicts a "
        "decrease of step size times squared gradient norm; descent is sure below 2/L, L the largest smoothness met.",
        _descent_table(descents),
        f"![loss along the steps]({name}_3_descent.png)",
    ]
    return [
        *cosine_files,
        *independence_files,
        *descent_files,
        files.write_text(folder / f"{name}.md", "\n\n".join(text) + "\n"),
    ]


def _all_trained(experiment, row) -> bool:
    epochs = plan(row["scheme"], list(experiment.users), experiment.epochs)[: row["epoch"]]
    shared = row["scheme"] != "two_stage"
    return shared and {user for epoch in epochs for user in epoch.users} == set(experiment.users)


def _cosine_table(experiment, rows) -> str:
    lines = []
    for scheme, pair in dict.fromkeys((row["scheme"], row["pair"]) for row in rows):
        some = [row["cosine"] for row in rows if (row["scheme"], row["pair"]) == (scheme, pair)]
        mean, spread = mean_and_spread(some)
        against = sum(value < 0 for value in some)
        figures = [f"{mean:.2f} ± {spread:.2f}", f"{min(some):.2f}", f"{against} of {len(some)}"]
        lines.append([SCHEME_NAMES[scheme], pair, *figures])
    return markdown_table(["scheme", "pair", "mean ± deviation", "least", "opposed (below 0)"], lines)


def _norm_table(encoder: str, rows) -> str:
    parts = [key for key in rows[0] if key != "loss_of"]
    lines = [[row["loss_of"], *(f"{row[part]:.2g}" for part in parts)] for row in rows]
    return markdown_table([f"encoder {encoder}; loss of", *(f"by {part}" for part in parts)], lines)


def _adam_words(course) -> str:
    down = sum(a > b for a, b in zip(course, course[1:]))
    return (
        f"Stage 1 as it trains (Adam, a new batch a step): the loss on a fixed batch with fixed fades and noise went "
        f"from {course[0]:.4f} to {course[-1]:.4f} in {len(course) - 1} steps, {down} of which lowered it."
    )


def _descent_table(descents) -> str:
    lines = []
    for size, rows in descents.items():
        down = sum(row["decrease"] > 0 for row in rows)
        ratio = median(row["decrease"] / row["predicted"] for row in rows)
        steepest = max(row["smoothness"] for row in rows)
        figures = [f"{down} of {len(rows)}", f"{ratio:.3f}", f"{steepest:.3g}", f"{2 / steepest:.3g}"]
        lines.append([f"{size:g}", *figures, f"{rows[0]['loss']:.5f} -> {rows[-1]['loss']:.5f}"])
    head = [
        "step size",
        "steps that descend",
        "decrease over predicted, median",
        "L",
        "2/L",
        "loss, first -> last",
    ]
    return markdown_table(head, lines)


def _draw_cosines(experiment, rows, path: Path) -> Path:
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    figure, axes = panels(1, len(schemes), width=4.2, height=3.4)
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    for one, scheme in zip(axes[0], schemes):
        for number, pair in enumerate(pairs):
            some = [row for row in rows if (row["scheme"], row["pair"]) == (scheme, pair)]
            epochs = sorted({row["epoch"] for row in some})
            means = [
                mean_and_spread([r["cosine"] for r in some if r["epoch"] == epoch])[0] for epoch in epochs
            ]
            one.plot(epochs, means, color=COLOURS[number % len(COLOURS)], linewidth=1.2, label=pair)
        one.axhline(0, color=INK, linewidth=0.8)
        one.set_ylim(-1.05, 1.05)
        one.set_title(f"{SCHEME_NAMES[scheme]}, mean over seeds", fontsize=10)
        one.set_xlabel("epoch, of all users")
    axes[0][0].set_ylabel("cosine of gradients at the encoder")
    axes[0][-1].legend(frameon=False, fontsize=7, loc="lower right")
    return write_figure(path, figure)


def _draw_norms(norms, path: Path) -> Path:
    figure, axes = panels(1, len(norms), width=4.2, height=3.6)
    for one, (encoder, rows) in zip(axes[0], norms.items()):
        parts = [key for key in rows[0] if key != "loss_of"]
        one.imshow([[row[part] > 0 for part in parts] for row in rows], cmap="Blues", vmin=0, vmax=2)
        for y, row in enumerate(rows):
            for x, part in enumerate(parts):
                one.text(x, y, f"{row[part]:.1g}", ha="center", va="center", fontsize=8, color=INK)
        one.set_xticks(range(len(parts)), parts, rotation=30, ha="right")
        one.set_yticks(range(len(rows)), [row["loss_of"] for row in rows])
        one.set_title(f"encoder {encoder}", fontsize=10)
        one.grid(False)
    axes[0][0].set_ylabel("loss of")
    return write_figure(path, figure)


def _draw_descent(course, descents, path: Path) -> Path:
    figure, axes = panels(1, 3, width=4.0, height=3.3)
    along, plain, ratios = axes[0]
    along.plot(course, color=COLOURS[0], linewidth=1.2)
    along.set_title("stage 1: Adam, fresh batches", fontsize=10)
    for number, (size, rows) in enumerate(descents.items()):
        style = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.2, "label": f"{size:g}"}
        plain.plot([row["loss"] for row in rows], **style)
        ratios.plot([row["decrease"] / row["predicted"] for row in rows], **style)
    plain.set_title("gradient descent on one batch", fontsize=10)
    plain.legend(frameon=False, fontsize=8, title="step size", title_fontsize=8)
    ratios.set_title("decrease over its prediction", fontsize=10)
    ratios.axhline(0, color=INK, linewidth=0.8)
    ratios.set_ylim(-2, 2)
    along.set_ylabel("loss on a fixed batch")
    for one in axes[0]:
        one.set_xlabel("step")
    return write_figure(path, figure)
