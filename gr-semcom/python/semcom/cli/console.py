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
        table.add_row(_received_of(group) if by_snr else name, *_figures(group))
    return _with_losses(table, results)


def users_table(results) -> Table:
    """A table of ``link.Row`` objects: one row a user and SNR, means and sums over the pictures."""
    table = _figures_table(results, "\nuser", "pictures\nreceived")
    for key in dict.fromkeys((r.user, r.snr_db) for r in results):
        group = [r for r in results if (r.user, r.snr_db) == key]
        table.add_row(escape(key[0]), _received_of(group), *_figures(group))
    return _with_losses(table, results)


def _with_losses(table: Table, results) -> Table:
    """Says below the table what its last column is, how many pictures were lost, and that the means are without them."""
    table.caption, table.caption_justify = _REAL_TIME, "left"
    lost = sum(r.value is None for r in results)
    if lost:
        # a lost label counts as wrong
        means = (
            "PSNR and MS-SSIM are means of those received."
            if _kind(results).name == "image"
            else "each counts as wrong."
        )
        unsent = sum("not_sent" in r.detail for r in results)
        said = f"{unsent} of {len(results)} pictures not sent" if unsent else ""
        if lost > unsent:
            said += f"{', ' if said else ''}{lost - unsent} of {len(results)} pictures lost"
        table.caption = f"{said}; {means}\n{_REAL_TIME}"
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


def _figures_table(results, first: str, *others: str) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold", min_width=12)
    for head in (
        *others,
        *("SNR dB\nasked", "SNR dB\nest."),
        *(_narrow(head, unit) for _, head, unit, _ in _kind(results).columns),
        *("bursts\nsent", "\nfound", "\nlost", "x real\ntime"),
    ):
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _figures(group) -> list[str]:
    return [
        f"{group[0].snr_db:g}",
        number(mean(r.snr_est_db for r in group), 1),
        *(
            mean_of((r.scores.get(key) for r in group), digits, between="\n")
            for key, _, _, digits in _kind(group).columns
        ),
        *(_total(r.bursts_sent for r in group), _total(r.bursts_found for r in group)),
        _total(r.bursts_lost for r in group),
        number(mean(r.real_time_factor for r in group), 3),
    ]


def _total(values) -> str:
    there = [value for value in values if value is not None]
    return str(sum(there)) if there else "-"
