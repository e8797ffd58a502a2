# SPDX-License-Identifier: GPL-3.0-or-later
"""Architecture names, as model cards and recipes write them, to classes."""

import difflib

from semcom.codec.adapted import Adapted, without_encoder
from semcom.codec.adjscc import ADJSCC, BDJSCC
from semcom.codec.anchor import Anchor
from semcom.codec.base import BaseCodec, Codec, Decoder
from semcom.codec.content import ContentAdaptive
from semcom.codec.decoders import AttentionDecoder, ConvDecoder, ResNetDecoder, UserDecoder, VGGDecoder
from semcom.codec.linres import LinRes
from semcom.errors import ModelError
from semcom.parsing import shortened, shown

_LARGEST_ARGUMENT, _MOST_LISTED = 2**14, 64  # the widest network here has 256 filters

ARCHITECTURES: dict[str, type[BaseCodec]] = {
    cls.name: cls for cls in (LinRes, ADJSCC, BDJSCC, Anchor, ContentAdaptive)
}
#: families of user decoder, which decode what another model's encoder sends
DECODERS: dict[str, type[UserDecoder]] = {
    cls.name: cls for cls in (AttentionDecoder, ConvDecoder, ResNetDecoder, VGGDecoder)
}


def build(architecture: str, arguments: dict) -> Codec:
    """An untrained codec of a named architecture.

    Args:
        arguments: of the architecture; beside them ``true_scale`` for any that sends planes: the picture's power goes
            to the decoder.

    Raises:
        ModelError: unknown name (the nearest is suggested) or arguments that the architecture does not take.
    """
    own = {key: value for key, value in arguments.items() if key != "true_scale"}
    codec = _make(ARCHITECTURES, "architecture", architecture, own)
    if "true_scale" in arguments:
        if not isinstance(codec, Codec) or not isinstance(arguments["true_scale"], bool):
            raise ModelError(
                f"architecture '{architecture}' does not take true_scale = {arguments['true_scale']!r}: it is true or "
                f"false, of a codec that sends planes."
            )
        codec.true_scale = arguments["true_scale"]
    return codec


def build_decoder(family: str, arguments: dict) -> Decoder:
    """An untrained user decoder of a named family; arguments channels, stride, width, depth.

    Of ``adapted``, which no family is, they are decoder (an architecture or family), arguments (its own) and modem.

    Raises:
        ModelError: unknown family (the nearest is suggested) or arguments that it does not take.
        ConfigError: values that cannot be.
    """
    return _make({**DECODERS, Adapted.name: _adapted}, "decoder family", family, arguments)


def _adapted(decoder: str, arguments: dict, modem: dict | None = None) -> Adapted:
    if decoder in ARCHITECTURES:
        return Adapted(without_encoder(build(decoder, arguments)), modem)
    return Adapted(build_decoder(decoder, arguments), modem)


def _make(classes: dict, what: str, name: str, arguments: dict):
    _check_sizes(f"{what} {shown(name)}", arguments)
    if name not in classes:
        near = difflib.get_close_matches(str(name)[:80], classes, n=1, cutoff=0.0)[0]
        raise ModelError(
            f"unknown {what} {shown(name)}: did you mean '{near}'? There are {', '.join(classes)}."
        )
    try:
        return classes[name](**arguments)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        ZeroDivisionError,
    ) as error:  # what torch says of sizes that are none
        raise ModelError(
            f"{what} '{name}' does not take these arguments {shown(arguments)}: {shortened(str(error))}."
        ) from error


def _check_sizes(source: str, value) -> None:
    """Refuses sizes that no network here has, before anything of that size is made."""
    if isinstance(value, dict | list | tuple):
        if len(value) > _MOST_LISTED:
            raise ModelError(f"{source}: {len(value)} values in one argument are more than {_MOST_LISTED}.")
        for item in value.values() if isinstance(value, dict) else value:
            _check_sizes(source, item)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST_ARGUMENT:
        raise ModelError(f"{source}: an argument of {shown(value)} is beyond {_LARGEST_ARGUMENT}.")
