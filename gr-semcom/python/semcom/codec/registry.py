# SPDX-License-Identifier: GPL-3.0-or-later
"""Architecture names, as model cards and recipes write them, to classes."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import TypeVar

from semcom.codec import image, task
from semcom.codec.base import BaseCodec, Codec, Decoder
from semcom.codec.bounds import check_arguments, limited_size
from semcom.codec.image.adapted import Adapted, without_encoder
from semcom.codec.names import ARCHITECTURES, DECODERS
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ModelError
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


def build_decoder(family: str, arguments: dict, snr_range_db=RANGE_DB) -> Decoder:
    """An untrained user decoder of a named family; arguments channels, stride, width, depth.

    Of ``adapted``, which no family is, they are decoder (an architecture or family), arguments (its own) and modem.
    ``snr_range_db`` as of :func:`build`.

    Raises:
        ModelError: as of :func:`build`.
        ConfigError: values that cannot be.
    """
    families: dict[str, Callable[..., Decoder]] = {**DECODERS, Adapted.name: _adapted}
    return _make(families, "decoder family", family, arguments, snr_range_db)


def _adapted(decoder: str, arguments: dict, modem: dict | None = None, *, snr_range_db=RANGE_DB) -> Adapted:
    if decoder in ARCHITECTURES:
        codec = build(decoder, arguments, snr_range_db)
        if not isinstance(codec, Decoder):
            raise ModelError(
                f"decoder '{Adapted.name}' cannot be made of architecture '{decoder}': it takes one that sends planes."
            )
        return Adapted(without_encoder(codec), modem)
    return Adapted(_make(DECODERS, "decoder family", decoder, arguments, snr_range_db), modem)


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
