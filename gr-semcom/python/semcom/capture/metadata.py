# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF metadata as programs write them: a byte-order mark, whole numbers with a point, NaN, dates without Z.

The ``sigmf`` package refuses such files as a whole; what they say is clear all the same.
"""

import datetime
import json
import math
import re
from pathlib import PurePath
from typing import Any

from semcom.capture.errors import CaptureError
from semcom.parsing import ParseError, parse_json

_WHOLE = {
    f"core:{key}"
    for key in "sample_start sample_count header_bytes trailing_bytes offset num_channels global_index".split()
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?", re.I)


def parse(data: bytes, path: PurePath, parts: dict[str, type]) -> dict[str, Any]:
    """JSON to a dictionary with the given parts (name to its type), numbers made whole where SigMF wants whole ones and
    those that are none (NaN, infinity) left out.

    Raises:
        CaptureError: not JSON, or without those parts; ``path`` names it.
    """
    try:
        text = data.decode(json.detect_encoding(data))  # a byte-order mark, UTF-16
        out = parse_json(text, file_names=True, not_numbers=True)
    except (ParseError, UnicodeDecodeError) as error:
        why = error if isinstance(error, ParseError) else f"is no text: {error.reason} at byte {error.start}"
        raise CaptureError(
            f"{path} {why}. Was it cut short, after {len(data)} bytes? Copy it again."
        ) from error
    for key, kind in parts.items() if isinstance(out, dict) else ():
        if kind is list and isinstance(out.get(key), dict):  # of one element: MATLAB writes no list around it
            out[key] = [out[key]]
    if not isinstance(out, dict) or not all(isinstance(out.get(key), kind) for key, kind in parts.items()):
        raise CaptureError(f"{path} is JSON, but not SigMF metadata: it lacks {' or '.join(parts)}.")
    return _normal(out)


def _normal(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            k: _normal(v, k) for k, v in value.items() if not (isinstance(v, float) and not math.isfinite(v))
        }
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, float) and key in _WHOLE and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def whole(info: dict[str, Any], key: str, default: int, path: PurePath) -> int:
    """A whole number of at least 0 under ``core:<key>``. Raises CaptureError for anything else."""
    value = info.get(f"core:{key}", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise CaptureError(f"{path}: core:{key} is {str(value)[:40]!r}, not a whole number of 0 or more.")
    return value


def utc_seconds(text: Any) -> float | None:
    """ISO 8601, UTC where it names no zone, to seconds since 1970; None: no such date."""
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        return datetime.datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp() + float(
            f"0{fraction or ''}"
        )
    except (ValueError, OverflowError):
        return None
