# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of one transmitter, each with a channel and a decoder of its own. One receiver is a list of one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from semcom.errors import ConfigError, ModelError
from semcom.link.config import LinkConfig
from semcom.system import zoo

ANCHOR = "anchor"  # as a user: the decoder that the model itself has


@dataclass(frozen=True)
class User:
    """A receiving user: a name, a model whose decoder it has, and the SNR and seed of the channel to it.

    model, seed, snr_db: None: those of the link.
    """

    name: str
    model: str | None = None
    seed: int | None = None
    snr_db: float | None = None

    def config(self, link: LinkConfig) -> LinkConfig:
        """The link as this user has it; the bursts that get lost on the way to it are its own."""
        return replace(
            link,
            model=self.model or link.model,
            seed=link.seed if self.seed is None else self.seed,
            snr_db=link.snr_db if self.snr_db is None else self.snr_db,
        )


#: where one receiver has what the link says
THE_ONE = User("")


def named_users(model: str, names: Iterable[str], snr_db: Iterable[float] = (), seed: int = 0) -> list[User]:
    """Users of a model by the names of decoder families, card paths, or ``anchor`` for the model's own decoder.

    Args:
        model: name or card path of the model that encodes.
        names: of the users; one that comes twice gets a number.
        snr_db: Es/N0 of each user's channel; none: that of the link for all.
        seed: of the first user's channel; the others count on from it.

    Raises:
        ConfigError: no users, or another number of SNRs than of users.
        ModelError: a name that is no user of this model; those that there are are listed.
    """
    names, snr_db = list(names), list(snr_db)
    if not names:
        raise ConfigError("no users are named: give at least one, such as attention or the path of a card.")
    if snr_db and len(snr_db) != len(names):
        raise ConfigError(
            f"users and SNRs do not fit, {len(names)} and {len(snr_db)}: give one SNR for each user, in the same order."
        )
    known = {ANCHOR: model, **zoo.users(model)}
    labels: list[str] = []
    users: list[User] = []
    for number, name in enumerate(names):
        place = known.get(name) or _card_of(name, model, known)
        labels.append(name if name in known else zoo.card(place).name)
        count = labels.count(labels[-1])
        label = labels[-1] if count == 1 else f"{labels[-1]}-{count}"
        users.append(User(label, place, seed + number, snr_db[number] if snr_db else None))
    return users


def _card_of(name: str, model: str, known: dict) -> str:
    try:
        card = zoo.card(name)
    except ModelError as error:
        raise ModelError(
            f"'{name}' is no user of '{model}': there are {', '.join(known)}, or give the path of a user's card. "
            f"({error})"
        ) from error
    if card.model_hash != zoo.card(model).model_hash:
        raise ModelError(
            f"user '{card.name}' decodes what '{(card.anchor or card.reference)['name']}' encodes, not '{model}': "
            f"a user takes the encoder that it was trained for."
        )
    return name
