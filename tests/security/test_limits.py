# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits are a sender's own where bursts are signed: who floods a receiver displaces nobody else's pictures."""

import torch

from semcom.modem import BurstHeader, ImageAssembler, ModemProfile, PictureLimits
from semcom.modem.header import SIGNED
from semcom.security import KeyRing, Signer

PROFILE = ModemProfile().signed
SIDE = 64
COUNT = 2 * PROFILE.max_latents_per_burst  # two bursts an item


def burst(assembler, session, item, index=0, sender=0, size=SIDE, count=COUNT):
    header = BurstHeader(
        image_id=item,
        burst_index=index,
        height=size,
        width=size,
        latent_count=count,
        model_hash=1,
        sender=sender,
        cipher=SIGNED,
    )
    each = PROFILE.plan(count).latents_per_burst
    latents, noise = torch.ones(each, dtype=torch.complex64), torch.full((each,), 0.1)
    return assembler.add(header, latents, noise, 10.0, session=session)


def test_a_flood_of_one_sender_displaces_no_other():
    session = Signer(KeyRing("alice")).seal(0, 0, 0).keys
    assembler = ImageAssembler(PROFILE, max_open=2, limits=PictureLimits(decode_budget=1))
    assert burst(assembler, session, 7, sender=1) == []
    for item in range(40):  # first bursts only, of pictures as large as the limit allows
        flood = burst(assembler, session, item, sender=2, size=2048, count=2**20)
        assert all(image.sender == 2 for image in flood)
    (image,) = burst(assembler, session, 7, index=1, sender=1)
    assert image.sender == 1 and image.bursts_received == 2
    # nor does it spend the budget of others: half a picture is still decoded
    burst(assembler, session, 8, sender=1)
    assert [one.sender for one in assembler.flush() if one.image_id == 8] == [1]


def test_without_a_key_all_share_the_limits():
    """As it was: anybody can claim to be any sender."""
    assembler = ImageAssembler(PROFILE, max_open=2, limits=PictureLimits())
    burst(assembler, None, 7, sender=1)
    done = [image for item in range(4) for image in burst(assembler, None, item, sender=2)]
    assert [image.sender for image in done][:1] == [1]


def test_another_session_is_another_item():
    one, other = (Signer(KeyRing("alice")).seal(0, 0, 0).keys for _ in range(2))
    assembler = ImageAssembler(PROFILE)
    burst(assembler, one, 7)
    (half,) = burst(assembler, other, 7, index=1)
    assert half.bursts_received == 1
    (whole,) = burst(assembler, other, 7)
    assert whole.bursts_received == 2
