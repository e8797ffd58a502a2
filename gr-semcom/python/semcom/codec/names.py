# SPDX-License-Identifier: GPL-3.0-or-later
"""The two tables of architectures, and the decorator that every one of them is registered with."""

from collections.abc import Callable
from typing import TypeVar

from semcom.codec.base import BaseCodec, Codec, Decoder
from semcom.errors import ConfigError
from semcom.registering import Registry, calling_place

C = TypeVar("C", bound=type[BaseCodec])

#: codecs: encoder and decoder
ARCHITECTURES: Registry[type[BaseCodec]] = Registry("architecture")
#: families of user decoder, which decode what another model's encoder sends
DECODERS: Registry[type[Decoder]] = Registry("decoder family")


def register_architecture(name: str) -> Callable[[C], C]:
    """Class decorator: model cards and recipes find the class by ``name``, which becomes its ``name``.

    A class that encodes (:class:`~semcom.codec.base.Codec`) is a codec, one that only decodes
    (:class:`~semcom.codec.base.Decoder`) a family of user decoder. The keywords of its constructor are the ``arguments``
    of cards and recipes, and ``snr_range_db`` beside them.

    Raises:
        ConfigError: the class is no codec, or another place has registered the name.
    """
    place = calling_place()

    def register(cls: C) -> C:
        if not (isinstance(cls, type) and issubclass(cls, BaseCodec)):
            raise ConfigError(
                f"architecture '{name}' must be a class that is derived from semcom.codec.Codec, or from "
                f"semcom.codec.Decoder where it only decodes, and {getattr(cls, '__name__', cls)!r} is not."
            )
        if issubclass(cls, Decoder) and not issubclass(cls, Codec):
            ARCHITECTURES.refuse_another(name, place)
            DECODERS.add(name, cls, place)
        else:
            DECODERS.refuse_another(name, place)
            ARCHITECTURES.add(name, cls, place)
        cls.name = name
        return cls

    return register
