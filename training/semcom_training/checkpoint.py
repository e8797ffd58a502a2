# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints that are whole or not there: written beside, flushed to the disk, renamed."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from semcom.errors import OutputError
from semcom_training.errors import TrainingError
from semcom_training.recipe import make_recipe


@dataclass
class Progress:
    """How far a training is: gradient steps done and seconds spent on them, all sessions together."""

    step: int = 0
    seconds: float = 0.0


def save_checkpoint(path: Path, recipe, trained, average, optimisers, progress: Progress) -> None:
    """Writes everything that a resumed training needs. The file that was there stays until the new one is on the disk.

    Raises:
        OutputError: the disk is full or cannot be written; the previous checkpoint is as it was.
    """
    state = {
        "recipe": recipe.fixed(),
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


def load_checkpoint(path: Path, recipe, trained, average, optimisers) -> Progress:
    """Restores everything. Only tensors and plain values are read, never code.

    Raises:
        TrainingError: the checkpoint was trained by another recipe.
    """
    state = torch.load(path, weights_only=True, map_location=next(trained.parameters()).device)
    before = make_recipe(dict(state["recipe"]), f"the recipe in {path}").fixed()
    changed = [key for key, value in recipe.fixed().items() if before[key] != value]
    if changed:
        raise TrainingError(
            f"{path} was trained with other values of {', '.join(changed)}: use another output "
            f"folder, or start anew without resuming."
        )
    trained.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimiser, saved in zip(optimisers, state["optimisers"]):
        optimiser.load_state_dict(saved)
    return Progress(state["step"], state["seconds"])


def _sync_folder(folder: Path) -> None:
    """A rename outlives a power cut only once its folder is on the disk too (POSIX; others cannot open folders)."""
    if os.name == "posix":
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
