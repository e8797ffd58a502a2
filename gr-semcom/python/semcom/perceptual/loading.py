# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the weights of LPIPS and DISTS lie, and whether they are what they should be.

AlexNet's come with the package, and so do the 2,950 weights of DISTS. VGG-16's, 29 MB, are fetched once by `semcom data
get lpips-vgg` into the data folder; DISTS takes its network from the same file. `semcom_training.perceptual` made
them all.
"""

import hashlib
import os
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from semcom.errors import ConfigError, MissingError, ModelError
from semcom.perceptual.networks import AlexNet, Dists, Lpips, Vgg16

NAMES = ("lpips-alex", "lpips-vgg", "dists")
SHIPPED = Path(__file__).with_name("weights")
DATA_VARIABLE = "SEMCOM_DATA"
# of the tensors, see `digest`
SHA256 = {
    "lpips-alex": "af4c5aee8057d85cf1c04197f506714ab98bd78898a440fd6e7657ebd9e63c7a",
    "lpips-vgg": "5d08a90d81161dba0e14999809a92fac5b02ce85127d1c0bb16c4d0fdd9306f2",
    "dists": "cd12920f7a7e2f413ae43d4a528882e749aee4441693abdfa296bd5e34f95d1f",
}


def load(name: str, device="cpu", folder=None) -> Lpips | Dists:
    """A perceptual distance with its weights, in evaluation mode, made once for a device.

    Args:
        name: ``lpips-alex``, which ships; ``lpips-vgg`` or ``dists``, which need `semcom data get lpips-vgg`.
        folder: the data folder where ``lpips-vgg`` lies; by default that of the variable SEMCOM_DATA.

    Raises:
        ConfigError: no distance of that name. MissingError: weights that are not there, with the cure.
        ModelError: weights that were altered (sha256) or cannot be read.
    """
    if name not in NAMES:
        raise ConfigError(f"no perceptual measure '{name}': choose of {', '.join(NAMES)}.")
    place = folder or os.environ.get(DATA_VARIABLE)
    return _load(name, str(torch.device(device)), None if name == "lpips-alex" or not place else str(place))


@cache
def _load(name: str, device: str, folder: str | None) -> Lpips | Dists:
    # tensors made in inference mode could never take part in a training
    with torch.inference_mode(False), torch.no_grad():
        if name == "dists":
            distance, vgg = Dists(), read("lpips-vgg", _vgg_file(folder))
            tensors = {key: value for key, value in vgg.items() if not key.startswith("heads.")}
            tensors |= read("dists", SHIPPED / "dists.safetensors")
        elif name == "lpips-vgg":
            distance, tensors = Lpips(Vgg16()), read(name, _vgg_file(folder))
        else:
            distance, tensors = Lpips(AlexNet()), read(name, SHIPPED / "lpips-alex.safetensors")
        distance.load_state_dict({key: value.float() for key, value in tensors.items()})
        return distance.requires_grad_(False).eval().to(device)


def read(name: str, file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file, as stored (float16).

    Raises:
        MissingError, ModelError: as :func:`load`.
    """
    fetched = name == "lpips-vgg"
    cure = (
        f"remove it and run `semcom data get lpips-vgg --to {file.parent.parent}`"
        if fetched
        else "install gr-semcom again"
    )
    if not file.is_file():
        raise MissingError(f"the weights of {name} are not at {file}: {cure.removeprefix('remove it and ')}.")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the weights of {name}, {file}, cannot be read ({error}): {cure}.") from error
    if (found := digest(tensors)) != SHA256[name]:
        raise ModelError(
            f"the weights of {name}, {file}, were altered (sha256 of the tensors {found[:12]}..., not "
            f"{SHA256[name][:12]}...): {cure}."
        )
    return tensors


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """sha256 over names, shapes and values in order of names: the same whichever safetensors wrote the file."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()


def _vgg_file(folder: str | None) -> Path:
    if folder is None:
        raise MissingError(
            f"the weights of VGG-16 do not come with the package: run `semcom data get lpips-vgg --to FOLDER`, and put "
            f"that folder's path into the environment variable {DATA_VARIABLE}."
        )
    return Path(folder) / "lpips-vgg" / "lpips-vgg.safetensors"
