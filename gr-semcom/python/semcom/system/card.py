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

MODEL_HASH_BITS = 22
_MAX_BYTES = 2**22  # the longest that ships has 20 kB
# cards there are checked by the tests, once: a schema takes 0.2 s
_SHIPPED = Path(__file__).parent.parent / "codec" / "weights"
OPTIONAL = ("anchor", "parent", "capture", "digital")


@dataclass(frozen=True)
class ModelCard:
    """One trained codec in words and numbers; ``card.schema.json`` is its contract."""

    name: str
    architecture: str  # name in codec.registry; of a user decoder its family
    arguments: dict  # of the architecture
    rho: float  # complex payload symbols per source value
    snr_range_db: list  # [lowest, highest] trained for
    weights_file: str  # beside the card
    weights_sha256: str
    weights_dtype: str  # as stored; the codec computes in float32
    parameters: int
    training_data: list
    recipe: dict  # the whole recipe
    seed: int
    budget: dict  # steps, minutes, hardware
    measured: list  # tables of PSNR against SNR: evaluation_set, images, channel, snr_db, psnr_db
    licence: str
    description: str = ""
    anchor: dict | None = None  # of a user decoder: name and weights_sha256 of the model that encodes
    parent: dict | None = None  # of a fine-tuned model: name and weights_sha256 of what it started from
    capture: dict | None = None  # of a model fine-tuned from the air: sha256 of the recordings, and more
    digital: dict | None = (
        None  # learned codebooks (codebooks_file, codebooks_sha256) and what is measured of them
    )
    schema_version: int = field(default=1)

    @property
    def model_hash(self) -> int:
        """The first 22 bits of the sha256 of the weights that encode (a user's are its anchor's), as the air has it."""
        return int(self.encoder_sha256[:8], 16) >> (32 - MODEL_HASH_BITS)

    @property
    def encoder_sha256(self) -> str:
        """Of the weights that encode: its own; of a user's decoder its anchor's."""
        return self.anchor["weights_sha256"] if self.anchor else self.weights_sha256

    @property
    def digital_hashes(self) -> list[int]:
        """22 bits that name the weights that encode and codebooks, uniform ones first, as digital bursts carry them."""
        learned = (self.digital or {}).get("codebooks_sha256")
        return [digital_hash(self.encoder_sha256, sha256) for sha256 in ("uniform", learned) if sha256]

    @property
    def reference(self) -> dict:
        """Name and sha256, as ``anchor`` or ``parent`` of another card."""
        return {"name": self.name, "weights_sha256": self.weights_sha256}

    def to_dict(self) -> dict:
        """Plain values, ready for JSON, without the optional fields that are not set."""
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if v is not None or k not in OPTIONAL}

    def write(self, path) -> Path:
        """Writes the card as JSON, whole or not at all.

        Raises:
            ModelError: the card does not fit its schema. OutputError: it cannot be written.
        """
        check_card(self.to_dict(), str(path))
        return files.write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")


def digital_hash(weights_sha256: str, codebooks_sha256: str) -> int:
    """22 bits that name a codec and its codebooks, as headers of digital bursts carry them."""
    digest = hashlib.sha256(f"{weights_sha256}{codebooks_sha256}".encode()).hexdigest()
    return int(digest[:8], 16) >> (32 - MODEL_HASH_BITS)


def _check_schema(values, source: str) -> None:
    error = next(iter(sorted(_validator().iter_errors(values), key=lambda e: list(map(str, e.path)))), None)
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
    try:
        return ModelCard(**values)
    except TypeError as error:  # in the folder of those that ship, where no schema is asked
        raise ModelError(f"model card {path} is none: {error}.") from error


def check_card(values, source: str) -> None:
    """Raises ModelError naming the field that does not fit the schema; ``source`` says whose card it is.

    Beside the schema: every number is finite, and the SNR range has its lower end first.
    """
    _refuse_infinities(values, source)
    _check_schema(values, source)
    low, high = values["snr_range_db"]
    if low > high:
        raise ModelError(
            f"model card {source} does not fit its schema at 'snr_range_db': the lower SNR comes first, not {low:g} "
            f"before {high:g}."
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
def _validator():
    import jsonschema  # here, not above: loading it takes longer than reading a card

    return jsonschema.Draft202012Validator(
        json.loads(Path(__file__).with_name("card.schema.json").read_text())
    )
