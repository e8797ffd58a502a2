# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensors in the files that a model card names, checked on the way in."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from semcom.errors import ModelError


def read_tensors(file: Path, sha256: str, model: str, what: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, as stored.

    Args:
        sha256: of the file, by the card. model: its name. what: they are, for the error ("weights").

    Raises:
        ModelError: the file is absent, is not the one that the card names, or is no safetensors file.
    """
    if not file.is_file():
        raise ModelError(f"model '{model}': its {what} {file} are missing.")
    blob = file.read_bytes()
    found = hashlib.sha256(blob).hexdigest()
    if found != sha256:
        raise ModelError(
            f"model '{model}': {file.name} is not the file that its card names (sha256 {found[:12]}..., the card "
            f"says {sha256[:12]}...). It was altered or cut short: fetch it again."
        )
    try:
        return load(blob)
    except SafetensorError as error:
        raise ModelError(f"model '{model}': {file.name} is not a safetensors file: {error}.") from error
