# SPDX-License-Identifier: GPL-3.0-or-later
"""Several users of one transmitter, each with a channel and a decoder of its own; the link without GNU Radio."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from semcom.errors import ConfigError, ModelError
from semcom.kinds.pictures import Picture
from semcom.link import Air, LinkConfig, LinkResult, receive, result_of_reception, transmit
from semcom.modem import Modem
from semcom.system import zoo

ANCHOR = "anchor"  # as a user: the decoder that the model itself has


@dataclass(frozen=True)
class User:
    """Who listens: a name, a model whose decoder it has, and the SNR and seed of the channel to it.

    snr_db: Es/N0 at this user; None: that of the link.
    """

    name: str
    model: str
    seed: int = 0
    snr_db: float | None = None

    def config(self, link: LinkConfig) -> LinkConfig:
        """The link as this user has it; the bursts that get lost on the way to it are its own."""
        snr_db = link.snr_db if self.snr_db is None else self.snr_db
        return replace(link, model=self.model, snr_db=snr_db, seed=self.seed)


@dataclass(frozen=True)
class UserResult(LinkResult):
    """One picture at one user; ``snr_db`` is that of the user's channel."""

    user: str = ""


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
            f"there are {len(names)} users but {len(snr_db)} SNRs: give one for each, in the same order."
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


def user_result(user: User, result: LinkResult) -> UserResult:
    """A result with the name of the user whose it is."""
    return UserResult(**vars(result), user=user.name)


def simulate(
    pictures: Iterable[Picture],
    config: LinkConfig,
    users: list[User],
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
) -> list[UserResult]:
    """Sends each picture once and receives it at every user, without GNU Radio.

    Args:
        pictures: what to send. users: from :func:`named_users`. progress: called after each picture.
        config: its model encodes and is told its SNR; the users' channels are those of :meth:`User.config`.

    Returns:
        For each picture, in order, one result a user, in order.
    """
    sender = zoo.load(config.model, device=device)
    receivers = [zoo.load(user.model, device=device) for user in users]
    modem = Modem(device=device)
    airs = [Air(user.config(config)) for user in users]
    results = []
    with torch.inference_mode():
        for number, picture in enumerate(pictures):
            began = time.perf_counter()
            bursts = transmit(number, picture, config.snr_db, sender, modem)
            sending = time.perf_counter() - began
            for user, receiver, air in zip(users, receivers, airs, strict=True):
                began = time.perf_counter()
                image, received = receive(air.carry(bursts), receiver, modem)
                seconds = sending + time.perf_counter() - began
                figures = (receiver, modem, bursts, image, received, seconds)
                results.append(user_result(user, result_of_reception(picture, user.config(config), *figures)))
            if progress:
                progress()
    return results
