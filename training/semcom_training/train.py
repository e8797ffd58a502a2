# SPDX-License-Identifier: GPL-3.0-or-later
"""One training, readable from top to bottom: data, codec, loop, checkpoint, export.

python -m semcom_training.train RECIPE --data FOLDER --out FOLDER
"""

import copy
import csv
import math
import os
import time
from pathlib import Path

import torch

from semcom.channel.awgn import awgn, noise_power
from semcom.codec import build
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import SemcomError
from semcom_training.data import Pictures, data_root
from semcom_training.optim import make_optimisers
from semcom_training.recipe import Recipe, load_recipe

LOG_FIELDS = ["step", "minutes", "images_per_s", "learning_rate", "train_psnr_db"]
LOG_FIELDS += ["psnr_1_db", "psnr_10_db", "psnr_20_db"]  # held-out images


class TrainingError(SemcomError):
    """The training cannot go on: the loss is not a number, or the checkpoint is another recipe's."""


def run(
    recipe, data=None, out="runs", device="auto", threads=None, resume=True, progress=True, export=True
) -> Path:
    """Trains a codec by a recipe and exports it.

    Args:
        recipe: path of a YAML recipe, the name of a shipped one, or a :class:`Recipe`.
        data: folder that holds the recipe's data folders; else the environment variable SEMCOM_DATA.
        out: folder for the checkpoint, the log and the exported model, ``<out>/<name>/``.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: torch threads; ``None`` leaves them as they are.
        resume: go on from ``checkpoint.pt`` if there is one; else start anew.
        progress: show a progress bar.
        export: write ``<name>.safetensors`` and its card at the end.

    Returns:
        The folder ``<out>/<name>``.

    Raises:
        ConfigError: the recipe or the data folder is wrong.
        TrainingError: the loss became NaN (the last checkpoint is kept), or the checkpoint does not fit.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if threads:
        torch.set_num_threads(threads)
    folder = Path(out) / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    root = data_root(data)
    pictures = Pictures(root, recipe.data, recipe.exclude, recipe.crop, recipe.held_out, recipe.seed)

    torch.manual_seed(recipe.seed)
    model = build(recipe.architecture, recipe.arguments)
    if recipe.init_from:
        start_from(model, recipe.init_from)
    model.to(device).train()
    if device.type == "cpu":
        model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimisers = make_optimisers(
        model, recipe.optimiser, recipe.learning_rate, recipe.weight_decay, recipe.outer_rate
    )
    parameters = list(model.parameters())
    step, seconds = 0, 0.0
    if resume and (folder / "checkpoint.pt").exists():
        step, seconds = load_checkpoint(folder / "checkpoint.pt", recipe, model, average, optimisers)

    log = Log(folder / "log.csv", step)
    bar = Bar(recipe.name, progress)
    started = last_log = last_checkpoint = time.monotonic()
    seconds_before, losses, last_step = seconds, [], step
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    while (done := schedule_position(recipe, step, seconds)) < 1:
        rate = learning_rate(recipe, step, done)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * group["rate_scale"]

        # every step draws from its own seed, so that a resumed training repeats an unbroken one
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        images = pictures.batch(recipe.batch, generator).to(device).float() / 255
        if device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast:
            loss = training_loss(model, images, recipe, generator)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {step}: the training stops. The last good checkpoint "
                f"is in {folder}; lower learning_rate (now {recipe.learning_rate}) and start again."
            )
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        decay = min(recipe.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - decay)
        losses.append(loss.detach())

        now = time.monotonic()
        seconds = seconds_before + now - started
        done = schedule_position(recipe, step, seconds)
        if step % recipe.log_every == 0 or done >= 1:
            speed = (step - last_step) * recipe.batch / (now - last_log)
            row = {"step": step, "minutes": seconds / 60, "images_per_s": speed, "learning_rate": rate}
            mean = torch.stack(losses).mean().item()
            row["train_psnr_db"] = (
                -10 / math.log(10) * (mean if recipe.loss == "log-mse" else math.log(max(mean, 1e-9)))
            )
            row |= validate(average, pictures.held_out, recipe.crop)
            log.write(row)
            bar.show(done, seconds, row)
            losses, last_log, last_step = [], now, step
        if now - last_checkpoint > 60 * recipe.checkpoint_minutes or done >= 1:
            save_checkpoint(folder / "checkpoint.pt", recipe, model, average, optimisers, step, seconds)
            last_checkpoint = now
    bar.close()
    if export:
        from semcom_training.export import export_model

        export_model(recipe, average, folder, step, seconds, root)
    return folder


def training_loss(model, images, recipe: Recipe, generator) -> torch.Tensor:
    """Encode, pass the channel, decode, compare; random SNR for each image, uneven noise for some.

    With ``log-mse`` the loss is the mean over images of ln(MSE + loss_floor), for it is the mean of the
    per-image PSNR that is wanted.
    """
    batch, device = len(images), images.device
    uniform = torch.rand(batch, 4, generator=generator).to(device)
    snr = recipe.snr_low_db + (recipe.snr_high_db - recipe.snr_low_db) * uniform[:, 0] ** recipe.snr_skew
    off = 4 * torch.randn(batch, generator=generator).to(device)
    believed = torch.where(uniform[:, 1] < recipe.stale_fraction, snr + off, snr)
    latents = model.encode(images, believed)

    # what the air adds, drawn as noise of power 1 and scaled by the variance of each latent
    noise_var = noise_power(snr, like=latents)[:, None].expand(latents.shape)
    fading = torch.empty(latents.shape).exponential_(generator=generator).clamp_min(0.02).to(device)
    lost = torch.rand(latents.shape, generator=generator).to(device) < 0.5 * uniform[:, 3:]
    faded = uniform[:, 2:3] < recipe.uneven_fraction
    erased = (uniform[:, 2:3] > recipe.uneven_fraction / 2) & faded
    noise_var = torch.where(faded & ~erased, noise_var / fading, noise_var)
    noise = awgn(torch.zeros(latents.shape, dtype=latents.dtype), 0.0, generator).to(device)
    received = latents + noise * noise_var.sqrt()
    noise_var = torch.where(erased & lost, torch.inf, noise_var)

    decoded = model.decode(received, equivalent_snr_db(noise_var), images.shape[-2:], noise_var)
    mse = (decoded - images).square().mean(dim=(1, 2, 3))
    return (mse + recipe.loss_floor).log().mean() if recipe.loss == "log-mse" else mse.mean()


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


@torch.no_grad()
def validate(model, images, crop: int) -> dict:
    """Mean per-image PSNR of the held-out images at 1, 10 and 20 dB (centre crops for photos), same noise
    always."""
    side = crop or min(images[0].shape[1:])
    device = next(model.parameters()).device
    x = torch.stack([centre_crop(image, side) for image in images]).to(device).float() / 255
    model.eval()
    row = {}
    for snr in (1, 10, 20):
        generator = torch.Generator(device).manual_seed(snr)
        received = awgn(model.encode(x, float(snr)), float(snr), generator)
        decoded = (model.decode(received, float(snr), x.shape[-2:]) * 255).round() / 255
        mse = (decoded - x).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
        row[f"psnr_{snr}_db"] = -10 * mse.log10().mean().item()
    model.train()
    return row


def centre_crop(image, side: int):
    """The middle ``side`` x ``side`` pixels of ``[3, H, W]``."""
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


def start_from(model, card_path: str) -> None:
    """Copies every tensor of another model whose name and shape fit, and says how many."""
    from semcom.codec import zoo

    other = zoo.load(card_path).codec.state_dict()
    own = model.state_dict()
    fitting = {k: v for k, v in other.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(own | fitting)
    print(f"started from {card_path}: {len(fitting)} of {len(own)} tensors fit")


def save_checkpoint(path: Path, recipe, model, average, optimisers, step, seconds) -> None:
    """Writes beside, then renames: a checkpoint is whole or not there."""
    state = {
        "recipe": recipe.fixed(),
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimisers": [o.state_dict() for o in optimisers],
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, recipe, model, average, optimisers) -> tuple[int, float]:
    """Restores everything; returns the step and the seconds spent. Only tensors and plain values are read."""
    state = torch.load(path, weights_only=True, map_location=next(model.parameters()).device)
    changed = [k for k, v in recipe.fixed().items() if state["recipe"].get(k) != v]
    if changed:
        raise TrainingError(
            f"{path} was trained with other values of {', '.join(changed)}: use another output "
            f"folder, or start anew without resuming."
        )
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimiser, saved in zip(optimisers, state["optimisers"]):
        optimiser.load_state_dict(saved)
    return state["step"], state["seconds"]


class Log:
    """A CSV file of the training's course; on resuming, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        rows = []
        if step and path.exists():
            with open(path, newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, LOG_FIELDS)
            writer.writeheader()
            writer.writerows(rows)

    def write(self, row: dict):
        row = {
            k: v if isinstance(v, int) else f"{v:.4g}" if k == "learning_rate" else f"{v:.3f}"
            for k, v in row.items()
        }
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, LOG_FIELDS).writerow(row)


class Bar:
    """Progress on a terminal (Rich); a plain line each time where there is none."""

    def __init__(self, name: str, enabled: bool):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console()
        self.plain = enabled and not console.is_terminal
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")]
        self.progress = Progress(*columns, console=console, disable=not enabled or self.plain)
        self.task = self.progress.add_task(name, total=1.0, text="")
        self.progress.start()

    def show(self, done: float, seconds: float, row: dict):
        left = seconds * (1 - done) / max(done, 1e-9) / 60
        held_out = " / ".join(f"{row[f'psnr_{snr}_db']:.2f}" for snr in (1, 10, 20))
        text = (
            f"step {row['step']}  {row['images_per_s']:.0f} images/s  {left:.0f} min left  "
            f"train {row['train_psnr_db']:.2f} dB  held out {held_out} dB at 1 / 10 / 20 dB"
        )
        self.progress.update(self.task, completed=done, text=text)
        if self.plain:
            print(text, flush=True)

    def close(self):
        self.progress.stop()


if __name__ == "__main__":
    import typer

    def main(
        recipe: str,
        data: str = None,
        out: str = "runs",
        device: str = "auto",
        threads: int = None,
        resume: bool = True,
    ):
        try:
            run(recipe, data, out, device, threads, resume)
        except SemcomError as error:
            raise SystemExit(f"semcom_training: {error}") from None

    typer.run(main)
