# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's three theorems, measured: users' gradients at a shared encoder, users behind a frozen one, descent.

1. Users' gradients at the shared encoder differ and can oppose each other: their cosines, over training.
2. Behind a frozen encoder users are independent: the gradient of one user's loss by all that is not that user's own
   is zero, and training one leaves the bits of every other.
3. Stage 1 descends: with L the smoothness along the way, a gradient step of size eta on loss f moves it by at most
   -eta (1 - L eta / 2) |grad f|^2, so that every eta below 2 / L descends.
"""

import copy

import torch

from semcom_training.multiuser.cells import PROBE, Cells
from semcom_training.multiuser.system import Optimisers, System, learning_rate, losses


def cosine_rows(cells) -> list[dict]:
    """Theorem 1, from finished cells: one row an epoch and pair of users, with the cosine of their gradients at the
    encoder and the ratio of the gradients' norms (second user's over first's)."""
    rows = []
    for cell in cells:
        for number, entry in enumerate(cell["series"]):
            for pair, cosine in entry["cosines"].items():
                a, b = pair.split("/")
                row = {"scheme": cell["scheme"], "seed": cell["seed"], "epoch": number, "pair": pair}
                ratio = entry["norms"][b] / max(entry["norms"][a], 1e-30)
                rows.append(row | {"cosine": cosine, "norm_ratio": ratio})
    return rows


def gradient_norms(system: System, batch, encoder: bool) -> list[dict]:
    """Norm of the gradient of each user's loss by the encoder and by each decoder; ``encoder``: not frozen.

    One row a user: ``loss of`` and a norm for each part. Leaves the system as it is.
    """
    system.eval()
    rows = []
    for user in system.users:
        loss = losses(system, [user], batch, encoder)[user]
        row = {"loss_of": user}
        for name, part in system.parts().items():
            found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True, allow_unused=True)
            row[name] = float(
                torch.stack([g.norm() for g in found if g is not None] or [torch.zeros(())]).norm()
            )
        rows.append(row)
    return rows


def alone_and_together(cells: Cells, system: System, seed: int, steps: int) -> list[dict]:
    """Theorem 2: each user trained behind the frozen encoder, alone and with all others; are the bits the same?

    One row a user: ``bits_alone_and_together`` and whether the ``encoder`` moved, ``same`` or ``changed``.
    """
    together = copy.deepcopy(system)
    _train(cells, together, together.users, seed, steps, encoder=False)
    rows = []
    for user in system.users:
        alone = copy.deepcopy(system)
        _train(cells, alone, [user], seed, steps, encoder=False)
        same = alone.digest(user) == together.digest(user)
        moved = alone.digest(user) != system.digest(user)
        still = alone.digest("encoder") == together.digest("encoder") == system.digest("encoder")
        others = all(alone.digest(o) == system.digest(o) for o in system.users if o != user)
        row = {"user": user, "trained": "yes" if moved else "no"}
        row |= {"bits_alone_and_together": "same" if same else "changed"}
        rows.append(
            row | {"others": "same" if others else "changed", "encoder": "same" if still else "changed"}
        )
    return rows


def adam_descent(cells: Cells, system: System, seed: int, steps: int) -> list[float]:
    """Loss of encoder and first user on a fixed batch with fixed fades and noise, before stage 1 and after each of its
    steps (which see other batches). Trains the system."""
    batch, optimisers = cells.batch(seed, PROBE), Optimisers(system)
    course = [_loss(system, batch)]
    for number in range(steps):
        rate = learning_rate(system.experiment, number)
        optimisers.step(system.users[:1], cells.batch(seed, number), True, rate)
        course.append(_loss(system, batch))
    return course


def gradient_descent(system: System, batch, step_size: float, steps: int) -> list[dict]:
    """Theorem 3: plain gradient descent of encoder and first user on a fixed batch.

    One row a step: ``step``, ``step_size``, ``loss`` before it, ``decrease`` of the loss by it, ``predicted``, the first
    order's (step size times squared gradient norm), and ``smoothness``, |change of gradient| / |change of weights|.
    Leaves the system as it is.
    """
    system = copy.deepcopy(system).eval()
    user = system.users[0]
    parameters = [*system.encoder.parameters(), *system.decoders[user].parameters()]
    loss, gradient = _gradient(system, user, batch, parameters)
    rows = []
    for step in range(steps):
        with torch.no_grad():
            for parameter, g in zip(parameters, gradient):
                parameter -= step_size * g
        after, then = _gradient(system, user, batch, parameters)
        squared = _squared_norm(gradient)
        change = _squared_norm([b - a for a, b in zip(gradient, then)]) ** 0.5
        row = {"step": step, "step_size": step_size, "loss": loss, "decrease": loss - after}
        smoothness = change / max(step_size * squared**0.5, 1e-30)
        rows.append(row | {"predicted": step_size * squared, "smoothness": smoothness})
        loss, gradient = after, then
    return rows


def _train(cells, system, users, seed, steps, encoder):
    optimisers = Optimisers(system)
    for number in range(steps):
        rate = learning_rate(system.experiment, number)
        optimisers.step(users, cells.batch(seed, number), encoder, rate)


@torch.no_grad()
def _loss(system, batch) -> float:
    system.eval()
    user = system.users[0]
    return losses(system, [user], batch, encoder=False)[user].item()


def _gradient(system, user, batch, parameters):
    loss = losses(system, [user], batch, encoder=True)[user]
    return loss.item(), torch.autograd.grad(loss, parameters)


def _squared_norm(tensors) -> float:
    return sum(float(t.square().sum()) for t in tensors)
