# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom bench``: how fast every room is on this machine."""

from semcom.cli.options import Json
from semcom.terminal import err


def bench(json: Json = None) -> None:
    """Measure the speed of the modem, the codecs and the flowgraph."""
    import platform

    from semcom.cli.output import check_json, give_json
    from semcom.cli.results import Results
    from semcom.experiments import bench as library

    check_json(json)
    total = len(library.measurements())
    rows: list[dict] = []

    def show() -> None:
        give_json(json if str(json) == "-" else None, rows, _table(rows))

    kept = Results({"bench": platform.node()}, total, json=json, show=show, resumes=False)
    with err().status("measuring ...") as status:
        for name, some in library.parts(progress=lambda name: status.update(f"measuring: {name} ...")):
            rows += some
            kept.add(name, {"name": name}, {"rows": some})
    give_json(json, rows, _table(rows))
    kept.finish()


def _table(rows: list[dict]):
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for head, side in (("what", "left"), ("value", "right"), ("unit", "left"), ("note", "left")):
        table.add_column(head, justify=side)
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        table.add_row(*(escape(str(cell)) for cell in (row["name"], value, row["unit"], row["note"])))
    return table
