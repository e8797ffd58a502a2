# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints that are whole or not there: written beside, flushed to the disk, renamed."""

import dataclasses
import io
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from semcom.errors import OutputError
from semcom_training.errors import TrainingError
from semcom_training.recipe import make_recipe

KEYS = ("recipe", "step", "seconds", "model", "average", "optimisers")
_CURE = "delete it and start anew, or put a whole copy in its place."


@dataclass
class Progress:
    """How far a training is: gradient steps done and seconds spent on them, all sessions together."""

    step: int = 0
    seconds: float = 0.0


def save_checkpoint(
    path: Path, recipe, trained, average, optimisers, progress: Progress, anchor: str = ""
) -> None:
    """Writes everything that a resumed training needs. The file that was there stays until the new one is on the disk.

    Args:
        anchor: SHA-256 of the weights of the anchor that a user's decoder is trained for.

    Raises:
        OutputError: the disk is full or cannot be written; the previous checkpoint is as it was.
        TrainingError: a weight is not a number; likewise.
    """
    if not (all_numbers(trained) and all_numbers(average)):
        kept = f"the checkpoint before it, {path}, is kept" if path.exists() else "there is no checkpoint yet"
        raise TrainingError(
            f"after step {progress.step} a weight is not a number: the training stops, and {kept}. Lower learning_rate "
            f"in the recipe (now {recipe.learning_rate}) and start the same command again."
        )
    state = {
        "recipe": dataclasses.asdict(recipe),
        "anchor": anchor,
        "step": progress.step,
        "seconds": progress.seconds,
        "model": trained.state_dict(),
        "average": average.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    blob = io.BytesIO()
    torch.save(state, blob)
    temporary = path.with_suffix(".tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(blob.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        kept = f"the one before it, {path}, is kept" if path.exists() else "there is none yet"
        raise OutputError(
            f"the checkpoint of step {progress.step} ({len(blob.getbuffer()) / 1e6:.1f} MB) cannot be written: "
            f"{error.strerror or error}; {kept}. Make room on the disk."
        ) from error


def all_numbers(module: torch.nn.Module) -> bool:
    """Whether no parameter or buffer holds NaN or infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())


def read_checkpoint(path: Path, device="cpu", keys=KEYS) -> dict:
    """What :func:`save_checkpoint` wrote, or another with these keys. Tensors and plain values are read, never code.

    Raises:
        TrainingError: it was cut short or damaged, or is no checkpoint of a training.
    """
    try:
        state = torch.load(path, weights_only=True, map_location=device)
        whole = set(keys) <= set(state)
    except Exception as error:  # whatever the bytes make of zip, pickle and torch
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        raise TrainingError(f"{path} cannot be read as a checkpoint ({reason}): {_CURE}") from error
    if not whole:
        raise TrainingError(f"{path} is no checkpoint of a training: {_CURE}")
    return state


def load_checkpoint(path: Path, recipe, trained, average, optimisers, anchor: str = "") -> Progress:
    """Restores everything.

    Raises:
        TrainingError: the checkpoint is damaged, was trained by another recipe, or for another anchor.
    """
    state = read_checkpoint(path, next(trained.parameters()).device)
    before = make_recipe(dict(state["recipe"]), f"the recipe in {path}").fixed()
    now = make_recipe(dataclasses.asdict(recipe)).fixed()  # both written in one way
    changed = [key for key, value in now.items() if before[key] != value]
    if changed:
        raise TrainingError(
            f"{path} was trained with other values of {', '.join(changed)}: use another output "
            f"folder, or start anew without resuming (--no-resume)."
        )
    if state.get("anchor") and state["anchor"] != anchor:  # older ones do not say
        raise TrainingError(
            f"{path} was trained for an anchor '{recipe.anchor}' whose weights were {state['anchor'][:12]}..., but now "
            f"they are {anchor[:12]}...: put that anchor back, or start anew without resuming (--no-resume)."
        )
    try:
        trained.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path} does not fit what its recipe builds ({error}): {_CURE}") from error
    return Progress(state["step"], state["seconds"])


def _sync_folder(folder: Path) -> None:
    """A rename outlives a power cut only once its folder is on the disk too (POSIX; others cannot open folders)."""
    if os.name == "posix":
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
