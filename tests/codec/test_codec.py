# SPDX-License-Identifier: GPL-3.0-or-later
"""Every architecture keeps the contract: sizes, power, erasures, the SNR convention."""

import dataclasses
import math

import pytest
import torch

from semcom.channel.awgn import awgn
from semcom.codec import ARCHITECTURES, DECODERS, build, build_decoder
from semcom.codec.base import latents_to_planes, normalise_power, planes_to_latents, power_code, power_of_code
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ImageError, ModelError

SMALL = {
    "linres": {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]},
    "adjscc": {"channels": 8, "filters": 16},
    "bdjscc": {"channels": 8, "filters": 16},
    "anchor": {"channels": 8, "stride": 4, "width": 16, "depth": 1},
}
# side information, or another result: these have contracts and tests of their own
OTHERS = (
    "content-adaptive",
    "nested-linres",
    "protected",
    "classifier",
    "task-deepjscc",
    "vl-vfe",
    "dt-jscc",
)
ARGUMENTS = SMALL | {"nested-linres": SMALL["linres"], "protected": {"arguments": SMALL["linres"]}}
DEEP = {"channels": 32, "widths": [16, 24], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1]}


@pytest.fixture(params=[*SMALL.items(), ("linres", DEEP)], ids=[*SMALL, "linres-stride-8"])
def codec(request):
    torch.manual_seed(0)
    return build(request.param[0], request.param[1]).eval()


def test_every_architecture_is_tried():
    assert {*SMALL, *OTHERS} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", [*SMALL, *OTHERS, *DECODERS])
def test_the_snr_range_is_an_argument_of_every_architecture(name):
    make, arguments = (
        (build_decoder, SMALL["anchor"]) if name in DECODERS else (build, ARGUMENTS.get(name, {}))
    )
    if name == "resnet":
        arguments = arguments | {"depth": 2}
    codec = make(name, arguments, (-12.0, -4.0))
    assert codec.snr_range_db == (-12, -4)
    assert codec._clamped(torch.tensor([-20.0, -7.0, 9.0])).tolist() == [-12, -7, -4]
    with pytest.raises(ConfigError, match="lower one first, not 20 and 0"):
        make(name, arguments, (20.0, 0.0))


@pytest.mark.parametrize(("step", "codes"), [(1 / 8, 256), (1 / 4, 32)])
def test_the_code_of_a_power_is_its_nearest_step(step, codes):
    power = torch.tensor([2.0**-60, 0.07, 0.3, 1.0, 1.03, 12.0, 2.0**40])
    code, rounding = power_code(power, step, codes)
    written = power_of_code(code, step, codes)
    assert code[3] == codes // 2 and code[-1] == codes - 1 and code[0] == 0
    inside = slice(1, 6)
    assert torch.allclose((power * rounding)[inside], written[inside].float(), rtol=1e-5)
    assert (rounding[inside].log2().abs() <= step / 2 + 1e-6).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (32, 32), (67, 45), (33, 64)])
def test_any_size_is_restored(codec, size):
    images = torch.rand(2, 3, *size)
    latents = codec.encode(images, torch.tensor([3.0, 12.0]))
    assert latents.dtype == torch.complex64 and latents.shape == (2, codec.latent_count(*size))
    decoded = codec.decode(latents, 10.0, size)
    assert decoded.shape == images.shape and decoded.isfinite().all()
    assert decoded.min() >= 0 and decoded.max() <= 1


def test_rho_counts_complex_symbols_per_source_value(codec):
    height = width = 4 * codec.stride
    assert codec.latent_count(height, width) / (3 * height * width) == pytest.approx(codec.rho)
    assert codec.rho == pytest.approx(1 / 12)


def test_padding_repeats_the_edge(codec):
    """A picture whose missing rows and columns are repeats of its last ones has the same latents padded by
    hand."""
    side = codec.stride
    whole = torch.rand(1, 3, side, side)
    whole[..., -1] = whole[..., -2]
    whole[..., -1, :] = whole[..., -2, :]
    cut = whole[..., :-1, :-1]
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(cut, 10.0), codec.encode(whole, 10.0))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_power_is_one_per_image_whatever_the_batch(codec, batch):
    images = torch.rand(batch, 3, 32, 32) * torch.linspace(0.05, 1, batch)[:, None, None, None]
    latents = codec.encode(images, 10.0)
    power = latents.abs().square().mean(dim=1)
    torch.testing.assert_close(power, torch.ones(batch), atol=1e-4, rtol=0)
    alone = torch.cat([codec.encode(image[None], 10.0) for image in images])
    torch.testing.assert_close(latents, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 20.0])
def test_snr_through_normalise_and_awgn_is_the_one_asked_for(batch, snr_db):
    generator = torch.Generator().manual_seed(1)
    scale = 10 ** torch.linspace(-2, 2, batch)[:, None]
    latents = scale * torch.randn(batch, 400_000, dtype=torch.complex64, generator=generator)
    sent = normalise_power(latents)
    received = awgn(sent, torch.full((batch,), snr_db), generator)
    measured = sent.abs().square().mean(1) / (received - sent).abs().square().mean(1)
    torch.testing.assert_close(10 * measured.log10(), torch.full((batch,), snr_db), atol=0.05, rtol=0)


def test_normalise_leaves_silence_alone():
    assert not normalise_power(torch.zeros(1, 9, dtype=torch.complex64)).abs().any()


def test_first_half_of_the_planes_is_i():
    planes = torch.arange(24.0).reshape(1, 4, 2, 3)
    latents = planes_to_latents(planes)
    assert latents[0, 0] == 0 + 12j and latents.shape == (1, 12)
    torch.testing.assert_close(latents_to_planes(latents, 4, (2, 3)), planes)


def test_erasures_do_no_harm_beyond_their_own(codec):
    images = torch.rand(2, 3, 40, 24)
    with torch.no_grad():
        latents = codec.encode(images, 10.0)
        noise_var = torch.full(latents.shape, 0.1)
        lost = torch.rand(latents.shape, generator=torch.Generator().manual_seed(1)) < 0.4
        noise_var[lost] = math.inf
        garbage = torch.where(lost, torch.tensor(complex("nan"), dtype=latents.dtype), latents)
        snr = equivalent_snr_db(noise_var)
        decoded = codec.decode(garbage, snr, (40, 24), noise_var)
        assert decoded.isfinite().all()
        zeroed = torch.where(lost, torch.zeros_like(latents), latents)
        torch.testing.assert_close(decoded, codec.decode(zeroed, snr, (40, 24), noise_var))
        everything = torch.full(latents.shape, math.inf)
        assert codec.decode(latents, equivalent_snr_db(everything), (40, 24), everything).isfinite().all()


def test_gradients_reach_every_parameter_through_channel_and_erasures(codec):
    codec.train()
    for parameter in codec.parameters():  # residual branches start at zero: stir them
        parameter.data += 0.02 * torch.randn_like(parameter)
    latents = codec.encode(torch.rand(2, 3, 16, 16), 10.0)
    noise_var = torch.full(latents.shape, 0.1)
    noise_var[:, ::3] = math.inf
    decoded = codec.decode(awgn(latents, 10.0), equivalent_snr_db(noise_var), (16, 16), noise_var)
    decoded.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())


def test_equivalent_snr():
    uniform = 10 ** (-torch.tensor([[-3.0], [0.0], [10.0], [25.0]]) / 10) * torch.ones(4, 11)
    torch.testing.assert_close(
        equivalent_snr_db(uniform), torch.tensor([-3.0, 0.0, 10.0, 25.0]), atol=1e-3, rtol=0
    )
    half = torch.tensor([[0.0, math.inf]])  # half perfect, half lost: m = 1/2
    torch.testing.assert_close(equivalent_snr_db(half), torch.tensor([0.0]), atol=1e-3, rtol=0)
    assert equivalent_snr_db(torch.full((1, 4), math.inf)) == -20
    assert equivalent_snr_db(torch.zeros(1, 4)) == 60


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8), (0, 3, 8, 8)])
def test_what_is_no_image_is_refused(codec, shape):
    with pytest.raises(ImageError, match="shape"):
        codec.encode(torch.rand(shape), 10.0)


def test_wrong_number_of_latents_is_refused(codec):
    with pytest.raises(ImageError, match="do not fit an image of 32x32"):
        codec.decode(torch.zeros(1, 5, dtype=torch.complex64), 10.0, (32, 32))


def test_unknown_architecture_and_arguments():
    with pytest.raises(ModelError, match="did you mean 'adjscc'"):
        build("adjsc", {})
    with pytest.raises(ModelError, match="does not take these arguments"):
        build("linres", {"chanels": 8})
    with pytest.raises(ConfigError, match="must be even"):
        build("adjscc", {"channels": 7})
    with pytest.raises(ConfigError, match="one or two widths"):
        build("linres", {"channels": 8, "widths": [8, 8], "encoder_blocks": [1], "decoder_blocks": [1]})


@pytest.mark.parametrize(("ends", "encoder", "decoder"), [("both", 1, 1), ("decoder", 0, 1), ("none", 0, 0)])
def test_linres_uses_the_snr_where_it_is_given(ends, encoder, decoder):
    torch.manual_seed(0)
    codec = build("linres", SMALL["linres"] | {"snr_input": ends}).eval()
    for name, parameter in codec.named_parameters():  # AF gains start neutral: let them depend on the SNR
        if "gains" in name:
            parameter.data = parameter.data.abs() + 0.05 * torch.rand_like(parameter)
    images = torch.rand(1, 3, 16, 16)
    latents = codec.encode(images, 3.0)
    assert torch.equal(latents, codec.encode(images, 17.0)) == (not encoder)
    at_3, at_17 = (codec.decode(latents, snr, (16, 16)) for snr in (3.0, 17.0))
    assert torch.equal(at_3, at_17) == (not decoder)
    lost = torch.full(latents.shape, 0.1)
    lost[:, :8] = torch.inf
    assert not torch.equal(codec.decode(latents, 10.0, (16, 16), lost), codec.decode(latents, 10.0, (16, 16)))


def test_linres_snr_input_unknown():
    with pytest.raises(ConfigError, match="both, decoder, none"):
        build("linres", SMALL["linres"] | {"snr_input": "encoder"})


def photographs_like(count: int) -> torch.Tensor:
    """Pictures whose contrast differs by a factor of eight."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(4)) - 0.5
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return 0.5 + smooth * torch.linspace(0.1, 0.8, count)[:, None, None, None]


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_true_scale_brings_planes_back_as_the_encoder_made_them(architecture, monkeypatch):
    torch.manual_seed(0)
    codec = build(architecture, SMALL[architecture] | {"true_scale": True}).eval()
    images, made, seen = photographs_like(5), [], []
    encode_planes = codec.encode_planes
    monkeypatch.setattr(codec, "encode_planes", lambda x, snr: made.append(encode_planes(x, snr)) or made[0])
    monkeypatch.setattr(
        codec, "decode_planes", lambda planes, weights, snr: seen.append(planes) or torch.zeros(5, 3, 32, 32)
    )
    with torch.no_grad():
        sent = codec.send(images, 10.0)
        power = sent.values.abs().square().mean(dim=1)
        assert (10 * power.log10()).abs().max() < 0.2
        codec.receive(dataclasses.replace(sent, noise_var=torch.full(sent.values.shape, 0.1)), 10.0, (32, 32))
    torch.testing.assert_close(seen[0], made[0], rtol=1e-3, atol=1e-5)
    # an untrained network's bias may hide the contrast of the picture, a linear path does not
    assert architecture != "linres" or sent.side.unique().numel() > 1


def test_a_codec_of_true_scale_has_no_latents_alone():
    codec = build("linres", SMALL["linres"] | {"true_scale": True})
    with pytest.raises(ModelError, match="call send and receive"):
        codec.encode(torch.rand(1, 3, 32, 32), 10.0)
    with pytest.raises(ModelError, match="call send and receive"):
        codec.decode(torch.zeros(1, 256, dtype=torch.complex64), 10.0, (32, 32))
    with pytest.raises(ModelError, match="true_scale"):
        build("content-adaptive", {"true_scale": True})
    with pytest.raises(ModelError, match="true_scale"):
        build("linres", SMALL["linres"] | {"true_scale": 1})


def test_a_codec_of_one_rate_refuses_another():
    codec = build("linres", SMALL["linres"])
    with pytest.raises(ConfigError, match="one bandwidth ratio, 0.0833"):
        codec.send(torch.rand(1, 3, 32, 32), 10.0, rho=0.1)


def test_a_measured_start_is_the_best_linear_code():
    """The untrained codec's error is that of the closed form, within what the rounding of the power costs."""
    codec = build("linres", SMALL["linres"] | {"true_scale": True}).eval()
    images = photographs_like(64)
    codec.start_from(images, snr_db=10.0)
    with torch.no_grad():
        sent = codec.send(images, 10.0)
        received = awgn(sent.values, 10.0, torch.Generator().manual_seed(2))
        got = dataclasses.replace(sent, values=received, noise_var=torch.full(received.shape, 0.1))
        error = float((codec.receive(got, 10.0, (32, 32)) - images).square().mean())
    blocks = torch.nn.functional.pixel_unshuffle(images - 0.5, 4).permute(0, 2, 3, 1).flatten(0, 2).double()
    variance = torch.linalg.eigvalsh(blocks.T @ blocks / len(blocks)).flip(0)
    best = variance[8:].sum() / 48
    share = variance[:8].sqrt()
    # all eight are well above the noise here: p = c sqrt(variance) - n
    power = share * (8 + 8 * 0.1) / share.sum() - 0.1
    assert (power > 0).all()
    best += (variance[:8] * 0.1 / (power + 0.1)).sum() / 48
    # a picture's own power is 1, not the mean of all pictures: more noise for pictures of high contrast
    assert best * 0.8 < error < best * 1.6
