# SPDX-License-Identifier: GPL-3.0-or-later
"""Training pictures: CIFAR-10 and CIFAR-100 in their two forms, or folders of photos, as uint8 in memory."""

import functools
import os
from pathlib import Path

import torch

from semcom.errors import ConfigError
from semcom.kinds.pictures import SUFFIXES, read_picture
from semcom.kinds.sets import LABELLED, check_labels, load_cifar10, load_cifar10_labels
from semcom_training.download import DOWNLOADS


def data_root(data=None) -> Path:
    """The data folder: the argument, else the environment variable SEMCOM_DATA.

    Raises:
        ConfigError: neither is given, or the folder does not exist.
    """
    folder = data or os.environ.get("SEMCOM_DATA")
    if not folder:
        raise ConfigError(
            "no data folder: give one, or set the environment variable SEMCOM_DATA "
            "(`semcom data get` fills one with public pictures)."
        )
    if not Path(folder).is_dir():
        raise ConfigError(f"the data folder {folder} does not exist.")
    return Path(folder)


def image_files(folder, exclude=()) -> list[Path]:
    """Picture files below a folder, sorted by name, without those whose name starts with an ``exclude``
    prefix."""
    files = (p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    return sorted((p for p in files if not p.name.startswith(tuple(exclude))), key=lambda p: (p.name, str(p)))


class Pictures:
    """Training pictures in memory; :meth:`batch` draws flipped crops, :attr:`held_out` is never drawn.

    Args:
        root: the data folder.
        folders: folders below it; one named ``cifar10`` or ``cifar100`` is read as that set's training split.
        crop: side of the random crops in pixels; 0 takes pictures whole (all must have one size).
        shift: pixels that whole pictures are moved by at most, mirrored at their edges.

    Raises:
        ConfigError: a folder is absent, or holds too few pictures of at least the crop's size; a picture cannot be
            read (ImageError); pictures are taken whole, but have several sizes.
    """

    def __init__(
        self, root, folders, exclude=(), crop: int = 0, held_out: int = 64, seed: int = 1, shift: int = 0
    ):
        self.crop, self.shift = crop, shift
        named = [item for name in folders for item in _named_images(Path(root), name, exclude)]
        named = [(name, image) for name, image in named if min(image.shape[1:]) >= max(crop, 1)]
        if len(named) <= held_out:
            raise ConfigError(
                f"{len(named)} pictures in {', '.join(folders)} are too few: {held_out} are held out."
            )
        if not crop:
            _require_one_size(named)
        order = torch.randperm(len(named), generator=torch.Generator().manual_seed(seed)).tolist()
        self.held_out = [named[n][1] for n in sorted(order[:held_out])]
        self.names, self.images = zip(*(named[n] for n in sorted(order[held_out:])))
        self._root, self._folders = Path(root), folders
        self._held_out_names = [named[n][0] for n in sorted(order[:held_out])]
        self._atlas: Atlas | None = None

    def to(self, device: torch.device) -> None:
        """Brings all pictures onto a GPU, once, where :meth:`batch` then cuts its crops; on the CPU nothing changes, nor
        with pictures that are moved."""
        if device.type != "cpu" and not self.shift:
            self._atlas = Atlas(self.images, device)

    def batch(self, size: int, generator: torch.Generator, rank: int = 0, ranks: int = 1) -> torch.Tensor:
        """``[size, 3, H, W]`` uint8: random pictures, random crops, flipped left to right half of the time; on the
        device of :meth:`to`, and the same on all.

        Of several processes each gives the same seed and gets every ``ranks``-th row, from ``rank`` on.
        """
        picks = torch.randint(len(self.images), (size,), generator=generator)[rank::ranks]
        places = torch.rand(size, 3, generator=generator)[rank::ranks]
        if self._atlas is not None:
            return self._atlas.crops(picks, places, self.crop)
        out = []
        for pick, (row, column, flip) in zip(picks.tolist(), places.tolist()):
            image = self.images[pick]
            if self.crop:
                top = int(row * (image.shape[1] - self.crop + 1))
                left = int(column * (image.shape[2] - self.crop + 1))
                image = image[:, top : top + self.crop, left : left + self.crop]
            elif self.shift:
                image = _moved(image, *(round((2 * x - 1) * self.shift) for x in (row, column)))
            out.append(image.flip(2) if flip < 0.5 else image)
        return torch.stack(out)

    def batch_labels(
        self, size: int, generator: torch.Generator, rank: int = 0, ranks: int = 1
    ) -> torch.Tensor:
        """The classes ``[size]`` of the pictures that :meth:`batch` draws from a generator of the same seed."""
        picks = torch.randint(len(self.images), (size,), generator=generator)
        return self.labels[picks][rank::ranks]

    @functools.cached_property
    def labels(self) -> torch.Tensor:
        """The class of each picture ``[N]``. Raises ConfigError: those of a folder are not known."""
        return torch.tensor([self._class_of[name] for name in self.names])

    @functools.cached_property
    def held_out_labels(self) -> torch.Tensor:
        """The class of each picture held out."""
        return torch.tensor([self._class_of[name] for name in self._held_out_names])

    def check_labels(self, classes: int) -> None:
        """Raises ConfigError: what is trained on has no classes, or none that ``classes`` of a codec can learn."""
        check_labels(self.labels.numpy(), classes, f"the training data ({', '.join(self._folders)})")

    @functools.cached_property
    def _class_of(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self._folders:
            if Path(name).name not in LABELLED:
                raise ConfigError(
                    f"the classes of the pictures in '{name}' are not known; a recipe with labels takes "
                    f"{' or '.join(LABELLED)}."
                )
            labels = load_cifar10_labels(self._root / name).tolist()
            found |= {f"{name}/train-{n}": label for n, label in enumerate(labels)}
        return found

    def batch_names(self, size: int, generator: torch.Generator) -> list[str]:
        """The names of the pictures that :meth:`batch` draws from a generator of the same seed."""
        return [self.names[n] for n in torch.randint(len(self.images), (size,), generator=generator).tolist()]


class Atlas:
    """Pictures of any sizes in one tensor on a device, from which a batch is one gather."""

    def __init__(self, images, device: torch.device):
        self._sizes = torch.tensor([image.shape[1:] for image in images])
        self._first = torch.tensor([0] + [image.numel() for image in images]).cumsum(0)[:-1]
        self._pixels = torch.cat([image.flatten() for image in images]).to(device)

    def crops(self, picks: torch.Tensor, places: torch.Tensor, side: int) -> torch.Tensor:
        """Crops ``[B, 3, side, side]`` uint8 of the pictures ``picks`` ``[B]``; whole ones where ``side`` is 0.

        Args:
            places: ``[B, 3]`` of 0..1: where the crop lies in rows and columns, and whether it is flipped (below 1/2).
        """
        heights, widths = self._sizes[picks].unbind(1)
        rows, columns = (side, side) if side else self._sizes[0].tolist()
        # in double precision, as Python's numbers are
        top = (places[:, 0].double() * (heights - rows + 1)).long()
        left = (places[:, 1].double() * (widths - columns + 1)).long()
        flip = places[:, 2] < 0.5
        start = self._first[picks] + top * widths + left + torch.where(flip, columns - 1, 0)
        drawn = torch.stack([start, heights * widths, widths, 1 - 2 * flip.long()]).to(self._pixels.device)
        start, plane, line, step = drawn[:, :, None, None, None]
        colour, row, column = (torch.arange(n, device=drawn.device) for n in (3, rows, columns))
        index = start + plane * colour[:, None, None] + line * row[:, None] + step * column
        return self._pixels[index]


def _moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """A picture ``[3, H, W]`` moved by pixels, mirrored at its edges."""
    height, width = image.shape[1:]
    rows = _mirrored(torch.arange(height) - down, height)
    return image[:, rows][:, :, _mirrored(torch.arange(width) - right, width)]


def _mirrored(places: torch.Tensor, count: int) -> torch.Tensor:
    """Places beyond 0..count - 1 reflected into it."""
    places = places.abs()
    return torch.where(places < count, places, 2 * (count - 1) - places)


def _require_one_size(named: list[tuple[str, torch.Tensor]]) -> None:
    (first, image), *others = named
    for name, other in others:
        if other.shape != image.shape:
            (a, b), (c, d) = image.shape[1:], other.shape[1:]
            raise ConfigError(
                f"crop is 0, so pictures are taken whole and must have one size, but {first} has {b}x{a} pixels and "
                f"{name} {d}x{c}: set 'crop' to the side that is wanted."
            )


def _named_images(root: Path, name: str, exclude) -> list[tuple[str, torch.Tensor]]:
    folder = root / name
    if not folder.is_dir():
        cure = (
            f"`semcom data get {folder.name} --to {folder.parent}` downloads it."
            if folder.name in DOWNLOADS
            else f"put a folder of pictures there, or name another under 'data' (`semcom data get NAME --to {root}` "
            f"downloads {', '.join(DOWNLOADS)})."
        )
        raise ConfigError(f"the recipe trains on '{name}', but {folder} does not exist: {cure}")
    if folder.name in LABELLED:
        images = torch.from_numpy(load_cifar10(folder).transpose(0, 3, 1, 2).copy())
        return [(f"{name}/train-{n}", image) for n, image in enumerate(images)]
    return [(f"{name}/{path.relative_to(folder)}", read_image(path)) for path in image_files(folder, exclude)]


def read_image(path: Path) -> torch.Tensor:
    """A picture file as uint8 ``[3, H, W]``, RGB: the pixels that a transmitter would send.

    Raises:
        ImageError: it cannot be read as a picture.
    """
    return torch.from_numpy(read_picture(path, any_size=True).pixels.transpose(2, 0, 1).copy())
