# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training will cost, before it is paid: `semcom train RECIPE --dry-run`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from semcom_training.compare import count_macs
from semcom_training.data import data_root
from semcom_training.log import duration
from semcom_training.machine import make_fabric
from semcom_training.recipe import Recipe, load_recipe, stages_of
from semcom_training.train import Training, draw, prepare, take_step, update


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step: in all, and those outside the network (drawing pictures, channel with its gradient,
    optimiser and averaging)."""

    total: float
    data: float
    channel: float
    optimiser: float

    @property
    def network(self) -> float:
        """Encoder, decoder and loss, forward and backward."""
        return self.total - self.data - self.channel - self.optimiser

    @property
    def share_outside(self) -> float:
        """Of the step, 0..1, that is not the network's."""
        return 1 - self.network / self.total


def time_step(training: Training, repeats: int = 5, clock: Callable = time.perf_counter) -> StepTime:
    """Times some steps at learning rate 0 and their parts (medians). On a GPU it waits for what was started.

    Args:
        clock: ``time.process_time`` counts what this process computed, whatever else the machine does.
    """
    objective, cuda = training.objective, training.fabric.device.type == "cuda"

    def timed(call, setup=lambda: ()):
        times = []
        for _ in range(repeats + 1):  # the first one warms up
            given = setup()
            if cuda:
                torch.cuda.synchronize()
            start = clock()
            call(*given)
            if cuda:
                torch.cuda.synchronize()
            times.append(clock() - start)
        return median(times[1:])

    def send(latents, snr, noise):
        received = objective.send(latents, snr, noise).latents
        if received.requires_grad:  # a frozen encoder asks for no gradient
            received.abs().sum().backward()

    def batch():
        return draw(training, 0)

    def latents():
        images, snr, given_db, noise, rho, _ = batch()
        with torch.no_grad():
            sent = objective.codec.send(images, given_db, rho=rho, in_memory=True)
        return sent.values.requires_grad_(objective.encoder_learns), snr, noise

    total = timed(lambda: take_step(training, 0, 0.0))
    return StepTime(total, timed(batch), timed(send, latents), timed(lambda: update(training, 0)))


def budget(recipe: Recipe | str, data=None, device="auto", threads=None) -> dict[str, str]:
    """What a recipe will train, on how much, and for how long: words by name, in order.

    Nothing is written, and a few steps are timed on this machine.

    Raises:
        ConfigError, ModelError, MissingError: as the training itself would.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    count, recipe = max(len(recipe.stages), 1), stages_of(recipe)[0]
    if threads:
        torch.set_num_threads(threads)
    training = prepare(recipe, data_root(data), make_fabric(device))
    trained = sum(p.numel() for p in training.trained.parameters())
    frozen = sum(p.numel() for p in training.codec.parameters()) - trained
    side = recipe.crop or training.pictures.held_out[0].shape[-1]
    macs = count_macs(training.codec.eval(), (side, side), training.fabric.device)
    training.objective.train()
    times = time_step(training)
    seconds = times.total * recipe.steps
    ends = ""
    if recipe.max_minutes and seconds > 60 * recipe.max_minutes:
        seconds, ends = (
            60 * recipe.max_minutes,
            f", where max_minutes ends it after {recipe.max_minutes:g} min",
        )
    steps = min(recipe.steps, int(seconds / times.total))
    return {
        "trains": f"{trained:,} parameters" + (f" ({frozen:,} more are frozen)" if frozen else ""),
        "pictures": f"{len(training.pictures.images):,} to train on, {len(training.pictures.held_out)} held out",
        "batch": f"{recipe.batch} of {side}x{side} pixels",
        "network": f"{macs[0] / 1e6:.1f} + {macs[1] / 1e6:.1f} million multiply-accumulates a picture "
        "(encoder + decoder)",
        "steps": f"{steps:,} of {recipe.steps:,}, {steps * recipe.batch:,} pictures seen",
        "speed": f"{recipe.batch / times.total:.1f} images/s on {training.fabric.device}, "
        f"{times.share_outside:.0%} of the time outside the network",
        "time": f"about {duration(seconds)}{ends}" + (f", the first of {count} stages" if count > 1 else ""),
    }
