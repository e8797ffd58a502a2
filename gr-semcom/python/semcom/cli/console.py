# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands say: results on the standard output, progress and complaints on the standard error."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from semcom.keys import NOT_SENT
from semcom.terminal import err

_REAL_TIME = "x real time: airtime over computing time; above 1 the computer keeps up."


def out() -> Console:
    """The console for results."""
    return Console()


def say(text: str) -> None:
    """Prints a result in words, as they are: no markup, no colours, and no line breaks in a path."""
    out().print(text, soft_wrap=True, highlight=False, markup=False)


def mention(text: str) -> None:
    """Prints a sentence that the user should know but that stops nothing."""
    err().print(f"[yellow]Note:[/] {escape(text)}", highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """A bar with a count, the time it took so far, and how long it may still take."""
    time = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *time, console=err())


def number(value: float | None, digits: int, unit: str = "") -> str:
    """A figure for a table; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}{unit}"


def mean(values) -> float | None:
    """The mean of the values that are there; None if none is."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def mean_of(values, digits: int, unit: str = "", between: str = " ") -> str:
    """A mean for a table; where values are missing it says of how many it is, so that no loss hides in it.

    Args:
        between: the mean and that; a line break for narrow columns.
    """
    values = list(values)
    count = sum(value is not None for value in values)
    text = number(mean(values), digits, unit)
    if count in (0, len(values)):
        return text
    return f"{text}{between}of {count}"


def results_table(results, by_snr: bool) -> Table:
    """A table of ``link.Row`` objects: one row each, or one row an SNR (means and sums over it)."""
    table = _figures_table(results, "pictures\nreceived" if by_snr else "\npicture")
    groups = [[result] for result in results]
    if by_snr:
        groups = [[r for r in results if r.snr_db == snr] for snr in dict.fromkeys(r.snr_db for r in results)]
    for group in groups:
        name = escape(group[0].item) + (
            " (not decoded: one colour)" if _undecoded(group) else _label(group[0])
        )
        table.add_row(_received_of(group) if by_snr else name, *_figures(group, _has_target(results)))
    return _with_losses(table, results)


def users_table(results) -> Table:
    """A table of ``link.Row`` objects: one row a user and SNR, means and sums over the pictures."""
    table = _figures_table(results, "\nuser", "pictures\nreceived")
    for key in dict.fromkeys((r.user, r.snr_db) for r in results):
        group = [r for r in results if (r.user, r.snr_db) == key]
        table.add_row(escape(key[0]), _received_of(group), *_figures(group, _has_target(results)))
    return _with_losses(table, results)


def _with_losses(table: Table, results) -> Table:
    """Says below the table what its last column is, how many pictures were lost or are not expected to meet their
    target, and that the means are without those lost."""
    said = []
    lost = sum(r.value is None for r in results)
    if lost:
        # a lost label counts as wrong
        means = (
            "PSNR and MS-SSIM are means of those received."
            if _kind(results).name == "image"
            else "each counts as wrong."
        )
        unsent = sum(NOT_SENT in r.detail for r in results)
        gone = [(unsent, "not sent"), (lost - unsent, "lost")]
        words = ", ".join(f"{number} of {len(results)} pictures {how}" for number, how in gone if number)
        said.append(f"{words}; {means}")
    missed = sum(_reached(r) is False for r in results)
    if missed:
        said.append(
            f"No rate is expected to meet the target of {missed} of {len(results)}: sent at the highest."
        )
    if not _has_target(results):
        said.append(_REAL_TIME)
    table.caption, table.caption_justify = "\n".join(said), "left"
    return table


def _received_of(group) -> str:
    """How many of the results have a picture, in words, and how many of these could not be decoded."""
    failed = _undecoded(group)
    note = f", {failed} not decoded" if failed else ""
    return f"{sum(r.value is not None for r in group)} of {len(group)}{note}"


def _undecoded(group) -> int:
    """How many pictures of the digital rival are one colour; the PSNR is that colour's."""
    return sum(r.value is not None and not r.decoded for r in group)


def _kind(results):
    """The kind of what came out; pictures where nothing was sent."""
    # it takes torch with it
    from semcom.kinds import IMAGE, KINDS

    return KINDS[results[0].kind] if results else IMAGE


def _narrow(head: str, unit: str) -> str:
    """A heading in two lines."""
    return f"{head}\n{unit}" if unit else head.replace("-", "-\n") if "-" in head else f"\n{head}"


def _label(result) -> str:
    """What a classifier says of an item; "" of a picture."""
    is_label = result.kind == "label" and result.value is not None
    return f": class {result.value.argmax()}" if is_label else ""


def _reached(result) -> bool | None:
    """Whether a rate was found for the target; None: there was none."""
    return result.detail.get("target_reached")


def _has_target(results) -> bool:
    return any(_reached(r) is not None for r in results)


def _chosen(group) -> list[str]:
    """Bandwidth ratio, and whether or of how many results the target is expected to be met."""
    known = [_reached(r) for r in group]
    if len(group) == 1:
        reached = {True: "yes", False: "no", None: "-"}[known[0]]
    else:
        reached = f"{sum(map(bool, known))} of {len(known)}"
    return [number(mean(r.rho for r in group), 4), reached]


def _figures_table(results, first: str, *others: str) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold", min_width=12)
    for head in (
        *others,
        *("SNR dB\nasked", "SNR dB\nest."),
        *(_narrow(head, unit) for _, head, unit, _ in _kind(results).columns),
        *(
            # in the place of two, as there are 80 columns
            ("\nrho", "target\nmet", "bursts\nsent", "\nlost")
            if _has_target(results)
            else ("bursts\nsent", "\nfound", "\nlost", "x real\ntime")
        ),
    ):
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _figures(group, has_target: bool) -> list[str]:
    sent, found, lost = (
        _total(getattr(r, name) for r in group) for name in ("bursts_sent", "bursts_found", "bursts_lost")
    )
    speed = number(mean(r.real_time_factor for r in group), 3)
    return [
        f"{group[0].snr_db:g}",
        number(mean(r.snr_est_db for r in group), 1),
        *(
            mean_of((r.scores.get(key) for r in group), digits, between="\n")
            for key, _, _, digits in _kind(group).columns
        ),
        *((*_chosen(group), sent, lost) if has_target else (sent, found, lost, speed)),
    ]


def _total(values) -> str:
    there = [value for value in values if value is not None]
    return str(sum(there)) if there else "-"
