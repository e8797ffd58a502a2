# SPDX-License-Identifier: GPL-3.0-or-later
"""Muon for the convolutions inside the network, AdamW for everything else."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: every singular value of a weight's update is about 1.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (the Newton-Schulz
    coefficients); the update is scaled to the rms of AdamW's, so one learning rate serves both (Liu et al.,
    arXiv:2502.16982). A convolution's weight ``[out, in, kh, kw]`` is treated as the matrix ``[out,
    in*kh*kw]``.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike: dict[tuple, list[torch.Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault((weight.shape, weight.device), []).append(weight)
            for weights in alike.values():
                self._step_alike(weights, group)

    def _step_alike(self, weights: list[torch.Tensor], group: dict) -> None:
        """Weights of one shape together: on a GPU a step costs what it starts, not what it computes."""
        grads = [weight.grad for weight in weights]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, momenta, group["momentum"])
        updates = orthogonalise(torch.stack([update.flatten(1) for update in ahead]))
        scale = 0.2 * max(updates.shape[1:]) ** 0.5
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        steps = [update.view_as(weight) for update, weight in zip(updates, weights)]
        torch._foreach_add_(weights, steps, alpha=-group["lr"] * scale)


def orthogonalise(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrices of ``[..., rows, columns]``, roughly: five Newton-Schulz steps of degree
    five.

    Each step multiplies from the left by a polynomial of the Gram matrix, so all but the first and the last
    product are done on the short side.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    gram = x @ x.mT
    left = eye = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        step = a * eye + b * gram + c * gram @ gram
        left = step @ left
        gram = step @ gram @ step
    x = left @ x
    return x.mT if tall else x


def make_optimisers(
    model: torch.nn.Module, kind: str, lr: float, weight_decay: float, outer_rate: float = 1.0
) -> list:
    """``[AdamW]`` or ``[AdamW, Muon]``: Muon takes the convolutions of at least 16 channels in and out, in
    blocks.

    Each parameter group carries ``rate_scale``, what the schedule's rate is multiplied by: ``outer_rate`` for
    AdamW beside Muon, for the first and last layers write pixels and symbols directly and want smaller steps.
    """

    def inner(name, parameter):
        return kind == "muon" and parameter.dim() == 4 and min(parameter.shape[:2]) >= 16 and "block" in name

    named = list(model.named_parameters())
    hidden = [p for n, p in named if inner(n, p)]
    rest = [p for n, p in named if not inner(n, p)]
    outer = {"params": rest, "rate_scale": outer_rate if hidden else 1.0}
    optimisers = [torch.optim.AdamW([outer], lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)]
    if hidden:
        optimisers.append(Muon([{"params": hidden, "rate_scale": 1.0}], lr=lr, weight_decay=weight_decay))
    return optimisers
