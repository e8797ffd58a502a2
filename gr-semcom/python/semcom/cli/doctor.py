# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom doctor``: what is wrong with this machine, and the cure."""

import dataclasses
from typing import Annotated

import typer

from semcom.cli import options

MARKS = {"fine": "[green]fine[/]", "notice": "[yellow]note[/]", "wrong": "[bold red]wrong[/]"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    no_radio: Annotated[
        bool, typer.Option("--no-radio", envvar="SEMCOM_NO_RADIO", help="This machine needs no GNU Radio.")
    ] = False,
    link: options.Link = None,
) -> None:
    """Say what is wrong with this machine, and the cure. Exit status 1 if something must be cured."""
    import json as json_module

    from rich.markup import escape
    from rich.table import Table

    from semcom.cli.console import out
    from semcom.cli.examination import WRONG, examine
    from semcom.terminal import err

    with err().status("looking ..."):
        findings = examine(radio=not no_radio, link=link)
    wrong = [finding for finding in findings if finding.state == WRONG]
    if json:
        print(json_module.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        raise typer.Exit(1 if wrong else 0)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("subject", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.subject, escape(finding.found))
    out().print(table)
    for finding in findings:
        if finding.cure:
            out().print(
                f"\n{MARKS[finding.state]} {escape(finding.subject)}: {escape(finding.found)}", soft_wrap=True
            )
            out().print(f"    cure: {escape(finding.cure)}", highlight=False, soft_wrap=True)
    out().print("\nAll is well." if not wrong else f"\n{len(wrong)} of {len(findings)} must be cured.")
    raise typer.Exit(1 if wrong else 0)
