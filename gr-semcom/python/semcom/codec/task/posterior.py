# SPDX-License-Identifier: GPL-3.0-or-later
"""Posteriors q(y | z) behind a channel: their log, their Fisher information about z, their divergences.

Of a posterior that is differentiable in z, noise n of variance sigma_j^2 per dimension costs, to second order,

    E KL(q(. | z) || q(. | z + n)) = 1/2 sum_j sigma_j^2 [I(z)]_jj,
    I(z) = sum_y q(y | z) grad_z log q(y | z) grad_z log q(y | z)^T,

of which the task regulariser takes the trace. Only the decoder is differentiated, not the encoder.

Traps. Batch normalisation in training mode couples the rows, and the gradient of the sum over a batch is then not that
of each (its trace comes out several times too small): it is refused. ReLU in place breaks the second derivative. Under
autocast the term is computed in float32.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semcom.autocast import without_autocast
from semcom.errors import ConfigError

ESTIMATORS = ("exact", "forward", "sampled")


class Posterior(Protocol):
    """What a regulariser asks of a decoder; all of it per row, ``z`` ``[B, k]``."""

    def log_q(self, z: torch.Tensor) -> torch.Tensor:
        """Of every result, or of the one that the posterior was made for."""

    def fisher_diag(self, z: torch.Tensor, estimator: str = "exact") -> torch.Tensor:
        """``[B, k]``: the diagonal of I(z), with gradients to z and to the decoder."""

    def kl(self, z: torch.Tensor, z_hat: torch.Tensor) -> torch.Tensor:
        """``[B]``: KL(q(. | z) || q(. | z_hat)) in nats."""


class SoftmaxPosterior:
    """A classifier's: the softmax of logits.

    Args:
        logits: ``[B, k]`` to ``[B, C]``, row by row.
        decoder: the module behind it, looked through for batch normalisation; None: it has none.
    """

    def __init__(self, logits: Callable[[torch.Tensor], torch.Tensor], decoder: nn.Module | None = None):
        self.logits, self.decoder = logits, decoder

    def log_q(self, z: torch.Tensor) -> torch.Tensor:
        """``[B, C]``: of every class."""
        return F.log_softmax(_full(self.logits(z)), dim=1)

    def fisher_diag(
        self,
        z: torch.Tensor,
        estimator: str = "exact",
        draws: int = 1,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """``[B, k]``: sum_c p_c J_cj^2 - (J^T p)_j^2 with J the Jacobian of the logits.

        Args:
            estimator: ``exact``: C backward passes, batched; ``forward``: k forward-mode products, for k < C;
                ``sampled``: without bias, ``draws`` classes y ~ q, one backward pass each: what large C asks for.

        Raises:
            ConfigError: another estimator; batch normalisation in training mode in the decoder.
        """
        _check(estimator, self.decoder)
        z = z if z.requires_grad else z.detach().requires_grad_()
        with torch.enable_grad(), without_autocast(z):
            if estimator == "sampled":
                return self._sampled(_full(z), draws, generator)
            if estimator == "exact":
                logits, jacobian = self._backward(_full(z))
            else:
                logits, jacobian = self._forward(_full(z))
            p = logits.softmax(dim=1).to(jacobian)
            mean = torch.einsum("bc,bck->bk", p, jacobian)
            return torch.einsum("bc,bck->bk", p, jacobian.square()) - mean.square()

    def fisher_trace(self, z: torch.Tensor, estimator: str = "exact", **options) -> torch.Tensor:
        """``[B]``: Tr I(z)."""
        return self.fisher_diag(z, estimator, **options).sum(dim=1)

    def kl(self, z: torch.Tensor, z_hat: torch.Tensor) -> torch.Tensor:
        log_p, log_q = self.log_q(z), self.log_q(z_hat)
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)

    def _backward(self, z):
        logits = _full(self.logits(z))
        classes = logits.shape[1]
        # one row of the batch of vectors asks for one class of every item
        pick = torch.eye(classes, device=z.device)[:, None].expand(-1, len(z), -1)
        (jacobian,) = torch.autograd.grad(logits, z, pick, create_graph=True, is_grads_batched=True)
        return logits, jacobian.transpose(0, 1)

    def _forward(self, z):
        columns = _columns(self.logits, z)
        return _full(self.logits(z)), _full(torch.stack(columns, dim=2))

    def _sampled(self, z, draws, generator):
        log_q, total = self.log_q(z), torch.zeros_like(z)
        with torch.no_grad():
            p = log_q.exp() if generator is None else log_q.exp().to(generator.device)
            chosen = torch.multinomial(p, draws, replacement=True, generator=generator).to(z.device)
        for one in chosen.T:
            score = log_q.gather(1, one[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, z, create_graph=True)
            total = total + gradient.square()
        return total / draws


class GaussianPosterior:
    """A decoder of values with an error of variance ``variance`` each: q(y | z) = N(y; f(z), variance).

    Args:
        decode: ``[B, k]`` to ``[B, ...]``, row by row. decoder: as of :class:`SoftmaxPosterior`.
    """

    def __init__(self, decode: Callable[[torch.Tensor], torch.Tensor], variance: float, decoder=None):
        self.decode, self.variance, self.decoder = decode, variance, decoder

    def log_q(self, z: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """``[B]``: of ``values``, up to the constant of the normal distribution."""
        return -(values - self.decode(z)).square().flatten(1).sum(dim=1) / (2 * self.variance)

    def fisher_diag(
        self,
        z: torch.Tensor,
        estimator: str = "forward",
        draws: int = 1,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """``[B, k]``: sum_i J_ij^2 / variance. ``sampled`` draws signs (Hutchinson); ``exact`` is ``forward``.

        Raises:
            ConfigError: as of :class:`SoftmaxPosterior`.
        """
        _check(estimator, self.decoder)
        z = z if z.requires_grad else z.detach().requires_grad_()
        with torch.enable_grad():
            if estimator == "sampled":
                values, total = self.decode(z), torch.zeros_like(z)
                for _ in range(draws):
                    coin = torch.randint(2, values.shape, generator=generator).to(values)
                    (gradient,) = torch.autograd.grad(values, z, 2 * coin - 1, create_graph=True)
                    total = total + gradient.square()
                return total / (draws * self.variance)
            columns = _columns(self.decode, z)
            return torch.stack([c.flatten(1).square().sum(dim=1) for c in columns], dim=1) / self.variance

    def kl(self, z: torch.Tensor, z_hat: torch.Tensor) -> torch.Tensor:
        return (self.decode(z) - self.decode(z_hat)).square().flatten(1).sum(dim=1) / (2 * self.variance)


def _columns(function: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> list[torch.Tensor]:
    """The Jacobian of every row by columns, one forward-mode product a dimension of ``z`` ``[B, k]``."""
    bases = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return [torch.func.jvp(function, (z,), (basis.expand_as(z).contiguous(),))[-1] for basis in bases]


def _full(tensor: torch.Tensor) -> torch.Tensor:
    """Float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _check(estimator: str, decoder: nn.Module | None) -> None:
    if estimator not in ESTIMATORS:
        raise ConfigError(f"a Fisher trace is {', '.join(ESTIMATORS)}, not {estimator!r}.")
    for name, module in decoder.named_modules() if decoder is not None else ():
        if isinstance(module, _BatchNorm) and module.training:
            raise ConfigError(
                f"the decoder's '{name}' is batch normalisation in training mode, which couples the rows of a batch: "
                f"its Fisher trace would come out several times too small. Use LayerNorm, GroupNorm or none there."
            )
