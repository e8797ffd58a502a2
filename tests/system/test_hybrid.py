# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from semcom.codec.base import Latents
from semcom.codec.image.residual import ResidualCodec
from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig, simulate
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import MODE_CODED, MODE_HYBRID, MODE_LATENTS, MODES
from semcom.payload.base import Analog
from semcom.system import hybrid as hybrids
from semcom.system.base import SIDE_LOST
from semcom.system.coded import Coded, ring_order
from semcom.system.hybrid import SHARE_STEPS, Hybrid, HybridSystem
from semcom.system.make import make, payload_with

MODEL = "photo-adaptive"
# what holds a small JPEG in a quarter of the symbols, from 17.2 dB on
FIXED = Hybrid(0.25, "64-5/6", "jpeg")
SIDE = 128


@pytest.fixture(scope="module")
def pixels():
    return np.ascontiguousarray(samples()[1].pixels[::2, ::2][:SIDE, :SIDE])


@pytest.fixture(scope="module")
def system():
    return make(MODEL, FIXED)


@pytest.fixture(scope="module")
def sent(system, pixels):
    return system.send([pixels], [20.0])


def over(pixels, payload, snr_db, **config):
    (row,) = simulate(
        [Picture("one", pixels)], LinkConfig(MODEL, snr_db, payload=payload, lpips=False, **config)
    )
    return row


def header(sent, **other):
    fields = dict(image_id=1, burst_index=0, height=SIDE, width=SIDE, latent_count=sent.symbols.shape[1])
    fields |= dict(model_hash=sent.model_hash, mode=sent.mode, side=(sent.side or (0,))[0])
    return BurstHeader(**fields | other)


def assembled(sent, noise_var, seed=0):
    generator = torch.Generator().manual_seed(seed)
    symbols, noise_var = sent.symbols[0], torch.as_tensor(noise_var).expand(sent.symbols.shape[1])
    noise = torch.randn(symbols.shape, dtype=torch.complex64, generator=generator)
    got = torch.where(noise_var.isinf(), 0, symbols + noise * noise_var.nan_to_num(posinf=0).sqrt())
    fields = dict(mode=sent.mode, model_hash=sent.model_hash, side=(sent.side or (0,))[0])
    return AssembledImage(0, sent.size, got, noise_var, 1, 1, 20.0, **fields)


def coarse_of(system, sent):
    """The coded picture alone: what is left where no latent of the rest comes."""
    base = sent.symbols.shape[1] // 4
    noise_var = torch.full((sent.symbols.shape[1],), 1e-3)
    noise_var[base:] = torch.inf
    return system.receive([assembled(sent, noise_var)])[0]


@pytest.mark.slow
def test_the_picture_gets_better_above_the_threshold_of_its_code(pixels, system, sent):
    coarse = quality.psnr(pixels, coarse_of(system, sent).value)
    reached = [over(pixels, FIXED, snr_db).psnr_db for snr_db in (18.0, 22.0, 28.0)]
    assert reached[0] > coarse + 0.5 and reached[1] > reached[0] + 0.3 and reached[2] > reached[1]
    assert over(pixels, FIXED, 18.0).detail == {"decoded": True, "mcs": "64-5/6", "share": 0.25}


def test_below_it_the_mean_colour_and_said_so(pixels):
    row = over(pixels, FIXED, 10.0)
    assert not row.decoded and (row.value == row.value[0, 0]).all()


def test_it_takes_as_many_symbols_as_the_model(pixels, system, sent):
    assert sent.symbols.shape == (1, system.symbol_count((SIDE, SIDE)))
    assert abs(float(sent.symbols.abs().square().mean()) - 1) < 0.05
    assert sent.mode == MODE_HYBRID and sent.mode in MODES


@pytest.mark.parametrize("snr_db", [4.0, 20.0])
@pytest.mark.slow
def test_a_chosen_share_is_as_good_as_the_better_of_latents_and_bits(pixels, snr_db):
    ways = [Hybrid(source="jpeg"), Analog(), Coded(source="jpeg")]
    chosen, latents, bits = (over(pixels, way, snr_db).psnr_db for way in ways)
    # what is tried is tried once, in other noise than that of the air
    assert chosen > max(latents, bits) - 0.2


@pytest.mark.slow
def test_a_share_is_chosen_where_it_is_best_and_each_choice_goes_as_what_it_is(pixels, monkeypatch):
    system = make(MODEL, Hybrid(source="jpeg"))
    expected = {"all_latents": MODE_LATENTS, "all_coded": MODE_CODED, "divided": MODE_HYBRID}
    for best, mode in expected.items():
        for name in expected:
            own = getattr(HybridSystem, f"_{name}")
            scored = lambda self, *a, own=own, db=float(name == best): (own(self, *a)[0], db)  # noqa: E731
            monkeypatch.setattr(system, f"_{name}", scored.__get__(system))
        sent = system.send([pixels], [20.0])
        assert sent.mode == mode
        assert system.admits(header(sent)) is None


def test_a_coarse_picture_that_does_not_fit_takes_more(pixels):
    sent = make(MODEL, Hybrid(1 / 32, "64-5/6", "jpeg")).send([pixels], [20.0])
    assert 1 / 32 < sent.detail["share"] < 1
    # at QPSK a small JPEG fits nowhere: the rival's empty payload
    sent = make(MODEL, Hybrid(1 / 32, "4-1/5", "jpeg")).send([pixels], [20.0])
    assert sent.mode == MODE_CODED


@pytest.mark.parametrize("snr_db", [-3.0, 10.0])
def test_one_pixel_goes_as_latents(snr_db):
    (row,) = simulate(
        [Picture("one", np.full((1, 1, 3), 90, np.uint8))],
        LinkConfig(MODEL, snr_db, payload=Hybrid(source="jpeg"), lpips=False),
    )
    assert row.symbols == 16 and row.detail == {"share": 0.0} and row.value.shape == (1, 1, 3)


def test_bits_that_would_not_get_through_are_not_tried(pixels, system):
    # latents and the shares that work, however good the pictures in the bits are
    robust = make(MODEL, Hybrid(0.0, "64-5/6", "jpeg"))
    assert set(robust.tried(pixels, 10.0)) == {0}
    assert {0, SHARE_STEPS} <= set(robust.tried(pixels, 22.0))


@pytest.mark.parametrize("share", [0.0, 1 / 32])
def test_a_share_of_too_few_symbols_for_a_byte_is_passed_over(share):
    small = np.ascontiguousarray(samples()[1].pixels[::8, ::8])
    sent = make(MODEL, Hybrid(share, source="jpeg")).send([small], [10.0])
    assert sent.symbols.shape == (1, 256) and sent.mode in (MODE_LATENTS, MODE_CODED)


def test_without_the_map_the_coarse_picture_is_left(system, sent):
    received = coarse_of(system, sent)
    assert received.detail == {"decoded": True, SIDE_LOST: True}
    assert received.value.shape == (SIDE, SIDE, 3)


def test_without_its_bits_nothing_is_shown(system, sent):
    noise_var = torch.full((sent.symbols.shape[1],), 1e-3)
    noise_var[: len(noise_var) // 4] = torch.inf
    (received,) = system.receive([assembled(sent, noise_var)])
    assert received.value is None and received.detail == {"decoded": False}


def test_what_it_admits(system, sent):
    own = header(sent)
    assert system.admits(own) is None
    assert system.admits(replace(own, model_hash=own.model_hash ^ 1 << 21)) == "bursts of another model"
    assert (
        system.admits(replace(own, model_hash=own.model_hash & ~(SHARE_STEPS - 1)))
        == "bursts of another model"
    )
    beyond = own.model_hash | 15 << 5
    assert system.admits(replace(own, model_hash=beyond)) == "bursts of another model"
    assert system.admits(replace(own, latent_count=13)) == "bursts whose size does not fit the model"
    tiny = own.model_hash & ~(SHARE_STEPS - 1) & ~(15 << 5) | 1
    words = "bursts whose coded picture has no room for a byte"
    assert system.admits(replace(own, model_hash=tiny, height=32, width=32, latent_count=256)) == words
    assert "coded bits and latents of the rest, not read here" in make(MODEL).admits(own)


@pytest.mark.parametrize(
    "make_it, words",
    [
        (lambda: Hybrid(1.0), "1/32 to 31/32"),
        (lambda: Hybrid(0.001), "1/32 to 31/32"),
        (lambda: Hybrid(0.5, "17-1/2"), "17-1/2"),
        (lambda: Hybrid(0.5, source="webp"), "webp"),
        (lambda: make("cifar-1-12", Hybrid(source="jpeg")), "such as photo-adaptive; 'cifar-1-12' is"),
    ],
)
def test_what_cannot_be_is_refused(make_it, words):
    with pytest.raises(ConfigError, match=words):
        make_it()


def test_no_key_stream_is_added_and_no_station_sends_it(tmp_path):
    with pytest.raises(ConfigError, match="take cipher scramble"):
        ring_order(MODE_HYBRID, 0)
    pytest.importorskip("gnuradio")
    from semcom.blocks.stations import StationConfig, transmit

    air = tmp_path / "air.c64"
    with pytest.raises(ConfigError, match="do not read hybrids"):
        transmit(StationConfig("", f"file:{air}"), samples(), payload=Hybrid(0.5))
    assert not air.exists()


def test_settings():
    assert payload_with({"share": "0.25", "source": "jpeg"}) == Hybrid(0.25, source="jpeg")
    assert payload_with({"mcs": "16-1/2", "source": "jpeg"}) == Coded("16-1/2", "jpeg")
    assert payload_with({"mcs": "16-1/2", "source": "jpeg"}, Hybrid) == Hybrid(0.0, "16-1/2", "jpeg")


@torch.inference_mode()
def test_residuals_come_back_at_their_own_scale():
    codec = ResidualCodec(make(MODEL).model.codec)
    generator = torch.Generator().manual_seed(1)
    residual = 0.05 * torch.randn(1, 3, 72, 88, generator=generator)
    for scale in (1.0, 1 / 16):
        sent = codec.send_residual(scale * residual, 20.0, 1500)
        assert sent.values.shape == (1, 1500)
        got = codec.receive_residual(
            Latents(sent.values, side=sent.side, noise_var=torch.full((1, 1500), 1e-2)), 20.0, (72, 88)
        )
        error = float((got - scale * residual).square().mean() / (scale * residual).square().mean())
        assert error < 0.95, "no better than nothing"
        assert got.shape == residual.shape


def test_no_network_of_the_model_is_asked():
    codec = ResidualCodec(make(MODEL).model.codec)
    assert codec._layout(64, 64).count == 0
    assert not any(float(p.abs().sum()) for p in codec.receiver.picture_out.parameters())
    assert hybrids.TRIED and all(0 < steps < SHARE_STEPS for steps in hybrids.TRIED)
