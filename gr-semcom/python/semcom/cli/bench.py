# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom bench``: how fast every room is on this machine."""

from semcom.cli.options import Json
from semcom.terminal import err


def bench(json: Json = None) -> None:
    """Measure the speed of the modem, the codecs and the flowgraph."""
    from rich.markup import escape
    from rich.table import Table

    from semcom.cli.output import check_json, give_json
    from semcom.experiments import bench as library

    check_json(json)
    with err().status("measuring ...") as status:
        rows = library.run(progress=lambda name: status.update(f"measuring: {name} ..."))
    table = Table(header_style="bold")
    for head, side in (("what", "left"), ("value", "right"), ("unit", "left"), ("note", "left")):
        table.add_column(head, justify=side)
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        table.add_row(*(escape(str(cell)) for cell in (row["name"], value, row["unit"], row["note"])))
    give_json(json, rows, table)
