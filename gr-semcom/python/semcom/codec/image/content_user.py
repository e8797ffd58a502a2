# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a content-adaptive transmitter: the closed form of the anchor, then a network of the user's own.

Map, allocation and linear estimate are computed alike by all who receive the burst (``ContentAdaptive.front``), so what
a user trains, stores and runs is the network that corrects the estimate. It is given both SNRs: its own as an input, and
that of the allocation by the variances of what was sent and what was not in each cell.
"""

from dataclasses import replace

import torch
from torch import nn

from semcom.codec.base import BaseCodec, Latents
from semcom.codec.image import allocation as closed
from semcom.codec.image.adapted import Canceller
from semcom.codec.image.content import ContentAdaptive
from semcom.codec.image.content_networks import PICTURE_SCALE, RECEIVER_CELLS, Front, in_units_of
from semcom.codec.image.decoders import UserDecoder
from semcom.codec.layers.convolution import unshuffled
from semcom.codec.layers.stages import zeroed
from semcom.equivalent_snr import RANGE_DB, equivalent_snr_db
from semcom.errors import ConfigError, ModelError

#: the argument of cards and recipes that says so
FRONT = "content-adaptive"


class FamilyNetwork(nn.Module):
    """The blocks of a family of user decoder on the grid of 8x8 cells, from the linear picture to a correction.

    Args:
        family: one of ``semcom.codec.image.decoders``. width, depth: as of the family.
    """

    def __init__(self, family: type[UserDecoder], width: int, depth: int):
        super().__init__()
        inputs = 3 * closed.CELL**2 + RECEIVER_CELLS
        shape = family(2, closed.CELL, width, depth)
        self.blocks = nn.ModuleList(shape.make_blocks(inputs, width, depth))
        # untrained it adds nothing, and the user has what the closed form gives
        zeroed(self.blocks[-1].get_submodule("convolution"))

    def forward(self, picture, cells, deviation, snr_db) -> torch.Tensor:
        """As of ``content_networks.Trunk``."""
        x = torch.cat([unshuffled(picture, closed.CELL) * PICTURE_SCALE, cells], dim=1)
        for block in self.blocks:
            x = block(x, snr_db)
        return in_units_of(x, deviation)


class ContentUser(BaseCodec):
    """What a user has of its own: a network, and after fine-tuning on a capture a canceller before the closed form.

    It decodes together with its anchor only (:class:`ContentPaired`).

    Args:
        network: called as ``content_networks.Trunk`` is. rho: the anchor's. canceller: of a transmitter's distortion.
    """

    name = "content-user"
    quantisable = ContentAdaptive.quantisable

    def __init__(self, network: nn.Module, rho: float, canceller: Canceller | None = None, *, snr_range_db):
        super().__init__(snr_range_db)
        self.network, self.canceller, self._rho = network, canceller, rho

    @property
    def rho(self) -> float:
        return self._rho

    def cleaned(self, latents: Latents) -> Latents:
        """What was received with less of the transmitter's distortion, where that is known and the map not yet read."""
        if self.canceller is None or latents.shared is not None:
            return latents
        values, noise_var = self.canceller(latents.values, latents.noise)
        return replace(latents, values=values, noise_var=noise_var)


def content_user(
    family: type[UserDecoder],
    width: int,
    depth: int,
    rho: float,
    front: str = FRONT,
    *,
    snr_range_db=RANGE_DB,
) -> ContentUser:
    """A user of a family, untrained. Raises ConfigError: a front end that there is not, values that cannot be."""
    if front != FRONT:
        raise ConfigError(f"decoder '{family.name}': there is no front end {front!r}, only '{FRONT}'.")
    return ContentUser(FamilyNetwork(family, width, depth), float(rho), snr_range_db=snr_range_db)


class ContentPaired(BaseCodec):
    """Sends as a content-adaptive anchor does; receives by its closed form and a user's network.

    Neither is copied: training ``user`` trains what this decodes with, and the anchor stays as it is.

    Raises:
        ModelError: the user takes planes, the anchor sends them, or the user is one of another anchor's rate.
    """

    name = "paired"

    def __init__(self, anchor: BaseCodec, user: BaseCodec):
        if not isinstance(user, ContentUser):
            raise ModelError(
                f"decoder '{user.name}' takes planes, and its anchor '{anchor.name}' sends none: a user of such a model "
                f"has front: {FRONT} among its arguments, and neither channels nor stride."
            )
        if not isinstance(anchor, ContentAdaptive):
            raise ModelError(
                f"the user's front end is that of '{FRONT}', but its anchor is '{anchor.name}', which sends planes: a "
                "user of such a model takes channels and stride."
            )
        if abs(anchor.rho - user.rho) > 1e-6:
            raise ModelError(f"the user was made for rho = {user.rho:.4f}; its anchor has {anchor.rho:.4f}.")
        super().__init__(anchor.snr_range_db)
        self.anchor, self.user, self.quantisable = anchor, user, anchor.quantisable

    @property
    def rho(self) -> float:
        return self.anchor.rho

    def latent_count(self, height, width, rho=None):
        return self.anchor.latent_count(height, width, rho)

    def ratios(self):
        return self.anchor.ratios()

    def admits(self, count, size):
        return self.anchor.admits(count, size)

    def place(self, side, size):
        return self.anchor.place(side, size)

    def send(self, images, snr_db, **options):
        return self.anchor.send(images, snr_db, **options)

    def refine(self, images, sent, symbols):
        return self.anchor.refine(images, sent, symbols)

    def with_side_loss(self, share: float) -> "ContentPaired":
        return ContentPaired(self.anchor.with_side_loss(share), self.user)

    def send_again(self, images, got, size):
        return self.anchor.send_again(images, got, size)

    def forget(self, latents, lost):
        return self.anchor.forget(latents, lost)

    @property
    def side_width(self):
        return self.anchor.side_width

    def read_side(self, latents, size):
        """As of the anchor, from symbols that the user's canceller has cleaned."""
        return self.anchor.read_side(self.user.cleaned(latents), size)

    def front(self, latents: Latents, size: tuple[int, int]) -> Front:
        """The linear estimate of what was received."""
        return self.anchor.front(self.user.cleaned(latents), size)

    def receive(self, latents, snr_db, size):
        latents = self.user.cleaned(latents)
        if self.user.canceller is not None:
            snr_db = equivalent_snr_db(latents.noise)
        front = self.anchor.front(latents, size)
        snr = self.user._clamped(self._per_image(snr_db, front.picture))
        return self.anchor.finish(self.user.network, front, snr, size)
