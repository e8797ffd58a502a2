# SPDX-License-Identifier: GPL-3.0-or-later
"""From trained weights to a zoo entry: float16 safetensors, a card, a measured table.

python -m semcom_training.export CHECKPOINT.pt --out FOLDER --data FOLDER
"""

import copy
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import torch

from semcom import files
from semcom.codec import ARCHITECTURES
from semcom.codec.base import BaseCodec
from semcom.errors import ConfigError
from semcom.experiments.evaluate import evaluate, summarise
from semcom.kinds import IMAGE, LABEL, sets
from semcom.kinds.sets import LABELLED, load_cifar10, load_cifar10_labels
from semcom.system import zoo
from semcom.system.card import ModelCard, own_parts, user_parts
from semcom_training import checkpoint as checkpoints
from semcom_training.data import data_root, image_files, read_image
from semcom_training.errors import TrainingError
from semcom_training.machine import hardware
from semcom_training.models import build_codec, load_anchor, trained_part, user_arguments
from semcom_training.recipe import Recipe, make_recipe

CARD_SNR_DB = [0, 1, 4, 7, 10, 13, 16, 20]


def evaluation_images(recipe: Recipe, root, count: int = 0):
    """The set a model is measured on, never trained on: CIFAR's test split (with classes for a classifier), or Kodak.
    (name, images), or ``None`` if it is not below ``root``."""
    name = next((name for name in LABELLED if name in recipe.data), "kodak")
    folder = Path(root) / name
    if not folder.is_dir():
        return None
    if name in LABELLED:
        images = [(f"test-{n}", pixels) for n, pixels in enumerate(load_cifar10(folder, "test"))]
        if ARCHITECTURES.get(recipe.architecture, BaseCodec).result is LABEL:
            labels = load_cifar10_labels(folder, "test").tolist()
            images = [(*image, label) for image, label in zip(images, labels, strict=True)]
        title = f"{sets.title(folder, len(images))} test"
    else:
        images = [(path.name, read_image(path).permute(1, 2, 0).numpy()) for path in image_files(folder)]
        title = "Kodak"
    return title, images[:count] if count else images


def export_model(
    recipe: Recipe,
    codec,
    folder,
    steps: int,
    seconds: float,
    root=None,
    measure: bool = True,
    anchor: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes ``<name>.safetensors`` (float16) and ``<name>.json`` into ``folder`` and measures them there.

    Both are written beside their places first: where the disk is full, a model of that name stays as it was. Of a
    user's recipe the decoder alone is written. An anchor that does not ship is copied beside it, so that the folder can
    be loaded wherever it goes.

    Args:
        codec: the averaged weights; of a user, paired with its anchor.
        steps, seconds: spent in training.
        root: data folder with the evaluation set; without it the card's table is empty.
        anchor: SHA-256 of the weights of the anchor that a user was trained for, where that is known.
        progress: called while it is measured, with how many pictures are through at all SNRs, and of how many.

    Returns:
        The card's path.

    Raises:
        OutputError: the folder cannot be written.
        TrainingError: the anchor is no longer the one that the user was trained for.
    """
    folder = Path(folder)
    reference = load_anchor(recipe).card.reference if recipe.stage == "user" else None
    if reference and anchor and reference["weights_sha256"] != anchor:
        raise TrainingError(
            f"'{recipe.name}' was trained for an anchor '{recipe.anchor}' whose weights were {anchor[:12]}..., but now "
            f"they are {reference['weights_sha256'][:12]}...: put that anchor back and start the same command again."
        )
    trained_on = hardware(next(codec.parameters()).device)
    codec = copy.deepcopy(codec).eval().cpu()
    if recipe.stage == "user":
        bring_anchor(recipe.anchor, folder)
    with files.staging_folder(folder) as stage:
        card = _stage(recipe, codec, steps, seconds, trained_on, reference, stage)
        path = zoo.install(stage / f"{recipe.name}.json", folder)
    found = evaluation_images(recipe, root) if measure and root else None
    if found:
        tables = measure_tables(zoo.load(path), *found, codec, progress)
        dataclasses.replace(card, measured=tables).write(path)
    return path


def _stage(
    recipe: Recipe, codec, steps, seconds, trained_on: str, anchor: dict | None, folder: Path
) -> ModelCard:
    """Weights and card in a folder of their own; ``measured`` is still empty."""
    trained, backbone = trained_part(recipe, codec), shared_backbone(recipe, folder)
    file = f"{recipe.name}.safetensors"
    weights = file, zoo.save_weights(trained, folder / file, with_backbone=backbone is None)
    parts = user_parts(anchor, *weights) if anchor else own_parts(*weights)
    card = ModelCard(
        name=recipe.name,
        architecture=recipe.architecture,
        arguments=user_arguments(recipe, codec) if recipe.stage == "user" else recipe.arguments,
        rho=codec.rho,
        source=codec.source.name,
        result=codec.result.name,
        power=codec.power,
        payloads=[zoo.ANALOG_PAYLOAD]
        + [zoo.QUANTISED] * (codec.quantisable and not getattr(codec, "true_scale", False)),
        trained_for={"snr_range_db": symbol_range_db(recipe, codec), "channel": recipe.channel},
        parts=parts | ({"backbone": backbone} if backbone else {}),
        weights_dtype="float16",
        parameters=sum(p.numel() for p in trained.parameters()),
        training_data=list(recipe.data),
        recipe=dataclasses.asdict(recipe),
        seed=recipe.seed,
        budget={"steps": steps, "minutes": round(seconds / 60, 1), "hardware": trained_on}
        | ({"started_from": recipe.init_from} if recipe.init_from else {}),
        measured=[],
        licence=recipe.licence,
    )
    card.write(folder / f"{recipe.name}.json")
    return card


def shared_backbone(recipe: Recipe, folder: Path) -> dict | None:
    """File and sha256 of the model that a recipe has its frozen backbone from, copied into ``folder``; None: its own."""
    if recipe.frozen != ["backbone"] or not recipe.init_from:
        return None
    source = zoo.card_path(recipe.init_from)
    card = zoo.card(recipe.init_from)
    part = card.backbone or card.parts["encoder"]
    files.write_bytes(folder / part["file"], source.with_name(part["file"]).read_bytes())
    return dict(part)


def symbol_range_db(recipe: Recipe, codec) -> list[float]:
    """The Es/N0 in dB that a recipe trained for, also where it says peak SNRs."""
    if recipe.snr_of == "symbol":
        return list(recipe.snr_range_db)
    return [round(snr_db - codec.backoff_db, 2) for snr_db in recipe.snr_range_db]


def bring_anchor(anchor: str, folder: Path) -> None:
    """Copies an anchor that does not ship into ``folder``, its card last."""
    source = zoo.card_path(anchor)
    if source.parent in (zoo.WEIGHTS, folder):
        return
    for path in (*zoo.companions(source), source):
        files.write_bytes(folder / path.name, path.read_bytes())


def measure_tables(
    model, title: str, images, full_precision=None, progress: Callable[[int, int], None] | None = None
) -> list[dict]:
    """The card's tables over ideal AWGN, one a metric; with the float32 codec the first says also what float16 storage
    costs at 10 dB. ``progress`` as of :func:`export_model`."""
    looks = ["lpips"] if model.codec.result is IMAGE else []
    through = itertools.count(1)

    def on_row(place: int, row: dict) -> None:
        if progress:
            progress(next(through), len(images) * len(CARD_SNR_DB))

    rows = evaluate(model, images, CARD_SNR_DB, "awgn", seed=0, perceptual=looks, on_row=on_row)
    rows = summarise(rows)
    tables = []
    for metric, digits in (("psnr_db", 3), ("ms_ssim", 4), ("lpips", 4), ("correct", 4)):
        values = [row.get(metric) for row in rows]
        if any(value is not None for value in values):
            entry = {"set": title, "items": len(images), "channel": "awgn", "metric": metric}
            entry |= {"snr_db": [row["snr_db"] for row in rows]}
            tables.append(entry | {"values": [None if v is None else round(v, digits) for v in values]})
    if full_precision is not None and model.codec.result is IMAGE:
        some = images[:500]
        exact = dataclasses.replace(model, codec=full_precision)
        psnr = [summarise(evaluate(m, some, 10, "awgn", 0, False))[0]["psnr_db"] for m in (exact, model)]
        tables[0]["float16_loss_db"] = round(psnr[0] - psnr[1], 4)
    return tables


def export_checkpoint(checkpoint, out, data=None, measure: bool = True) -> Path:
    """Exports the averaged weights of a ``checkpoint.pt``, also in the middle of a training.

    Raises:
        ConfigError: no such checkpoint.
        OutputError, TrainingError: as :func:`export_model`; the checkpoint is damaged.
    """
    if not Path(checkpoint).is_file():
        raise ConfigError(f"there is no checkpoint {checkpoint}.")
    state = checkpoints.read_checkpoint(Path(checkpoint))
    recipe = make_recipe(dict(state["recipe"]), str(checkpoint))
    recipe = dataclasses.replace(recipe, steps=max(state["step"], 1))
    codec, trained = build_codec(recipe)
    trained.load_state_dict(state["average"])
    root = data_root(data) if measure else None
    out = files.writable_folder(out)
    return export_model(
        recipe, codec, out, state["step"], state["seconds"], root, anchor=state.get("anchor", "")
    )


if __name__ == "__main__":
    import typer

    def main(
        checkpoint: str, out: str = "exported", data: str = None, measure: bool = True, threads: int = 1
    ):
        torch.set_num_threads(threads)
        print(export_checkpoint(checkpoint, out, data, measure))

    typer.run(main)
