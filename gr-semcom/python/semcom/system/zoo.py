# SPDX-License-Identifier: GPL-3.0-or-later
"""Trained codecs by name: safetensors beside a model card, checked on the way in. Pickle is never read.

A user decoder is a model too: its card names an anchor, whose encoder it decodes. Loaded, the two are one codec.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from semcom import files
from semcom.codec.base import BaseCodec
from semcom.codec.image.pairing import paired
from semcom.codec.names import ARCHITECTURES, DECODERS
from semcom.codec.registry import build, build_decoder
from semcom.errors import ModelError
from semcom.kinds import IMAGE
from semcom.modem.header import MODE_LATENTS
from semcom.parsing import did_you_mean, is_file, is_folder, shown
from semcom.payload import quantised as digital
from semcom.security import ring
from semcom.stored import read_tensors
from semcom.system.card import ModelCard, digital_hash, read_card

D = TypeVar("D", bound=BaseCodec)

#: of ``payloads`` in cards
ANALOG_PAYLOAD, QUANTISED = "analog", "quantised"

WEIGHTS = Path(__file__).parent.parent / "codec" / "weights"


@dataclass
class LoadedModel:
    """A codec ready to run (``eval`` mode, float32, no gradients), and where it comes from.

    Of a user decoder, ``codec`` is a :class:`~semcom.codec.image.paired.Paired` (or ``ContentPaired``): the anchor's
    encoder, its decoder.
    """

    codec: BaseCodec
    card: ModelCard
    sha256: str  # of the weights file; a user's own
    #: codebooks of the model that encodes, by name: "uniform", and "learned" where its card names a file
    codebooks: dict[str, digital.CodebookSet] = field(default_factory=dict)

    @property
    def model_hash(self) -> int:
        """22 bits of the sha256 of the weights that encode, as burst headers carry it; a user's are its anchor's."""
        return self.card.model_hash

    @property
    def digital_hashes(self) -> dict[int, digital.CodebookSet]:
        """Codebooks by the 22 bits that headers of digital bursts carry."""
        encoder = self.card.encoder_sha256
        return {digital_hash(encoder, books.sha256): books for books in self.codebooks.values()}

    def codebook_set(self, name: str) -> tuple[int, digital.CodebookSet]:
        """The codebooks of that name (or "best": the learned ones, if any) and the hash that names them on the air.

        Raises:
            ModelError: the model has none of that name, or its latents cannot be sent as labels.
        """
        if QUANTISED not in self.card.payloads:
            raise ModelError(
                f"model '{self.card.name}' has latents that cannot be sent as labels (payloads in its card: "
                f"{', '.join(self.card.payloads)}): leave the order out, or take another model."
            )
        books = self.codebooks[digital.resolved(name, self.codebooks, self.card.name)]
        return digital_hash(self.card.encoder_sha256, books.sha256), books

    def latents_of(
        self, symbols, noise_var, *, mode: int, model_hash: int, size: tuple[int, int], steps=None
    ):
        """What came of pictures ``[B, S]`` as latents and noise variances ``[B, k]``: analog as it is, digital demapped.

        Args:
            mode, model_hash: of their headers. size: (H, W) of the pictures. steps: ``[B, S, 2]`` of a key stream that
                was added (``security.ring``); None: none was.

        Raises:
            PduError: codebooks that this model does not have, or a number of symbols that does not fit.
        """
        if mode == MODE_LATENTS and steps is not None:
            return ring.take_off(symbols, noise_var, steps)
        return digital.latents_of(
            symbols,
            noise_var,
            mode=mode,
            model_hash=model_hash,
            latent_count=self.codec.latent_count(*size),
            books=self.digital_hashes,
            steps=steps,
        )

    @property
    def own(self) -> BaseCodec:
        """What the card's own weights fill: the codec, or, of a user, its decoder alone."""
        return self.codec if self.card.anchor is None else cast(BaseCodec, self.codec.user)

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
        IMAGE.check(image)
        return self.codec.encode(IMAGE.batch([image], self.device), float(snr_db))[0]

    @torch.inference_mode()
    def decode_image(self, latents, snr_db: float, size: tuple[int, int], noise_var=None) -> np.ndarray:
        """Received latents ``[k]`` to uint8 ``[H, W, 3]``; ``noise_var`` ``[k]`` is ``inf`` where lost."""
        latents = torch.as_tensor(latents, dtype=torch.complex64, device=self.device)[None]
        if noise_var is not None:
            noise_var = torch.as_tensor(noise_var, dtype=torch.float32, device=self.device)[None]
        return IMAGE.values(self.codec.decode(latents, float(snr_db), size, noise_var))[0]


def names() -> list[str]:
    """The models that ship, sorted."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def card(name) -> ModelCard:
    """The card of a shipped model, or of one of the user's own (path of its card, or a folder that holds it).

    Raises:
        ModelError: no such model (the nearest name is suggested), or the card does not fit its schema.
    """
    return read_card(card_path(name))


def codebook_name(model, name: str) -> str:
    """What :meth:`LoadedModel.codebook_set` would take for ``name``, from cards alone.

    Args:
        model: name in the zoo, or card path. name: "best", "uniform" or "learned".

    Raises:
        ModelError: no such model; the model has no codebooks of that name.
    """
    encoder = read_card(_encoder_path(card_path(model)))
    there = [digital.UNIFORM] + [digital.LEARNED] * (encoder.codebooks is not None)
    return digital.resolved(name, there, card(model).name)


def companions(model) -> list[Path]:
    """The files that must lie beside a copy of a model's card: weights, codebooks, and an anchor that does not ship.

    Raises:
        ModelError: no such model, or no such anchor.
    """
    path = card_path(model)
    encoder_path = _encoder_path(path)
    found = _named_files(path)
    if encoder_path.parent != WEIGHTS and encoder_path != path:
        found += [*_named_files(encoder_path), encoder_path]  # a card comes after what it names
    return found


def _named_files(path: Path) -> list[Path]:
    model_card = read_card(path)
    codebooks = [model_card.codebooks["file"]] if model_card.codebooks else []
    return [path.with_name(name) for name in (*model_card.files, *codebooks)]


def _encoder_path(path: Path) -> Path:
    """The card of what encodes: of a user decoder its anchor's."""
    model_card = read_card(path)
    return path if model_card.anchor is None else _anchor_path(model_card, path.parent)


def load(name, device="cpu") -> LoadedModel:
    """Loads a model by name, card path or folder. With a user decoder comes its anchor: from the folder of the
    user's card, else from those that ship.

    Raises:
        ModelError: no such model; a card that does not fit its schema; weights that are absent, altered
            (sha256), unreadable, or do not fit the architecture that the card names; an anchor that is absent,
            is not the one that the user was trained for, or sends another number of planes or another stride.
    """
    path = card_path(name)
    model_card = read_card(path)
    _check_kind(model_card)
    if model_card.anchor is None:
        codec: BaseCodec = _filled(build, path, model_card)
        books = _codebooks(path, model_card)
    else:
        anchor_path = _anchor_path(model_card, path.parent)
        anchor_card = read_card(anchor_path)
        anchor, books = _filled(build, anchor_path, anchor_card), _codebooks(anchor_path, anchor_card)
        codec = paired(anchor, _filled(build_decoder, path, model_card))
    codec = codec.requires_grad_(False).eval().to(device)
    return LoadedModel(codec, model_card, model_card.weights_sha256, books)


def anchors() -> list[str]:
    """The models that ship and encode, sorted."""
    return [name for name in names() if card(name).anchor is None]


def users(anchor) -> dict[str, str]:
    """The user decoders that lie beside an anchor: decoder family to what :func:`load` takes.

    Args:
        anchor: name or card path of a model that encodes.

    Raises:
        ModelError: no such model, or it is itself a user decoder.
    """
    path = card_path(anchor)
    anchor_card = read_card(path)
    if anchor_card.anchor is not None:
        raise ModelError(
            f"'{anchor_card.name}' is a user decoder of '{anchor_card.anchor['name']}': name that model instead."
        )
    found: dict[str, str] = {}
    for place in sorted(path.parent.glob("*.json")):
        try:
            user = read_card(place)
        except ModelError:  # another kind of file
            continue
        if user.anchor == anchor_card.reference:
            found.setdefault(user.architecture, user.name if path.parent == WEIGHTS else str(place))
    return {family: found[family] for family in DECODERS if family in found}


def install(staged: Path, folder: Path) -> Path:
    """Moves a model's weights, then its card, into ``folder``: a card that is there names weights that are.

    Args:
        staged: path of the card, the weights beside it, on the same disk.

    Returns:
        The card's new path.
    """
    for weights in read_card(staged).files:
        os.replace(staged.with_name(weights), folder / weights)
    os.replace(staged, folder / staged.name)
    return folder / staged.name


#: names of the tensors that several models may share
BACKBONE = "backbone."


def save_weights(
    codec: BaseCodec, path, dtype: torch.dtype = torch.float16, with_backbone: bool = True
) -> str:
    """Writes a codec's or user decoder's tensors as safetensors, whole or not at all, and returns the file's sha256.

    Floating tensors are stored as ``dtype``, counters as they are; ``with_backbone`` false leaves those out that another
    model's file holds.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {
        key: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for key, tensor in codec.state_dict().items()
        if with_backbone or not key.startswith(BACKBONE)
    }
    blob = save_safetensors(tensors)
    files.write_bytes(path, blob)
    return hashlib.sha256(blob).hexdigest()


def _check_kind(model_card: ModelCard) -> None:
    name, architecture = model_card.name, model_card.architecture
    if model_card.anchor is None and architecture in DECODERS:
        raise ModelError(
            f"model '{name}' is a user decoder ('{architecture}'), but its card names no other model's "
            f"encoder: 'parts.encoder' is {{model, sha256}} of the model whose encoder it decodes."
        )
    if model_card.anchor is not None and architecture in ARCHITECTURES:
        raise ModelError(
            f"model '{name}' names another model's encoder, but '{architecture}' is a whole codec: a user decoder is "
            f"one of {', '.join(DECODERS)}."
        )


def _anchor_path(user: ModelCard, folder: Path) -> Path:
    """The card of a user's anchor: the one in the user's folder, else the one that ships."""
    assert user.anchor is not None
    name, wanted = user.anchor["name"], user.anchor["weights_sha256"]
    path = next((p for p in (folder / f"{name}.json", WEIGHTS / f"{name}.json") if p.is_file()), None)
    if path is None:
        raise ModelError(
            f"model '{user.name}' decodes what '{name}' encodes, but that model is neither in {folder} nor among "
            f"those that ship: put {name}.json and its weights beside the user's card."
        )
    anchor = read_card(path)
    if anchor.anchor is not None:
        raise ModelError(
            f"model '{user.name}': its anchor '{name}' is itself a user decoder and encodes nothing: its card must "
            f"name the model that encodes, '{anchor.anchor['name']}'."
        )
    if anchor.weights_sha256 != wanted:
        raise ModelError(
            f"model '{user.name}' was trained for another '{name}': weights {wanted[:12]}..., but those in "
            f"{path.parent} are {anchor.weights_sha256[:12]}.... A changed encoder needs its users trained again."
        )
    return path


def _filled(make: Callable[..., D], path: Path, model_card: ModelCard) -> D:
    """What the card describes, made with its SNR range and filled with its weights."""
    tensors: dict[str, torch.Tensor] = {}
    shared = (model_card.backbone or {}).get("file")
    for file, sha256 in model_card.files.items():
        found = _tensors(path.with_name(file), sha256, model_card)
        if file == shared:
            found = as_backbone(found)
        tensors |= found
    try:
        module = make(model_card.architecture, dict(model_card.arguments), tuple(model_card.snr_range_db))
    except ModelError as error:
        raise ModelError(f"model card {path}: {error}") from error
    _check_fit(module, tensors, model_card)
    module.load_state_dict(tensors, assign=True)
    return module


def as_backbone(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a model that is built on another takes of its tensors: that one's backbone, or, where it has none, all."""
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(BACKBONE)}
    return own or {BACKBONE + key: tensor for key, tensor in tensors.items()}


def _codebooks(path: Path, model_card: ModelCard) -> dict[str, digital.CodebookSet]:
    """Uniform codebooks, and the learned ones that the card names."""
    books = {digital.UNIFORM: digital.uniform()}
    if model_card.codebooks:
        file = path.with_name(model_card.codebooks["file"])
        books[digital.LEARNED] = digital.load(file, model_card.codebooks["sha256"], model_card.name)
    return books


def _tensors(file: Path, wanted: str, model_card: ModelCard) -> dict[str, torch.Tensor]:
    """The weights as the codec computes with them: float32, counters as stored."""
    stored = read_tensors(file, wanted, model_card.name, "weights")
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in stored.items()}


def _check_fit(codec: BaseCodec, tensors: dict, model_card: ModelCard) -> None:
    wanted = {key: list(tensor.shape) for key, tensor in codec.state_dict().items()}
    found = {key: list(tensor.shape) for key, tensor in tensors.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ModelError(
                f"model '{model_card.name}': its weights do not fit {model_card.architecture}"
                f"{shown(model_card.arguments)}: '{key}' should be {wanted.get(key, 'absent')} but "
                f"is {found.get(key, 'absent')}."
            )
    facts = {
        "source": codec.source.name,
        "result": codec.result.name,
        "power": codec.power,
        "streams": 1,
        "senders": 1,
    }
    for what, own in facts.items():
        if (stated := getattr(model_card, what)) != own:
            raise ModelError(
                f"model '{model_card.name}': the card says {what} = {stated}, but that of "
                f"{model_card.architecture} is {own}."
            )
    possible = [ANALOG_PAYLOAD] + [QUANTISED] * codec.quantisable
    if unknown := [payload for payload in model_card.payloads if payload not in possible]:
        raise ModelError(
            f"model '{model_card.name}': the card says payloads = {shown(unknown)}, but latents of "
            f"{model_card.architecture} can be sent as {', '.join(possible)}."
        )
    low, high = model_card.rho if isinstance(model_card.rho, list) else (model_card.rho, model_card.rho)
    if not low - 1e-6 <= codec.rho <= high + 1e-6:
        raise ModelError(
            f"model '{model_card.name}': the card says rho = {model_card.rho}, the codec has {codec.rho}."
        )


def card_path(name) -> Path:
    """The file of a model's card, from a name that ships, the path of a card, or a folder that holds one.

    Raises:
        ModelError: there is none.
    """
    if str(name) in names():
        return WEIGHTS / f"{name}.json"
    path = Path(name)
    if is_file(path):
        if path.suffix != ".json":
            raise ModelError(f"{path} is no model card: give the .json file that lies beside the weights.")
        return path
    if is_folder(path):
        cards = sorted(path.glob("*.json"))
        if len(cards) == 1:
            return cards[0]
        raise ModelError(f"folder {path} holds {len(cards)} .json files: name the model card itself.")
    shipped = names()
    there = f"There are {', '.join(shipped)}." if shipped else "No models are installed."
    hint = f"{did_you_mean(name, shipped)} {there}"
    raise ModelError(f"there is no model {shown(str(name))}{hint} A path of your own model card works too.")
