# SPDX-License-Identifier: GPL-3.0-or-later
"""Architecture names, as model cards and recipes write them, to classes."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import TypeVar

from semcom.codec import image, task
from semcom.codec.base import BaseCodec, Codec, Decoder
from semcom.codec.bounds import check_arguments, limited_size
from semcom.codec.image.adapted import Adapted, Canceller, modem_of_card, without_encoder
from semcom.codec.image.content import ContentAdaptive
from semcom.codec.image.content_user import ContentUser, content_user
from semcom.codec.image.decoders import UserDecoder
from semcom.codec.names import ARCHITECTURES, DECODERS
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ModelError
from semcom.modem.profile import ModemProfile
from semcom.parsing import did_you_mean, shortened, shown
from semcom.registering import PLUGIN_CURE

M = TypeVar("M", bound=BaseCodec)

# every file of these folders registers its own
for _room in (image, task):
    for _file in pkgutil.iter_modules(_room.__path__, f"{_room.__name__}."):
        importlib.import_module(_file.name)


def build(architecture: str, arguments: dict, snr_range_db=RANGE_DB) -> BaseCodec:
    """An untrained codec of a named architecture.

    Args:
        arguments: of the architecture; beside them ``true_scale`` for any that sends planes: the picture's power goes
            to the decoder.
        snr_range_db: the lowest and the highest SNR in dB that its networks are given (``BaseCodec``).

    Raises:
        ModelError: unknown name (the nearest is suggested), arguments that the architecture does not take, or larger
            than any network has (``semcom.codec.bounds``); nothing of that size is made.
    """
    check_arguments(f"architecture '{architecture}'", arguments)
    own = {key: value for key, value in arguments.items() if key != "true_scale"}
    codec = _make(ARCHITECTURES, "architecture", architecture, own, snr_range_db)
    if "true_scale" in arguments:
        if not isinstance(codec, Codec) or not isinstance(arguments["true_scale"], bool):
            raise ModelError(
                f"architecture '{architecture}' does not take true_scale = {arguments['true_scale']!r}: it is true or "
                f"false, of a codec that sends planes."
            )
        codec.true_scale = arguments["true_scale"]
    return codec


def build_decoder(family: str, arguments: dict, snr_range_db=RANGE_DB) -> Decoder | ContentUser:
    """An untrained user decoder of a named family; arguments channels, stride, width, depth.

    Of a user of a content-adaptive model ``front`` and ``rho`` stand in the place of channels and stride.

    Of ``adapted``, which no family is, they are decoder (an architecture or family), arguments (its own) and modem.
    ``snr_range_db`` as of :func:`build`.

    Raises:
        ModelError: as of :func:`build`.
        ConfigError: values that cannot be.
    """
    families = {**_families(arguments), Adapted.name: _adapted}
    return _make(families, "decoder family", family, arguments, snr_range_db)


def _families(arguments: dict) -> Mapping[str, Callable]:
    """The families, for planes or behind a content-adaptive front end."""
    if "front" not in arguments:
        return DECODERS
    own = {name: cls for name, cls in DECODERS.items() if issubclass(cls, UserDecoder)}
    return {name: functools.partial(content_user, cls) for name, cls in own.items()}


def _adapted(
    decoder: str, arguments: dict, modem: dict | None = None, *, snr_range_db=RANGE_DB
) -> Adapted | ContentUser:
    profile = ModemProfile(**modem_of_card(modem))
    if decoder in ARCHITECTURES:
        codec = build(decoder, arguments, snr_range_db)
        if isinstance(codec, ContentAdaptive):
            return ContentUser(codec.receiver, codec.rho, Canceller(profile), snr_range_db=snr_range_db)
        if not isinstance(codec, Decoder):
            raise ModelError(
                f"decoder '{Adapted.name}' cannot be made of architecture '{decoder}': it takes one that sends planes."
            )
        return Adapted(without_encoder(codec), modem)
    user = _make(_families(arguments), "decoder family", decoder, arguments, snr_range_db)
    if isinstance(user, ContentUser):
        user.canceller = Canceller(profile)
        return user
    return Adapted(user, modem)


def _make(classes: Mapping[str, Callable[..., M]], what: str, name: str, arguments: dict, snr_range_db) -> M:
    if name not in classes:
        raise ModelError(
            f"unknown {what} {shown(name)}{did_you_mean(name, classes)} There are {', '.join(classes)}. {PLUGIN_CURE}"
        )
    check_arguments(f"{what} '{name}'", arguments)
    try:
        with limited_size(f"{what} '{name}'"):
            return classes[name](**arguments, snr_range_db=snr_range_db)
    # torch's, of sizes that cannot be
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(
            f"{what} '{name}' does not take these arguments {shown(arguments)}: {shortened(str(error))}."
        ) from error
