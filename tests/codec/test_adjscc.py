# SPDX-License-Identifier: GPL-3.0-or-later
"""The published baselines, layer for layer, and the two modules they are known for."""

import torch

from semcom.codec import build
from semcom.codec.image.linres import block_dct
from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.layers.gdn import GDN


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_papers():
    assert parameters(build("adjscc", {"channels": 16})) == 10_758_191
    assert parameters(build("bdjscc", {"channels": 16})) == 10_690_351
    assert parameters(build("adjscc", {"channels": 8})) == 10_655_583


def test_a_narrow_twin_has_the_same_layers():
    wide, narrow = build("adjscc", {"channels": 8}), build("adjscc", {"channels": 8, "filters": 64})
    assert list(wide.state_dict()) == list(narrow.state_dict())


def test_bdjscc_is_blind_to_the_snr_and_adjscc_is_not():
    images = torch.rand(1, 3, 16, 16)
    blind, adaptive = (build(name, {"channels": 8, "filters": 32}) for name in ("bdjscc", "adjscc"))
    assert torch.equal(blind.encode(images, 0.0), blind.encode(images, 20.0))
    assert not torch.allclose(adaptive.encode(images, 0.0), adaptive.encode(images, 20.0))


def test_attention_feature_by_hand():
    torch.manual_seed(3)
    module = AttentionFeature(32)
    assert module.squeeze.weight.shape == (2, 33) and module.excite.weight.shape == (32, 2)
    assert parameters(AttentionFeature(256)) == 8_480
    x, snr = torch.randn(2, 32, 5, 4), torch.tensor([0.0, 13.0])
    for n in range(2):
        pooled = torch.stack([x[n, c].sum() / 20 for c in range(32)] + [snr[n]])
        hidden = (module.squeeze.weight @ pooled + module.squeeze.bias).clamp(min=0)
        factor = 1 / (1 + torch.exp(-(module.excite.weight @ hidden + module.excite.bias)))
        torch.testing.assert_close(module(x, snr)[n], x[n] * factor[:, None, None])


def test_gdn_by_hand_and_its_inverse():
    torch.manual_seed(4)
    gdn, igdn = GDN(3), GDN(3, inverse=True)
    with torch.no_grad():
        gdn.gamma_root.copy_(torch.rand(3, 3))
        gdn.beta_root.copy_(torch.rand(3) + 0.5)
    igdn.load_state_dict(gdn.state_dict())
    x = torch.randn(1, 3, 2, 2)
    norm = torch.sqrt(gdn.beta_root.square() + 1e-6 + gdn.gamma_root.square() @ x[0, :, 1, 0].square())
    torch.testing.assert_close(gdn(x)[0, :, 1, 0], x[0, :, 1, 0] / norm)
    torch.testing.assert_close(igdn(x)[0, :, 1, 0], x[0, :, 1, 0] * norm)


def test_gdn_stays_positive_whatever_the_optimiser_does():
    gdn = GDN(4)
    with torch.no_grad():
        gdn.beta_root.fill_(-3.0).mul_(torch.tensor([1.0, 0.0, -1.0, 1.0]))
        gdn.gamma_root.normal_()
    y = gdn(1e3 * torch.randn(2, 4, 3, 3))
    assert y.isfinite().all()
    assert gdn(torch.zeros(1, 4, 2, 2)).abs().sum() == 0


def test_block_dct_is_orthogonal_and_begins_with_grey():
    basis = block_dct(32, 8)
    gram = basis @ basis.T
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=2e-3, rtol=0)
    assert basis[0].std() < 1e-3 * basis[0].mean()
