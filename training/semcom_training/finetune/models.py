# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tuned model as a zoo entry: weights and card in a folder, whole or not at all."""

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from semcom import files
from semcom.codec.base import BaseCodec
from semcom.codec.image.adapted import Adapted
from semcom.codec.image.content_user import ContentUser
from semcom.modem.v2 import as_flown
from semcom.system import zoo
from semcom.system.card import ModelCard, own_parts, user_parts
from semcom_training.finetune.captured import Capture
from semcom_training.finetune.loop import Tuned
from semcom_training.finetune.options import Options
from semcom_training.machine import hardware


def user_card(parent: ModelCard, adapted: Adapted | ContentUser, capture: Capture) -> dict:
    """What the card of a fine-tuned user decoder says beside what all say."""
    inner = (parent.architecture, dict(parent.arguments))
    if parent.architecture == Adapted.name:
        inner = parent.arguments["decoder"], parent.arguments["arguments"]
    # of whatever frame version the capture is, it flies in today's
    modem = as_flown(dataclasses.asdict(capture.modem))
    return {
        "architecture": Adapted.name,
        "arguments": {"decoder": inner[0], "arguments": inner[1], "modem": modem},
        "parameters": sum(p.numel() for p in adapted.parameters()),
    }


def stage(
    name: str,
    parent: ModelCard,
    codec: BaseCodec,
    capture: Capture,
    tuned: Tuned,
    options: Options,
    changes: dict,
    folder: Path,
) -> Path:
    """Writes the model into a folder of its own and returns the path of its card; ``measured`` is still empty."""
    weights = f"{name}.safetensors", zoo.save_weights(codec, folder / f"{name}.safetensors")
    alone = changes.get("architecture") == Adapted.name  # a decoder, behind the encoder that was on the air
    card = dataclasses.replace(
        parent,
        name=name,
        parts=user_parts(parent.anchor or parent.reference, *weights) if alone else own_parts(*weights),
        trained_for=parent.trained_for | {"channel": "capture"},
        weights_dtype="float16",
        recipe=dataclasses.asdict(options),
        seed=options.seed,
        budget={
            "steps": tuned.steps,
            "minutes": round(tuned.minutes, 2),
            "hardware": hardware(next(codec.parameters()).device),
            "started_from": parent.name,
        },
        measured=[],
        digital=None,  # codebooks and tolerances are those of the parent's weights; a user's come with its anchor
        parent=parent.reference,
        capture={
            "sha256": capture.sha256,
            "recordings": capture.recordings,
            "pictures": len(capture.examples),
            "skipped": dict(capture.skipped),
        },
        **({"training_data": [f"capture {capture.sha256[:12]}"]} | changes),
    )
    path = folder / f"{name}.json"
    return card.write(path)


def table(title: str, psnr_db: torch.Tensor, snr_db: float, channel: str) -> dict:
    """An entry of ``measured``: one SNR, the capture's mean."""
    return {
        "set": title,
        "items": len(psnr_db),
        "channel": channel,
        "metric": "psnr_db",
        "snr_db": [round(snr_db, 2)],
        "values": [round(float(psnr_db.mean()), 3)],
    }


def publish(staged: Path, measured: list[dict], out: Path) -> Path:
    """Moves a staged model into ``out``, its card with what was measured."""
    dataclasses.replace(zoo.card(staged), measured=measured).write(staged)
    return zoo.install(staged, out)


def free_name(wanted: str, parent: ModelCard, out: Path) -> str:
    """``wanted``, or with the first number that makes it the name of nothing in ``out``, nor of the parent."""
    taken = {path.stem for path in out.iterdir()} | {parent.name, (parent.anchor or {}).get("name")}
    return next(
        name for n in itertools.count(1) if (name := wanted if n == 1 else f"{wanted}-{n}") not in taken
    )


@contextmanager
def staging_folder(parent: str | Path, out: Path) -> Iterator[Path]:
    """A folder in ``out`` that goes again, with the parent's card and weights in it, and its anchor's where those do not
    ship.

    Raises:
        OutputError: nothing can be written there.
    """
    with files.staging_folder(out) as folder:
        copy_model(parent, folder)
        yield folder


def require_room(name: str | Path, out: Path) -> None:
    """Checks that no other model in ``out`` has the name of the parent or its anchor, which come to lie there too.

    Raises:
        OutputError: one has.
    """
    files.check_copies(_files(name), out)


def copy_model(name: str | Path, folder: Path) -> None:
    """A model of the user's own into ``folder``, with the anchor beside it; one that ships is found anyway."""
    files.copy_into(_files(name), folder)


def _files(name: str | Path) -> list[Path]:
    """What a model of the user's own consists of, in the order to copy it: its card last."""
    return [] if str(name) in zoo.names() else [*zoo.companions(name), zoo.card_path(name)]
