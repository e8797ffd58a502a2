# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of every fine-tuning: Adam, averaged weights, the best of them on pictures set apart."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from semcom_training.finetune.captured import Example
from semcom_training.finetune.options import Options
from semcom_training.train import TrainingError

_LOSS_FLOOR = 1e-5  # of the squared error: 50 dB and beyond count alike


@dataclass(frozen=True)
class Tuned:
    """What came out of a loop: steps taken, minutes, and PSNR in dB on the choosing pictures, (step, dB) each."""

    steps: int
    minutes: float
    course: list[tuple[int, float]]


def tune(
    part: nn.Module,
    decode: Callable[[list[Example], torch.Generator], torch.Tensor],
    training: list[Example],
    choose: Callable[[], float],
    options: Options,
    progress: Callable[[str], None] | None = None,
) -> Tuned:
    """Trains ``part`` in place and leaves the averaged weights in it that did best on the choosing pictures.

    Args:
        part: what is trained; it starts where it is, which counts as the first candidate.
        decode: examples of one size to ``[B, 3, H, W]``, through ``part``, with gradients.
        choose: PSNR in dB of ``part`` as it is, on the choosing pictures.
        progress: called with a line now and then.

    Raises:
        TrainingError: the loss is not a number; it names step and pictures, and ``part`` is as it was.
    """
    parameters = [p for p in part.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=options.learning_rate)
    average, best = copy.deepcopy(part.state_dict()), copy.deepcopy(part.state_dict())
    course, started = [(0, choose())], time.monotonic()
    for step, batch in enumerate(_batches(training, options)):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * (1 - step / options.steps)
        _train_mode(part)
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        loss = _loss(decode(batch, generator), batch)
        if not torch.isfinite(loss):
            part.load_state_dict(best)
            names = ", ".join(example.name for example in batch)
            raise TrainingError(
                f"the loss is {loss.item()} at step {step}, pictures {names}: fine-tuning stops and keeps nothing. "
                f"Lower the learning rate (now {options.learning_rate})."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        _average(average, part.state_dict(), min(options.ema, (1 + step) / (10 + step)))

        minutes = (time.monotonic() - started) / 60
        ends = step + 1 == options.steps or 0 < options.max_minutes <= minutes
        if (step + 1) % options.check_every == 0 or ends:
            now = copy.deepcopy(part.state_dict())
            part.load_state_dict(average)
            course.append((step + 1, choose()))
            if course[-1][1] >= max(psnr for _, psnr in course):
                best = copy.deepcopy(average)
            part.load_state_dict(now)
            if progress:
                progress(
                    f"step {step + 1} of {options.steps}: {course[-1][1]:.2f} dB ({course[0][1]:.2f} before)"
                )
        if ends:
            break
    part.load_state_dict(best)
    part.eval().requires_grad_(False)
    return Tuned(course[-1][0], (time.monotonic() - started) / 60, course)


def psnr_db(decoded: torch.Tensor, examples: list[Example]) -> torch.Tensor:
    """PSNR in dB of each of ``[B, 3, H, W]``, clipped and rounded as it would be shown, ``[B]``."""
    shown = (decoded.clamp(0, 1) * 255).round() / 255
    error = (shown - originals(examples)).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(1e-10).log10()


def originals(examples: list[Example]) -> torch.Tensor:
    """``[B, 3, H, W]`` float 0..1; the examples have one size."""
    return torch.stack([example.original for example in examples]).float() / 255


def by_size(examples: list[Example], most: int) -> Iterator[list[Example]]:
    """Lists of at most ``most`` examples of one size, and one number of symbols, each."""
    for kind in sorted({(example.size, len(example.received)) for example in examples}):
        some = [example for example in examples if (example.size, len(example.received)) == kind]
        for at in range(0, len(some), most):
            yield some[at : at + most]


def _batches(examples: list[Example], options: Options) -> Iterator[list[Example]]:
    """``options.steps`` batches of one size each, in rounds over all examples in random order."""
    generator, given = torch.Generator().manual_seed(options.seed), 0
    while given < options.steps:
        order = torch.randperm(len(examples), generator=generator).tolist()
        batches = list(by_size([examples[at] for at in order], options.batch))
        for at in torch.randperm(len(batches), generator=generator).tolist():
            if given < options.steps:
                yield batches[at]
                given += 1


def _loss(decoded: torch.Tensor, examples: list[Example]) -> torch.Tensor:
    """Mean over pictures of ln(MSE), for it is the mean of their PSNR that counts."""
    error = (decoded - originals(examples)).square().mean(dim=(1, 2, 3))
    return (error + _LOSS_FLOOR).log().mean()


def _train_mode(part: nn.Module) -> None:
    """Training mode, but for batch norms: their statistics are those of a training far longer than this one."""
    part.train()
    for module in part.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@torch.no_grad()
def _average(average: dict, now: dict, decay: float) -> None:
    for key, value in now.items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)
