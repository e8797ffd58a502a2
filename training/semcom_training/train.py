# SPDX-License-Identifier: GPL-3.0-or-later
"""One training, readable from top to bottom: data, codec, loop, checkpoint, export.

python -m semcom_training.train RECIPE --data FOLDER --out FOLDER
torchrun --nproc-per-node 4 -m semcom_training.train RECIPE --data FOLDER --out FOLDER
"""

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from semcom import plugins, stopping
from semcom.channel.symbols import awgn_channel
from semcom.codec.base import Codec, Decoder
from semcom.errors import ConfigError, OutputError, SemcomError
from semcom.experiments.evaluate import across
from semcom.files import writable_folder
from semcom.kinds import LABEL
from semcom.system import zoo
from semcom_training.checkpoint import Progress, load_checkpoint, save_checkpoint
from semcom_training.data import Pictures, data_root
from semcom_training.errors import TrainingError
from semcom_training.log import HELD_OUT_SNR_DB, Bar, Log, held_out_column, held_out_snrs, measuring_bar
from semcom_training.machine import make_fabric
from semcom_training.models import build_codec, start_from, with_trained
from semcom_training.objective import Objective, draw_snr
from semcom_training.optim import make_optimisers
from semcom_training.recipe import Recipe, load_recipe, stages_of
from semcom_training.task_losses import stall


def run(
    recipe,
    data=None,
    out="runs",
    device="auto",
    threads=None,
    resume=True,
    progress=True,
    export=True,
    *,
    devices: int = 1,
    nodes: int = 1,
    tensorboard: bool = False,
    stop_after: float | None = None,
    begin: Progress | None = None,
    keep: Callable[["Training", Progress], None] | None = None,
    training: "Training | None" = None,
) -> Path:
    """Trains a codec, or a user's decoder, by a recipe and exports it.

    Args:
        recipe: path of a YAML recipe, the name of a shipped one, or a :class:`Recipe`.
        data: folder that holds the recipe's data folders; else the environment variable SEMCOM_DATA.
        out: folder for the checkpoint, the log and the exported model, ``<out>/<name>/``; of a recipe with stages one
            folder a stage.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: torch threads of each process; ``None`` leaves them as they are.
        resume: go on from ``checkpoint.pt`` if there is one; else start anew.
        progress: show a progress bar.
        export: write ``<name>.safetensors`` and its card at the end.
        devices, nodes, tensorboard: as in :func:`semcom_training.machine.make_fabric`. The recipe's batch is split
            over the processes.
        stop_after: minutes after which this session ends with a checkpoint and without a model, the schedule as it was:
            the next session goes on where it stands. ``None``: at the schedule's end.
        begin: how far a training is whose weights the recipe's ``init_from`` names, in place of a checkpoint: the
            schedule goes on from there, and the rate warms up again, for the optimisers' momenta are gone.
        keep: called in place of writing ``checkpoint.pt``, whenever one is due.
        training: what :func:`prepare` made of the recipe, where that is there already.

    Returns:
        The folder ``<out>/<name>``.

    Raises:
        ConfigError: the recipe or the data folder is wrong; ``stop_after`` of a recipe with stages.
        ModelError: the architecture or the anchor is wrong.
        MissingError: a package is absent.
        OutputError: ``out`` cannot be written, or the last checkpoint cannot.
        TrainingError: the loss became NaN (the last checkpoint is kept); the checkpoint is damaged or does not fit; the
            anchor was changed.

    Within ``semcom.stopping.watch`` a signal ends it with a checkpoint of the last whole step.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if threads:
        torch.set_num_threads(threads)
    if recipe.stages:
        if stop_after is not None or begin or keep:
            raise ConfigError(
                f"recipe '{recipe.name}' has stages, which are trained in one session: leave stop_after out."
            )
        how = {"devices": devices, "nodes": nodes, "tensorboard": tensorboard}
        for stage in stages_of(recipe, out):
            folder = run(stage, data, out, device, None, resume, progress, **how)
        return folder
    folder = writable_folder(Path(out) / recipe.name)
    root = None if training else data_root(data)
    if training is None:
        training = prepare(recipe, root, make_fabric(device, devices, nodes, folder if tensorboard else None))
    fabric = training.fabric
    state = dataclasses.replace(begin) if begin else Progress()
    first = state.step  # of this rate's warm-up
    if resume and not keep and (folder / "checkpoint.pt").exists():
        state, first = load_checkpoint(folder / "checkpoint.pt", recipe, *training.parts, training.anchor), 0

    snrs_db = held_out_snrs(recipe.snr_range_db)
    log = Log(folder / "log.csv", state.step, training.figure, snrs_db) if fabric.is_global_zero else None
    bar = Bar(recipe.name, progress and fabric.is_global_zero)
    forget = stopping.at_stop(
        lambda: checkpoint_at_stop(training, state, folder) if fabric.is_global_zero else ""
    )
    started = last_checkpoint = last_log = time.monotonic()
    seconds_before, seen, last_step = state.seconds, [], state.step
    stopped = False
    while (done := schedule_position(recipe, state.step, state.seconds)) < 1 and not stopped:
        rate = learning_rate(recipe, state.step - first, done)
        seen.append(take_step(training, state.step, rate, folder, state, done))

        now = time.monotonic()
        state.seconds = together(fabric, recipe, seconds_before + now - started)
        done = schedule_position(recipe, state.step, state.seconds)
        stopped = stop_after is not None and state.seconds - seconds_before >= 60 * stop_after
        speed = (state.step - last_step) * recipe.batch / (now - last_log)
        bar.step(state.step, done, speed, state.seconds)
        if state.step % recipe.log_every == 0 or done >= 1 or stopped:
            loss, figure = fabric.all_reduce(torch.stack(seen).mean(dim=0), reduce_op="mean").tolist()
            row = {"step": state.step, "minutes": state.seconds / 60, "images_per_s": speed}
            row |= {"learning_rate": rate, "train_loss": loss, f"train_{training.figure}": figure}
            if fabric.is_global_zero:
                row |= validate(training.averaged, training.pictures, recipe.crop, snrs_db)
                try:
                    log.write(row)
                except OutputError as error:
                    bar.say(f"{error} The training goes on; this row of the log comes with the next.")
                bar.row(done, state.seconds, row)
                if training.codec.result is LABEL:
                    said = stall(recipe.loss, training.codec.classes, figure, done)
                    if said:
                        bar.say(said)
                fabric.log_dict(row, state.step)
            seen, last_log, last_step = [], time.monotonic(), state.step
        due = now - last_checkpoint > 60 * recipe.checkpoint_minutes
        if fabric.is_global_zero and (due or done >= 1 or stopped):
            try:
                if keep:
                    keep(training, state)
                else:
                    path = folder / "checkpoint.pt"
                    save_checkpoint(path, recipe, *training.parts, state, training.anchor)
            except OutputError as error:
                if done >= 1 or stopped:
                    raise
                bar.say(f"{error} The training goes on and tries again.")
            last_checkpoint = now
    bar.close()
    for logger in fabric.loggers:  # whose writers have threads of their own
        logger.finalize("success")
    if export and done >= 1 and fabric.is_global_zero:
        from semcom_training.export import export_model

        with measuring_bar(progress) as measured:
            export_model(
                recipe,
                training.averaged,
                folder,
                state.step,
                state.seconds,
                root,
                anchor=training.anchor,
                progress=measured,
            )
    fabric.barrier()
    forget()
    return folder


MEASURED_PICTURES = 512
#: steps between two looks whether a GPU still computes numbers
FINITE_EVERY = 50


@dataclass
class Training:
    """What a step works on. ``trained`` is the part of ``codec`` that learns, ``average`` its averaged weights."""

    recipe: Recipe
    fabric: object
    pictures: Pictures
    codec: Codec
    trained: Decoder
    average: Decoder
    optimisers: list
    objective: torch.nn.Module  # Objective, as Fabric wraps it
    anchor: str  # SHA-256 of the weights of a user's anchor

    @property
    def figure(self) -> str:
        """What the log counts: the one figure of the kind that the codec gives."""
        return self.codec.result.figure

    @property
    def averaged(self) -> Codec:
        """The codec with the averaged weights: what is validated and exported."""
        return with_trained(self.recipe, self.codec, self.average)

    @property
    def parts(self) -> tuple:
        """What a checkpoint holds."""
        return self.trained, self.average, self.optimisers


def prepare(recipe: Recipe, root: Path, fabric) -> Training:
    """Reads the pictures and builds everything else from the recipe's seed.

    Raises:
        ConfigError, ModelError, MissingError: as :func:`run`.
    """
    if recipe.batch % fabric.world_size:
        raise ConfigError(
            f"a batch of {recipe.batch} cannot be split evenly over {fabric.world_size} processes: change 'batch'."
        )
    torch.manual_seed(recipe.seed)
    codec, trained = build_codec(recipe)
    anchor = zoo.card(recipe.anchor).weights_sha256 if recipe.stage == "user" else ""
    objective = Objective(codec, recipe)
    pictures = Pictures(
        root, recipe.data, recipe.exclude, recipe.crop, recipe.held_out, recipe.seed, recipe.shift
    )
    if codec.result is LABEL:
        pictures.check_labels(codec.classes)
    if recipe.start == "measured":
        measured_start(trained, pictures, recipe)
    if recipe.init_from:
        start_from(trained, recipe.init_from)
    objective.to(fabric.device).train()
    codec.to(memory_format=torch.channels_last)
    pictures.to(fabric.device)
    average = copy.deepcopy(trained).requires_grad_(False).eval()
    optimisers = make_optimisers(
        trained, recipe.optimiser, recipe.learning_rate, recipe.weight_decay, recipe.outer_rate
    )
    return Training(
        recipe, fabric, pictures, codec, trained, average, optimisers, fabric.setup_module(objective), anchor
    )


def measured_start(codec, pictures: Pictures, recipe: Recipe) -> None:
    """Sets a codec's first values from training pictures.

    Raises:
        ConfigError: the architecture has none that could be measured.
    """
    if not hasattr(codec, "start_from"):
        raise ConfigError(
            f"recipe '{recipe.name}': '{recipe.architecture}' has no start values to measure; leave 'start' out."
        )
    generator = torch.Generator().manual_seed(recipe.seed)
    codec.start_from(pictures.batch(MEASURED_PICTURES, generator).float() / 255)


def checkpoint_at_stop(training: Training, state: Progress, folder: Path) -> str:
    """Keeps a training that is stopped, and says so (``semcom.stopping.at_stop``)."""
    path, recipe = folder / "checkpoint.pt", training.recipe
    if state.step == 0:
        return f"{recipe.name} has made no step yet."
    save_checkpoint(path, recipe, *training.parts, state, training.anchor)
    return f"{recipe.name}: step {state.step} of {recipe.steps} is kept in {path}; the same command goes on from it."


def take_step(
    training: Training, step: int, rate: float, folder="", state: Progress | None = None, done: float = 1.0
) -> torch.Tensor:
    """Gradient step number ``step`` at a learning rate, ``done`` of the training behind; returns loss and figure.

    Both in one tensor ``[2]``; the figure is the result's: PSNR in dB, share correct.

    Args:
        state: counts the step as soon as the weights have it.

    Raises:
        TrainingError: the loss or its gradient is not a number; no weight has changed (on a GPU, where only every
            ``FINITE_EVERY``-th step looks: the last checkpoint has only numbers).
    """
    recipe, fabric = training.recipe, training.fabric
    for optimiser in training.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["rate_scale"]
        optimiser.zero_grad(set_to_none=True)

    images, snr, given_db, noise, rho, wanted = draw(training, step)
    loss, figure = training.objective(images, snr, given_db, noise, rho, wanted, done)
    fabric.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(training.trained.parameters(), recipe.clip)
    # a GPU would have to be waited for; what it computes from a weight that is none shows at the next look
    look = fabric.device.type == "cpu" or step % FINITE_EVERY == FINITE_EVERY - 1
    if look and not torch.isfinite(fabric.all_reduce(loss.detach() + norm, reduce_op="mean")):
        raise TrainingError(not_a_number(training, step, loss.item(), folder))
    with stopping.held():
        update(training, step)
        if state is not None:
            state.step = step + 1
    return torch.stack([loss.detach(), figure])


def update(training: Training, step: int) -> None:
    """The optimisers' step, and the averaged weights after it."""
    for optimiser in training.optimisers:
        optimiser.step()
    decay = min(training.recipe.ema, (2 + step) / (11 + step))
    with torch.no_grad():
        averaged, own = list(training.average.parameters()), list(training.trained.parameters())
        torch._foreach_lerp_(averaged, own, 1 - decay)
        for averaged, own in zip(training.average.buffers(), training.trained.buffers()):
            averaged.copy_(own)  # what batch normalisation has seen


def draw(training: Training, step: int):
    """Images, SNRs, what encoders are given, the noise's generator and the rate: this process's share of a step's batch.

    Every step draws from its own seed, so that a resumed training repeats an unbroken one. Processes draw the same
    batch and take every n-th row of it; the noise of each is its own.
    """
    recipe, fabric = training.recipe, training.fabric
    rank, ranks = fabric.global_rank, fabric.world_size
    generator = step_generator(recipe, step)
    images = training.pictures.batch(recipe.batch, generator, rank, ranks).float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    snr, given_db = (x[rank::ranks].to(fabric.device) for x in draw_snr(recipe, recipe.batch, generator))
    noise = torch.Generator().manual_seed(1_009 * generator.initial_seed() + rank)
    rho = None
    if recipe.rates:
        rho = recipe.rates[int(torch.randint(len(recipe.rates), (1,), generator=generator))]
    wanted = None
    if training.codec.result is LABEL:
        wanted = training.pictures.batch_labels(recipe.batch, step_generator(recipe, step), rank, ranks)
        wanted = wanted.to(fabric.device)
    return images, snr, given_db, noise, rho, wanted


def step_generator(recipe: Recipe, step: int) -> torch.Generator:
    """The source of everything random in a step."""
    return torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)


def not_a_number(training: Training, step: int, loss: float, folder) -> str:
    """The words for a loss or gradient that is not a number: where, on what, and what is left."""
    recipe = training.recipe
    names = training.pictures.batch_names(recipe.batch, step_generator(recipe, step))
    checkpoint = Path(folder) / "checkpoint.pt"
    kept = (
        f"The last good checkpoint is {checkpoint}" if checkpoint.exists() else "There is no checkpoint yet"
    )
    return (
        f"the loss is {loss} (or its gradient is not a number) at step {step}: the training stops. The batch was "
        f"{', '.join(names)}. {kept}; lower learning_rate in the recipe (now {recipe.learning_rate}) and start the same "
        "command again."
    )


def together(fabric, recipe: Recipe, seconds: float) -> float:
    """One clock for all processes where the schedule goes by minutes: all must stop at the same step."""
    if fabric.world_size == 1 or not recipe.max_minutes:
        return seconds
    return float(fabric.all_reduce(torch.tensor(seconds, device=fabric.device), reduce_op="mean"))


def schedule_position(recipe: Recipe, step: int, seconds: float) -> float:
    """How much of the training is done, 0..1: by steps, or by minutes where those are further on."""
    by_time = seconds / (60 * recipe.max_minutes) if recipe.max_minutes else 0.0
    return max(step / recipe.steps, by_time)


def learning_rate(recipe: Recipe, step: int, done: float) -> float:
    """Warm-up, then constant, then falling linearly to zero over the last ``decay_fraction``.

    A training can be cut short well: lower ``steps`` in the recipe and resume, and the fall begins.
    """
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    fall = min(1.0, (1 - done) / recipe.decay_fraction) if recipe.decay_fraction else 1.0
    return recipe.learning_rate * warm * fall


def validate(codec: Codec, pictures: Pictures, crop: int, snrs_db=HELD_OUT_SNR_DB) -> dict:
    """Mean figure (per-image PSNR, share correct) of the held-out images at each SNR (centre crops for photos), same
    noise always."""
    images = pictures.held_out
    side = crop or min(images[0].shape[1:])
    device = next(codec.parameters()).device
    pixels = torch.stack([centre_crop(image, side) for image in images]).to(device)
    row = {}
    for snr in snrs_db:
        generator = torch.Generator(device).manual_seed(snr)
        decoded, _, _ = across(codec, pixels, float(snr), awgn_channel, generator, in_memory=True)
        wanted = pictures.held_out_labels.to(device) if codec.result is LABEL else pixels
        row[held_out_column(codec.result.figure, snr)] = codec.result.figures(decoded, wanted).mean().item()
    return row


def centre_crop(image, side: int):
    """The middle ``side`` x ``side`` pixels of ``[3, H, W]``."""
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


if __name__ == "__main__":
    import typer

    from semcom.terminal import stoppable

    def main(
        recipe: str,
        data: str = None,
        out: str = "runs",
        device: str = "auto",
        threads: int = None,
        resume: bool = True,
        devices: int = 1,
        nodes: int = 1,
        tensorboard: bool = False,
        stop_after: float = None,
        plugin: list[str] = [],  # noqa: B006
    ):
        try:
            plugins.use(plugin)
            with stoppable():
                run(
                    recipe,
                    data,
                    out,
                    device,
                    threads,
                    resume,
                    devices=devices,
                    nodes=nodes,
                    tensorboard=tensorboard,
                    stop_after=stop_after,
                )
        except SemcomError as error:
            raise SystemExit(f"semcom_training: {error}") from None
        except Exception as error:
            if (own := plugins.fault(error)) is None:
                raise
            raise SystemExit(f"semcom_training: {own}") from None

    typer.run(main)
