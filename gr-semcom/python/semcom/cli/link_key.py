# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom link-key``: the key of a link, so that nobody else reads its pictures or sends others."""

from typing import Annotated

import typer


def link_key(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the key, looked up in ~/.config/semcom/keys or $SEMCOM_KEY_FOLDER; or the path of its file."
        ),
    ],
    renew: Annotated[
        bool,
        typer.Option(
            "--renew", help="Add a new secret, which signs from now on; the last one is still read."
        ),
    ] = False,
    days: Annotated[
        float | None, typer.Option("--days", min=0.01, max=36500, help="Until it expires. [default: never]")
    ] = None,
) -> None:
    """Make or renew the key that signs a link's bursts and scrambles their payload."""
    from semcom.cli.console import say
    from semcom.security import make_key, renew_key

    path = renew_key(name, days) if renew else make_key(name, days)
    say(
        f"The key is in {path}. Copy it to the other station by a way that you trust (scp -p), receivers first, and "
        f"name it in the link profile of both (key: ...). Whoever reads it can read and send what it protects."
    )
