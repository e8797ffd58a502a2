# SPDX-License-Identifier: GPL-3.0-or-later
"""Start values of the content-adaptive codec, measured from pictures: class tables, base layer, water levels.

python -m semcom_training.classes RECIPE --data FOLDER --out FOLDER

What it writes is a model like any other, whose networks do nothing yet: a linear codec in closed form.
"""

import math
import time
from pathlib import Path

import torch

from semcom.codec.image import allocation as closed
from semcom.codec.image import sideinfo
from semcom.codec.image.content import ContentAdaptive
from semcom.errors import ConfigError, SemcomError
from semcom.files import writable_folder
from semcom_training.data import Pictures, data_root
from semcom_training.export import export_model
from semcom_training.models import build_codec
from semcom_training.recipe import Recipe, load_recipe

#: variance a pixel below which a coefficient is never sent, so that nobody's class depends on it
_FLOOR = 5e-5
_BLOCKS = {64: 14_000, 32: 24_000, 16: 60_000, 8: 100_000}
_SHRINKAGE = 8.0
_FIRST_MU = 2e-3


def measure(codec: ContentAdaptive, pictures: Pictures, seed: int = 1, rounds: int = 3, say=print) -> None:
    """Fills the tables of ``codec`` from training pictures.

    Base layer first; then for each block size classes of blocks by classification EM, from clusters of log energies in
    frequency zones; then ``rounds`` times: choose the maps of all pictures at random allocation SNRs, and make each
    class the mean energies of the blocks that took it, and of the water levels and shares their means.
    """
    generator = torch.Generator().manual_seed(seed)
    planes = [_whole(image) for image in pictures.images]
    _measure_base(codec, planes)
    base, rest = zip(*(_without_base(p) for p in planes))
    for size, count in zip(closed.SIZES, codec.classes):
        energies = _sample(rest, size, _BLOCKS[size], generator)
        # class 0 is the mean picture's, for the map that needs no side information
        variances = energies.mean(dim=0, keepdim=True)
        if count > 1:
            variances = torch.cat([variances, cluster(energies, size, count - 1, generator)])
        getattr(codec, f"classes_{size}").copy_(closed.level_of(variances.clamp_min(1e-7)))
        say(f"blocks of {size}: {len(energies)} in {count} classes")
    codec.water_levels.fill_(round(closed.LEVELS_PER_OCTAVE * math.log2(_FIRST_MU)))
    for number in range(rounds):
        refine(codec, base, rest, generator, tables=number + 1 < rounds)
        say(f"round {number + 1} of {rounds}")


def _whole(image: torch.Tensor) -> torch.Tensor:
    """uint8 ``[3, H, W]`` cut to whole cells, as planes ``[1, 3, H, W]``."""
    height, width = (side // closed.CELL * closed.CELL for side in image.shape[1:])
    return closed.to_colours(image[None, :, :height, :width].float() / 255)


def _without_base(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The base layer's coefficients, and the planes without them."""
    return closed.split_base(planes, closed.base_layout(*planes.shape[-2:]))


def _measure_base(codec: ContentAdaptive, planes) -> None:
    side = closed.BASE_SIDE
    total, count = torch.zeros(3 * side * side, dtype=torch.float64), torch.zeros(3 * side * side)
    for picture in planes:
        whole = picture[..., : picture.shape[2] // 64 * 64, : picture.shape[3] // 64 * 64]
        if 0 in whole.shape:
            continue
        layout = closed.base_layout(*whole.shape[-2:])
        energy = closed.base_analysis(whole, layout)[0].double().square()
        total.index_add_(0, layout.table, energy)
        count.index_add_(0, layout.table, torch.ones(layout.count))
    levels = closed.level_of((total / count.clamp_min(1)).clamp_min(1e-7))
    codec.base_levels.copy_(levels.view(3, side, side))


def _sample(rest, size: int, most: int, generator) -> torch.Tensor:
    """Energies ``[N, 3 * size^2]`` of random blocks, the same number of each picture as far as there are."""
    each = -(-most // len(rest))
    out = []
    for planes in rest:
        h, w = (side // size * size for side in planes.shape[-2:])
        if not h or not w:
            continue
        blocks = closed.blocks_of(closed.block_dct(planes[..., :h, :w].contiguous(), size), size)[0].square()
        out.append(blocks[torch.randperm(len(blocks), generator=generator)[:each]])
    return torch.cat(out)[:most]


def zones(size: int) -> torch.Tensor:
    """A zone for each coefficient of a block, ``[3 * size^2]``: octave and direction of luminance, octave of colour."""
    n = torch.arange(size)
    u, v = n[:, None].expand(size, size), n[None, :].expand(size, size)
    octave = torch.floor(torch.log2(torch.maximum(u, v).clamp_min(1).float())).long() + (
        torch.maximum(u, v) > 0
    )
    direction = torch.where(u > 2 * v, 0, torch.where(v > 2 * u, 1, 2))
    octaves = int(octave.max()) + 1
    luma = octave * 3 + direction
    chroma = 3 * octaves + octave
    # numbered without gaps: the mean has no direction
    return torch.stack([luma, chroma, chroma]).flatten().unique(return_inverse=True)[1]


def cluster(energies: torch.Tensor, size: int, count: int, generator, steps: int = 12) -> torch.Tensor:
    """Variances ``[count, 3 * size^2]`` of classes of zero-mean Gaussian blocks, from energies ``[N, ...]``."""
    zone = zones(size)
    weights = _one_hot(zone)
    members = weights.sum(dim=0)
    feature = ((energies @ weights) / members + _FLOOR).log()
    feature = feature * (members / len(zone)).pow(0.25)
    count_now = min(count, len(energies))
    centres = feature[torch.randperm(len(feature), generator=generator)[:count_now]]
    for _ in range(steps):
        own = torch.cdist(feature, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, own, feature)
        sizes = torch.bincount(own, minlength=count_now)
        empty = sizes == 0
        centres = sums / sizes.clamp_min(1)[:, None]
        centres[empty] = feature[torch.randint(len(feature), (int(empty.sum()),), generator=generator)]
    for _ in range(3):
        variances = class_means(energies, own, count_now, zone)
        floored = variances + _FLOOR
        score = floored.log().sum(dim=1) + (energies + _FLOOR) @ (1 / floored).T
        own = score.argmin(dim=1)
    variances = class_means(energies, own, count_now, zone)
    return variances[torch.arange(count) % count_now]


def _one_hot(zone: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(zone).float()


def class_means(energies, own, count: int, zone) -> torch.Tensor:
    """Mean energies of each class, drawn towards the mean of their zone as if ``_SHRINKAGE`` blocks more had that."""
    sums = torch.zeros(count, energies.shape[1]).index_add_(0, own, energies)
    return shrunk(sums, torch.bincount(own, minlength=count), zone, energies.mean(dim=0))


def shrunk(
    sums: torch.Tensor, number: torch.Tensor, zone: torch.Tensor, overall: torch.Tensor
) -> torch.Tensor:
    weights = _one_hot(zone)
    means = (sums + 1e-3 * overall) / (number + 1e-3)[:, None]
    by_zone = (means @ weights / weights.sum(dim=0))[:, zone]
    return (means * number[:, None] + _SHRINKAGE * by_zone) / (number[:, None] + _SHRINKAGE)


def refine(codec: ContentAdaptive, base, rest, generator, tables: bool) -> None:
    """One round of maps chosen by cost, and everything that follows from them; class tables too if ``tables``."""
    count = [torch.zeros_like(getattr(codec, f"usage_{size}")) for size in closed.SIZES]
    sums = [torch.zeros(table.shape) for table in codec.tables()]
    water = torch.zeros(closed.SNR_CODES, 2, dtype=torch.float64)
    contexts = [torch.zeros_like(getattr(codec, f"contexts_{size}")) for size in closed.SIZES]
    coder = codec.map_coder()[0]
    for coefficients, planes in zip(base, rest):
        # the middle of the header's range, where transmissions are
        code = torch.randint(14, 60, (1,), generator=generator)
        total = torch.tensor([codec.latent_count(*planes.shape[-2:])])
        blocks, boost = codec.choose_map(coefficients, planes, code, total)
        symbols = total - (codec.map_bits(blocks, code) / codec.bits_per_symbol(code)).long()
        plan = codec.plan(blocks, code, boost, symbols)
        water[code, 0] += plan.mu.log2() * closed.LEVELS_PER_OCTAVE
        water[code, 1] += 1
        _count(codec, planes, blocks, int(code) // sideinfo.CODES_PER_BAND, count, sums)
        coder.count(blocks, contexts)
    _smooth(codec, water)
    for size, used, seen in zip(closed.SIZES, count, contexts):
        getattr(codec, f"usage_{size}").copy_(used)
        getattr(codec, f"contexts_{size}").copy_(seen)
    if tables:
        for size, used, total, table in zip(closed.SIZES, count, sums, codec.tables()):
            number = used[:, :-1].sum(dim=0)
            old = closed.level_variances()[table.long() - closed.LEVEL_MIN].float()
            new = shrunk(total, number, zones(size), old.mean(dim=0))
            new = torch.where(number[:, None] > 0, new, old)
            new[0] = old[0]
            table.copy_(closed.level_of(new.clamp_min(1e-7)))


def _count(codec, planes, blocks, band: int, count, sums) -> None:
    height, width = planes.shape[-2:]
    full = closed.padded(planes)
    for number, size in enumerate(closed.SIZES):
        step = size // closed.CELL
        own = blocks.size[0, ::step, ::step] == number
        if size > closed.CELL:
            rows, columns = height // size, width // size
            count[number][band, -1] += (blocks.size[0, ::step, ::step][:rows, :columns] > number).sum()
        if not own.any():
            continue
        kinds = blocks.kind[0, ::step, ::step][own].long()
        count[number][band, :-1] += torch.bincount(kinds, minlength=codec.classes[number]).int()
        energy = closed.blocks_of(closed.block_dct(full, size), size)[0].square()
        energy = energy.view(full.shape[2] // size, full.shape[3] // size, -1)
        energy = energy[: own.shape[0], : own.shape[1]][own]
        sums[number].index_add_(0, kinds, energy)


def _smooth(codec: ContentAdaptive, water: torch.Tensor) -> None:
    """The mean water level over the allocation SNR, by a quadratic fit."""
    seen = water[:, 1] > 0
    x = torch.arange(closed.SNR_CODES, dtype=torch.float64)
    powers = torch.stack([x**0, x, x**2], dim=1)
    weight = water[seen, 1].sqrt()[:, None]
    mean = (water[seen, 0] / water[seen, 1])[:, None]
    fit = torch.linalg.lstsq(powers[seen] * weight, mean * weight).solution[:, 0]
    codec.water_levels.copy_((powers @ fit).round().clamp(closed.LEVEL_MIN, closed.LEVEL_MAX).short())


def run(recipe, data=None, out="runs", threads=None, progress=True) -> Path:
    """Measures the tables of a recipe's codec and exports it, ``<out>/<name>/<name>.json``; returns the card's path.

    Raises:
        ConfigError: the recipe or the data folder is wrong, or its architecture has no class tables.
        OutputError: ``out`` cannot be written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if threads:
        torch.set_num_threads(threads)
    root, folder = data_root(data), writable_folder(Path(out) / recipe.name)
    torch.manual_seed(recipe.seed)
    codec = build_codec(recipe)[0].eval()
    if not isinstance(codec, ContentAdaptive):
        raise ConfigError(f"recipe '{recipe.name}': '{recipe.architecture}' has no class tables to measure.")
    pictures = Pictures(root, recipe.data, recipe.exclude, recipe.crop, recipe.held_out, recipe.seed)
    started = time.monotonic()
    with torch.no_grad():
        measure(codec, pictures, recipe.seed, say=print if progress else lambda text: None)
    return export_model(recipe, codec, folder, 0, time.monotonic() - started, root)


if __name__ == "__main__":
    import typer

    def main(recipe: str, data: str = None, out: str = "runs", threads: int = None):
        try:
            print(run(recipe, data, out, threads))
        except SemcomError as error:
            raise SystemExit(f"error: {error}") from None

    typer.run(main)
