# SPDX-License-Identifier: GPL-3.0-or-later
"""One encoder, someone else's decoder: what a user of a shared transmitter runs."""

from semcom.codec.base import Codec, Decoder
from semcom.errors import ModelError


class Paired(Codec):
    """Encodes as the anchor does and decodes as the user does, each with its own SNR range.

    Its own range is that of its encoder, the anchor's.

    The two are not copied: training ``user`` trains what this decodes with, and the anchor's weights stay as
    they are unless their gradients are asked for.

    Args:
        anchor: the model whose encoder is on the air.
        user: a decoder of the same channels and stride.

    Raises:
        ModelError: the user's channels or stride are not the anchor's.
    """

    name = "paired"

    def __init__(self, anchor: Codec, user: Decoder):
        if (anchor.channels, anchor.stride) != (user.channels, user.stride):
            raise ModelError(
                f"decoder '{user.name}' takes {user.channels} planes at stride {user.stride}, but the anchor's "
                f"encoder sends {anchor.channels} at stride {anchor.stride}: give it the anchor's values."
            )
        super().__init__(anchor.channels, anchor.stride, anchor.snr_range_db)
        self.anchor = anchor
        self.user = user

    def encode(self, images, snr_db):
        return self.anchor.encode(images, snr_db)

    def decode(self, latents, snr_db, size, noise_var=None):
        return self.user.decode(latents, snr_db, size, noise_var)

    def send(self, images, snr_db, **options):
        return self.anchor.send(images, snr_db, **options)

    @property
    def side_width(self):
        return self.anchor.side_width

    def read_side(self, latents, size):
        return self.user.read_side(latents, size)

    def receive(self, latents, snr_db, size):
        return self.user.receive(latents, snr_db, size)

    def encode_planes(self, images, snr_db):
        return self.anchor.encode_planes(images, snr_db)

    def decode_planes(self, planes, weights, snr_db):
        return self.user.decode_planes(planes, weights, snr_db)
