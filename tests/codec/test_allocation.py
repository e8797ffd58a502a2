# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed form against numpy and scipy, and what is fixed in it for good."""

import itertools
import zlib

import numpy as np
import pytest
import scipy.fft
import scipy.optimize
import torch

from semcom.codec.image import allocation as closed
from semcom.codec.image.allocation import BlockMap

SIZES = [(64, 64), (8, 8), (128, 72), (40, 200)]


def random_map(rows: int, columns: int, classes: int, seed: int) -> BlockMap:
    """A random quadtree with random classes."""
    rng = np.random.default_rng(seed)
    size, kind = (
        np.full((rows, columns), 3, np.int8),
        rng.integers(0, classes, (rows, columns)).astype(np.int16),
    )
    for number in (2, 1, 0):
        step = closed.SIZES[number] // closed.CELL
        for row, column in itertools.product(
            range(0, rows - step + 1, step), range(0, columns - step + 1, step)
        ):
            if rng.random() < 0.4:
                size[row : row + step, column : column + step] = number
                kind[row : row + step, column : column + step] = rng.integers(classes)
    return BlockMap(torch.from_numpy(size)[None], torch.from_numpy(kind)[None])


def random_tables(classes: int, seed: int = 0) -> list[torch.Tensor]:
    """Levels that fall with frequency, few enough values for many ties."""
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for size in closed.SIZES:
        n = torch.arange(size)
        slope = -3 * closed.LEVELS_PER_OCTAVE * (1.0 + n[:, None] + n[None, :]).log2()
        jitter = 64 * torch.randint(-4, 5, (classes, 3, size, size), generator=generator)
        tables.append((slope + jitter - 128).round().clamp(closed.LEVEL_MIN).to(torch.int16).flatten(1))
    return tables


def test_colours_are_a_rotation():
    images = torch.rand(2, 3, 8, 16)
    planes = closed.to_colours(images)
    torch.testing.assert_close(closed.from_colours(planes), images)
    torch.testing.assert_close(planes.square().sum(), (images - 0.5).square().sum())


@pytest.mark.parametrize("size", closed.SIZES)
def test_block_dct_is_scipys(size):
    planes = torch.randn(2, 3, 128, 64)
    got = closed.block_dct(planes, size)
    cut = planes.numpy().reshape(2, 3, 128 // size, size, 64 // size, size)
    want = scipy.fft.dctn(cut, axes=(3, 5), norm="ortho").reshape(planes.shape)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-4)
    torch.testing.assert_close(closed.block_idct(got, size), planes, atol=1e-5, rtol=0)
    torch.testing.assert_close(closed.planes_of(closed.blocks_of(planes, size), size, 128, 64), planes)


@pytest.mark.parametrize("size", SIZES)
def test_blocks_of_a_map_keep_energy_and_come_back(size):
    planes = torch.randn(1, 3, *size)
    blocks = random_map(size[0] // 8, size[1] // 8, 4, seed=1)
    coefficients = closed.adaptive_dct(planes, blocks)
    torch.testing.assert_close(coefficients.square().sum(), planes.square().sum(), rtol=1e-4, atol=0)
    torch.testing.assert_close(closed.adaptive_idct(coefficients, blocks), planes, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_base_layer_is_a_projection(size):
    layout = closed.base_layout(*size)
    coefficients = torch.randn(2, layout.count)
    planes = closed.base_synthesis(coefficients, layout, size)
    torch.testing.assert_close(closed.base_analysis(planes, layout), coefficients, atol=1e-4, rtol=0)


def test_base_layer_of_a_whole_root_is_its_lowest_frequencies():
    layout = closed.base_layout(64, 64)
    luma = (closed.BASE_LUMA + 1) * (closed.BASE_LUMA + 2) // 2
    chroma = (closed.BASE_CHROMA + 1) * (closed.BASE_CHROMA + 2) // 2
    assert layout.count == luma + 2 * chroma
    planes = torch.randn(1, 3, 64, 64)
    whole = closed.block_dct(planes, 64)[0]
    want = [
        whole[colour, u, v]
        for colour in range(3)
        for u, v in itertools.product(range(closed.BASE_SIDE), repeat=2)
        if u + v <= (closed.BASE_CHROMA if colour else closed.BASE_LUMA)
    ]
    torch.testing.assert_close(closed.base_analysis(planes, layout)[0], torch.stack(want), atol=1e-4, rtol=0)


def test_levels_go_there_and_back():
    variance = torch.tensor([1e-9, 1e-4, 0.3, 1.0, 200.0])
    levels = closed.level_of(variance)
    back = closed.level_variances()[levels.long() - closed.LEVEL_MIN]
    # half a step of 1/64 octave
    assert ((back[1:] / variance[1:]).log2().abs() <= 0.5 / closed.LEVELS_PER_OCTAVE + 1e-6).all()
    assert levels[0] == closed.LEVEL_MIN


@pytest.mark.parametrize("count", [0, 1, 17, 300, 10_000])
def test_the_largest_are_sent_with_ties_by_place(count):
    generator = torch.Generator().manual_seed(2)
    levels = torch.randint(-6, 6, (3, 3, 16, 24), generator=generator, dtype=torch.int16) * 40
    levels[1, :, :8] = closed.NO_LEVEL
    counts = torch.tensor([count, count // 2, 3 * count])
    choice = closed.largest(closed.level_histogram(levels), counts)
    for row in range(3):
        flat = levels[row].flatten().numpy().astype(int)
        order = np.lexsort((np.arange(len(flat)), -flat))
        order = order[flat[order] != closed.NO_LEVEL][: int(counts[row])]
        np.testing.assert_array_equal(closed.chosen_places(levels, choice, row).numpy(), order)


def test_a_picture_is_allocated_alike_in_any_batch():
    blocks = [random_map(8, 16, 4, seed) for seed in (1, 2, 3)]
    tables = random_tables(4)
    alone = closed.map_levels(blocks[1], tables)
    batch = BlockMap(torch.cat([b.size for b in blocks]), torch.cat([b.kind for b in blocks]))
    together = closed.map_levels(batch, tables)
    assert torch.equal(together[1:2], alone)
    choose = lambda levels: closed.largest(closed.level_histogram(levels), torch.full((len(levels),), 2000))  # noqa: E731
    assert torch.equal(
        closed.chosen_places(alone, choose(alone), 0), closed.chosen_places(together, choose(together), 1)
    )


def test_the_format_on_the_air_has_not_changed():
    """Colours, grids, order of coefficients, ties and the base layer: models trained with others are worthless."""
    levels = closed.map_levels(random_map(11, 13, 4, seed=5), random_tables(4))
    choice = closed.largest(closed.level_histogram(levels), torch.tensor([5000]))
    layout = closed.base_layout(88, 104)
    places = [closed.chosen_places(levels, choice, 0), layout.kept, layout.table, layout.shift]
    crc = [zlib.crc32(place.to(torch.int32).numpy().astype("<i4").tobytes()) for place in places]
    assert crc == GOLDEN


GOLDEN = [204712338, 450380893, 1080987778, 3087800388]


def test_water_filling_is_the_optimum():
    """Against scipy's SLSQP on the same twelve variances."""
    generator = torch.Generator().manual_seed(3)
    levels = torch.randint(-700, 0, (1, 12), generator=generator, dtype=torch.int16)
    histogram = closed.level_histogram(levels)
    choice = closed.largest(histogram, torch.tensor([8]))
    noise, budget = 0.3, 8.0
    powers, mu = closed.water_filling(histogram, choice, torch.tensor([budget]), torch.tensor([noise]))
    places = closed.chosen_places(levels, choice, 0)
    index = levels[0][places].long() - closed.LEVEL_MIN
    got, variance = powers[0, index].numpy(), closed.level_variances()[index].numpy()
    assert got.sum() == pytest.approx(budget, rel=1e-6)

    def error(p):
        return (variance * noise / (p + noise)).sum()

    best = scipy.optimize.minimize(
        lambda p: 100 * error(p),
        np.full(8, 1.0),
        bounds=[(0, None)] * 8,
        constraints={"type": "eq", "fun": lambda p: p.sum() - budget},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert error(got) <= error(best.x) * (1 + 1e-6)
    # the price is the error that the next unit of power saves
    more, _ = closed.water_filling(histogram, choice, torch.tensor([budget + 1e-3]), torch.tensor([noise]))
    saved = (error(got) - error(more[0, index].numpy())) / 1e-3
    assert float(mu) == pytest.approx(saved, rel=1e-3)


def test_weak_coefficients_get_no_power_at_low_snr():
    levels = torch.tensor([[0, 0, -1000, -1200]], dtype=torch.int16)
    histogram = closed.level_histogram(levels)
    choice = closed.largest(histogram, torch.tensor([4]))
    powers, _ = closed.water_filling(histogram, choice, torch.tensor([4.0]), torch.tensor([1.0]))
    index = levels[0].long() - closed.LEVEL_MIN
    np.testing.assert_allclose(powers[0, index], [2, 2, 0, 0], atol=1e-9)


def test_spreading_is_its_own_inverse_and_keeps_the_order_of_groups():
    values = torch.randn(closed.SPREAD * 5 + 17)
    mixed = closed.spread(values)
    torch.testing.assert_close(closed.spread(mixed), values, atol=1e-5, rtol=0)
    assert torch.equal(mixed[closed.SPREAD * 5 :], values[closed.SPREAD * 5 :])
    alone = values[:320].view(64, 5)
    torch.testing.assert_close(mixed[:320].view(64, 5)[:, 3], closed.hadamard() @ alone[:, 3])


@pytest.mark.parametrize("kind", ["even", "uneven", "erased"])
def test_despreading_is_the_lmmse_estimate(kind):
    """Against the dense formula in float64."""
    generator = torch.Generator().manual_seed(6)
    n = 2 * closed.SPREAD + 9
    power = torch.rand(n, generator=generator) * 10
    power[[5, 70, n - 1]] = 0
    noise = torch.full((n,), 0.2)
    if kind != "even":
        noise = noise * torch.empty(n).exponential_(generator=generator)
    if kind == "erased":
        noise[torch.rand(n, generator=generator) < 0.4] = torch.inf
    y = torch.randn(n, generator=generator)
    estimate, known = closed.despread(y, noise, power)
    mixing = torch.stack([closed.spread(column) for column in torch.eye(n)], dim=1).double()
    kept = ~noise.isinf()
    a, prior = mixing[kept], power.double().diag()
    gain = prior @ a.T @ torch.linalg.inv(a @ prior @ a.T + noise[kept].double().diag())
    torch.testing.assert_close(estimate.double(), gain @ y[kept].double(), atol=1e-4, rtol=1e-4)
    error = (prior - gain @ a @ prior).diagonal()
    want = torch.where(power > 0, 1 - error / power.double().clamp_min(1e-30), 0.0)
    torch.testing.assert_close(known.double(), want, atol=1e-4, rtol=1e-4)


def test_levels_of_maps_are_counted_by_class():
    """As counted in place, of pictures whose edges cut blocks and of one whose map is unknown."""
    tables, maps = random_tables(4), [random_map(11, 13, 4, seed=seed) for seed in (1, 2, 3)]
    batch = BlockMap(torch.cat([m.size for m in maps]), torch.cat([m.kind for m in maps]))
    batch = batch.without(torch.tensor([False, True, False]))
    got = closed.map_histogram(batch, closed.class_histograms(tables))
    assert torch.equal(got, closed.level_histogram(closed.map_levels(batch, tables)))
    assert got[0].sum() == 3 * 64 * 11 * 13 and got[1].sum() == 0


@pytest.mark.parametrize("erased", [False, True])
def test_despreading_of_nearly_even_noise_is_a_series(erased, monkeypatch):
    """As exact as single precision is, whatever is unmixed at once; one erasure, and a group is solved exactly."""
    generator = torch.Generator().manual_seed(6)
    n = 5 * closed.SPREAD + 9
    power = torch.linspace(5, 0, n) ** 2
    noise = 0.1 * (0.7 + 0.6 * torch.rand(n, generator=generator))
    if erased:
        noise[70] = torch.inf
    y = torch.randn(n, generator=generator)
    want, known_then = closed.despread(y, noise, power)
    monkeypatch.setattr(closed, "_GROUPS", 2)
    series, taken = closed._despread_series, []
    monkeypatch.setattr(closed, "_despread_series", lambda *a: taken.append(len(a[0])) or series(*a))
    with torch.inference_mode():
        got, known = closed.despread(y, noise, power)
    assert taken == ([2, 1] if erased else [2, 2, 1])
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(1 - known, 1 - known_then, atol=1e-6, rtol=2e-3)


def test_the_map_is_the_cheapest_there_is():
    """One root of 64 pixels against every quadtree of one split, and every class, by the same cost function."""
    torch.manual_seed(4)
    planes = torch.randn(1, 3, 64, 64) * 0.02
    planes[..., 32:, :32] += 0.2 * torch.randn(1, 3, 32, 32)
    tables = random_tables(3)
    bits = [torch.full((1, 4), 3.0) for _ in closed.SIZES]
    priced = closed.prices(
        torch.tensor([3e-3]),
        torch.tensor([-500 - closed.LEVEL_MIN]),
        torch.tensor([0.1]),
        torch.tensor([1.0]),
    )
    slope, constant = closed.block_costs(priced)

    def cost(blocks: BlockMap) -> float:
        levels = closed.map_levels(blocks, tables).flatten().long() - closed.LEVEL_MIN
        energy = closed.adaptive_dct(planes, blocks).flatten().square()
        paid = 0.0
        for number in range(4):
            step = closed.SIZES[number] // closed.CELL
            paid += 3.0 * float((blocks.size[0, ::step, ::step] == number).sum())
            paid += 3.0 * float((blocks.size[0, ::step, ::step] > number).sum()) * (number < 3)
        return float((slope[0, levels] * energy + constant[0, levels]).sum() + priced.bit[0] * paid)

    chosen = cost(closed.choose_map(closed.block_energies(planes), (64, 64), tables, bits, priced))
    for number, kind in itertools.product(range(4), range(3)):
        rival = BlockMap(
            torch.full((1, 8, 8), number, dtype=torch.int8), torch.full((1, 8, 8), kind, dtype=torch.int16)
        )
        assert chosen <= cost(rival) + 1e-4
    for seed in range(20):
        assert chosen <= cost(random_map(8, 8, 3, seed)) + 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_blocks_never_cross_the_edge(size):
    tables, bits = random_tables(3), [torch.zeros(1, 4) for _ in closed.SIZES]
    priced = closed.prices(
        torch.tensor([3e-3]),
        torch.tensor([-500 - closed.LEVEL_MIN]),
        torch.tensor([0.1]),
        torch.tensor([1.0]),
    )
    energies = closed.block_energies(torch.randn(1, 3, *size) * 1e-3)
    blocks = closed.choose_map(energies, size, tables, bits, priced)
    for number, step in enumerate(s // closed.CELL for s in closed.SIZES):
        for row, column in (blocks.size[0] == number).nonzero().tolist():
            top, left = row // step * step, column // step * step
            cells = blocks.size[0, top : top + step, left : left + step]
            assert cells.shape == (step, step) and (cells == number).all()
            assert (blocks.kind[0, top : top + step, left : left + step] == blocks.kind[0, top, left]).all()


def test_zones_add_up_to_the_energy():
    values = torch.rand(1, 3, 72, 128)
    blocks = random_map(9, 16, 2, seed=7)
    zones = closed.zone_energy(values, blocks)
    assert float(zones.sum() * closed.CELL**2) == pytest.approx(float(values.sum()), rel=1e-4)


def test_snr_codes():
    snr = torch.tensor([-20.0, -8.0, 0.24, 0.26, 10.0, 90.0])
    assert closed.code_snr_db(closed.snr_code(snr)).tolist() == [-8.0, -8.0, 0.0, 0.5, 10.0, 23.5]
