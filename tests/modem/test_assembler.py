# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch

from semcom.modem import BurstHeader, ImageAssembler, Modem, ModemProfile, labels

K, HASH = 20_000, 5


@pytest.fixture
def sent(modem):
    latents = torch.randn(1, K, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return latents[0], modem.pack_latents(latents)


def header(index, image_id=1, **other):
    return BurstHeader(image_id, index, 3, 256, 256, **({"latent_count": K, "model_hash": HASH} | other))


def give(assembler, packed, index, **other):
    return assembler.add(header(index, **other), packed[index], torch.full((len(packed[index]),), 0.1), 10.0)


def test_bursts_in_any_order_make_the_picture(modem, sent):
    latents, packed = sent
    assembler = ImageAssembler(modem.profile, HASH)
    assert give(assembler, packed, 2) == [] and give(assembler, packed, 0) == []
    (image,) = give(assembler, packed, 1)
    assert torch.allclose(image.latents, latents, atol=1e-5)
    assert image.bursts_received == image.burst_count == 3 and image.size == (256, 256)
    assert torch.allclose(image.noise_var, torch.tensor(0.1), atol=1e-3)


def test_lost_bursts_are_erasures_spread_over_the_picture(modem, sent):
    latents, packed = sent
    assembler = ImageAssembler(modem.profile, HASH)
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
    assembler = ImageAssembler(modem.profile, HASH, latent_count_of=lambda h, w: K)
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
    assembler = ImageAssembler(modem.profile, HASH, max_open=2)
    done = [image for i in range(5) for image in give(assembler, packed, 0, image_id=i)]
    assert [image.image_id for image in done] == [0, 1, 2]
    assert [image.image_id for image in assembler.flush()] == [3, 4]


def test_picture_numbers_may_wrap_round(modem, sent):
    _, packed = sent
    small = Modem(ModemProfile()).pack_latents(torch.ones(1, 300, dtype=torch.complex64))
    assembler = ImageAssembler(modem.profile, HASH)
    give(assembler, packed, 0, image_id=9)
    (old,) = assembler.add(BurstHeader(9, 0, 1, 32, 32, 300, HASH), small[0], torch.ones(300), 5.0)[:1]
    assert old.size == (256, 256) and old.bursts_received == 1


def test_digital_bursts_are_taken_when_asked_for_and_their_symbols_fit(modem):
    k, symbols = 200, 150  # 3 bits a latent in symbols of 4 bits
    packed = modem.pack_latents(torch.randn(1, symbols, dtype=torch.complex64))[0]
    sent = BurstHeader(1, 0, 1, 32, 32, symbols, 77, mode=4)

    def give_to(**options):
        assembler = ImageAssembler(modem.profile, HASH, latent_count_of=lambda h, w: k, **options)
        return assembler.add(sent, packed, torch.full((symbols,), 0.1), 10.0), assembler.counters

    (image,), _ = give_to(modes=(0, 4), digital_hashes={77})
    assert (image.mode, image.model_hash, len(image.latents)) == (4, 77, symbols)
    none, counters = give_to()
    assert none == [] and counters["bursts of digital latents of order 16, not read here"] == 1
    none, counters = give_to(modes=(0, 4), digital_hashes={HASH})
    assert none == [] and counters["bursts of another model"] == 1


@pytest.mark.parametrize("order, bits", [(2, 8), (4, 1), (8, 8), (16, 3), (64, 8), (256, 3), (256, 6)])
def test_bits_a_latent_are_told_by_the_number_of_symbols(order, bits):
    for latents in (7, 8, 255, 256):
        symbols = labels.symbol_count(latents, bits, order)
        assert labels.bits_per_latent(symbols, latents, order) == bits
    assert labels.bits_per_latent(symbols - 1, latents, order) != bits
    assert labels.bits_per_latent(100, 20, 2) is None  # 5 bits a latent: no codebook has them
