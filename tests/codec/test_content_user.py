# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a content-adaptive model: one closed form for all, a network of each one's own."""

import dataclasses
import shutil

import pytest
import torch

from semcom.channel.symbols import awgn_channel
from semcom.codec import build_decoder
from semcom.codec.image import allocation as closed
from semcom.codec.image.pairing import anchor_arguments, paired
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds.pictures import samples
from semcom.link import LinkConfig
from semcom.link.simulate import simulate
from semcom.link.users import named_users
from semcom.system import zoo
from semcom.system.card import user_parts

ANCHOR, ANCHOR_ARCHITECTURE = "photo-adaptive", "content-adaptive"


@pytest.fixture(scope="module")
def anchor():
    return zoo.load(ANCHOR)


@pytest.fixture(scope="module")
def picture():
    return samples()[0].pixels[:128, :160].copy()


@pytest.fixture(scope="module")
def cards(anchor, tmp_path_factory):
    """Untrained users of a copy of the anchor, one a family: family to card; the copy's is there as ``anchor``."""
    folder = tmp_path_factory.mktemp("users")
    for file in [zoo.card_path(ANCHOR), *zoo.companions(ANCHOR)]:
        shutil.copy(file, folder)
    found = {"anchor": folder / f"{ANCHOR}.json"}
    for family in ("attention", "conv", "resnet", "vgg"):
        torch.manual_seed(1)
        arguments = anchor_arguments(anchor.codec) | {"width": 8, "depth": 3}
        user = build_decoder(family, arguments)
        file = f"{ANCHOR}-{family}.safetensors"
        card = dataclasses.replace(
            anchor.card,
            name=f"{ANCHOR}-{family}",
            architecture=family,
            arguments=arguments,
            parts=user_parts(anchor.card.reference, file, zoo.save_weights(user, folder / file)),
            parameters=sum(p.numel() for p in user.parameters()),
        )
        found[family] = card.write(folder / f"{ANCHOR}-{family}.json")
    return found


def received(codec, picture, snr_db, belief_db=None, rho=None):
    """(images, what was sent, what came) over AWGN on all symbols, the map among them."""
    images = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float() / 255
    sent = codec.send(images, snr_db if belief_db is None else belief_db, rho=rho)
    values, noise_var = awgn_channel(sent.values, snr_db, torch.Generator().manual_seed(1))
    return images, sent, dataclasses.replace(sent, values=values, noise_var=noise_var)


@pytest.mark.parametrize("family", ["attention", "conv", "resnet", "vgg"])
@torch.no_grad()
@pytest.mark.slow
def test_an_untrained_user_has_what_the_closed_form_gives(family, cards, anchor, picture):
    user = zoo.load(cards[family])
    assert user.model_hash == anchor.model_hash and user.own is user.codec.user
    images, sent, got = received(anchor.codec, picture, 10.0)
    assert torch.equal(user.codec.send(images, 10.0).values, sent.values)
    front = anchor.codec.front(got, picture.shape[:2])
    linear = closed.from_colours(front.picture)[..., : picture.shape[0], : picture.shape[1]].clamp(0, 1)
    torch.testing.assert_close(user.codec.receive(got, 10.0, picture.shape[:2]), linear)
    # a network that says something changes the picture, in units of the error expected there
    torch.nn.init.normal_(user.own.network.blocks[-1].get_submodule("convolution").weight, std=0.01)
    assert not torch.allclose(user.codec.receive(got, 10.0, picture.shape[:2]), linear, atol=1e-4)


def test_users_are_found_under_their_anchor_and_share_its_bursts(cards, picture):
    model = str(cards["anchor"])
    assert set(zoo.users(model)) == {"attention", "conv", "resnet", "vgg"}
    users = named_users(model, ["anchor", "conv"], [20.0, 6.0])
    item = dataclasses.replace(samples()[0], pixels=picture)
    rows = simulate([item], LinkConfig(model=model, snr_db=12.0), users)
    assert [row.user for row in rows] == ["anchor", "conv"]
    # each at its own SNR, from one transmission
    assert rows[0].scores["psnr_db"] > rows[1].scores["psnr_db"] > 15


@torch.no_grad()
def test_a_user_knows_parts_that_refine_a_picture(cards, anchor, picture):
    """Its receiver would otherwise take one for a picture."""
    user, size = zoo.load(cards["conv"]), picture.shape[:2]
    images, sent, _ = received(anchor.codec, picture, 10.0, rho=1 / 24)
    part = user.codec.refine(images, sent, 500)
    assert torch.equal(part.values, anchor.codec.refine(images, sent, 500).values)
    assert user.codec.place(int(part.side[0]), size) == anchor.codec.place(int(part.side[0]), size) > 0


def test_a_users_network_is_told_both_snrs(cards, anchor, picture):
    """Its own as an input, that of the allocation by what is known of each cell."""
    size, seen = picture.shape[:2], []
    user = zoo.load(cards["conv"])
    user.own.network.register_forward_hook(lambda module, given, out: seen.append(given))
    for belief_db in (5.0, 15.0):
        got = received(anchor.codec, picture, 10.0, belief_db)[2]
        user.codec.receive(got, equivalent_snr_db(got.noise_var), size)
    for given in seen:
        assert float(given[3]) == pytest.approx(10.0, abs=0.1)
    assert not torch.allclose(seen[0][1], seen[1][1], atol=0.1)


@pytest.mark.parametrize("rho", [None, 1 / 24, 0.2])
@pytest.mark.parametrize("belief_db", [2.0, 16.0])
@torch.no_grad()
def test_what_was_sent_is_told_from_what_came(anchor, picture, rho, belief_db):
    """Replays allocate from map, K, allocation SNR and scale that arrived: symbols again, of latents and of the map."""
    images, sent, got = received(anchor.codec, picture, belief_db, rho=rho)
    again = anchor.codec.send_again(images, got, picture.shape[:2])
    torch.testing.assert_close(again, sent.values, atol=1e-4, rtol=0)
    assert int(sent.side[0] & 63) > 0


@torch.no_grad()
def test_what_was_sent_is_not_guessed_without_a_map(anchor, picture):
    images, sent, got = received(anchor.codec, picture, 16.0)
    got = dataclasses.replace(got, noise_var=torch.full_like(got.noise_var, torch.inf))
    with pytest.raises(ImageError, match="map of classes"):
        anchor.codec.send_again(images, got, picture.shape[:2])


def test_a_user_with_a_canceller_reads_the_map_behind_it(anchor, picture):
    arguments = {"decoder": ANCHOR_ARCHITECTURE, "arguments": anchor.card.arguments}
    user = build_decoder("adapted", arguments).eval()
    user.network.load_state_dict(anchor.codec.receiver.state_dict())
    codec, size = paired(anchor.codec, user).eval(), picture.shape[:2]
    got = received(anchor.codec, picture, 12.0)[2]
    with torch.no_grad():
        # no distortion was measured: what the anchor's own decoder gives, by way of a system's two calls too
        wanted = anchor.codec.receive(got, equivalent_snr_db(got.noise_var), size)
        torch.testing.assert_close(codec.receive(got, 0.0, size), wanted)
        read, lost = codec.read_side(got, size)
        assert not lost.any()
        torch.testing.assert_close(codec.receive(read, 0.0, size), wanted, atol=1e-3, rtol=0)
    user.canceller.coefficients.fill_(0.3)
    with torch.no_grad():
        cleaned = codec.read_side(got, size)[0].values
    assert not torch.allclose(cleaned, read.values, atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"front": "planar", "rho": 0.1}, ConfigError, "no front end 'planar'"),
        ({"front": ANCHOR_ARCHITECTURE}, ModelError, "rho"),
        ({"front": ANCHOR_ARCHITECTURE, "rho": 0.1, "channels": 8}, ModelError, "channels"),
    ],
)
def test_arguments_that_cannot_be(arguments, error, words):
    with pytest.raises(error, match=words):
        build_decoder("conv", {"width": 8, "depth": 2} | arguments)


def test_users_and_anchors_that_do_not_fit(anchor):
    planar = zoo.load("cifar-1-12").codec
    plane_user = build_decoder(
        "conv", {"channels": planar.channels, "stride": planar.stride, "width": 8, "depth": 1}
    )
    front_user = build_decoder("conv", anchor_arguments(anchor.codec) | {"width": 8, "depth": 1})
    other_rate = build_decoder("conv", {"front": ANCHOR_ARCHITECTURE, "rho": 0.2, "width": 8, "depth": 1})
    for one, other, words in (
        (anchor.codec, plane_user, "takes planes"),
        (planar, front_user, "sends planes"),
        (anchor.codec, other_rate, "rho = 0.2000"),
    ):
        with pytest.raises(ModelError, match=words):
            paired(one, other)
    with pytest.raises(ModelError, match="no user decoders"):
        anchor_arguments(zoo.load("cifar-classifier").codec)
