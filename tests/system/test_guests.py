# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs that are more than planes of a picture, across modem and channel: what ``System`` must carry for them."""

import dataclasses

import numpy as np
import pytest
import torch

from semcom.codec import build
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig
from semcom.link.simulate import Air, receive, transmit
from semcom.modem import BurstHeader, Modem
from semcom.payload.base import Analog
from semcom.system.base import SIDE_LOST
from semcom.system.latents import LatentSystem
from semcom.system.make import make


class Card:
    """As much of a model card as a system asks for."""

    name = "guest"


class Model:
    """An untrained codec as the zoo would have it."""

    device, model_hash, digital_hashes, card = torch.device("cpu"), 77, (), Card()

    def __init__(self, architecture, **arguments):
        torch.manual_seed(0)
        self.codec = build(architecture, arguments).eval().requires_grad_(False)

    def latents_of(self, symbols, noise_var, **header):
        return symbols, noise_var


def across(system, pixels, snr_db=20.0, **link):
    modem = Modem()
    sent, bursts = transmit(3, pixels, snr_db, system, modem)
    return sent, *receive(Air(LinkConfig("any", snr_db, **link)).carry(bursts), system, modem)


PIXELS = np.ascontiguousarray(samples()[0].pixels[:64, :96])


def test_a_label_crosses_the_modem_and_a_picture_receiver_refuses_it():
    system = LatentSystem(Model("classifier", classes=4, symbols=8, width=8))
    sent, image, received = across(system, PIXELS)
    assert sent.size == (4, 1) and sent.kind == image.kind == 3
    assert received.value.shape == (4,) and received.value.sum() == pytest.approx(1, abs=1e-5)
    pictures = make("cifar-1-12")
    _, nothing, none = across_to(pictures, system)
    assert nothing is None and none is None


@pytest.mark.parametrize(
    "architecture, arguments",
    [("task-deepjscc", {"dimensions": 7}), ("vl-vfe", {"dimensions": 16}), ("dt-jscc", {"slots": 5})],
)
def test_task_latents_cross_the_modem_at_the_snr_that_they_are_told(architecture, arguments):
    model = Model(architecture, classes=4, width=8, **arguments)
    system = LatentSystem(model)
    sent, image, received = across(system, PIXELS, 12.0)
    assert received.value.shape == (4,) and received.value.sum() == pytest.approx(1, abs=1e-5)
    assert len(image.latents) == sent.symbols.shape[1] <= model.codec.symbols
    # peak SNR of a dimension, from what the modem measured, is Es/N0 and the model's own constant
    codec = model.codec
    variance = image.noise_var.mean() / (2 * codec.scale.square())
    assert float(-10 * variance.log10()) - codec.backoff_db == pytest.approx(12.0, abs=1.5)


def test_a_prefix_is_as_long_as_the_header_says_whatever_the_receiver_believes():
    model = Model("vl-vfe", classes=4, width=8, dimensions=16)
    with torch.no_grad():
        model.codec.gate.weights[-1] *= 0.5 ** torch.arange(16)[:, None]
    system, modem = LatentSystem(model), Modem()
    lengths = {}
    for believed in (25.0, -5.0):
        sent, bursts = transmit(3, PIXELS, believed, system, modem)
        image, received = receive(Air(LinkConfig("any", 20.0)).carry(bursts), system, modem)
        assert len(image.latents) == sent.symbols.shape[1] and received.value.shape == (4,)
        lengths[believed] = len(image.latents)
    assert lengths[25.0] < lengths[-5.0]


def across_to(receiver, sender):
    modem = Modem()
    sent, bursts = transmit(3, PIXELS, 20.0, sender, modem)
    return sent, *receive(Air(LinkConfig("any", 20.0)).carry(bursts), receiver, modem)


def test_the_header_alone_says_how_many_planes_came():
    small = {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}
    model = Model("nested-linres", **small)
    whole, half = LatentSystem(model), LatentSystem(model, Analog(0.5))
    assert half.symbol_count((64, 96)) * 2 == whole.symbol_count((64, 96))
    # a receiver that itself would send everything
    sent, image, received = across_to(whole, half)
    assert len(image.latents) == sent.symbols.shape[1] == half.symbol_count((64, 96))
    assert received.value.shape == (64, 96, 3)
    assert half.name == "guest" and whole.name == "guest"


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_side_information_crosses_the_modem(rate):
    """The map among the symbols, its 20 bits in the header; at 20 dB far above what the base layer alone gives."""
    system = make("photo-linear", Analog(rate))
    picture = Picture("a", np.ascontiguousarray(samples()[1].pixels[:128, :192]))
    sent, image, received = across(system, picture.pixels)
    assert len(sent.side) == 1 and image.side == sent.side[0] > 0
    assert system.result.score(picture.pixels, received.value, lpips=False)["psnr_db"] > (
        30 if rate == 1 else 27
    )


@pytest.mark.parametrize("side", [0, 2**20 - 1, 0b10101010101010101010])
def test_side_information_that_no_codec_sent_is_survived(side):
    """Anybody can send a header: whatever its side bits say, a picture of the right size comes out."""
    system = make("photo-linear")
    sent, image, _ = across(system, np.ascontiguousarray(samples()[1].pixels[:128, :128]))
    (received,) = system.receive([dataclasses.replace(image, side=side)])
    assert received.value.shape == (128, 128, 3)
    assert received.detail == ({SIDE_LOST: True} if side & 63 else {})


def test_side_information_that_the_model_does_not_know_is_refused_in_words():
    system = make("cifar-1-12")
    header = BurstHeader(
        image_id=1, burst_index=0, height=32, width=32, latent_count=256, model_hash=system.model.model_hash
    )
    assert system.admits(header) is None
    reason = system.admits(dataclasses.replace(header, side=777))
    assert reason == "bursts with side information unknown to the model"
