# SPDX-License-Identifier: GPL-3.0-or-later
import random

import pytest
import torch

from semcom.errors import ConfigError
from semcom.modem import BurstHeader, ImageAssembler, Modem, ModemProfile, PictureLimits, labels
from semcom.modem.assembler import NO_BUDGET, TOO_FEW, TOO_LARGE

K, HASH = 20_000, 5


@pytest.fixture
def sent(modem):
    latents = torch.randn(1, K, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return latents[0], modem.pack_latents(latents)


def header(index, image_id=1, **other):
    return BurstHeader(image_id, index, 3, 256, 256, **({"latent_count": K, "model_hash": HASH} | other))


def give(assembler, packed, index, **other):
    return assembler.add(header(index, **other), packed[index], torch.full((len(packed[index]),), 0.1), 10.0)


def admits(header):
    if header.model_hash != HASH:
        return "bursts of another model"
    return None if header.latent_count == K else "bursts whose size does not fit the model"


def test_bursts_in_any_order_make_the_picture(modem, sent):
    latents, packed = sent
    assembler = ImageAssembler(modem.profile)
    assert give(assembler, packed, 2) == [] and give(assembler, packed, 0) == []
    (image,) = give(assembler, packed, 1)
    assert torch.allclose(image.latents, latents, atol=1e-5)
    assert image.bursts_received == image.burst_count == 3 and image.size == (256, 256)
    assert torch.allclose(image.noise_var, torch.tensor(0.1), atol=1e-3)


def test_lost_bursts_are_erasures_spread_over_the_picture(modem, sent):
    latents, packed = sent
    assembler = ImageAssembler(modem.profile)
    give(assembler, packed, 0), give(assembler, packed, 2)
    (image,) = assembler.flush()
    erased = torch.isinf(image.noise_var)
    assert 0.32 < erased.float().mean() < 0.35
    assert (image.latents[erased] == 0).all() and torch.allclose(
        image.latents[~erased], latents[~erased], atol=1e-5
    )
    quarters = erased.float().view(4, -1).mean(1)
    assert (quarters - quarters.mean()).abs().max() < 0.05
    assert assembler.counters["bursts missing"] == 1


def test_repeated_late_and_foreign_bursts_are_counted_not_used(modem, sent):
    _, packed = sent
    assembler = ImageAssembler(modem.profile, admits)
    give(assembler, packed, 0), give(assembler, packed, 0)
    assert give(assembler, packed, 1, model_hash=6) == []
    give(assembler, packed, 1), give(assembler, packed, 2)
    assert give(assembler, packed, 1) == []
    short = assembler.add(header(0, image_id=2), packed[0][:10], torch.ones(10), 10.0)
    wrong_size = assembler.add(
        header(0, image_id=2, latent_count=K - 1), packed[0], torch.ones(len(packed[0])), 10.0
    )
    spoiled = packed[0].clone()
    spoiled[3] = float("nan")
    nan = assembler.add(header(0, image_id=2), spoiled, torch.ones(len(spoiled)), 10.0)
    assert short == wrong_size == nan == []
    assert assembler.counters["bursts repeated or too late"] == 2
    assert assembler.counters["bursts of another model"] == 1
    assert assembler.counters["bursts with a payload of the wrong length"] == 1
    assert assembler.counters["bursts whose size does not fit the model"] == 1
    assert assembler.counters["bursts with latents that are not numbers"] == 1
    assert assembler.counters["pictures"] == 1


def test_old_pictures_are_given_up_when_too_many_are_open(modem, sent):
    _, packed = sent
    assembler = ImageAssembler(modem.profile, max_open=2)
    done = [image for i in range(6) for image in give(assembler, packed, 0, image_id=i)]
    assert [image.image_id for image in done] == [0, 1, 2]
    assert [image.image_id for image in assembler.flush()] == [3, 4, 5]


@pytest.mark.parametrize("order", ["in turn", "drawn"])
def test_three_transmitters_at_once_lose_nothing(modem, sent, order):
    """Each sends its 20 pictures one after the other; their bursts come in turn, or as drawn for each round."""
    _, packed = sent
    dice = random.Random(1)
    waiting = [[(i, n) for n in range(first, first + 20) for i in range(3)] for first in (0, 100, 200)]
    assembler, done = ImageAssembler(modem.profile, max_open=2), []
    while any(waiting):
        for transmitter in dice.sample(waiting, 3) if order == "drawn" else waiting:
            index, number = transmitter.pop(0)
            done += give(assembler, packed, index, image_id=number)
    assert len(done) == 60 and all(image.bursts_received == 3 for image in done)
    assert assembler.counters["bursts missing"] == 0


def claim(assembler, pixels, bursts, image_id=1, index=0):
    """One burst of a picture of ``pixels`` x ``pixels`` that takes so many bursts."""
    k = bursts * 100
    plan = assembler._profile.plan(k)
    given = BurstHeader(image_id, index, plan.burst_count, pixels, pixels, k, HASH)
    return assembler.add(given, *(torch.ones(plan.latents_per_burst, dtype=kind) for kind in DTYPES), 10.0)


DTYPES = (torch.complex64, torch.float32)
SHORT = ModemProfile(max_payload_symbols=1, pilots_per_symbol=100, active_carriers=200)  # 100 latents a burst


def test_a_picture_larger_than_the_limit_is_not_begun():
    assembler = ImageAssembler(SHORT, limits=PictureLimits(largest_picture_pixels=1000))
    assert claim(assembler, 32, 1) == [] and assembler.flush() == []
    assert assembler.counters == {TOO_LARGE: 1}
    assert len(claim(assembler, 31, 1)) == 1


def test_one_burst_of_a_hundred_is_not_worth_a_picture():
    assembler = ImageAssembler(SHORT, limits=PictureLimits(least_share=0.1))
    claim(assembler, 500, 100)
    assert assembler.flush() == [] and assembler.counters[TOO_FEW] == 1
    for index in range(10):
        claim(assembler, 500, 100, image_id=2, index=index)
    (image,) = assembler.flush()
    assert image.bursts_received == 10


def test_forged_bursts_cannot_ask_for_more_than_what_comes_is_worth():
    """A tenth of each huge picture, again and again; whole ones between them are decoded all the same."""
    limits = PictureLimits(largest_picture_pixels=10**6, decode_budget=2.0)
    assembler, done = ImageAssembler(SHORT, limits=limits, max_open=1), []
    for number in range(200):
        done += claim(assembler, 1000, 10, image_id=number)
        done += claim(assembler, 100, 1, image_id=1000 + number)
    whole = [image for image in done if image.bursts_received == image.burst_count]
    pixels = sum(image.size[0] * image.size[1] for image in done)
    came = 200 * (10**6 / 10 + 10**4)
    assert len(whole) == 200 and pixels <= 10**6 + 2 * came < 200 * 10**6
    assert assembler.counters[NO_BUDGET] > 100


def test_what_is_under_way_is_bounded_whatever_headers_claim():
    profile = ModemProfile()
    assembler = ImageAssembler(profile, max_open=1000)
    k = 2**20
    plan = profile.plan(k)
    for number in range(40):
        given = BurstHeader(number, 0, plan.burst_count, 2000, 2000, k, HASH)
        assembler.add(given, *(torch.ones(plan.latents_per_burst, dtype=kind) for kind in DTYPES), 10.0)
    assert len(assembler.flush()) <= 4
    for number in range(40):
        claim(assembler, 500, 100, image_id=number)
    assert len(assembler.flush()) <= 16


@pytest.mark.parametrize(
    "wrong", [{"least_share": 1.1}, {"largest_picture_pixels": 2**30}, {"decode_budget": 0.5}]
)
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PictureLimits(**wrong)


def test_picture_numbers_may_wrap_round(modem, sent):
    _, packed = sent
    small = Modem(ModemProfile()).pack_latents(torch.ones(1, 300, dtype=torch.complex64))
    assembler = ImageAssembler(modem.profile)
    give(assembler, packed, 0, image_id=9)
    (old,) = assembler.add(BurstHeader(9, 0, 1, 32, 32, 300, HASH), small[0], torch.ones(300), 5.0)[:1]
    assert old.size == (256, 256) and old.bursts_received == 1


@pytest.mark.parametrize("order, bits", [(2, 8), (4, 1), (8, 8), (16, 3), (64, 8), (256, 3), (256, 6)])
def test_bits_a_latent_are_told_by_the_number_of_symbols(order, bits):
    for latents in (7, 8, 255, 256):
        symbols = labels.symbol_count(latents, bits, order)
        assert labels.bits_per_latent(symbols, latents, order) == bits
    assert labels.bits_per_latent(symbols - 1, latents, order) != bits
    assert labels.bits_per_latent(100, 20, 2) is None  # 5 bits a latent: no codebook has them
