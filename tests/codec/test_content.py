# SPDX-License-Identifier: GPL-3.0-or-later
"""The content-adaptive codec as a whole: both ends share a card, a header and symbols, and nothing else."""

import dataclasses

import pytest
import torch

from semcom.channel.symbols import awgn_channel
from semcom.codec import build
from semcom.codec.base import Latents
from semcom.codec.image import allocation as closed
from semcom.codec.image import content_plan, sideinfo
from semcom.codec.image.content_networks import believable, in_units_of
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.kinds.pictures import samples
from semcom.system import zoo
from semcom_training import classes

ARGUMENTS = {
    "classes": [4, 12, 16, 12],
    "widths": [16, 16],
    "sender_blocks": [0, 0],
    "receiver_blocks": [0, 0],
}


class _Photographs:
    def __init__(self, pictures):
        self.images = [torch.from_numpy(p.pixels.transpose(2, 0, 1).copy()) for p in pictures]


@pytest.fixture(scope="module")
def photographs():
    return [torch.from_numpy(p.pixels.transpose(2, 0, 1)[None].copy()).float() / 255 for p in samples()]


@pytest.fixture(scope="module")
def codec(photographs):
    """Tables measured on the left halves of the packaged photographs, networks that do nothing yet."""
    torch.manual_seed(0)
    made = build("content-adaptive", ARGUMENTS).eval().requires_grad_(False)
    halves = _Photographs([])
    halves.images = [to_uint8(p[0, :, :, : p.shape[3] // 2]) for p in photographs]
    classes.measure(made, halves, rounds=2, say=lambda text: None)
    return made


def over(codec, images, snr_db: float, allocation_db: float | None = None, lose=None, rho=None):
    """Through symbols alone: (decoded, sent)."""
    sent = codec.send(images, snr_db if allocation_db is None else allocation_db, rho=rho)
    values, noise_var = awgn_channel(sent.values, snr_db, torch.Generator().manual_seed(1))
    if lose is not None:
        noise_var = torch.where(lose, torch.inf, noise_var)
    got = Latents(values, side=sent.side, noise_var=noise_var)
    return codec.receive(got, equivalent_snr_db(noise_var), images.shape[-2:]), sent


def psnr(decoded, images) -> float:
    return float(quality.psnr(to_uint8(decoded), to_uint8(images)).mean())


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (32, 32), (67, 45), (131, 200)])
@pytest.mark.parametrize("snr_db", [0.0, 20.0])
@pytest.mark.slow
def test_any_size_of_noise_comes_back(codec, size, snr_db):
    images = torch.rand(2, 3, *size)
    if codec.latent_count(*size) < codec._least_symbols(-(-size[0] // 8), -(-size[1] // 8)):
        with pytest.raises(ImageError, match="base layer"):
            codec.send(images, snr_db)
        return
    decoded, sent = over(codec, images, snr_db)
    assert decoded.shape == images.shape and decoded.isfinite().all()
    assert sent.values.shape == (2, codec.latent_count(*size))
    assert decoded.min() >= 0 and decoded.max() <= 1


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_a_picture_of_one_colour(codec, colour):
    images = torch.full((1, 3, 64, 72), colour)
    decoded, _ = over(codec, images, 20.0)
    assert psnr(decoded, images) > 30


@pytest.mark.parametrize("model", ["photo-adaptive", "photo-adaptive-lpips"])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
@pytest.mark.slow
def test_flat_areas_are_no_riddle_to_trained_networks(model, snr_db):
    """Networks that saw photographs alone are not believed where they add far more than the error that is expected."""
    shipped = zoo.load(model).codec
    flat = torch.full((3, 3, 128, 128), 128 / 255)
    flat[1] = 60 / 255
    flat[2, :, 32:64, 32:64] = 0.9
    decoded, _ = over(shipped, flat, snr_db)
    assert (quality.psnr(to_uint8(decoded), to_uint8(flat)) > 36 + 0.5 * snr_db).all()


def test_what_is_not_believed_is_left_out_where_it_stands():
    deviation = torch.rand(2, 3, 12, 9).add_(0.1)
    correction = in_units_of(torch.randn(2, 3, 96, 72).clamp_(-4, 4), deviation)
    assert believable(correction, deviation) is correction
    for wrong in (1e3, torch.nan, torch.inf):
        wild = correction.clone()
        wild[1, 0, 3, 5] = wrong
        kept = believable(wild, deviation)
        assert torch.equal(kept[0], correction[0]) and kept.isfinite().all()
        assert (kept[1, :, :24, :24] == 0).all() and torch.equal(kept[1, :, 24:], correction[1, :, 24:])


@pytest.mark.slow
def test_quality_rises_with_the_snr_and_the_rate(codec, photographs):
    images = photographs[0]
    by_snr = [psnr(over(codec, images, snr)[0], images) for snr in (0.0, 10.0, 20.0)]
    by_rate = [psnr(over(codec, images, 10.0, rho=rho)[0], images) for rho in (1 / 48, 1 / 24, 1 / 12, 1 / 6)]
    assert by_snr == sorted(by_snr) and by_rate == sorted(by_rate)
    assert by_snr[2] - by_snr[0] > 5 and by_rate[3] - by_rate[0] > 4


def test_a_sent_picture_has_power_one(codec, photographs):
    for snr_db in (0.0, 10.0, 20.0):
        sent = codec.send(photographs[1], snr_db)
        side = sideinfo.side_layout(
            int(sent.side[0] & 63), sent.values.shape[1], int(closed.snr_code(torch.tensor(snr_db))), 6.0, 0.1
        ).symbols
        # of the map exactly 1 on average, of the latents to the rounding of the power in the header
        latents = sent.values[0, side:].abs().square().mean()
        assert abs(10 * float(latents.log10())) <= 0.4


def test_a_batch_is_sent_as_its_pictures_alone(codec, photographs):
    images = torch.cat([p[:, :, :128, :192] for p in photographs])
    together = codec.send(images, torch.tensor([3.0, 10.0, 10.0, 17.0]))
    for row, snr_db in enumerate((3.0, 10.0, 10.0, 17.0)):
        alone = codec.send(images[row : row + 1], snr_db)
        assert torch.equal(alone.side, together.side[row : row + 1])
        torch.testing.assert_close(alone.values[0], together.values[row], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_allocation_snr_is_the_senders_belief(codec, photographs):
    """A stale report costs little at 3 dB off, and one burst serves receivers of any SNR."""
    images = photographs[2]
    for snr_db in (7.0, 13.0):
        right = psnr(over(codec, images, snr_db)[0], images)
        for belief_db in (snr_db - 3, snr_db + 3):
            assert psnr(over(codec, images, snr_db, belief_db)[0], images) > right - 1
    served = [psnr(over(codec, images, snr_db, 10.0)[0], images) for snr_db in (5.0, 10.0, 15.0)]
    assert served == sorted(served) and served[0] > 20


def test_lost_symbols_are_erasures(codec, photographs):
    """A third of the latents lost: what is left is the closed-form LMMSE estimate of the rest."""
    images = photographs[3][..., :192, :256]
    total = codec.latent_count(192, 256)
    lose = torch.rand(1, total, generator=torch.Generator().manual_seed(3)) < 0.3
    side = int(codec.send(images, 10.0).side[0] & 63) * sideinfo.unit_symbols(total)
    lose[:, :side] = False
    decoded, sent = over(codec, images, 10.0, lose=lose)
    whole, _ = over(codec, images, 10.0)
    # the weakest coefficients go, not whole blocks
    assert psnr(whole, images) - 6 < psnr(decoded, images) < psnr(whole, images) - 0.5


def test_no_symbol_is_much_stronger_than_the_rest(codec, photographs):
    for images in photographs:
        power = codec.send(images, 10.0).values[0].abs().square()
        assert 10 * float(power.max().log10()) < 16


def test_without_its_map_a_picture_is_its_base_layer(codec, photographs):
    images = photographs[0]
    total = codec.latent_count(*images.shape[-2:])
    side = int(codec.send(images, 10.0).side[0] & 63) * sideinfo.unit_symbols(total)
    decoded, _ = over(codec, images, 10.0, lose=torch.arange(total)[None] < side)
    planes = closed.to_colours(images)
    layout = closed.base_layout(*planes.shape[-2:])
    base = closed.from_colours(
        closed.base_synthesis(closed.base_analysis(planes, layout), layout, planes.shape[-2:])
    )
    assert psnr(decoded, base) > psnr(base, images)
    assert psnr(decoded, images) > psnr(base, images) - 1


def test_a_map_of_other_tables_is_refused(codec, photographs):
    other = build("content-adaptive", ARGUMENTS).eval()
    other.load_state_dict(codec.state_dict())
    other.classes_16[3, 5] += 1
    sent = codec.send(photographs[0], 20.0)
    noise_var = torch.full(sent.values.shape, 0.01)
    plan = other._read_plan(
        Latents(sent.values, side=sent.side, noise_var=noise_var), photographs[0].shape[-2:]
    )[0]
    assert (plan.blocks.size == -1).all()


@pytest.mark.slow
@pytest.mark.parametrize("rho", [1 / 181, 1 / 128, 1 / 64])
def test_a_map_is_never_worse_than_none(photographs, rho, monkeypatch):
    """At the lowest rates a map can cost more than it orders: then the default map holds."""
    linear = zoo.load("photo-linear").codec
    pictures = [p[..., :256, :256] for p in photographs]
    chosen = [psnr(over(linear, images, 10.0, rho=rho)[0], images) for images in pictures]
    monkeypatch.setattr(sideinfo, "units_for", lambda *_: None)
    without = [psnr(over(linear, images, 10.0, rho=rho)[0], images) for images in pictures]
    assert all(one > other - 0.1 for one, other in zip(chosen, without, strict=True))


def test_small_pictures_do_without_a_map(codec):
    sent = codec.send(torch.rand(1, 3, 32, 32), 10.0)
    assert int(sent.side[0] & 63) == 0


def test_a_large_picture_has_its_map_found_in_bands(codec, photographs, monkeypatch):
    picture = photographs[0][..., :200, :136]
    at_once = codec.send(picture, 10.0)
    monkeypatch.setattr(content_plan, "_KEPT_PIXELS", 0)
    monkeypatch.setattr(content_plan, "_BAND_ROWS", closed.ROOT)
    in_bands = codec.send(picture, 10.0)
    assert torch.equal(in_bands.side_bits, at_once.side_bits)
    torch.testing.assert_close(in_bands.values, at_once.values)


def test_in_memory_is_what_symbols_carry(codec, photographs):
    """The price of the map is counted the same way, to a unit and the coder's ends."""
    images = photographs[1]
    memory = codec.send(images, 10.0, in_memory=True)
    symbols = codec.send(images, 10.0)
    total = symbols.values.shape[1]
    assert abs(int(memory.count[0]) - int(symbols.count[0])) < 0.02 * total
    values, noise_var = awgn_channel(memory.values, 10.0, torch.Generator().manual_seed(1))
    got = codec.receive(
        dataclasses.replace(memory, values=values, noise_var=noise_var), 10.0, images.shape[-2:]
    )
    # shares without context price the map a little too high
    assert -0.1 < psnr(over(codec, images, 10.0)[0], images) - psnr(got, images) < 0.6


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_the_lowest_rate_and_one_symbol_less(codec, photographs, snr_db):
    """As few symbols as the base layer has coefficients: no K is 0, and less is refused by both ends' limit."""
    images = photographs[0][..., :200, :256]
    least = codec._least_symbols(200 // 8, 256 // 8)
    whole = 3 * 200 * 256
    decoded, sent = over(codec, images, snr_db, rho=(least + 0.5) / whole)
    assert sent.values.shape == (1, least) and int(sent.side[0] & 63) == 0
    assert decoded.isfinite().all() and psnr(decoded, images) > psnr(
        images.mean((2, 3), True).expand_as(images), images
    )
    with pytest.raises(
        ImageError, match=f"has {least - 1} symbols, fewer than its base layer takes .{least}.: send"
    ):
        codec.send(images, snr_db, rho=(least - 0.5) / whole)
    assert codec.admits(least, (200, 256)) and not codec.admits(least - 1, (200, 256))


def test_gradients_reach_both_networks(photographs):
    torch.manual_seed(1)
    learner = build(
        "content-adaptive", ARGUMENTS | {"sender_blocks": [1, 1], "receiver_blocks": [1, 1]}
    ).train()
    for table in learner.tables():
        table.copy_(torch.randint(-700, 0, table.shape, dtype=torch.int16))
    learner.base_levels.fill_(100)
    learner.water_levels.fill_(-500), learner.thresholds.fill_(-500)
    for trunk in (learner.sender, learner.receiver):
        torch.nn.init.normal_(trunk.picture_out.weight, std=0.01)
        # what starts at zero hides what is before it
        for block in [*trunk.inner_blocks, *trunk.outer_blocks]:
            torch.nn.init.normal_(block.second.weight, std=0.01)
    images = torch.cat([p[..., :64, :64] for p in photographs])
    sent = learner.send(images, torch.tensor([0.0, 5.0, 10.0, 20.0]), in_memory=True)
    sent = learner.forget(sent, torch.tensor([False, True, False, False]))
    values, noise_var = awgn_channel(sent.values, 10.0, torch.Generator().manual_seed(1))
    noise_var = torch.where(torch.rand(noise_var.shape) < 0.2, torch.inf, noise_var)
    decoded = learner.receive(dataclasses.replace(sent, values=values, noise_var=noise_var), 10.0, (64, 64))
    (decoded - images).square().mean().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "attention" in name, name


@pytest.mark.parametrize(
    "wrong", [{"rho": 0.3}, {"rho": 0}, {"classes": [1, 2, 3]}, {"classes": [0, 2, 3, 4]}]
)
def test_arguments_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="content-adaptive"):
        build("content-adaptive", ARGUMENTS | wrong)


def test_bad_input_is_refused_in_words(codec):
    with pytest.raises(ImageError, match=r"\[B, 3, H, W\]"):
        codec.send(torch.rand(3, 8, 8), 10.0)
    with pytest.raises(ImageError, match="noise_var"):
        codec.receive(Latents(torch.zeros(1, 900, dtype=torch.complex64)), 10.0, (64, 64))
    with pytest.raises(ImageError, match="base layer"):
        small = Latents(
            torch.zeros(1, 3, dtype=torch.complex64), side=torch.zeros(1).long(), noise_var=torch.ones(1, 3)
        )
        codec.receive(small, 10.0, (64, 64))
    with pytest.raises(ModelError, match="side information"):
        codec.encode(torch.rand(1, 3, 64, 64), 10.0)


@pytest.mark.parametrize(
    "snr_db", [5.0, pytest.param(12.0, marks=pytest.mark.slow), pytest.param(20.0, marks=pytest.mark.slow)]
)
def test_a_map_may_outlive_one_of_two_bursts(codec, photographs, snr_db):
    """The sender allows for it, at the cost of more symbols; a receiver need not be told."""
    images = photographs[0]
    careful = codec.with_side_loss(0.6)
    assert codec.side_loss == 0.1 and careful.receiver is codec.receiver
    sent = careful.send(images, snr_db)
    values, noise_var = awgn_channel(sent.values, snr_db, torch.Generator().manual_seed(1))
    lost = torch.rand(noise_var.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    got = Latents(values, side=sent.side, noise_var=torch.where(lost, torch.inf, noise_var))
    read, none = codec.read_side(got, images.shape[-2:])
    assert not none.any() and read.shared.side_losses == (0.6,)
    torch.testing.assert_close(
        codec.send_again(images, dataclasses.replace(got, noise_var=noise_var), images.shape[-2:]),
        sent.values,
        atol=1e-4,
        rtol=0,
    )
    # what it costs where nothing is lost
    assert psnr(over(careful, images, snr_db)[0], images) > psnr(over(codec, images, snr_db)[0], images) - 1.5
    with pytest.raises(ConfigError, match="0.1, 0.3, 0.6"):
        codec.with_side_loss(0.5)


@pytest.mark.parametrize("uneven", [False, True])
def test_rows_at_once_are_rows_one_by_one(codec, photographs, monkeypatch, uneven):
    """As a GPU computes them: the same order to the bit, the same symbols, estimates and gradients."""
    images = torch.cat([p[..., :128, :192] for p in photographs])
    snr_db = torch.tensor([0.0, 7.0, 12.0, 20.0])
    found = []
    for at_once in (False, True):
        monkeypatch.setattr(codec, "_at_once", lambda like, at_once=at_once: at_once)
        pixels = images.clone().requires_grad_(True)
        sent = codec.send(pixels, snr_db, in_memory=True)
        places, chosen = closed.chosen_rows(sent.shared.levels, sent.shared.choice)
        for row in range(len(images)):
            wanted = closed.chosen_places(sent.shared.levels, sent.shared.choice, row)
            assert torch.equal(places[row][chosen[row]], wanted)
        sent = codec.forget(sent, torch.tensor([False, False, False, True]))
        values, noise_var = awgn_channel(sent.values, 10.0, torch.Generator().manual_seed(1))
        if uneven:
            lost = torch.rand(noise_var.shape, generator=torch.Generator().manual_seed(2)) < 0.2
            lost[0] = False
            noise_var = torch.where(lost, torch.inf, noise_var)
        front = codec.front(dataclasses.replace(sent, values=values, noise_var=noise_var), (128, 192))
        front.picture.square().sum().backward()
        found.append((sent.values.detach(), *(part.detach() for part in front), pixels.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=2e-4, rtol=2e-4)


# --- refinement ---------------------------------------------------------------------------------------------------


def over_parts(codec, images, snr_db: float, rhos, lose: tuple[int, ...] = ()):
    """A picture in parts, up to each of ``rhos`` in turn: decoded, and what was sent."""
    generator, size = torch.Generator().manual_seed(1), images.shape[-2:]

    def received(part):
        values, noise_var = awgn_channel(part.values, snr_db, generator)
        return Latents(values, side=part.side, noise_var=noise_var)

    sent = codec.send(images, snr_db, rho=rhos[0])
    got, end = received(sent), sent.values.shape[1]
    for rho in rhos[1:]:
        part = codec.refine(images, sent, codec.latent_count(*size, rho) - end)
        end += part.values.shape[1]
        sent = dataclasses.replace(sent, later=(*sent.later, part))
    kept = [received(part) for number, part in enumerate(sent.later) if number not in lose]
    got = dataclasses.replace(got, later=tuple(kept))
    return codec.receive(got, equivalent_snr_db(got.noise_var), size), sent


@pytest.mark.parametrize("snr_db", [1.0, 10.0])
@pytest.mark.slow
def test_two_parts_are_nearly_what_sending_once_is(photographs, snr_db):
    codec = zoo.load("photo-linear").codec
    images = photographs[1][..., :192, :256]
    first, half, two, once = (
        psnr(over_parts(codec, images, snr_db, rhos)[0], images)
        for rhos in ([1 / 24], [1 / 24, 1 / 16], [1 / 24, 1 / 12], [1 / 12])
    )
    assert first + 0.5 < half < two and two > once - 0.8


def test_a_part_says_where_it_begins_and_has_power_one(codec, photographs):
    images, size = photographs[0][..., :192, :256], (192, 256)
    _, sent = over_parts(codec, images, 10.0, [1 / 24, 1 / 16, 1 / 12])
    first, second = sent.later
    assert codec.place(int(sent.side[0]), size) == 0
    begin = codec.place(int(first.side[0]), size)
    assert sent.values.shape[1] <= begin <= sent.values.shape[1] + codec.latent_count(*size, 1 / 4) // 512 + 1
    assert codec.place(int(second.side[0]), size) >= begin + first.values.shape[1]
    for part in sent.later:
        assert abs(10 * float(part.values.abs().square().mean().log10())) <= 0.4


def test_parts_are_read_where_rows_are_worked_on_at_once(codec, photographs, monkeypatch):
    """As a GPU does it: what refines a picture must not be dropped there."""
    images, rhos = photographs[0][..., :192, :256], [1 / 24, 1 / 12]
    wanted = over_parts(codec, images, 10.0, rhos)[0]
    monkeypatch.setattr(codec, "_at_once", lambda like: True)
    torch.testing.assert_close(over_parts(codec, images, 10.0, rhos)[0], wanted, atol=2e-3, rtol=0)


def test_what_follows_a_part_that_is_missing_is_left_out(codec, photographs):
    images = photographs[0][..., :192, :256]
    rhos = [1 / 24, 1 / 16, 1 / 12]
    alone = over_parts(codec, images, 10.0, rhos, lose=(0, 1))[0]
    assert torch.equal(over_parts(codec, images, 10.0, rhos, lose=(0,))[0], alone)
    assert psnr(over_parts(codec, images, 10.0, rhos)[0], images) > psnr(alone, images) + 1


def test_parts_that_do_not_exist_are_refused(codec, photographs):
    images = photographs[0][..., :192, :256]
    sent = codec.send(images, 10.0, rho=1 / 5)
    for symbols in (0, -3, codec.latent_count(192, 256, 1 / 4)):
        with pytest.raises(ConfigError, match="has at most [0-9]+ more"):
            codec.refine(images, sent, symbols)
    with pytest.raises(ConfigError, match="nothing to refine"):
        zoo.load("cifar-1-12").codec.refine(images, sent, 10)
    for rho in (0.0, -0.1, 0.3, float("nan")):
        with pytest.raises(ConfigError, match="at most 1/4"):
            codec.send(images, 10.0, rho=rho)


@pytest.mark.parametrize(
    "snr_db", [10.0, *(pytest.param(snr_db, marks=pytest.mark.slow) for snr_db in (1.0, 19.0))]
)
def test_more_symbols_are_never_a_worse_picture(photographs, snr_db):
    codec = zoo.load("photo-adaptive").codec
    images = photographs[2][..., :128, :192]
    got = [psnr(over(codec, images, snr_db, rho=rho)[0], images) for rho in codec.ratios()[1::2]]
    assert got == sorted(got)
