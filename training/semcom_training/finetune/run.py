# SPDX-License-Identifier: GPL-3.0-or-later
"""From a capture and a model to a better one, or to none: held-out pictures decide."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semcom import files
from semcom.codec.image.adapted import over
from semcom.system import zoo
from semcom_training.finetune import models
from semcom_training.finetune.captured import Capture, Example, split
from semcom_training.finetune.options import Options
from semcom_training.finetune.pair import replayed, replayed_psnr_db, tune_pair
from semcom_training.finetune.users import received_psnr_db, tune_user

Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class Outcome:
    """What came of a fine-tuning.

    before_db, after_db: PSNR on the held-out pictures, of the model it started from and of the new one as stored.
    card: path of the new model's card; None: it was no better, and nothing was written.
    """

    model: str
    before_db: float
    after_db: float
    held_out: int
    steps: int
    minutes: float
    card: Path | None

    @property
    def gain_db(self) -> float:
        return self.after_db - self.before_db


def finetune_user(
    model: str | Path,
    capture: Capture,
    out: str | Path,
    options: Options,
    progress: Progress = None,
    device="cpu",
) -> Outcome:
    """Fine-tunes a user's decoder (or a codec's own) with the encoder as it is, and writes it if it is better.

    The new model is a user decoder of the same anchor, and works with what is on the air as it is. It gets a name that
    nothing in ``out`` has.

    Args:
        model: name or card path. out: folder for NAME.json and NAME.safetensors. device: where to compute.

    Raises:
        ModelError, OutputError, TrainingError: in words.
    """
    loaded, out = zoo.load(model, device), files.writable_folder(Path(out))
    models.require_room(model, out)
    capture = capture.to(device)
    _, held_out = split(capture.examples, options.held_out)
    before = received_psnr_db(over(loaded.codec, capture.modem), held_out)
    adapted, tuned = tune_user(loaded, capture, options, progress)
    name = models.free_name(f"{_stem(loaded.card)}-air-{capture.sha256[:6]}", loaded.card, out)
    with models.staging_folder(model, out) as folder:
        changes = models.user_card(loaded.card, adapted, capture)
        staged = models.stage(name, loaded.card, adapted, capture, tuned, options, changes, folder)
        after = received_psnr_db(over(zoo.load(staged, device).codec, capture.modem), held_out)
        return _decide(loaded.card, staged, before, after, capture, tuned, options, out, model, "as received")


def finetune_pair(
    model: str | Path,
    capture: Capture,
    out: str | Path,
    options: Options,
    progress: Progress = None,
    fresh: list[Example] | None = None,
    device="cpu",
) -> Outcome:
    """Fine-tunes encoder and decoder through the replayed channel; both ends must then load the new model.

    Old and new are compared over the channel of the held-out pictures, replayed with the same draws.

    Args:
        fresh: other pictures to train on, as in :func:`pair.tune_pair`. device: where to compute.

    Raises:
        ModelError: a user decoder. OutputError, TrainingError: in words.
    """
    loaded, out = zoo.load(model, device), files.writable_folder(Path(out))
    models.require_room(model, out)
    capture = capture.to(device)
    codec, tuned = tune_pair(loaded, capture, options, progress, fresh and [one.to(device) for one in fresh])
    _, held_out = split(capture.examples, options.held_out)
    channel = replayed(loaded, capture, held_out, options)
    before = replayed_psnr_db(over(loaded.codec, capture.modem), channel, held_out, capture.snr_db)
    name = models.free_name(f"{_stem(loaded.card)}-pair-{capture.sha256[:6]}", loaded.card, out)
    other = f"{len(fresh or ())} crops of pictures that were not captured"
    changes = {"training_data": [f"channel of capture {capture.sha256[:12]}", other]} if fresh else {}
    with models.staging_folder(model, out) as folder:
        staged = models.stage(name, loaded.card, codec, capture, tuned, options, changes, folder)
        tuned_codec = over(zoo.load(staged, device).codec, capture.modem)
        after = replayed_psnr_db(tuned_codec, channel, held_out, capture.snr_db)
        return _decide(loaded.card, staged, before, after, capture, tuned, options, out, model, "replayed")


def _decide(parent, staged, before, after, capture, tuned, options, out, model, how) -> Outcome:
    card = None
    if float((after - before).mean()) >= max(options.margin_db, 1e-6):
        title, channel = f"held-out pictures of capture {capture.sha256[:12]}", f"captured, {how}"
        measured = [
            models.table(f"{title}, {parent.name}", before, capture.snr_db, channel),
            models.table(f"{title}, this model", after, capture.snr_db, channel),
        ]
        models.copy_model(model, out)
        card = models.publish(staged, measured, out)
    means = float(before.mean()), float(after.mean())
    return Outcome(parent.name, *means, len(after), tuned.steps, tuned.minutes, card)


def _stem(card) -> str:
    """The name without what an earlier fine-tuning added."""
    return card.name.split("-air-")[0].split("-pair-")[0]
