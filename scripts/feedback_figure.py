# SPDX-License-Identifier: GPL-3.0-or-later
"""What giving the encoder the receiver's SNR is worth: .venv/bin/python scripts/feedback_figure.py"""

from tables import FIGURES

from semcom.experiments import feedback, style, table
from semcom.experiments.command import Figure, main


def draw(rows: list[dict], experiment=None):
    """Above what the encoder is given, below what it costs not to know."""
    figure, (above, below) = style.panels(2, len(feedback.CHANNELS), 5.5, 3.6, height_ratios=[1, 1.5])
    arms = [arm for arm in feedback.ARMS if arm != feedback.GENIE]
    for top, bottom, (channel, trace) in zip(above, below, feedback.CHANNELS.items(), strict=True):
        trace_db = trace(max(row["bursts"] for row in rows))
        top.plot(trace_db[:128], color=style.INK, lw=1.8, label="true")
        for number, arm in enumerate(("closed, 1 late", "closed, 10 late"), 2):
            top.plot(feedback.ARMS[arm](trace_db)[:128], color=style.colour(number), lw=1.1, label=arm)
        top.axhline(10, color=style.FAINT, lw=1, ls="--", label="open, 10 dB")
        top.set(title=channel, xlabel="burst", ylabel="SNR the encoder is given (dB)")
        for number, model in enumerate(feedback.MODELS):
            by_arm = {r["arm"]: r for r in rows if (r["channel"], r["model"]) == (channel, model)}
            bottom.errorbar(
                [by_arm[arm]["beside_genie_db"] for arm in arms],
                [place + (number - 0.5) * 0.22 for place in range(len(arms))],
                xerr=[2 * by_arm[arm]["beside_genie_stderr_db"] for arm in arms],
                fmt="o",
                ms=5,
                capsize=3,
                color=style.colour(number),
                label=model,
            )
        bottom.axvline(0, color=style.INK, lw=0.8)
        bottom.set_yticks(range(len(arms)), arms)
        bottom.invert_yaxis()
        bottom.set_xlabel("PSNR beside the genie's (dB), with two standard errors")
        bottom.legend(fontsize=8, frameon=False, loc="lower left")
    above[0].legend(fontsize=8, frameon=False, loc="upper center")  # the other has no room for it
    return figure


COMMAND = ".venv/bin/python scripts/feedback_figure.py"
FIGURE = Figure("feedback", COMMAND, feedback.plan, feedback.rows, feedback.text, draw, table.rounded(4))

if __name__ == "__main__":
    main(FIGURE, FIGURES)
