# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom key-pair``, ``trust``, ``agree``: a key for a run, between stations that know each other's public keys."""

from typing import Annotated

import typer


def key_pair(
    name: Annotated[str, typer.Argument(help="Name of the pair, kept beside the link keys; or its path.")],
) -> None:
    """Make this station's pair of keys, or show its public one."""
    from semcom.cli.console import say
    from semcom.security import agreement
    from semcom.security.keyfile import key_path

    if key_path(name, ".pair").exists():
        public = agreement.public_text(agreement.read_pair(name))
    else:
        public = agreement.make_pair(name)[1]
    say(public)


def trust(
    name: Annotated[str, typer.Argument(help="Your name for the other station.")],
    public_key: Annotated[
        str, typer.Argument(metavar="PUBLIC-KEY", help="What `semcom key-pair` shows there.")
    ],
) -> None:
    """Keep another station's public key, to agree on link keys with it. Get it by a way that nobody can change."""
    from semcom.cli.console import say
    from semcom.security import agreement

    path = agreement.trust(name, public_key)
    say(f"Trusted as {name}: {path}")


def agree(
    name: Annotated[str, typer.Argument(help="The other station, as you named it to `semcom trust`.")],
    pair: Annotated[str, typer.Option("--pair", help="Name of this station's key pair.")],
    listen: Annotated[str, typer.Option("--listen", metavar="ADDRESS", help="Wait at tcp://*:PORT.")] = "",
    connect: Annotated[
        str,
        typer.Option("--connect", metavar="ADDRESS", help="Go to tcp://HOST:PORT, where the other waits."),
    ] = "",
    key: Annotated[
        str, typer.Option("--key", help="The link key to add it to. [default: the other station's name]")
    ] = "",
    days: Annotated[float, typer.Option("--days", min=0.001, max=36500, help="Until it expires.")] = 1.0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=86400, help="To wait for the other.")
    ] = 60.0,
) -> None:
    """Agree on a new link key with another station, over the network; a link that runs changes to it."""
    from semcom.cli.console import say
    from semcom.errors import ConfigError
    from semcom.security import agreement

    if bool(listen) == bool(connect):
        raise ConfigError("one station listens and the other connects: give --listen or --connect.")
    if listen:
        listener = agreement.Listener(pair, name, listen)
        say(f"Waiting at {listener.address}.")
        made = listener.wait(seconds)
    else:
        made = agreement.offer(pair, name, connect, seconds)
    path = agreement.keep(made, key or name, days)
    say(
        f"Agreed on epoch {made.number} of the key in {path}. Name it in the link profile (key: {key or name})."
    )
