# SPDX-License-Identifier: GPL-3.0-or-later
"""Regularisers of task codecs (``semcom.codec.task``), registered with the losses of recipes.

All are means over the batch, in nats, and take a :class:`~semcom_training.losses.Transmission`.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F

from semcom.codec.task.dtjscc import Sampled, psk_transitions
from semcom.codec.task.latent import TaskCodec
from semcom.codec.task.posterior import ESTIMATORS
from semcom.codec.task.vfe import SMALLEST
from semcom.errors import ConfigError
from semcom_training.losses import Transmission, register_loss

# of the KL to the log-uniform prior, Molchanov et al. 2017 (arXiv:1701.05369), equation 14
_K = (0.63576, 1.87320, 1.48695)


@register_loss("fisher", of="transmission")
def fisher(
    batch: Transmission, estimator: str = "sampled", draws: int = 1, scale_with_noise: bool = False
) -> torch.Tensor:
    """Tr I(z) at what was sent, the second-order term of the KL that noise costs.

    With ``scale_with_noise`` 1/2 sum_j sigma_j^2 [I(z)]_jj, the term itself, with each dimension's own noise (a fading
    channel's too); else the bare trace, whose weight then holds for a fixed SNR of training (the papers' 0.1 to 1 at
    20 dB are 20 to 200 times the term itself).
    """
    if estimator not in ESTIMATORS:
        raise ConfigError(f"fisher: estimator is {', '.join(ESTIMATORS)}, not {estimator!r}.")
    codec = _task_codec(batch, "fisher")
    posterior, _, variance = codec.posterior(batch.received)
    options = {"draws": int(draws)} if estimator == "sampled" else {}
    diagonal = posterior.fisher_diag(codec.as_sent(batch.sent), estimator, **options)
    came = torch.isfinite(variance)
    weight = torch.where(came, variance, 0.0) / 2 if scale_with_noise else came.to(diagonal)
    return (diagonal * weight).sum(dim=1).mean()


@register_loss("kl-sampled", of="transmission")
def kl_sampled(batch: Transmission) -> torch.Tensor:
    """KL(q(. | z) || q(. | z + n)) with the noise that the batch met: no second derivatives, and valid at low SNR."""
    codec = _task_codec(batch, "kl-sampled")
    posterior, z_hat, variance = codec.posterior(batch.received)
    sent = torch.where(torch.isfinite(variance), codec.as_sent(batch.sent), 0.0)
    return posterior.kl(sent, z_hat).mean()


@register_loss("fisher-discrete", of="transmission")
def fisher_discrete(batch: Transmission, snr_db: float = math.nan) -> torch.Tensor:
    """The Fisher term of a discrete channel: 1/2 sum_slots sum_j P(j | i) (e_j - e_i)^T I (e_j - e_i).

    The displacement of a slot is that from the codeword sent to the one received, of probability P(j | i) of the PSK at
    an Es/N0 of ``snr_db`` (NaN: the batch's own mean, at which a high one leaves nothing of the term); I is estimated by
    one class drawn from the posterior. The bare trace ('fisher') is made small by longer codewords alone; this is not.
    """
    codec = _task_codec(batch, "fisher-discrete")
    shared = batch.sent.shared
    if not isinstance(shared, Sampled):
        raise ConfigError("fisher-discrete is of dt-jscc alone: 'fisher' is that of the others.")
    posterior, _, _ = codec.posterior(batch.received)
    z = codec.as_sent(batch.sent)
    log_q = posterior.log_q(z)
    chosen = torch.multinomial(log_q.detach().exp(), 1)
    (score,) = torch.autograd.grad(log_q.gather(1, chosen).sum(), z, create_graph=True)
    # of every slot and codeword: score . e_j, and the same of the one sent
    along = score.unflatten(1, (codec.slots, codec.depth)) @ codec.book.T
    away = along - (along * shared.onehot).sum(dim=2, keepdim=True)
    if math.isnan(snr_db):
        noise = batch.received.noise
        snr_db = float(-10 * noise[torch.isfinite(noise)].mean().log10())
    into = shared.onehot @ psk_transitions(codec.codewords, snr_db).to(along)
    return 0.5 * (into * away.square()).sum(dim=(1, 2)).mean()


@register_loss("log-uniform-kl", of="transmission")
def log_uniform_kl(batch: Transmission) -> torch.Tensor:
    """KL of N(z_j, sigma^2) from the log-uniform prior, summed over dimensions, times 0.1 / sigma: what prunes them.

    Values below 0.01 in magnitude count as that: the logarithm of sigma / 0 would end the training.
    """
    codec = _task_codec(batch, "log-uniform-kl")
    full = batch.sent.values, batch.received.noise
    if full[0].shape[1] != codec.symbols:
        raise ConfigError("log-uniform-kl is of a training, where all dimensions are there.")
    z = torch.view_as_real(full[0]).flatten(1)[:, : codec.dimensions] / codec.scale
    sigma = (full[1].nan_to_num(posinf=0).amax(dim=1, keepdim=True) / (2 * codec.scale.square())).sqrt()
    log_alpha = 2 * (sigma.clamp_min(1e-6) / z.abs().clamp_min(SMALLEST)).log()
    negative = _K[0] * torch.sigmoid(_K[1] + _K[2] * log_alpha) - 0.5 * F.softplus(-log_alpha) - _K[0]
    return (-negative.sum(dim=1) * 0.1 / sigma[:, 0].clamp_min(1e-6)).mean()


@register_loss("code-entropy", of="transmission")
def code_entropy(batch: Transmission) -> torch.Tensor:
    """Minus the entropy of the codewords given the picture, mean over slots: the redundancy of the robust information
    bottleneck (weights of about 1e-3)."""
    shared = batch.sent.shared
    if not isinstance(shared, Sampled):
        raise ConfigError("code-entropy is of dt-jscc alone, which has codewords.")
    log_p = shared.scores.log_softmax(dim=2)
    return (log_p.exp() * log_p).sum(dim=2).mean()


@register_loss("pgd", of="transmission")
def pgd(batch: Transmission, radius: float = 1.0, steps: int = 3) -> torch.Tensor:
    """Cross-entropy under the worst disturbance d of the received z with |d|^2 <= radius sum_j sigma_j^2.

    Projected gradient ascent through the decoder alone, from a random start. ``radius`` is the disturbance's energy over
    the noise's.
    """
    codec = _task_codec(batch, "pgd")
    posterior, z_hat, variance = codec.posterior(batch.received)
    came = torch.isfinite(variance)
    limit = (radius * torch.where(came, variance, 0.0).sum(dim=1, keepdim=True)).sqrt()
    d = _worst(posterior, z_hat.detach(), came, limit, batch.wanted, int(steps), batch.generator)
    return F.nll_loss(posterior.log_q(z_hat + d), batch.wanted)


def _worst(posterior, z, came, limit, wanted, steps, generator=None):
    """Of norm at most ``limit`` ``[B, 1]``, what raises the cross-entropy most."""
    d = torch.randn(z.shape, generator=generator).to(z) * came
    d = d / d.norm(dim=1, keepdim=True).clamp_min(1e-12) * limit * 0.5
    for _ in range(steps):
        d = d.detach().requires_grad_()
        with torch.enable_grad():
            loss = F.nll_loss(posterior.log_q(z + d), wanted, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, d)
        gradient = gradient * came
        d = d.detach() + 2.5 / steps * limit * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        d = d * (limit / d.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
    return d.detach()


@register_loss("rate-reduction", of="transmission")
def rate_reduction(batch: Transmission, squared_error: float = 0.5) -> torch.Tensor:
    """Minus the coding-rate reduction R(Z) - sum_j R(Z_j) of what was received, rows of unit norm (MCR^2).

    R(Z) = 1/2 logdet(I + k / (m e^2) Z Z^T) of m vectors of k dimensions. Computed in float64; a batch needs several
    pictures of each class.
    """
    codec = _task_codec(batch, "rate-reduction")
    z = F.normalize(codec.posterior(batch.received)[1].double(), dim=1)

    def rate(rows: torch.Tensor) -> torch.Tensor:
        count, k = rows.shape
        eye = torch.eye(k, dtype=rows.dtype, device=rows.device)
        return 0.5 * torch.linalg.slogdet(eye + k / (max(count, 1) * squared_error) * rows.T @ rows)[1]

    parts = [z[batch.wanted == one] for one in range(codec.classes)]
    within = sum(len(part) / len(z) * rate(part) for part in parts if len(part))
    return (within - rate(z)).float()


#: terms that a constant answer makes least
_FLATTENING = ("fisher", "fisher-discrete", "kl-sampled")


def stall(terms: Iterable[str], classes: int, correct: float, done: float) -> str | None:
    """Words for a training that has learned nothing, where a regulariser may be why; None: it has, or is young.

    Args:
        terms: names of its losses. correct: share of right classes. done: share of the training that is behind.
    """
    flat = [name for name in terms if name in _FLATTENING]
    if not flat or done < 0.2 or correct > 1.5 / classes:
        return None
    return (
        f"the answers are still those of chance ({correct:.3f} right of {classes} classes, a loss of ln {classes} = "
        f"{math.log(classes):.2f}): '{flat[0]}' is least where every answer is the same. Lower its weight, or let it "
        f"rise over more of the training ('full')."
    )


def _task_codec(batch: Transmission, name: str) -> TaskCodec:
    if not isinstance(batch.codec, TaskCodec):
        raise ConfigError(
            f"loss '{name}' is of a task codec (task-deepjscc, vl-vfe, dt-jscc), not of a picture's."
        )
    return batch.codec
