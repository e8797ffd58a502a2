# SPDX-License-Identifier: GPL-3.0-or-later
"""Task codecs behind a backbone that stays as it is: features are computed once, and a training takes seconds.

What is trained is all but the backbone, by the same objective and recipe as everywhere (``semcom_training.objective``).

python -m semcom_training.frozen RECIPE ... --data FOLDER --out FOLDER     the task models that ship
"""

import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from semcom.channel.symbols import symbol_channel
from semcom.codec.base import Latents, checked_range
from semcom.codec.task.latent import TaskCodec
from semcom.errors import ConfigError, SemcomError
from semcom.files import writable_folder
from semcom.kinds import sets
from semcom.kinds.sets import load_cifar10, load_cifar10_labels
from semcom.system import zoo
from semcom_training.channels import ModemOptions, through_modem
from semcom_training.data import Pictures, data_root
from semcom_training.export import CARD_SNR_DB, export_model, symbol_range_db
from semcom_training.models import build_codec
from semcom_training.objective import Objective, draw_snr
from semcom_training.recipe import Recipe, load_recipe

#: pictures of each set that are never trained on, and choose
HELD_OUT = {"cifar10": 5000, "cifar100": 2000}
_ROWS = 1000


@dataclass(frozen=True)
class Features:
    """Of a set: those trained on, as they are and flipped ``[2, N, F]``; held out, which choose; and of the test split.

    title: of the set, in words.
    """

    title: str
    train: torch.Tensor
    train_labels: torch.Tensor
    held_out: torch.Tensor
    held_out_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor


@functools.lru_cache(2)
def features_of(name: str, model: str, data: str) -> Features:
    """The features of a set of ``HELD_OUT`` below the data folder, by the backbone of a model."""
    codec, root = zoo.load(model).codec, data_root(data)
    pictures = Pictures(root, [name], held_out=HELD_OUT[name])
    test = torch.from_numpy(load_cifar10(root / name, "test").transpose(0, 3, 1, 2).copy())
    train = torch.stack(pictures.images)
    return Features(
        sets.title(root / name, len(test)),
        torch.stack([_features(codec, train), _features(codec, train.flip(3))]),
        pictures.labels,
        _features(codec, torch.stack(pictures.held_out)),
        pictures.held_out_labels,
        _features(codec, test),
        torch.from_numpy(load_cifar10_labels(root / name, "test")),
    )


@torch.inference_mode()
def _features(codec: TaskCodec, images: torch.Tensor) -> torch.Tensor:
    """Of uint8 ``[N, 3, H, W]``."""
    parts = [codec.features(part.float() / 255) for part in images.split(_ROWS)]
    return torch.cat(parts).clone()


def train(recipe: Recipe, features: Features) -> TaskCodec:
    """A codec of the recipe, all but its backbone trained; the last step's weights, nothing chosen.

    AdamW with one cycle (30 % warm-up); ``steps``, ``batch``, ``learning_rate``, ``weight_decay``, ``clip`` and ``seed``
    are the recipe's.
    """
    torch.manual_seed(recipe.seed)
    codec, _ = build_codec(recipe)
    objective = Objective(codec, recipe).train()
    codec.send = codec.send_features  # of features in place of images
    trained = [p for n, p in codec.named_parameters() if not n.startswith("backbone.")]
    optimiser = torch.optim.AdamW(trained, recipe.learning_rate, weight_decay=recipe.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, recipe.steps)
    generator = torch.Generator().manual_seed(recipe.seed)
    flips, count = features.train.shape[:2]
    for step in range(recipe.steps):
        picked = torch.randint(count, (recipe.batch,), generator=generator)
        flipped = torch.randint(flips, (recipe.batch,), generator=generator)
        snr, given = draw_snr(recipe, recipe.batch, generator)
        loss, _ = objective(
            features.train[flipped, picked],
            snr,
            given,
            generator,
            wanted=features.train_labels[picked],
            done=step / recipe.steps,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimiser.step()
        cycle.step()
    del codec.send
    codec.snr_range_db = checked_range(symbol_range_db(recipe, codec))
    return codec.eval()


def _received(sent: Latents, snr_db: float, channel: str, generator) -> Latents:
    """What was sent, across a symbol channel at an Es/N0 in dB, as a receiver has it: without what the sender knows.

    ``modem``: as samples of bursts, the pictures one after the other in one item.
    """
    if channel == "modem":
        together = sent.values.reshape(1, -1)
        values, noise = through_modem(together, snr_db, generator, ModemOptions())
        return Latents(values.view_as(sent.values), noise_var=noise.view(sent.values.shape))
    values, noise = symbol_channel(channel)(sent.values, snr_db, generator)
    return Latents(values, noise_var=noise)


@torch.no_grad()
def error_rate(
    codec: TaskCodec, rows: torch.Tensor, labels: torch.Tensor, snr_db: float, channel="awgn", draws=2, seed=0
) -> float:
    """Share of wrong classes at an Es/N0 in dB; ``draws`` of the noise a picture."""
    generator = torch.Generator().manual_seed(seed)
    wrong = 0
    sent = codec.send_features(rows, snr_db)
    for _ in range(draws):
        got = _received(sent, snr_db, channel, generator)
        logits = codec.receive(got, snr_db, (codec.classes, 1))
        wrong += int((logits.argmax(dim=1) != labels).sum())
    return wrong / (draws * len(labels))


def sensitivity(codec: TaskCodec, rows: torch.Tensor, snr_db: float, draws=20, seed=0) -> dict[str, float]:
    """The Fisher term and what it stands for, mean over rows, over AWGN at an Es/N0 in dB: ``trace``, ``term`` (1/2 sum
    sigma_j^2 I_jj), ``kl`` (of ``draws`` of the noise a row)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        sent = codec.send_features(rows, snr_db, in_memory=True)
        point = codec.as_sent(sent)
    posterior, _, variance = codec.posterior(_received(sent, snr_db, "awgn", generator))
    diagonal = posterior.fisher_diag(point, "exact").detach()
    came = torch.isfinite(variance)
    term = 0.5 * (diagonal * torch.where(came, variance, 0.0)).sum(dim=1).mean()
    kl = 0.0
    with torch.no_grad():
        for _ in range(draws):
            z_hat = codec.posterior(_received(sent, snr_db, "awgn", generator))[1]
            kl += float(posterior.kl(torch.where(came, point, 0.0), z_hat).mean()) / draws
    return {"trace": float(diagonal.sum(dim=1).mean()), "term": float(term), "kl": kl}


def make(recipe: Recipe, data=None, out="runs") -> Path:
    """Trains a recipe whose backbone is frozen and writes model, card and its table to ``<out>/<name>``.

    Returns:
        The card's path.

    Raises:
        ConfigError: the recipe does not freeze the backbone of a model, or has several sets.
        OutputError, ModelError: as of every training.
    """
    if (
        recipe.frozen != ["backbone"]
        or not recipe.init_from
        or len(recipe.data) != 1
        or recipe.data[0] not in HELD_OUT
    ):
        raise ConfigError(
            f"recipe '{recipe.name}': a training on features has model.frozen: [backbone], model.init_from, the model "
            f"whose backbone it is, and one set of {' or '.join(HELD_OUT)}; others are trained by `semcom train`."
        )
    root, folder = data_root(data), writable_folder(Path(out) / recipe.name)
    features = features_of(recipe.data[0], recipe.init_from, str(root))
    began = time.monotonic()
    codec = train(recipe, features)
    seconds = time.monotonic() - began
    codec.backbone.load_state_dict(zoo.load(recipe.init_from).codec.backbone.state_dict())
    wrong = error_rate(codec, features.held_out, features.held_out_labels, codec.snr_range_db[1])
    print(f"{recipe.name}: {100 * wrong:.2f} % wrong of those held out at {codec.snr_range_db[1]:g} dB Es/N0")
    path = export_model(recipe, codec, folder, recipe.steps, seconds, measure=False)
    written = zoo.load(path)
    correct = [
        1 - error_rate(written.codec, features.test, features.test_labels, snr, draws=1)
        for snr in CARD_SNR_DB
    ]
    entry = {
        "set": f"{features.title} test",
        "items": len(features.test),
        "channel": "awgn",
        "metric": "correct",
    }
    entry |= {"snr_db": CARD_SNR_DB, "values": [round(share, 4) for share in correct]}
    replace(written.card, measured=[entry]).write(path)
    return path


if __name__ == "__main__":
    import typer

    def main(recipes: list[str], data: str = None, out: str = "runs", threads: int = 1):
        torch.set_num_threads(threads)
        try:
            for one in [load_recipe(recipe) for recipe in recipes]:
                print(make(one, data, out))
        except SemcomError as error:
            raise SystemExit(f"semcom_training.frozen: {error}") from None

    typer.run(main)
