# SPDX-License-Identifier: GPL-3.0-or-later
"""How the SNR enters a network: every way in both architectures that take it, and their modules by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from semcom.codec import build
from semcom.codec.layers import conditioning as ways
from semcom.errors import ConfigError
from semcom_training.compare import count_macs

LINRES = {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}
NETWORKS = {
    "linres": LINRES,
    "nested-linres": LINRES,
    "adjscc": {"channels": 8, "filters": 16},
}
#: which end knows the SNR
ENCODER = {"af", "scale", "film", "query"}
DECODER = set(ways.CONDITIONINGS) - {"none"}


def stirred(architecture: str, how: str):
    """A codec none of whose parameters is at its start, where several ways do nothing yet."""
    torch.manual_seed(1)
    codec = build(architecture, NETWORKS[architecture] | {"conditioning": how}).eval().requires_grad_(False)
    for name, parameter in codec.named_parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
        # AF's hidden layer, of one unit here, is above its ReLU
        if "squeeze.weight" in name:
            parameter.abs_()
    return codec


@pytest.mark.parametrize("architecture", ["linres", "adjscc"])
@pytest.mark.parametrize("how", ways.CONDITIONINGS)
def test_the_snr_reaches_the_ends_that_it_should(architecture, how):
    codec, images = stirred(architecture, how), torch.rand(2, 3, 13, 22)
    sent = codec.encode(images, 3.0)
    assert torch.equal(sent, codec.encode(images, 17.0)) == (how not in ENCODER)
    at_3, at_17 = (codec.decode(sent, snr, (13, 22)) for snr in (3.0, 17.0))
    assert torch.equal(at_3, at_17) == (how not in DECODER)
    assert at_3.shape == images.shape and at_3.isfinite().all()
    lost = torch.full(sent.shape, 0.1)
    lost[:, :8] = torch.inf
    assert not torch.equal(codec.decode(sent, 10.0, (13, 22), lost), codec.decode(sent, 10.0, (13, 22)))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_af_is_what_there_is_without_being_asked_for(architecture):
    made = []
    for arguments in ({}, {"conditioning": "af"}):
        torch.manual_seed(0)
        made.append(build(architecture, NETWORKS[architecture] | arguments).state_dict())
    assert list(made[0]) == list(made[1]) and all(
        torch.equal(made[0][name], made[1][name]) for name in made[0]
    )


@pytest.mark.parametrize("how", ways.CONDITIONINGS)
def test_every_way_is_trained(how):
    codec, images = stirred("linres", how).requires_grad_(True), torch.rand(2, 3, 16, 16)
    codec.decode(codec.encode(images, 7.0), 7.0, (16, 16)).square().mean().backward()
    still = [name for name, parameter in codec.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert not still


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("wrong", ["fim", "", 3, None])
def test_another_way_is_refused_with_the_nearest(architecture, wrong):
    with pytest.raises(ConfigError, match="af, scale, film, map, map[+]denoise, query, none, not") as found:
        build(architecture, NETWORKS[architecture] | {"conditioning": wrong})
    assert ("film'?" in str(found.value)) == (wrong == "fim")


def test_a_gain_linear_in_the_snr_is_two_parameters_a_channel():
    module = ways.SnrScale(4)
    x, snr = torch.randn(2, 4, 3, 3), torch.tensor([0.0, 10.0])
    assert sum(p.numel() for p in module.parameters()) == 8 and torch.equal(module(x, snr), x)
    with torch.no_grad():
        module.slope.copy_(torch.arange(4.0))
    torch.testing.assert_close(module(x, snr)[1], x[1] * (1 + 0.5 * torch.arange(4.0))[:, None, None])
    assert torch.equal(module(x, snr)[0], x[0])


def test_a_denoiser_starts_as_the_mmse_weight():
    module = ways.Denoiser(4, width=8)
    planes, weights = torch.randn(1, 4, 5, 6), torch.rand(1, 2, 5, 6)
    weighted = planes * torch.cat([weights, weights], dim=1)
    assert torch.equal(module(weighted, weights), weighted)


def attention_by_hand(module, x, snr_db: float):
    """Of one plane that is one window, head by head."""
    snr = torch.tensor([snr_db / ways.SNR_SCALE_DB])
    seen = x[0].flatten(1).T + module.embedding(snr)
    query, key, value = module.project_in(seen).chunk(3, dim=1)
    gain, offset = module.query(snr)
    out = torch.empty_like(seen)
    size = seen.shape[1] // module.heads
    for head in range(module.heads):
        part = slice(head * size, (head + 1) * size)
        scores = (F.softplus(gain) * query[:, part] + offset) @ key[:, part].T / math.sqrt(size)
        out[:, part] = scores.softmax(dim=1) @ value[:, part]
    return x[0] + module.project_out(out).T.unflatten(1, x.shape[2:])


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 4), (3, 2)])
def test_attention_in_a_window_by_hand(size):
    torch.manual_seed(2)
    module = ways.QueryAttention(8)
    x, snr = torch.randn(2, 8, *size), torch.tensor([1.0, 19.0])
    assert torch.equal(module(x, snr), x)
    for parameter in module.parameters():
        parameter.normal_()
    for n in range(2):
        torch.testing.assert_close(module(x, snr)[n], attention_by_hand(module, x[n : n + 1], float(snr[n])))


@torch.no_grad()
def test_windows_know_nothing_of_each_other():
    torch.manual_seed(3)
    module, snr = ways.QueryAttention(8), torch.tensor([5.0])
    for parameter in module.parameters():
        parameter.normal_()
    x = torch.randn(1, 8, 9, 8)
    whole = module(x, snr)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 9)):
        for columns in (slice(0, 4), slice(4, 8)):
            torch.testing.assert_close(whole[..., rows, columns], module(x[..., rows, columns], snr))


def test_what_each_way_costs():
    macs, parameters = {}, {}
    for how in ways.CONDITIONINGS:
        codec = build("linres", LINRES | {"conditioning": how}).eval()
        macs[how] = sum(count_macs(codec, (32, 32)))
        parameters[how] = sum(p.numel() for p in codec.parameters())
    assert macs["none"] == macs["map"] == macs["scale"] and parameters["none"] == parameters["map"]
    # gains of 8 planes and of 16 features at both ends
    assert parameters["scale"] - parameters["none"] == 2 * 2 * (8 + 16)
    assert parameters["film"] - parameters["none"] == 2 * (parameters["scale"] - parameters["none"])
    # three projections in, one out of 64 cells of 16 channels, two products of 16 x 16 cells in 4 windows, the SNR
    assert macs["query"] - macs["none"] == 2 * (64 * 4 * 16 * 16 + 2 * 4 * 16 * 16 * 16 + 16 + 2)
    assert macs["map+denoise"] > macs["query"] > macs["af"] > macs["none"]
