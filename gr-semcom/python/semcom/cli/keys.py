# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom keys``: certificates, so that two stations can talk over a network."""

from pathlib import Path
from typing import Annotated

import typer


def keys(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the certificates.")],
) -> None:
    """Make the keys (CurveZMQ) that feedback, telemetry and samples need beyond one machine."""
    from semcom.cli.console import say
    from semcom.wire.sockets import make_keys

    place = make_keys(folder)
    say(
        f"Keys are in {place}. Copy the folder to the other machine by a way that you trust (scp -p), and give it to "
        "both stations. Whoever holds server.key_secret or client.key_secret can take part: keep them from "
        "everybody else."
    )
