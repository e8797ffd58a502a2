# SPDX-License-Identifier: GPL-3.0-or-later
import random

import pytest
import torch

from semcom.errors import ConfigError
from semcom.modem import BurstHeader, ImageAssembler, Modem, ModemProfile, PictureLimits, labels
from semcom.modem.assembler import (
    JOINED,
    KEPT_ITEMS,
    KEPT_S,
    KEPT_SYMBOLS,
    MISPLACED,
    MOST_PARTS,
    NO_BUDGET,
    TOO_FEW,
    TOO_LARGE,
    TOO_MANY_PARTS,
)

K, HASH = 20_000, 5


@pytest.fixture
def sent(modem):
    latents = torch.randn(1, K, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return latents[0], modem.pack_latents(latents)


def header(index, image_id=1, **other):
    usual = {"height": 256, "width": 256, "latent_count": K, "model_hash": HASH}
    return BurstHeader(image_id=image_id, burst_index=index, **(usual | other))


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
    given = header(index, image_id, height=pixels, width=pixels, latent_count=k)
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


@pytest.mark.slow
def test_what_is_under_way_is_bounded_whatever_headers_claim():
    profile = ModemProfile()
    assembler = ImageAssembler(profile, max_open=1000)
    k = 2**20
    plan = profile.plan(k)
    for number in range(40):
        given = header(0, number, height=2000, width=2000, latent_count=k)
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
    (old,) = assembler.add(
        header(0, 9, height=32, width=32, latent_count=300), small[0], torch.ones(300), 5.0
    )[:1]
    assert old.size == (256, 256) and old.bursts_received == 1


@pytest.mark.parametrize("order, bits", [(2, 8), (4, 1), (8, 8), (16, 3), (64, 8), (256, 3), (256, 6)])
def test_bits_a_latent_are_known_by_the_number_of_symbols(order, bits):
    for latents in (7, 8, 255, 256):
        symbols = labels.symbol_count(latents, bits, order)
        assert labels.bits_per_latent(symbols, latents, order) == bits
    assert labels.bits_per_latent(symbols - 1, latents, order) != bits
    assert labels.bits_per_latent(100, 20, 2) is None  # 5 bits a latent: no codebook has them


def test_two_transmitters_may_send_the_same_number_at_once(modem, sent):
    latents, packed = sent
    assembler, done = ImageAssembler(modem.profile), []
    for index in range(3):
        for sender in (0, 9):
            done += give(assembler, packed * (1 + sender), index, sender=sender)
    assert [(image.sender, image.bursts_received) for image in done] == [(0, 3), (9, 3)]
    assert torch.allclose(done[1].latents, 10 * latents, atol=1e-4)


def test_what_is_done_is_remembered_for_a_time_not_for_a_number_of_pictures():
    now = [0.0]
    assembler = ImageAssembler(SHORT, clock=lambda: now[0])
    assert len([image for number in range(500) for image in claim(assembler, 32, 1, number)]) == 500
    assert claim(assembler, 32, 1, 0) == [] and assembler.counters["bursts repeated or too late"] == 1
    now[0] = KEPT_S - 1
    assert claim(assembler, 32, 1, 0) == []
    now[0] = KEPT_S + 1
    assert len(claim(assembler, 32, 1, 0)) == 1


@pytest.mark.slow
def test_what_is_remembered_is_bounded():
    assembler = ImageAssembler(SHORT, clock=lambda: 0.0)
    for sender in (0, 1):
        for number in range(KEPT_ITEMS // 2 + 50):
            assembler.add(header(0, number, sender=sender, latent_count=100), *ONES, 10.0)
    assert len(assembler._closed) <= KEPT_ITEMS + 1
    assert len(assembler.add(header(0, 0, latent_count=100), *ONES, 10.0)) == 1  # the oldest is forgotten
    assert assembler.add(header(0, 100, sender=1, latent_count=100), *ONES, 10.0) == []


ONES = [torch.ones(100, dtype=kind) for kind in DTYPES]
BEGIN = {"first_place": lambda header: 10 * header.side}


def send_part(assembler, modem, latents, first, bursts=None, image_id=1, noise_var=0.1, **other):
    """Latents of an item from ``first`` on, as a part of their own."""
    packed = modem.pack_latents(latents[None])
    out = []
    for index in range(len(packed)) if bursts is None else bursts:
        fields = {"height": 32, "width": 32, "latent_count": len(latents), "side": first // 10} | other
        given = header(index, image_id, **fields)
        out += assembler.add(given, packed[index], torch.full((packed.shape[1],), noise_var), 10.0)
    return out


@pytest.fixture
def item():
    return torch.randn(1000, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))


def test_parts_of_an_item_are_joined_and_what_lies_between_is_erased(modem, item):
    assembler = ImageAssembler(modem.profile, **BEGIN)
    (base,) = send_part(assembler, modem, item[:300], 0)
    assert torch.allclose(base.latents, item[:300], atol=1e-5) and base.parts == ((0, 300),)
    (more,) = send_part(assembler, modem, item[500:700], 500)
    assert more.parts == ((0, 300), (500, 200)) and more.side == 50 and len(more.latents) == 700
    there = torch.isfinite(more.noise_var)
    assert there[:300].all() and not there[300:500].any() and there[500:].all()
    assert torch.allclose(more.latents[there], item[:700][there], atol=1e-5)
    assert (more.latents[~there] == 0).all()
    (whole,) = send_part(assembler, modem, item[300:500], 300)
    assert torch.allclose(whole.latents, item[:700], atol=1e-5) and torch.isfinite(whole.noise_var).all()
    assert (whole.bursts_received, whole.burst_count) == (3, 3)
    assert assembler.counters["pictures"] == 1 and assembler.counters[JOINED] == 2
    assert send_part(assembler, modem, item[300:500], 300) == []
    assert assembler.counters["bursts repeated or too late"] == 1


def test_a_later_part_alone_begins_with_erasures(modem, item):
    assembler = ImageAssembler(modem.profile, **BEGIN)
    (image,) = send_part(assembler, modem, item[500:700], 500)
    assert image.parts == ((500, 200),) and len(image.latents) == 700
    assert torch.isinf(image.noise_var[:500]).all() and torch.isfinite(image.noise_var[500:]).all()


def test_a_part_joins_one_that_is_under_way_and_what_it_lost_stays_erased(item):
    modem = Modem(ModemProfile(max_payload_symbols=1))
    assembler = ImageAssembler(modem.profile, **BEGIN)
    assert send_part(assembler, modem, item[:400], 0, bursts=[0]) == []  # of two
    (image,) = send_part(assembler, modem, item[400:600], 400)
    assert (image.bursts_received, image.burst_count) == (2, 3)
    assert torch.isinf(image.noise_var[:400]).sum() == 200 and torch.isfinite(image.noise_var[400:]).all()
    (whole,) = send_part(assembler, modem, item[:400], 0, bursts=[1])
    assert torch.allclose(whole.latents, item[:600], atol=1e-5) and whole.bursts_received == 3
    # the first part, incomplete, and what joined it, are one item: handed out once at the end
    send_part(assembler, modem, item[:400], 0, bursts=[0], image_id=2)
    send_part(assembler, modem, item[400:800], 400, bursts=[1], image_id=2)
    (last,) = assembler.flush()
    assert (last.bursts_received, last.burst_count, len(last.latents)) == (2, 4, 800)


def test_where_parts_overlap_the_one_with_less_noise_counts(modem, item):
    """The shape of the noise is each part's own, its scale that of the estimated SNR."""
    assembler = ImageAssembler(modem.profile, **BEGIN)
    packed = modem.pack_latents(item[None, :300])[0]
    usual = {"height": 32, "width": 32, "latent_count": 300}
    assembler.add(header(0, side=0, **usual), packed, torch.full((300,), 0.1), 5.0)
    (image,) = assembler.add(header(0, side=20, **usual), 2 * packed, torch.full((300,), 0.1), 15.0)
    assert torch.allclose(image.latents[:200], item[:200], atol=1e-5)
    assert torch.allclose(image.latents[200:500], 2 * item[:300], atol=1e-5)
    (image,) = assembler.add(header(0, side=30, **usual), 3 * packed, torch.full((300,), 0.1), 10.0)
    assert torch.allclose(image.latents[200:500], 2 * item[:300], atol=1e-5)


@pytest.mark.parametrize(
    "other", [{"model_hash": 6}, {"mode": 7}, {"height": 33}, {"sender": 2}, {"kind": 1}]
)
def test_parts_of_another_item_are_not_joined(modem, item, other):
    assembler = ImageAssembler(modem.profile, **BEGIN)
    send_part(assembler, modem, item[:300], 0)
    (image,) = send_part(assembler, modem, item[300:500], 300, **other)
    assert image.parts == ((300, 200),)


def test_parts_are_kept_for_a_time_and_within_a_memory(modem, item):
    now = [0.0]
    assembler = ImageAssembler(modem.profile, clock=lambda: now[0], **BEGIN)
    send_part(assembler, modem, item[:300], 0)
    now[0] = KEPT_S - 1
    # which keeps it for as long again
    assert len(send_part(assembler, modem, item[300:500], 300)[0].parts) == 2
    now[0] = 2 * KEPT_S - 2
    assert len(send_part(assembler, modem, item[500:700], 500)[0].parts) == 3
    now[0] = 4 * KEPT_S
    assert len(send_part(assembler, modem, item[700:900], 700)[0].parts) == 1
    large = torch.ones(8000, dtype=torch.complex64)
    for number in range(KEPT_SYMBOLS // 8000 + 5):
        send_part(assembler, modem, large, 0, image_id=100 + number)
        assert (
            sum(len(part.latents) for one in assembler._closed.values() for part in one.parts) <= KEPT_SYMBOLS
        )
    (image,) = send_part(assembler, modem, item[:300], 8000, image_id=100)
    assert image.parts == ((8000, 300),)  # the first went
    (image,) = send_part(assembler, modem, item[:300], 8000, image_id=100 + number)
    assert image.parts == ((0, 8000), (8000, 300))


def test_a_part_beyond_its_item_is_counted_before_anything_is_allocated(modem, item):
    assembler = ImageAssembler(modem.profile, first_place=lambda header: header.side)
    assert send_part(assembler, modem, item[:300], 0, side=2**20 - 1) == []
    assert assembler.counters == {MISPLACED: 1} and assembler.flush() == []


def test_an_item_has_so_many_parts_at_most(modem, item):
    assembler = ImageAssembler(modem.profile, **BEGIN)
    for number in range(MOST_PARTS + 3):
        images = send_part(assembler, modem, item[:10], 10 * number)
        assert len(images) == (number < MOST_PARTS)
    assert assembler.counters[TOO_MANY_PARTS] == 3
    assert len(send_part(assembler, modem, item[:10], 0, image_id=2)) == 1


def test_without_parts_another_side_is_another_picture(modem, item):
    assembler = ImageAssembler(modem.profile)
    (first,) = send_part(assembler, modem, item[:300], 0)
    (second,) = send_part(assembler, modem, item[300:600], 300)
    assert first.side == 0 and second.side == 30 and second.parts == ((0, 300),)
    assert torch.allclose(second.latents, item[300:600], atol=1e-5)


def test_lost_bursts_of_a_part_may_come_later_and_complete_it(item):
    """As they do where a receiver asks for them; whatever else comes again is too late."""
    modem = Modem(ModemProfile(max_payload_symbols=1))
    assembler = ImageAssembler(modem.profile, **BEGIN)
    send_part(assembler, modem, item[:400], 0, bursts=[0])
    (image,) = assembler.flush()
    assert image.missing == ((1,),) and image.sides == (0,)
    assert send_part(assembler, modem, item[:400], 0, bursts=[0]) == []
    assert assembler.counters["bursts repeated or too late"] == 1
    (whole,) = send_part(assembler, modem, item[:400], 0, bursts=[1])
    assert torch.allclose(whole.latents, item[:400], atol=1e-5) and whole.missing == ((),)
    assert (whole.bursts_received, whole.burst_count) == (2, 2)
    assert send_part(assembler, modem, item[:400], 0, bursts=[0, 1]) == []
    (more,) = send_part(assembler, modem, item[400:600], 400)
    assert more.parts == ((0, 400), (400, 200)) and torch.isfinite(more.noise_var).all()
    # what is kept is bounded as before
    assert assembler._kept_symbols == 600
