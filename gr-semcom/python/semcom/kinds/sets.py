# SPDX-License-Identifier: GPL-3.0-or-later
"""Public sets of pictures as they come: CIFAR-10 in its two forms, images and classes."""

import pickle
from pathlib import Path

import numpy as np

from semcom.errors import ConfigError
from semcom.kinds.pictures import list_pictures, read_picture


def load_cifar10(folder, split: str = "train") -> np.ndarray:
    """CIFAR-10 images ``[N, 32, 32, 3]`` uint8 in the official order.

    The folder holds the public python batches (``data_batch_1`` ..., ``test_batch``) or lossless WebP sheets
    of 40 rows of 25 images (``train_00.webp`` ...).

    Raises:
        ConfigError: the folder holds neither.
    """
    folder = Path(folder)
    sheets = sorted(folder.glob(f"{split}_[0-9][0-9].webp"))
    batches = sorted(folder.rglob("data_batch_[1-5]" if split == "train" else "test_batch"))
    if sheets:
        return np.concatenate([_read_sheet(path) for path in sheets])
    if batches:
        return (
            np.concatenate([_read_batch(path) for path in batches])
            .reshape(-1, 3, 32, 32)
            .transpose(0, 2, 3, 1)
        )
    raise ConfigError(
        f"no CIFAR-10 {split} images in {folder}: it must hold the python batches (cifar-10-batches-py) or "
        f"{split}_NN.webp sheets."
    )


def _read_sheet(path: Path) -> np.ndarray:
    return (
        read_picture(path, any_size=True)
        .pixels.reshape(40, 32, 25, 32, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(-1, 32, 32, 3)
    )


class _ArrayUnpickler(pickle.Unpickler):
    """The public batches are pickles: only plain containers and numpy arrays are let through."""

    def find_class(self, module, name):
        array = module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype")
        if array or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")


def _read_batch(path: Path, key: bytes = b"data"):
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file, encoding="bytes").load()[key]
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not one of CIFAR-10's python batches: {error}.") from error


def load_cifar10_labels(folder, split: str = "train") -> np.ndarray:
    """The classes ``[N]`` int64, 0..9, of :func:`load_cifar10`'s images, from the python batches or
    ``train_labels.npy``.

    Raises:
        ConfigError: the folder holds neither.
    """
    folder = Path(folder)
    table = folder / f"{split}_labels.npy"
    batches = sorted(folder.rglob("data_batch_[1-5]" if split == "train" else "test_batch"))
    if table.is_file():
        return np.load(table, allow_pickle=False).astype(np.int64)
    if batches:
        return np.concatenate([np.asarray(_read_batch(path, b"labels"), np.int64) for path in batches])
    raise ConfigError(
        f"no CIFAR-10 {split} labels in {folder}: put {table.name} or the python batches there."
    )


def read_set(folder: Path, limit: int | None, labels: bool = False) -> list[tuple]:
    """(name, uint8 ``[H, W, 3]``) of the folder's pictures; of CIFAR-10 its test images in their order.

    Args:
        limit: only the first so many. labels: with the number of the true class as a third element.

    Raises:
        ImageError: a picture cannot be read. ConfigError: classes are wanted of pictures that have none.
    """
    if any((folder / name).exists() for name in ("test_00.webp", "test_batch", "cifar-10-batches-py")):
        images = load_cifar10(folder, "test")[:limit]
        found = [(f"test_{number:05d}", pixels) for number, pixels in enumerate(images)]
        if not labels:
            return found
        return [(*item, int(label)) for item, label in zip(found, load_cifar10_labels(folder, "test"))]
    if labels:
        raise ConfigError(
            f"the classes of the pictures in {folder} are not known: a classifier is measured on CIFAR-10, whose folder "
            f"holds the python batches, or test_NN.webp sheets and test_labels.npy."
        )
    return [(picture.name, picture.pixels) for picture in map(read_picture, list_pictures(folder)[:limit])]
