# SPDX-License-Identifier: GPL-3.0-or-later
"""The Fisher trace by four ways, and what it says of the divergence that noise costs."""

import pytest
import torch
from torch import nn

from semcom.codec.task.latent import peak_channel, perceptron
from semcom.codec.task.posterior import GaussianPosterior, SoftmaxPosterior
from semcom.errors import ConfigError

K, CLASSES, ROWS = 8, 10, 16


def posterior_of(steepness: float = 1.0, seed: int = 0) -> SoftmaxPosterior:
    torch.manual_seed(seed)
    decoder = perceptron(K, 32, 32, CLASSES).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(steepness)
    return SoftmaxPosterior(decoder_float(decoder), decoder)


def decoder_float(decoder):
    return lambda z: decoder(z.double())


def closed_form(decoder, z: torch.Tensor) -> torch.Tensor:
    """Tr I of a ReLU perceptron, from its weights: J = W3 D2 W2 D1 W1."""
    first, _, second, _, third = decoder
    hidden = first(z)
    again = second(hidden.relu())
    p = third(again.relu()).softmax(dim=1)
    jacobian = third.weight @ (
        (again > 0)[:, :, None] * second.weight @ ((hidden > 0)[:, :, None] * first.weight)
    )
    mean = torch.einsum("bc,bck->bk", p, jacobian)
    return torch.einsum("bc,bck->b", p, jacobian.square()) - mean.square().sum(dim=1)


def test_the_trace_by_four_ways_is_one_number():
    posterior = posterior_of(3.0)
    z = (2 * torch.rand(ROWS, K, dtype=torch.float64) - 1).float()
    exact = posterior.fisher_trace(z, "exact").detach()
    assert exact.min() > 1e-3  # of something
    for other in (posterior.fisher_trace(z, "forward"), closed_form(posterior.decoder, z.double()).float()):
        assert float((other.detach() / exact - 1).abs().max()) < 1e-5
    # the fourth in its mean, every class weighted by its probability: |grad log q|^2
    point = z.clone().requires_grad_()
    log_q = posterior.log_q(point)
    mean = torch.zeros(ROWS)
    for one in range(CLASSES):
        (gradient,) = torch.autograd.grad(log_q[:, one].sum(), point, retain_graph=True)
        mean += log_q[:, one].exp().detach() * gradient.square().sum(dim=1)
    assert float((mean / exact - 1).abs().max()) < 1e-5
    generator = torch.Generator().manual_seed(1)
    drawn = posterior.fisher_trace(z, "sampled", draws=400, generator=generator).detach()
    assert float((drawn.mean() / exact.mean() - 1).abs()) < 0.1


@pytest.mark.parametrize("estimator", ["exact", "forward", "sampled"])
def test_its_gradient_reaches_z_and_the_decoder(estimator):
    posterior = posterior_of()
    base = torch.rand(ROWS, K, requires_grad=True)
    posterior.fisher_trace(torch.tanh(base), estimator).mean().backward()
    assert float(base.grad.abs().sum()) > 0
    assert float(posterior.decoder[0].weight.grad.abs().sum()) > 0


def test_the_diagonal_weighs_uneven_noise():
    posterior, z = posterior_of(2.0), 2 * torch.rand(4, K, dtype=torch.float64) - 1
    variance = torch.zeros(K, dtype=torch.float64)
    variance[3] = 1e-8
    half = 0.5 * (posterior.fisher_diag(z) * variance).sum(dim=1)
    noise = (
        torch.randn(20_000, 1, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        * variance.sqrt()
    )
    sampled = posterior.kl(z.repeat(20_000, 1), (z + noise).flatten(0, 1)).view(20_000, 4).mean(dim=0)
    assert torch.allclose(half, sampled, rtol=0.05, atol=0)


def test_the_term_is_the_divergence_at_high_snr_and_not_at_low():
    posterior = posterior_of(3.0)
    generator = torch.Generator().manual_seed(3)
    z = (2 * torch.rand(400, K, generator=generator) - 1).repeat(20, 1)

    def ratio(peak_snr_db: float) -> float:
        z_hat, variance = peak_channel(z, peak_snr_db, generator)
        term = 0.5 * (posterior.fisher_diag(z[:400]) * variance[:400]).sum(dim=1).mean()
        return float((term / posterior.kl(z, z_hat).mean()).detach())

    assert abs(ratio(40) - 1) < 0.05
    assert abs(ratio(5) - 1) > 0.1


def test_batch_normalisation_that_couples_rows_is_refused():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(K, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, CLASSES))
    z = torch.rand(32, K)
    with pytest.raises(ConfigError, match="batch normalisation in training mode"):
        SoftmaxPosterior(decoder, decoder).fisher_trace(z)
    # and rightly: what would come out is far too small
    coupled = SoftmaxPosterior(decoder).fisher_trace(z).detach().mean()
    rows = torch.stack(
        [SoftmaxPosterior(_of_row(decoder, z, n)).fisher_trace(z[n : n + 1])[0] for n in range(32)]
    )
    assert float(coupled) < 0.75 * float(rows.detach().mean())
    decoder.eval()
    assert torch.isfinite(SoftmaxPosterior(decoder, decoder).fisher_trace(z)).all()


def _of_row(decoder, z, n):
    """The decoder with the batch's own statistics, held still: what each row alone would go through."""
    first, norm, relu, last = decoder
    with torch.no_grad():
        hidden = first(z)
        mean, std = hidden.mean(dim=0), (hidden.var(dim=0, unbiased=False) + norm.eps).sqrt()
    return lambda point: last(relu((first(point) - mean) / std * norm.weight + norm.bias))


def test_a_picture_has_a_posterior_too():
    torch.manual_seed(0)
    decoder = perceptron(K, 32, 12).double()
    posterior = GaussianPosterior(lambda z: decoder(z.double()).view(-1, 3, 2, 2), 0.01, decoder)
    z = torch.rand(6, K)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: decoder(one.double())))(z)
    wanted = jacobian.square().sum(dim=1) / 0.01
    assert torch.allclose(posterior.fisher_diag(z).double(), wanted.double(), rtol=1e-5)
    drawn = posterior.fisher_diag(z, "sampled", draws=400, generator=torch.Generator().manual_seed(0))
    assert float((drawn.detach().sum() / wanted.detach().sum() - 1).abs()) < 0.1
    assert float(posterior.kl(z, z).detach().abs().max()) == 0
    assert posterior.log_q(z, decoder(z.double()).view(-1, 3, 2, 2)).abs().max() == 0


def test_an_unknown_estimator_is_named():
    with pytest.raises(ConfigError, match="exact, forward, sampled"):
        posterior_of().fisher_trace(torch.rand(2, K), "guess")
