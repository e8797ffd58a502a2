# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from semcom.codec import build_decoder
from semcom.codec.base import Latents
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds.pictures import samples
from semcom.link import LinkConfig, simulate
from semcom.link.users import named_users
from semcom.modem import BurstHeader
from semcom.payload.base import Analog
from semcom.payload.quantised import DigitalMode
from semcom.system.coded import Coded
from semcom.system.hybrid import Hybrid
from semcom.system.make import SYSTEMS, make, payload_with

PIXELS = np.ascontiguousarray(samples()[0].pixels[:64, :96])


def header(system, **other):
    k, code = system.symbol_count((64, 96)), system.model.model_hash
    return BurstHeader(
        **{
            **dict(image_id=1, burst_index=0, height=64, width=96),
            **dict(latent_count=k, model_hash=code),
            **other,
        }
    )


@pytest.mark.parametrize(
    "payload", [Analog(), DigitalMode(16), Coded("16-3/4", "jpeg")], ids=lambda p: p.label
)
def test_what_a_system_sends_it_admits_itself(payload):
    system = make("cifar-1-12", payload)
    sent = system.send([PIXELS], [10.0])
    assert sent.symbols.shape == (1, system.symbol_count((64, 96))) and sent.size == (64, 96)
    assert abs(float(sent.symbols.abs().square().mean()) - 1) < 0.05
    own = header(system, latent_count=sent.symbols.shape[1], mode=sent.mode, model_hash=sent.model_hash)
    assert system.admits(own) is None
    assert (
        system.admits(replace(own, latent_count=own.latent_count - 1))
        == "bursts whose size does not fit the model"
    )
    assert system.name.startswith("cifar-1-12")
    with pytest.raises(ImageError, match="uint8"):
        system.send([PIXELS / 255], [10.0])


@pytest.mark.parametrize(
    "payload", [Analog(), Coded(source="jpeg"), Hybrid(source="jpeg")], ids=lambda p: p.label
)
def test_the_largest_picture_that_headers_count_and_one_more(payload, monkeypatch):
    system = make("photo-adaptive", payload)
    largest, more = (4096, 4088), (4096, 4096)
    assert system.check_size(largest, system.symbol_count(largest)) is None
    # nothing of such a picture is looked at
    monkeypatch.setattr(type(system.codec if hasattr(system, "codec") else system.model.codec), "send", None)
    with pytest.raises(
        ImageError, match=r"4096x4096 takes 4,194,304 .* count 4,194,303: scale it down, or"
    ) as found:
        system.send([np.broadcast_to(np.uint8(7), (*more, 3))], [10.0])
    assert "4096" not in found.value.kind


def test_the_largest_picture_of_a_rate():
    half = make("photo-adaptive", Analog(0.5))
    assert half.check_size((4096, 4096), half.symbol_count((4096, 4096))) is None


def test_who_reads_what():
    analog, coded = make("cifar-1-12"), make("cifar-1-12", Coded(source="jpeg"))
    assert analog.admits(header(analog, mode=7)) == "bursts of coded bits, not read here"
    assert coded.admits(header(analog)) == "bursts of analog latents, not read here"
    assert analog.admits(header(analog, model_hash=1)) == "bursts of another model"
    # a receiver of latents reads every order, whichever its own end sends
    labels = make("cifar-1-12", DigitalMode(64)).send([PIXELS], [10.0])
    assert analog.admits(header(analog, mode=labels.mode, model_hash=labels.model_hash)) is None


def test_settings_name_one_payload():
    assert payload_with({}) == Analog() and payload_with({"rate": "0.5"}) == Analog(0.5)
    assert payload_with({"order": "16", "bits_per_latent": "2"}) == DigitalMode(16, 2)
    assert payload_with({"mcs": "16-3/4", "source": "jpeg"}) == Coded("16-3/4", "jpeg")
    with pytest.raises(ConfigError, match="'ordr'.*did you mean 'order'"):
        payload_with({"ordr": "16"})
    with pytest.raises(ConfigError, match="different ways of sending"):
        payload_with({"order": "16", "mcs": "16-3/4"})
    with pytest.raises(ConfigError, match="'order' is 'many'"):
        payload_with({"order": "many"})
    with pytest.raises(ConfigError, match="a rate is a share"):
        payload_with({"rate": "1.5"})


def test_a_model_of_one_rate_refuses_another_before_anything_is_sent():
    with pytest.raises(ConfigError, match="one bandwidth ratio, 0.0833; it cannot send at 0.0417"):
        make("cifar-1-12", Analog(0.5))
    with pytest.raises(ModelError, match="cannot be sent as labels"):
        make("photo-adaptive", DigitalMode(16))


@pytest.mark.parametrize("payload", [DigitalMode(256), Coded("4-1/2", "jpeg")], ids=lambda p: p.label)
def test_users_take_every_payload(tiny_users, make_pictures, payload):
    model = str(tiny_users["anchor"])
    # coded bits need as many symbols as JPEG takes
    pictures = list(make_pictures(2, 96, 96))
    users = named_users(model, ["conv", "anchor"], [25.0, 15.0])
    rows = simulate(pictures, LinkConfig(model, 20.0, payload=payload), users)
    assert [row.user for row in rows] == ["conv", "anchor"] * 2
    assert all(row.bursts_lost == 0 and row.value.shape == (96, 96, 3) for row in rows)
    assert {row.system for row in rows if row.user == "anchor"} == {make(model, payload).name}


def test_every_payload_has_its_system():
    assert {cls.__name__ for cls in SYSTEMS} == {"Analog", "DigitalMode", "Coded", "Hybrid"}


@torch.inference_mode()
def test_what_cleans_latents_before_a_decoder_is_asked_too():
    """``evaluate`` and systems ask codecs through ``receive``, trainings also through ``decode``."""
    inner = {"channels": 8, "stride": 4, "width": 16, "depth": 1}
    decoder = build_decoder("adapted", {"decoder": "conv", "arguments": inner}).eval()
    decoder.canceller.coefficients[:, 0, 0] = 0.3
    latents = torch.randn(1, decoder.latent_count(32, 32), dtype=torch.complex64)
    noise_var = torch.full(latents.real.shape, 0.1)
    direct = decoder.decode(latents, 10.0, (32, 32), noise_var)
    asked = decoder.receive(Latents(latents, noise_var=noise_var), 10.0, (32, 32))
    assert torch.equal(direct, asked)
    assert not torch.equal(asked, decoder.decoder.decode(latents, 10.0, (32, 32), noise_var))
