# SPDX-License-Identifier: GPL-3.0-or-later
"""The model card: what a file of weights is, checked before anything of it is used."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from semcom import files, parsing
from semcom.errors import ModelError
from semcom.system.card_upgrade import upgraded

MODEL_HASH_BITS = 22
_MAX_BYTES = 2**22  # the longest that ships has 20 kB
# cards there are checked by the tests, once: a schema takes 0.2 s
_SHIPPED = Path(__file__).parent.parent / "codec" / "weights"
OPTIONAL = ("parent", "capture", "digital", "rates")
# what one reads first in a file
_FIRST = (
    "schema_version",
    "name",
    "description",
    "architecture",
    "arguments",
    "source",
    "result",
    "payloads",
)


@dataclass(frozen=True)
class ModelCard:
    """One trained codec in words and numbers; ``card.schema.json`` is its contract. Older ones are upgraded."""

    name: str
    architecture: str  # name in codec.registry; of a user decoder its family
    arguments: dict  # of the architecture
    # complex payload symbols per source value; [lowest, highest] of a codec that has a choice
    rho: float | list
    trained_for: dict  # snr_range_db: [lowest, highest]; channel
    parts: dict  # encoder, decoder, codebooks: file and sha256; see own_parts, user_parts
    weights_dtype: str  # as stored; the codec computes in float32
    parameters: int
    training_data: list
    recipe: dict  # the whole recipe
    seed: int
    budget: dict  # steps, minutes, hardware
    measured: list  # entries of set, items, channel, metric, snr_db, values
    licence: str
    description: str = ""
    source: str = "image"  # kind of what goes in
    result: str = "image"  # kind of what comes out
    payloads: list = field(default_factory=lambda: ["analog", "quantised"])  # how its latents can be sent
    senders: int = 1
    streams: int = 1
    power: str = "mean"  # 1 an item; peak: one constant for all items
    parent: dict | None = None  # of a fine-tuned model: name and weights_sha256 of what it started from
    capture: dict | None = None  # of a model fine-tuned from the air: sha256 of the recordings, and more
    # how learned codebooks were trained, and what is measured of quantised latents
    digital: dict | None = None
    # of a model of several rates: how well its quality is predicted (semcom.adaptation.rates)
    rates: dict | None = None
    schema_version: int = field(default=2)

    @property
    def snr_range_db(self) -> list:
        """The lowest and the highest SNR trained for."""
        return self.trained_for["snr_range_db"]

    @property
    def weights_file(self) -> str:
        """The file beside the card: of a whole codec, or of a user's decoder."""
        return self.parts["decoder"]["file"]

    @property
    def weights_sha256(self) -> str:
        """Of ``weights_file``."""
        return self.parts["decoder"]["sha256"]

    @property
    def anchor(self) -> dict | None:
        """Of a user decoder name and weights_sha256 of the model that encodes, as ``reference`` of its card."""
        encoder = self.parts["encoder"]
        return {"name": encoder["model"], "weights_sha256": encoder["sha256"]} if "model" in encoder else None

    @property
    def codebooks(self) -> dict | None:
        """File and sha256 of learned codebooks."""
        return self.parts.get("codebooks")

    @property
    def files(self) -> dict[str, str]:
        """Files of weights beside the card, with their sha256."""
        own = (self.parts["encoder"], self.parts["decoder"], self.backbone or {})
        return {part["file"]: part["sha256"] for part in own if "file" in part}

    @property
    def backbone(self) -> dict | None:
        """File and sha256 of the model whose ``backbone`` is this one's too."""
        return self.parts.get("backbone")

    def tables(self, metric: str = "psnr_db", channel: str | None = None) -> list[dict]:
        """The entries of ``measured`` of a metric, over one channel or all."""
        return [e for e in self.measured if e["metric"] == metric and channel in (None, e["channel"])]

    @property
    def model_hash(self) -> int:
        """The first 22 bits of the sha256 of the weights that encode (a user's are its anchor's), as the air has it."""
        return int(self.encoder_sha256[:8], 16) >> (32 - MODEL_HASH_BITS)

    @property
    def encoder_sha256(self) -> str:
        """Of the weights that encode: its own; of a user's decoder its anchor's."""
        return self.parts["encoder"]["sha256"]

    @property
    def digital_hashes(self) -> list[int]:
        """22 bits that name the weights that encode and codebooks, uniform ones first, as digital bursts carry them."""
        learned = (self.codebooks or {}).get("sha256")
        return [digital_hash(self.encoder_sha256, sha256) for sha256 in ("uniform", learned) if sha256]

    @property
    def reference(self) -> dict:
        """Name and sha256, as ``anchor`` or ``parent`` of another card."""
        return {"name": self.name, "weights_sha256": self.weights_sha256}

    def to_dict(self) -> dict:
        """Plain values, ready for JSON, without the optional fields that are not set."""
        values = dataclasses.asdict(self)
        ordered = {key: values[key] for key in _FIRST} | values
        return {k: v for k, v in ordered.items() if v is not None or k not in OPTIONAL}

    def write(self, path) -> Path:
        """Writes the card as JSON, whole or not at all.

        Raises:
            ModelError: the card does not fit its schema. OutputError: it cannot be written.
        """
        check_card(self.to_dict(), str(path))
        return files.write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")


def own_parts(file: str, sha256: str) -> dict:
    """``parts`` of a whole codec in one file."""
    return {"encoder": {"file": file, "sha256": sha256}, "decoder": {"file": file, "sha256": sha256}}


def user_parts(anchor: dict, file: str, sha256: str) -> dict:
    """``parts`` of a user decoder: the encoder is that of ``anchor``, the ``reference`` of another card."""
    encoder = {"model": anchor["name"], "sha256": anchor["weights_sha256"]}
    return {"encoder": encoder, "decoder": {"file": file, "sha256": sha256}}


def digital_hash(weights_sha256: str, codebooks_sha256: str) -> int:
    """22 bits that name a codec and its codebooks, as headers of digital bursts carry them."""
    digest = hashlib.sha256(f"{weights_sha256}{codebooks_sha256}".encode()).hexdigest()
    return int(digest[:8], 16) >> (32 - MODEL_HASH_BITS)


def _check_schema(values, source: str) -> None:
    old = isinstance(values, dict) and values.get("schema_version") == 1
    error = next(
        iter(sorted(_validator(1 if old else 2).iter_errors(values), key=lambda e: list(map(str, e.path)))),
        None,
    )
    if error is not None:
        place = ".".join(map(str, error.path)) or "the card"
        raise ModelError(
            f"model card {source} does not fit its schema at '{place}': {parsing.shortened(error.message)}."
        )


def read_card(path) -> ModelCard:
    """Reads and checks a card.

    Raises:
        ModelError: the file is absent, is not JSON, or does not fit the schema.
    """
    path = Path(path)
    try:
        values = parsing.parse_json(parsing.read_text(path, _MAX_BYTES))
    except parsing.ParseError as error:
        raise ModelError(f"model card {parsing.shown(str(path))} {error}.") from error
    if path.parent != _SHIPPED:
        check_card(values, str(path))
    if isinstance(values, dict) and values.get("schema_version") == 1:
        values = upgraded(values, str(path))
        check_card(values, str(path))
    try:
        return ModelCard(**values)
    except TypeError as error:  # in the folder of those that ship, where no schema is asked
        raise ModelError(f"model card {path} is none: {error}.") from error


def check_card(values, source: str) -> None:
    """Raises ModelError naming the field that does not fit the schema; ``source`` says whose card it is.

    Beside the schema: every number is finite, ranges have their lower end first, tables a value for each SNR. A card of
    version 1 is held against the schema that it was written for.
    """
    _refuse_infinities(values, source)
    _check_schema(values, source)
    old = values["schema_version"] == 1
    ranges = {
        "snr_range_db" if old else "trained_for.snr_range_db": (values if old else values["trained_for"])[
            "snr_range_db"
        ]
    }
    if isinstance(values["rho"], list):
        ranges["rho"] = values["rho"]
    for place, (low, high) in ranges.items():
        if low > high:
            what = "ratio" if place == "rho" else "SNR"
            raise ModelError(
                f"model card {source} does not fit its schema at '{place}': the lower {what} comes first, not {low:g} "
                f"before {high:g}."
            )
    seen: dict[str, str] = {}
    for part in () if old else values["parts"].values():
        if "file" in part and seen.setdefault(part["file"], part["sha256"]) != part["sha256"]:
            raise ModelError(
                f"model card {source} does not fit its schema at 'parts': {parsing.shown(part['file'])} has two sha256."
            )
    for number, table in enumerate(() if old else values["measured"]):
        if len(table["snr_db"]) != len(table["values"]):
            raise ModelError(
                f"model card {source} does not fit its schema at 'measured.{number}': {len(table['snr_db'])} SNRs have "
                f"{len(table['values'])} values."
            )


def _refuse_infinities(value, source: str, place: str = "") -> None:
    """JSON as Python reads it has NaN and infinities, which pass every comparison or none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError(
            f"model card {source} does not fit its schema at '{place}': {value} is no finite number."
        )
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_infinities(item, source, f"{place}.{key}".lstrip("."))


@cache
def _validator(version: int):
    import jsonschema  # here, not above: loading it takes longer than reading a card

    name = "card.schema.json" if version == 2 else f"card.schema.{version}.json"
    return jsonschema.Draft202012Validator(json.loads(Path(__file__).with_name(name).read_text()))
