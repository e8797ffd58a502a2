# SPDX-License-Identifier: GPL-3.0-or-later
"""Trained codecs by name: safetensors beside a model card, checked on the way in. Pickle is never read."""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from semcom.codec.base import Codec
from semcom.codec.card import ModelCard, read_card
from semcom.codec.registry import build
from semcom.errors import ImageError, ModelError

WEIGHTS = Path(__file__).parent / "weights"
MODEL_HASH_BITS = 22


@dataclass
class LoadedModel:
    """A codec ready to run (``eval`` mode, float32, no gradients), and where it comes from."""

    codec: Codec
    card: ModelCard
    sha256: str  # of the weights file

    @property
    def model_hash(self) -> int:
        """The first 22 bits of the weights' sha256, as burst headers carry it."""
        return int(self.sha256[:8], 16) >> (32 - MODEL_HASH_BITS)

    @property
    def device(self) -> torch.device:
        return next(self.codec.parameters()).device

    @torch.inference_mode()
    def encode_image(self, image: np.ndarray, snr_db: float) -> torch.Tensor:
        """One picture, uint8 ``[H, W, 3]``, to complex latents ``[k]`` of mean power 1.

        Raises:
            ImageError: not a uint8 array of that shape.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"a picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}.")
        pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).to(self.device).float() / 255
        return self.codec.encode(pixels, float(snr_db))[0]

    @torch.inference_mode()
    def decode_image(self, latents, snr_db: float, size: tuple[int, int], noise_var=None) -> np.ndarray:
        """Received latents ``[k]`` to uint8 ``[H, W, 3]``; ``noise_var`` ``[k]`` is ``inf`` where lost."""
        latents = torch.as_tensor(latents, dtype=torch.complex64, device=self.device)[None]
        if noise_var is not None:
            noise_var = torch.as_tensor(noise_var, dtype=torch.float32, device=self.device)[None]
        image = self.codec.decode(latents, float(snr_db), size, noise_var)[0]
        return to_uint8(image).permute(1, 2, 0).cpu().numpy()


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Floats around 0..1 to uint8: clipped, then rounded. Any shape."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def names() -> list[str]:
    """The models that ship, sorted."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def card(name) -> ModelCard:
    """The card of a shipped model, or of one of the user's own (path of its card, or a folder that holds it).

    Raises:
        ModelError: no such model (the nearest name is suggested), or the card does not fit its schema.
    """
    return read_card(_card_path(name))


def load(name, device="cpu") -> LoadedModel:
    """Loads a model by name, card path or folder.

    Raises:
        ModelError: no such model; a card that does not fit its schema; weights that are absent, altered
            (sha256), unreadable, or do not fit the architecture that the card names.
    """
    path = _card_path(name)
    model_card = read_card(path)
    file = path.with_name(model_card.weights_file)
    if not file.is_file():
        raise ModelError(f"model '{model_card.name}': its weights {file} are missing.")
    blob = file.read_bytes()
    sha256 = hashlib.sha256(blob).hexdigest()
    if sha256 != model_card.weights_sha256:
        raise ModelError(
            f"model '{model_card.name}': {file.name} is not the file that its card describes (sha256 "
            f"{sha256[:12]}..., the card says {model_card.weights_sha256[:12]}...). It was altered or cut "
            f"short: fetch it again."
        )
    try:
        tensors = {key: tensor.float() for key, tensor in load_safetensors(blob).items()}
    except SafetensorError as error:
        raise ModelError(
            f"model '{model_card.name}': {file.name} is not a safetensors file: {error}."
        ) from error
    codec = build(model_card.architecture, dict(model_card.arguments))
    _check_fit(codec, tensors, model_card)
    codec.load_state_dict(tensors)
    codec.snr_range_db = tuple(model_card.snr_range_db)
    return LoadedModel(codec.requires_grad_(False).eval().to(device), model_card, sha256)


def save_weights(codec: Codec, path, dtype: torch.dtype = torch.float16) -> str:
    """Writes a codec's tensors as safetensors and returns the file's sha256."""
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in codec.state_dict().items()}
    blob = save_safetensors(tensors)
    Path(path).write_bytes(blob)
    return hashlib.sha256(blob).hexdigest()


def _check_fit(codec: Codec, tensors: dict, model_card: ModelCard) -> None:
    wanted = {key: list(tensor.shape) for key, tensor in codec.state_dict().items()}
    found = {key: list(tensor.shape) for key, tensor in tensors.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ModelError(
                f"model '{model_card.name}': its weights do not fit {model_card.architecture}"
                f"{model_card.arguments}: '{key}' should be {wanted.get(key, 'absent')} but "
                f"is {found.get(key, 'absent')}."
            )
    if abs(codec.rho - model_card.rho) > 1e-6:
        raise ModelError(
            f"model '{model_card.name}': the card says rho = {model_card.rho}, the codec has {codec.rho}."
        )


def _card_path(name) -> Path:
    if str(name) in names():
        return WEIGHTS / f"{name}.json"
    path = Path(name)
    if path.is_file():
        if path.suffix != ".json":
            raise ModelError(f"{path} is no model card: give the .json file that lies beside the weights.")
        return path
    if path.is_dir():
        cards = sorted(path.glob("*.json"))
        if len(cards) == 1:
            return cards[0]
        raise ModelError(f"folder {path} holds {len(cards)} .json files: name the model card itself.")
    shipped = names()
    near = difflib.get_close_matches(str(name), shipped, n=1, cutoff=0.0)
    hint = (
        f" did you mean '{near[0]}'? There are {', '.join(shipped)}." if near else " No models are installed."
    )
    raise ModelError(f"there is no model '{name}':{hint} A path of your own model card works too.")
