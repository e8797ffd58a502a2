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
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalise(weight.grad.lerp(momentum, group["momentum"]).flatten(1))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * max(update.shape) ** 0.5
                weight.add_(update.view_as(weight), alpha=-group["lr"] * scale)


def orthogonalise(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: five Newton-Schulz steps of degree five.

    Each step multiplies from the left by a polynomial of the Gram matrix, so all but the first and the last
    product are done on the short side.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    gram = x @ x.T
    left = eye = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        step = a * eye + b * gram + c * gram @ gram
        left = step @ left
        gram = step @ gram @ step
    x = left @ x
    return x.T if tall else x


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
