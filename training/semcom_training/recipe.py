# SPDX-License-Identifier: GPL-3.0-or-later
"""A training recipe: one YAML file, one dataclass. How the file is written is in ``recipe_form``."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semcom import settings
from semcom.codec.base import BaseCodec
from semcom.codec.registry import ARCHITECTURES
from semcom.codec.task.latent import TaskCodec
from semcom.errors import ConfigError
from semcom.kinds import LABEL
from semcom.parsing import is_file, shown
from semcom_training import recipe_form
from semcom_training.channels import Channel, channel
from semcom_training.digital import random_orders
from semcom_training.losses import LABEL_LOSSES, PICTURE_LOSSES, check_loss

RECIPES = Path(__file__).parent / "recipes"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a model, as card.schema.json has it
NAME_WORDS = "letters, digits, '.', '_' and '-', a letter or digit first"
SNR_LIMITS_DB = (-20, 60)
SEEDS = (0, 2**31 - 1)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but the data's place and the machine.

    The fields of ``FREE`` may be changed when a training is resumed: to end it earlier or later, or to go on at a lower
    rate where the loss was no number; the rest may not.

    Stage ``anchor`` (``train: [encoder, decoder]``) trains both together. Stage ``user`` (``train: [decoder]``) trains
    one user's decoder against the encoder of ``anchor``, which stays as it is to the last bit.
    """

    name: str  # of the model in the zoo
    architecture: str  # codec.registry name: a codec, or in stage user a family of decoder
    arguments: dict  # of that architecture; in stage user the anchor gives channels and stride
    data: list  # folders below the data folder
    stage: str = "anchor"  # anchor | user
    anchor: str = ""  # stage user: name, card or folder of the model whose encoder is on the air
    licence: str = "GPL-3.0-or-later"
    exclude: list = dataclasses.field(default_factory=list)  # file name prefixes that are not trained on
    crop: int = 0  # pixels a side of random crops; 0: whole images (CIFAR)
    shift: int = 0  # pixels that whole images are moved by at most, mirrored at the edges
    held_out: int = 64  # images of the training data kept for validation, at least 1
    batch: int = 64
    steps: int = 10_000
    max_minutes: float = 0.0  # 0: only steps count; else the schedule follows whichever is further on
    optimiser: str = "muon"  # muon | adamw
    learning_rate: float = 1e-3
    outer_rate: float = 0.3  # AdamW's rate beside Muon's
    weight_decay: float = 0.0
    warmup_steps: int = 200
    decay_fraction: float = 0.9  # last part of the schedule, where the rate falls to zero
    clip: float = 1.0  # largest gradient norm
    ema: float = 0.999  # decay of the averaged weights, which are the ones exported
    # of semcom_training.losses; in place of a weight {weight: 1, floor: 1e-4} where a loss has options
    loss: dict = dataclasses.field(default_factory=lambda: {"log-mse": 1})
    channel: str | dict = "awgn"  # of semcom_training.channels, or {name: modem, delay_samples: 8, ...}
    # one drawn a batch, 0: analog; empty: analog always
    orders: list = dataclasses.field(default_factory=list)
    # one of these an image; empty: the range below
    snr_db: list[float] = dataclasses.field(default_factory=list)
    snr_low_db: float = -1.0
    snr_high_db: float = 21.0
    # of what those SNRs are: symbol: Es/N0; peak: 1 / noise variance of a real dimension, of task codecs
    snr_of: str = "symbol"
    snr_skew: float = 1.0  # above 1 low SNRs are drawn more often: low + (high - low) * uniform^skew
    # of the images see uneven noise: erased latents, or faded on a flat channel
    uneven_fraction: float = 0.25
    stale_fraction: float = 0.1  # of the images are encoded for an SNR that is a few dB off
    # one bandwidth ratio drawn a batch; empty: the codec's
    rates: list[float] = dataclasses.field(default_factory=list)
    side_lost_fraction: float = 0.0  # of the images lose their side information, where the codec has any
    seed: int = 1
    init_from: str = ""  # card of a model whose fitting tensors are the start
    # names of modules of the codec that stay as they are, such as [backbone]
    frozen: list[str] = dataclasses.field(default_factory=list)
    start: str = "guessed"  # guessed | measured: the linear path's first values, from 512 training pictures
    checkpoint_minutes: float = 3.0
    log_every: int = 100
    stages: list[dict] = dataclasses.field(default_factory=list)  # what changes from one training to the next

    FREE = ("steps", "max_minutes", "decay_fraction", "learning_rate", "checkpoint_minutes", "log_every")

    @property
    def snr_range_db(self) -> tuple[float, float]:
        """The lowest and the highest SNR trained for."""
        return (min(self.snr_db), max(self.snr_db)) if self.snr_db else (self.snr_low_db, self.snr_high_db)

    def make_channel(self) -> Channel:
        """What is between encoder and decoder. Raises ConfigError for a channel or options that do not exist."""
        options = {"name": self.channel} if isinstance(self.channel, str) else dict(self.channel)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(
                f"a channel is a name, or {{name: modem, delay_samples: 8}} with a space after each colon, not "
                f"{shown(self.channel)}."
            )
        for key in options:
            if not isinstance(key, str) or key == "uneven_fraction":
                raise ConfigError(f"channel {name!r} takes no option {key!r}.")
        send = channel(name, self.uneven_fraction, **options)
        return random_orders(send, self.orders) if self.orders else send

    def fixed(self) -> dict:
        """The fields that must not change between the parts of one training."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in self.FREE}


def load_recipe(path) -> Recipe:
    """Reads a YAML recipe; a bare name such as ``cifar-1-6`` means one that ships.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest is suggested), a missing or wrong
            value.
    """
    file = Path(path)
    if not is_file(file) and file.suffix == "" and is_file(RECIPES / f"{file.name}.yaml"):
        file = RECIPES / f"{file.name}.yaml"
    if not is_file(file):
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise ConfigError(f"there is no recipe {shown(str(path))}: give a .yaml file or one of {shipped}.")
    return make_recipe(settings.read_yaml(file, "recipe"), f"recipe {file}")


def make_recipe(values: dict, source: str = "recipe") -> Recipe:
    """Checks ``values`` and builds the :class:`Recipe`; see :func:`load_recipe`.

    Args:
        values: of version 2, or, without the key ``version``, flat ones of version 1.
    """
    if "version" not in values:
        return _checked(recipe_form.flattened(recipe_form.upgraded(values, source), source), source)
    flat = recipe_form.flattened(values, source)
    try:
        return _checked(flat, source)
    except ConfigError as error:
        raise ConfigError(_placed(str(error), source)) from error


def stages_of(recipe: Recipe, out="runs", source: str = "recipe") -> list[Recipe]:
    """The trainings that a recipe is, one after the other: itself, or one for each of its ``stages``.

    A stage changes keys of the recipe. It starts from what the stage before has trained, or, where it trains a decoder
    alone, has that model's encoder on the air; the last one has the recipe's name.

    Args:
        out: the folder of trained models, ``<out>/<name>/<name>.json`` each.

    Raises:
        ConfigError: as :func:`load_recipe`, with the stage's number; a stage that names itself, or has stages.
    """
    if not recipe.stages:
        return [recipe]
    base, made = recipe_form.upgraded(dataclasses.asdict(recipe)), []
    del base["stages"]
    for number, changes in enumerate(recipe.stages, 1):
        place = f"{source}: stages[{number - 1}]"
        named = next((key for key in ("version", "name", "stages") if key in changes), None)
        if named:
            raise ConfigError(f"{place}: '{named}' is the recipe's: a stage cannot change it.")
        # refuses what is no section
        recipe_form.flattened({"version": recipe_form.VERSION, **changes}, place)
        values = recipe_form.merged(base, changes)
        values["name"] = recipe.name if number == len(recipe.stages) else f"{recipe.name}-stage{number}"
        if made:
            before = Path(out) / made[-1].name / f"{made[-1].name}.json"
            key = "encoder" if values.get("train") == ["decoder"] else "init_from"
            if key not in changes.get("model", {}):
                values["model"][key] = str(before)
        made.append(make_recipe(values, place))
    return made


def _placed(text: str, source: str) -> str:
    """A complaint about a field with the field's place in a file of version 2."""
    for field, place in recipe_form.PLACES.items():
        start = f"{source}: '{field}"
        if text.startswith((f"{start}'", f"{start}[")):
            return f"{source}: '{place}{text.removeprefix(start)}"
    return text


def _check_result(recipe: Recipe, source: str) -> None:
    """Refuses losses of pictures for a codec that gives labels, and the reverse."""
    codec = ARCHITECTURES.get(recipe.architecture)
    if codec is None or not isinstance(recipe.loss, Mapping):
        return
    gives_labels = codec.result is LABEL
    for name in recipe.loss:
        if name in PICTURE_LOSSES if gives_labels else name in LABEL_LOSSES:
            of, is_of = ("labels", "pictures") if gives_labels else ("pictures", "labels")
            fit = LABEL_LOSSES if gives_labels else PICTURE_LOSSES
            raise ConfigError(
                f"{source}: 'loss': {name!r} compares {is_of}, and '{recipe.architecture}' gives {of}: take "
                f"{', '.join(fit)}."
            )


def _has_peak(architecture: str) -> bool:
    return issubclass(ARCHITECTURES.get(architecture, BaseCodec), TaskCodec)


def _checked(values: dict, source: str) -> Recipe:
    recipe = settings.make(Recipe, values, source)
    low, high = SNR_LIMITS_DB
    at_least = {
        "steps": 1,
        "batch": 1,
        "held_out": 1,
        "log_every": 1,
        "crop": 0,
        "warmup_steps": 0,
        "shift": 0,
    }
    at_least |= {"weight_decay": 0, "max_minutes": 0, "checkpoint_minutes": 0}
    at_most = {"batch": 2**14, "crop": 2**13, "held_out": 10**6}  # more was a slip, and would be allocated
    above = dict.fromkeys(("learning_rate", "outer_rate", "clip", "snr_skew"), 0)
    shares = dict.fromkeys(
        ("decay_fraction", "uneven_fraction", "stale_fraction", "side_lost_fraction"), (0, 1)
    )
    within = shares | {"snr_low_db": (low, high), "snr_high_db": (low, high), "seed": SEEDS}
    rules = {
        "name": (NAME.fullmatch(recipe.name), NAME_WORDS),
        "data": (recipe.data, "at least one folder"),
        "ema": (0 <= recipe.ema < 1, "0 or more and below 1"),
        "stage": (recipe.stage in ("anchor", "user"), "anchor or user"),
        "anchor": (
            bool(recipe.anchor) == (recipe.stage == "user"),
            "a model where a decoder alone is trained (stage user), and left out elsewhere",
        ),
        "start": (recipe.start in ("guessed", "measured"), "guessed or measured"),
        "snr_of": (
            recipe.snr_of == "symbol" or recipe.snr_of == "peak" and _has_peak(recipe.architecture),
            "symbol, or peak of a codec whose values have a peak (task-deepjscc, vl-vfe, dt-jscc)",
        ),
        "shift": (recipe.shift <= 16, "16 or less"),
        "optimiser": (recipe.optimiser in ("muon", "adamw"), "muon or adamw"),
        "rates": (all(0 < rate <= 0.25 for rate in recipe.rates), "bandwidth ratios above 0 and at most 1/4"),
        "snr_db": (all(low <= snr <= high for snr in recipe.snr_db), f"SNRs of {low} to {high} dB"),
    }
    rules |= {key: (getattr(recipe, key) >= least, f"{least} or more") for key, least in at_least.items()}
    rules |= {key: (False, f"{most} or less") for key, most in at_most.items() if getattr(recipe, key) > most}
    rules |= {key: (getattr(recipe, key) > limit, f"above {limit}") for key, limit in above.items()}
    rules |= {
        key: (least <= getattr(recipe, key) <= most, f"{least} to {most}")
        for key, (least, most) in within.items()
    }
    settings.require(
        source, **{key: (getattr(recipe, key), fine, words) for key, (fine, words) in rules.items()}
    )
    if recipe.snr_high_db < recipe.snr_low_db:
        raise ConfigError(
            f"{source}: 'snr_high_db' must be at least the lowest SNR ({recipe.snr_low_db}), not {recipe.snr_high_db}."
        )
    _check_result(recipe, source)
    for key, check in {"loss": lambda: check_loss(recipe.loss), "channel": recipe.make_channel}.items():
        try:
            check()
        except ConfigError as error:
            raise ConfigError(f"{source}: '{key}': {error}") from None
    stages_of(recipe, source=source)
    return recipe
