# SPDX-License-Identifier: GPL-3.0-or-later
"""Codebooks: what a latent can be quantised to, and the posterior of a latent given its entry.

Of a square constellation I and Q are quantised apart, each to a Gray labelled amplitude; of BPSK and 8PSK the complex
latent as a whole. An alphabet is a table of ``L`` entries in ``D`` real dimensions: ``D`` = 1 for square ones (I and Q
share it), 2 for the others.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from semcom.cached import cached_tensors
from semcom.errors import ModelError
from semcom.modem.labels import BITS_PER_LATENT
from semcom.modulation import constellation
from semcom.stored import read_tensors

UNIFORM, LEARNED = "uniform", "learned"
BEST = "best"  # the learned ones where a model has them
_TABLES = ("points", "values", "spread", "log_prior")

#: entries of a uniform codebook over points of a constellation of power 1: wider than the least error asks for, as
#: clipping costs a picture more than rounding does (measured on training pictures, `docs/digital.md`)
_SCALES = {1: 0.56, 2: 0.8, 3: 0.9, 4: 1.4, 6: 1.75, 8: 2.1}
# of the integral over a Gaussian's cells: places a dimension; how far out
_PLACES, _REACH = ({1: 2400, 2: 240}, 3.6)


@dataclass(frozen=True, eq=False)
class Codebook:
    """One codebook of 2^bits entries.

    Attributes:
        bits: of a label, q.
        points: ``[L, D]`` float32; a latent (or its I, its Q) takes the label of the nearest.
        values: ``[L, D]`` what it was on average if it took that label. spread: ``[L]`` its variance then.
        log_prior: ``[L]`` natural logarithm of how likely the label is.
        gain: of the constellation's points where a label is one symbol: then symbols have mean power 1.
    """

    bits: int
    points: torch.Tensor
    values: torch.Tensor
    spread: torch.Tensor
    log_prior: torch.Tensor
    gain: float

    @property
    def element_bits(self) -> int:
        """Bits of a table's label: of I or Q alone where the constellation is square."""
        return len(self.points).bit_length() - 1

    @property
    def entries(self) -> torch.Tensor:
        """All points as complex numbers in the order of their labels, ``[2^bits]``."""
        if self.points.shape[1] == 2:
            return torch.view_as_complex(self.points.contiguous())
        level, count = self.points[:, 0], len(self.points)
        return torch.complex(level.repeat_interleave(count), level.repeat(count))

    def to(self, device) -> "Codebook":
        tables = {name: getattr(self, name).to(device) for name in _TABLES}
        return Codebook(self.bits, **tables, gain=self.gain)


@dataclass(frozen=True, eq=False)
class CodebookSet:
    """The codebooks of one model, one for each number of bits.

    Attributes:
        name: "uniform" or "learned". sha256: of their file; "uniform" where nothing is stored.
    """

    name: str
    sha256: str
    books: dict[int, Codebook]

    def of(self, bits: int) -> Codebook:
        """Raises ModelError where there is none of so many bits."""
        if bits not in self.books:
            raise ModelError(
                f"{self.name} codebooks of {bits} bits do not exist: take {', '.join(map(str, sorted(self.books)))}."
            )
        return self.books[bits]


def resolved(name: str, there: Collection[str], model: str) -> str:
    """The codebooks meant by ``name``: "best" stands for the learned ones if they are ``there``, else for the uniform.

    Raises:
        ModelError: ``model`` has none of that name, or there is no such name.
    """
    if name == BEST:
        return LEARNED if LEARNED in there else UNIFORM
    if name not in (UNIFORM, LEARNED):
        raise ModelError(f"there are no {name} codebooks: take {BEST}, {UNIFORM} or {LEARNED}.")
    if name not in there:
        raise ModelError(
            f"model '{model}' has no {name} codebooks: use uniform ones, or train them with "
            f"`python -m semcom_training.codebooks {model}`."
        )
    return name


def alphabet(bits: int) -> torch.Tensor:
    """The constellation of 2^bits points as a table ``[L, D]``: its amplitudes where square, else its points."""
    return constellation(2**bits).table


def gain_of(bits: int, prior: torch.Tensor) -> torch.Tensor:
    """What a constellation of 2^bits points is multiplied with so that labels of ``prior`` ``[L]`` send power 1."""
    table = alphabet(bits).to(prior)
    power = (prior * table.square().sum(dim=1)).sum() * (2 if table.shape[1] == 1 else 1)
    return power.rsqrt()


@cached_tensors()
def uniform() -> CodebookSet:
    """Constellations themselves, scaled to suit Gaussian latents of power 1: needs nothing stored or trained."""
    books = {bits: gaussian_codebook(bits, _SCALES[bits] * alphabet(bits)) for bits in BITS_PER_LATENT}
    return CodebookSet(UNIFORM, UNIFORM, books)


def gaussian_codebook(bits: int, points: torch.Tensor) -> Codebook:
    """The codebook with these points ``[L, D]`` whose posteriors are those of Gaussian latents of power 1."""
    dimensions = points.shape[1]
    axis = torch.linspace(-_REACH, _REACH, _PLACES[dimensions], dtype=torch.float64)
    places = axis[:, None] if dimensions == 1 else torch.cartesian_prod(axis, axis)
    weights = (-places.square().sum(dim=1)).exp()
    return codebook_of(bits, points, places, weights)


def codebook_of(bits: int, points: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> Codebook:
    """The codebook with these points whose posteriors are the statistics of weighted samples.

    Args:
        points: ``[L, D]``. places: ``[n, D]`` latents, or their I and Q. weights: ``[n]``.
    """
    points, count = points.to(places), len(points)
    labels = nearest(places, points)
    mass = torch.zeros(count).to(places).index_add(0, labels, weights)
    sums = torch.zeros_like(points).index_add(0, labels, weights[:, None] * places)
    values = torch.where(mass[:, None] > 0, sums / mass.clamp_min(1e-30)[:, None], points)
    error = weights * (places - values[labels]).square().sum(dim=1)
    spread = torch.zeros_like(mass).index_add(0, labels, error) / mass.clamp_min(1e-30)
    prior = (mass / mass.sum()).clamp_min(1e-7)
    prior = prior / prior.sum()
    return Codebook(
        bits, points.float(), values.float(), spread.float(), prior.log().float(), float(gain_of(bits, prior))
    )


def nearest(places: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Labels of the points ``[L, D]`` nearest to ``places`` ``[..., D]``, ``[...]`` int64."""
    scores = places @ points.T
    return scores.sub_(points.square().sum(dim=1) / 2).argmax(dim=-1)


def save(books: dict[int, Codebook], path) -> str:
    """Writes codebooks as safetensors and returns the file's sha256."""
    tensors: dict[str, torch.Tensor] = {}
    for bits, book in books.items():
        tensors |= {f"{bits}.{name}": getattr(book, name).detach().cpu().contiguous() for name in _TABLES}
        tensors[f"{bits}.gain"] = torch.tensor([book.gain])
    blob = save_safetensors(tensors)
    Path(path).write_bytes(blob)
    return hashlib.sha256(blob).hexdigest()


def load(path, wanted_sha256: str, model: str) -> CodebookSet:
    """Reads learned codebooks.

    Raises:
        ModelError: the file is absent, is not the one that the card of ``model`` names, or is no set of codebooks.
    """
    path = Path(path)
    stored = read_tensors(path, wanted_sha256, model, "codebooks")
    books = {}
    for bits in sorted({int(key.split(".")[0]) for key in stored if key.split(".")[0].isdecimal()}):
        books[bits] = _checked(bits, stored, f"model '{model}': {path.name}")
    return CodebookSet(LEARNED, wanted_sha256, books)


def _checked(bits: int, stored: dict, source: str) -> Codebook:
    if bits not in BITS_PER_LATENT:
        raise ModelError(f"{source} holds codebooks of {bits} bits, which no header can name.")
    rows, dimensions = alphabet(bits).shape
    wide = [rows, dimensions]
    shapes = dict(zip((*_TABLES, "gain"), (wide, wide, [rows], [rows], [1]), strict=True))
    tables = {}
    for name, shape in shapes.items():
        table = stored.get(f"{bits}.{name}")
        if table is None or list(table.shape) != shape or not bool(torch.isfinite(table).all()):
            raise ModelError(f"{source}: '{bits}.{name}' should be a table {shape} of numbers.")
        tables[name] = table.float()
    gain = float(tables.pop("gain"))
    if gain <= 0:
        raise ModelError(f"{source}: '{bits}.gain' is {gain}: symbols would have no power.")
    return Codebook(bits, **tables, gain=gain)
