# SPDX-License-Identifier: GPL-3.0-or-later
"""A comparison of training schemes: one YAML file, one dataclass."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from semcom import settings
from semcom.codec.names import DECODERS
from semcom.errors import ConfigError
from semcom.parsing import is_file, shown
from semcom_training import channels
from semcom_training.multiuser.schemes import SCHEMES
from semcom_training.recipe import NAME, NAME_WORDS, SEEDS, SNR_LIMITS_DB

SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class User:
    """A receiver's decoder: its family and capacity (``semcom.codec.image.decoders``)."""

    family: str
    width: int
    depth: int
    linear: bool = False  # with the linear path; of the first user: of the encoder, too

    def __post_init__(self):
        settings.require(
            "user",
            family=(self.family, self.family in DECODERS, f"one of {', '.join(DECODERS)}"),
            width=(self.width, self.width >= 1, "at least 1"),
            depth=(self.depth, self.depth >= 0, "0 or more"),
        )


@dataclass(frozen=True)
class EvaluationSet:
    """Pictures to measure on: the first ``images`` of a folder by name, their middle ``crop`` pixels a side."""

    folder: str
    images: int
    crop: int


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the figures but the data's place and the machine.

    Users are trained in the order of the file. The first is the anchor's own decoder: it is of the ``attention``
    family, and its width, depth and linear path are the encoder's as well.

    Raises:
        ConfigError: a value that cannot be, as text that names it.
    """

    name: str
    users: dict[str, User]
    data: list[str]  # folders below the data folder that are trained on
    evaluate: dict[str, EvaluationSet]  # folders that are only measured on
    exclude: list[str] = field(default_factory=list)  # file name prefixes that are not trained on
    channels: int = 8  # real planes: rho = channels / (6 stride^2)
    stride: int = 4
    channel: str = "rayleigh"  # as in semcom_training.channels
    channel_options: dict = field(default_factory=dict)  # of that channel
    snr_db: list[float] = field(default_factory=lambda: [1.0, 4.0, 7.0, 10.0, 13.0])
    crop: int = 32
    batch: int = 16
    epochs: int = 8  # that each user's decoder is trained for, in every scheme
    steps_per_epoch: int = 100
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    decay_fraction: float = 0.25  # last part of each decoder's training, where the rate falls to zero
    clip: float = 1.0  # largest gradient norm, of the encoder and of each decoder
    schemes: list[str] = field(default_factory=lambda: list(SCHEMES))
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    draws: int = 1  # channel realisations a picture when measuring
    watch: str = "div2k"  # the evaluation set, and
    watch_images: int = 12  # how many of it, and
    watch_snr_db: float = 13.0  # where all users are measured after every epoch

    def __post_init__(self):
        first = next(iter(self.users.values()), None)
        low, high = SNR_LIMITS_DB
        settings.require(
            f"experiment '{self.name}'",
            name=(self.name, NAME.fullmatch(self.name), NAME_WORDS),
            users=(list(self.users), bool(self.users), "at least one user"),
            channel=(self.channel, self.channel in channels.names(), f"one of {', '.join(channels.names())}"),
            snr_db=(
                self.snr_db,
                self.snr_db and all(low <= snr <= high for snr in self.snr_db),
                f"at least one SNR, of {low} to {high} dB",
            ),
            watch_snr_db=(self.watch_snr_db, low <= self.watch_snr_db <= high, f"{low} to {high} dB"),
            watch_images=(self.watch_images, self.watch_images >= 1, "at least 1"),
            warmup_steps=(self.warmup_steps, self.warmup_steps >= 0, "0 or more"),
            clip=(self.clip, self.clip > 0, "above 0"),
            channels=(self.channels, 2 <= self.channels <= 2**10, "2 to 1024"),
            stride=(self.stride, 1 <= self.stride <= 2**6, "1 to 64"),
            crop=(self.crop, self.stride <= self.crop <= 2**13, "at least the stride, at most 8192"),
            batch=(self.batch, 2 <= self.batch <= 2**14, "2 (batch normalisation) to 16384"),
            epochs=(self.epochs, self.epochs >= 1, "at least 1"),
            steps_per_epoch=(self.steps_per_epoch, self.steps_per_epoch >= 1, "at least 1"),
            learning_rate=(self.learning_rate, self.learning_rate > 0, "above 0"),
            decay_fraction=(self.decay_fraction, 0 <= self.decay_fraction <= 1, "within 0..1"),
            schemes=(
                self.schemes,
                self.schemes and set(self.schemes) <= set(SCHEMES),
                f"at least one of {', '.join(SCHEMES)}",
            ),
            seeds=(
                self.seeds,
                self.seeds and all(SEEDS[0] <= seed <= SEEDS[1] for seed in self.seeds),
                f"at least one seed, of {SEEDS[0]} to {SEEDS[1]}",
            ),
            draws=(self.draws, self.draws >= 1, "at least 1"),
            watch=(self.watch, self.watch in self.evaluate, f"one of {', '.join(self.evaluate)}"),
        )
        if first.family != "attention":
            raise ConfigError(
                f"experiment '{self.name}': the first of 'users' is the anchor's own decoder and must be of the "
                f"family attention, not {first.family}."
            )

    @property
    def rho(self) -> float:
        """Bandwidth ratio: complex symbols per source value."""
        return self.channels / (6 * self.stride**2)

    @property
    def steps(self) -> int:
        """Gradient steps of each decoder."""
        return self.epochs * self.steps_per_epoch

    def fingerprint(self) -> str:
        """A digest of what decides one cell; which schemes and seeds are wanted does not."""
        values = dataclasses.asdict(self)
        users = values["users"]
        # their order counts; cells from before there was a linear path stay what they are
        values["users"] = [
            (u, {k: v for k, v in of.items() if k != "linear" or v}) for u, of in users.items()
        ]
        for key in ("schemes", "seeds", "name"):
            del values[key]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_experiment(path) -> Experiment:
    """Reads an experiment; a bare name such as ``rayleigh`` means one that ships.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a missing or wrong value.
    """
    file = Path(path)
    if not is_file(file) and not file.suffix:
        file = SHIPPED / f"{file.name}.yaml"
    if not is_file(file):
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        raise ConfigError(
            f"there is no experiment {shown(str(path))}: give a .yaml file or one of {shipped}."
        )
    return settings.load(Experiment, file, "experiment")
