# SPDX-License-Identifier: GPL-3.0-or-later
"""Public sets of pictures as they come: CIFAR-10 and CIFAR-100 in their two forms, images and classes."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcom.errors import ConfigError, ImageError
from semcom.kinds import video
from semcom.kinds.pictures import MAX_SIDE, Picture, list_pictures, read_picture

_MOST_FRAME_BYTES = 2**31  # of videos that are read into memory


@dataclass(frozen=True)
class LabelledSet:
    """A set whose pictures have classes. title: in words. train, test: patterns of its python batches. key: of their
    labels. sizes: pictures for training and for testing of the official split."""

    title: str
    classes: int
    train: str
    test: str
    key: bytes
    sizes: tuple[int, int]


#: by the name of the folder
LABELLED = {
    "cifar10": LabelledSet("CIFAR-10", 10, "data_batch_[1-5]", "test_batch", b"labels", (50_000, 10_000)),
    "cifar100": LabelledSet("CIFAR-100", 100, "train", "test", b"fine_labels", (50_000, 10_000)),
}


def _set_of(folder: Path) -> LabelledSet:
    return LABELLED.get(folder.name, LABELLED["cifar10"])


def title(folder, count: int | None = None) -> str:
    """A labelled set in words; one whose ``count`` of test pictures is not the official one is said to be reduced."""
    known = _set_of(Path(folder))
    own = count is not None and count != known.sizes[1]
    return f"{known.title}, reduced, own split" if own else known.title


def check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    """Refuses classes that a classifier cannot learn.

    Raises:
        ConfigError: labels outside 0..classes - 1; classes without a picture, or with ten times fewer than another.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ConfigError(
            f"{where} has labels {low} to {high}, but the codec has {classes} classes, 0 to {classes - 1}: set "
            f"'classes' in the recipe's arguments to {max(high + 1, 2)}, or take other data."
        )
    counts = np.bincount(labels, minlength=classes)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise ConfigError(
            f"{where} has no picture of class {', '.join(map(str, empty[:8]))}{' ...' * (len(empty) > 8)}, of "
            f"{classes}: such a class is never learned. Set 'classes' to what there is, or add pictures."
        )
    if counts.max() > 10 * counts.min():
        raise ConfigError(
            f"{where} is unbalanced: {counts.max()} pictures of class {counts.argmax()}, {counts.min()} of class "
            f"{counts.argmin()}. A classifier of it answers the large one: even the classes out to within ten times."
        )


def load_cifar10(folder, split: str = "train") -> np.ndarray:
    """Images ``[N, 32, 32, 3]`` uint8 of CIFAR-10, or of CIFAR-100 where the folder is called so, in the official order.

    The folder holds the public python batches (``data_batch_1`` ..., ``test_batch``; of CIFAR-100 ``train``, ``test``)
    or lossless WebP sheets of 40 rows of 25 images (``train_00.webp`` ...).

    Raises:
        ConfigError: the folder holds neither.
    """
    folder = Path(folder)
    sheets = sorted(folder.glob(f"{split}_[0-9][0-9].webp"))
    batches = _batches(folder, split)
    if sheets:
        return np.concatenate([_read_sheet(path) for path in sheets])
    if batches:
        return (
            np.concatenate([_read_batch(path) for path in batches])
            .reshape(-1, 3, 32, 32)
            .transpose(0, 2, 3, 1)
        )
    raise ConfigError(
        f"no {title(folder)} {split} images in {folder}: it must hold the python batches (cifar-10-batches-py, "
        f"cifar-100-python) or {split}_NN.webp sheets."
    )


def _batches(folder: Path, split: str) -> list[Path]:
    known = _set_of(folder)
    return sorted(path for path in folder.rglob(getattr(known, split)) if path.is_file())


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
    """The classes ``[N]`` int64 of :func:`load_cifar10`'s images, from the python batches or ``train_labels.npy``.

    Raises:
        ConfigError: the folder holds neither.
    """
    folder = Path(folder)
    table = folder / f"{split}_labels.npy"
    batches = _batches(folder, split)
    if table.is_file():
        return np.load(table, allow_pickle=False).astype(np.int64)
    if batches:
        key = _set_of(folder).key
        return np.concatenate([np.asarray(_read_batch(path, key), np.int64) for path in batches])
    raise ConfigError(
        f"no {title(folder)} {split} labels in {folder}: put {table.name} or the python batches there."
    )


@dataclass(frozen=True)
class Taking:
    """What is taken of files and folders.

    recursive: subfolders too. max_side: larger pictures are scaled down to it; 0: they are bad if too large to be sent.
    limit: only the first so many. strict: a bad picture refuses them all; else it is left out and said.
    """

    recursive: bool = False
    max_side: int = 0
    limit: int | None = None
    strict: bool = True

    def __post_init__(self):
        if not 0 <= self.max_side <= MAX_SIDE:
            raise ConfigError(f"--max-size takes 0 to {MAX_SIDE} pixels, not {self.max_side}.")


def read_pictures(
    paths: Sequence[Path],
    taking: Taking,
    say: Callable[[str], None] = lambda words: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Picture]:
    """Pictures of files and folders, in the order of the paths.

    Of CIFAR-10 these are its test images, with classes where known; of a video its frames; of a camera or the screen as
    many as ``taking.limit`` says.

    Args:
        say: called with whatever a user should know: what was left out and why, what was scaled.
        progress: called with how many files were read, and of how many.

    Raises:
        ImageError: a path that does not exist; a bad picture, if ``strict``; nothing but bad ones. It names them all.
        ConfigError: a folder of CIFAR-10 that is damaged.
    """
    ready: list[Picture | Path] = []
    bad: list[str] = []
    for path in paths:
        if video.is_video(path):
            ready += _frames(path, taking)
        elif is_cifar10(path):
            ready += _cifar10_pictures(path)
        elif path.is_dir():
            try:
                ready += list_pictures(path, taking.recursive, say)
            except ImageError as error:
                bad.append(str(error))
        elif not path.exists():
            raise ImageError(f"{path} does not exist.")
        else:
            ready.append(path)
    pictures: list[Picture] = []
    most = len(ready) if taking.limit is None else min(taking.limit, len(ready))
    for item in ready:
        if len(pictures) == most:
            break
        try:
            picture = item if isinstance(item, Picture) else read_picture(item, max_side=taking.max_side)
            pictures.append(picture)
        except ImageError as error:
            bad.append(str(error))
        progress(len(pictures) + len(bad), most)
    if bad and (taking.strict or not pictures):
        raise ImageError("\n".join(bad))
    for complaint in bad:
        say(f"skipped: {complaint}")
    if bad:
        say(f"{len(bad)} of {len(bad) + len(pictures)} were skipped.")
    if most < len(ready):
        say(f"only the first {most} of {len(ready)} pictures are taken (--limit).")
    for picture in pictures:
        if picture.note:
            say(picture.note)
    return pictures


def _frames(place: Path, taking: Taking) -> list[Picture]:
    if video.is_live(place) and taking.limit is None:
        raise ImageError(f"{place} never ends: say how many of its frames are taken with --limit.")
    frames: list[Picture] = []
    room = _MOST_FRAME_BYTES
    for picture in video.Frames(place, newest=False, max_side=taking.max_side, limit=taking.limit):
        room -= picture.pixels.nbytes
        if room < 0:
            raise ImageError(
                f"{place} has more than the {len(frames)} frames that memory is given to here: take the first ones with "
                "--limit, smaller ones with --max-size, or send them one by one with `semcom tx`."
            )
        frames.append(picture)
    return frames


def is_cifar10(folder: Path) -> bool:
    """Whether a folder holds CIFAR-10 or CIFAR-100 in one of their two forms, as :func:`load_cifar10` reads them."""
    names = ("test_00.webp", "train_00.webp", "test_batch", "data_batch_1", "cifar-10-batches-py")
    named = folder.name in LABELLED and folder.is_dir() and bool(_batches(folder, "test"))
    return named or any((folder / name).exists() for name in names)


def _cifar10_pictures(folder: Path) -> list[Picture]:
    images = load_cifar10(folder, "test")
    try:
        labels: list[int | None] = load_cifar10_labels(folder, "test").tolist()
    except ConfigError:
        labels = [None] * len(images)
    return [
        Picture(f"test_{number:05d}", pixels, label=label)
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True))
    ]


def read_set(folder: Path, taking: Taking = Taking()) -> list[tuple]:
    """(name, uint8 ``[H, W, 3]``) of the folder's pictures, as of :func:`read_pictures`."""
    return [(picture.name, picture.pixels) for picture in read_pictures([folder], taking)]


def with_classes(pictures: Sequence[Picture], folder: Path) -> list[tuple]:
    """(name, uint8 ``[H, W, 3]``, number of the true class).

    Raises:
        ConfigError: the pictures of that folder have none.
    """
    if any(picture.label is None for picture in pictures):
        raise ConfigError(
            f"the classes of the pictures in {folder} are not known: a classifier is measured on CIFAR-10 or CIFAR-100, "
            f"whose folder holds the python batches, or test_NN.webp sheets and test_labels.npy."
        )
    return [(picture.name, picture.pixels, picture.label) for picture in pictures]
