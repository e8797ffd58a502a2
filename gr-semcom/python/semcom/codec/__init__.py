# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to latents and back: encoders and decoders by name."""

from semcom.codec.base import Codec, Decoder, latent_weights
from semcom.codec.names import ARCHITECTURES, DECODERS, register_architecture
from semcom.codec.registry import build, build_decoder

__all__ = [
    "ARCHITECTURES",
    "DECODERS",
    "Codec",
    "Decoder",
    "build",
    "build_decoder",
    "latent_weights",
    "register_architecture",
]
