# SPDX-License-Identifier: GPL-3.0-or-later
"""The three ways to train one encoder for several users, as the order in which who is trained on what.

The rule of fairness: in every scheme each decoder gets the same number of gradient steps, on the same batches in
the same order, with the same SNRs, fades and noise, at the same learning rates, from the same initial weights.
What the encoder gets follows from the scheme (:func:`budget` counts it).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """Steps on the batches of one epoch: these users, together, with or without the encoder."""

    users: tuple[str, ...]
    number: int  # of the epoch in each of these users' training; decides the batches and the learning rate
    encoder: bool  # trained along, or frozen


def two_stage(users: Sequence[str], epochs: int) -> Iterator[Epoch]:
    """The anchor-aided scheme: encoder and its symmetric decoder, then each other user against the frozen encoder."""
    anchor, *others = users
    for number in range(epochs):
        yield Epoch((anchor,), number, encoder=True)
    for user in others:
        for number in range(epochs):
            yield Epoch((user,), number, encoder=False)


def iterative(users: Sequence[str], epochs: int) -> Iterator[Epoch]:
    """Benchmark: the encoder is trained with one user's decoder an epoch, in turn."""
    for number in range(epochs):
        for user in users:
            yield Epoch((user,), number, encoder=True)


def simultaneous(users: Sequence[str], epochs: int) -> Iterator[Epoch]:
    """Benchmark: every step takes the sum of all users' losses."""
    for number in range(epochs):
        yield Epoch(tuple(users), number, encoder=True)


SCHEMES = {"two_stage": two_stage, "iterative": iterative, "simultaneous": simultaneous}


def plan(scheme: str, users: Sequence[str], epochs: int) -> list[Epoch]:
    """All epochs of a scheme in order; ``epochs`` is what each user gets."""
    return list(SCHEMES[scheme](users, epochs))


def budget(epochs: Sequence[Epoch], steps_per_epoch: int) -> dict[str, int]:
    """Gradient steps of the encoder and of each user's decoder, and the losses computed in all.

    Keys ``encoder``, each user's name, and ``losses`` (one is one decoder's pass over one batch: the work).
    """
    counts = {"encoder": 0} | {user: 0 for epoch in epochs for user in epoch.users} | {"losses": 0}
    for epoch in epochs:
        counts["encoder"] += steps_per_epoch * epoch.encoder
        counts["losses"] += steps_per_epoch * len(epoch.users)
        for user in epoch.users:
            counts[user] += steps_per_epoch
    return counts
