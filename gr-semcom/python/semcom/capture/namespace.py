# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``semcom`` namespace of our SigMF recordings: one dataclass a burst, to an annotation and back."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema

from semcom.capture.errors import CaptureError
from semcom.files import finite
from semcom.modem.header import BurstHeader
from semcom.modem.profile import ModemProfile

NAME = "semcom"
EXTENSION = {"name": NAME, "version": "1.0.0", "optional": True}
DATATYPE = "cf32_le"
SAMPLE_BYTES = 8
PREFIX = f"{NAME}:"

# --- keys of the global object ----------------------------------------------------------------------
SESSION = "semcom:session"  # drawn when the recorder starts: recordings of one run share it
LINK = "semcom:link"  # the receiver's link profile, whole
LINK_HASH = "semcom:link_hash"  # and its hash, as burst headers carry it
FRAME_VERSION = "semcom:frame_version"  # of the bursts that the receiver read; absent: 2
ENGINE = "semcom:engine"  # what computed the latents: equal engines, equal bits

# --- keys of a capture segment, beside core's ---------------------------------------------------------
SAMPLE_OFFSET = "semcom:sample_offset"  # first sample of the burst in the received stream


@dataclass(frozen=True)
class BurstNote:
    """What is known of one recorded burst; None: not known. ``burst.schema.json`` says what each field is.

    ``cfo`` is what the detector found, in full: a replay demodulates with it. ``error`` says why a burst was not read.
    """

    sample_offset: int
    cfo: float
    cfo_refined: float | None = None
    sync_quality: float | None = None
    version: int | None = None
    mode: int | None = None
    image_id: int | None = None
    burst_index: int | None = None
    burst_count: int | None = None
    height: int | None = None
    width: int | None = None
    latent_count: int | None = None
    model_hash: int | None = None
    link_hash: int | None = None
    kind: int | None = None
    sender: int | None = None
    side: int | None = None
    waveform: int | None = None
    cipher: int | None = None
    snr_db: float | None = None
    snr_stderr_db: float | None = None
    latents_sha256: str | None = None
    batch_start: int | None = None
    batch: tuple[int, ...] | None = None
    image: str | None = None
    image_sha256: str | None = None
    error: str | None = None

    @property
    def label(self) -> str:
        """Picture and burst for a viewer, "00012 1/4"; "unread" where there is no header."""
        if self.image_id is None:
            return "unread"
        return f"{self.image_id:05d} {self.burst_index + 1}/{self.burst_count}"

    def to_annotation(self) -> dict[str, Any]:
        """The fields that are known, under ``semcom:``."""
        out = {PREFIX + f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        out = finite({key: list(v) if isinstance(v, tuple) else v for key, v in out.items()})
        return {key: value for key, value in out.items() if value is not None}


def header_fields(header: BurstHeader, profile: ModemProfile) -> dict[str, int]:
    """What a note says of a burst's header, under the receiver's profile."""
    return dataclasses.asdict(header) | {"burst_count": profile.plan(header.latent_count).burst_count}


def note_of(annotation: dict[str, Any]) -> BurstNote:
    """An annotation as a ``BurstNote``; keys that are not ours are left out.

    Raises:
        CaptureError: it does not fit ``burst.schema.json``.
    """
    error = jsonschema.exceptions.best_match(_validator().iter_errors(annotation))
    if error is not None:
        where = error.path[-1] if error.path else "the annotation"
        # the rule, not the value: a recording of ten thousand bad annotations has as many reasons as there are rules
        rule = (
            error.message if error.validator == "required" else f"{error.validator} {error.validator_value}"
        )
        raise CaptureError(f"annotation outside of the semcom schema: {where}: {rule[:120]}")
    known = {f.name: annotation.get(PREFIX + f.name) for f in dataclasses.fields(BurstNote)}
    for name in _WHOLE & {name for name, value in known.items() if value is not None}:
        # to JSON's schema 3.0 is a whole number, and some programs write it so
        known[name] = int(known[name])
    if known["batch"] is not None:
        known["batch"] = tuple(map(int, known["batch"]))
    return BurstNote(**known)


_WHOLE = {f.name for f in dataclasses.fields(BurstNote) if int in (f.type, *get_args(f.type))}


@cache
def _validator():
    schema = json.loads((Path(__file__).parent / "burst.schema.json").read_text())
    return jsonschema.Draft7Validator(schema)
