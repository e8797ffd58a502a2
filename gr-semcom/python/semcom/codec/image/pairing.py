# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's decoder and its anchor as one codec, whatever the anchor sends."""

from semcom.codec.base import BaseCodec, Codec, Decoder
from semcom.codec.image.content import ContentAdaptive
from semcom.codec.image.content_user import FRONT, ContentPaired, ContentUser
from semcom.codec.image.paired import Paired
from semcom.errors import ModelError


def paired(anchor: BaseCodec, user: Decoder | ContentUser) -> Paired | ContentPaired:
    """Sends as the anchor does and receives as the user does.

    Raises:
        ModelError: the two do not fit, or the anchor sends what no user decoder takes.
    """
    if isinstance(anchor, ContentAdaptive) or isinstance(user, ContentUser):
        return ContentPaired(anchor, user)
    if not isinstance(anchor, Codec):
        raise ModelError(
            f"architecture '{anchor.name}' sends no planes and has no front end to share, so no user decoder can be "
            f"trained beside it."
        )
    return Paired(anchor, user)


def anchor_arguments(anchor: BaseCodec) -> dict:
    """What a family of user decoder must be given to fit an anchor: planes and stride, or the front end and its rate."""
    if isinstance(anchor, ContentAdaptive | ContentPaired):
        return {"front": FRONT, "rho": anchor.rho}
    if not isinstance(anchor, Codec):
        raise ModelError(f"architecture '{anchor.name}' has no user decoders: it sends no planes.")
    return {"channels": anchor.channels, "stride": anchor.stride}
