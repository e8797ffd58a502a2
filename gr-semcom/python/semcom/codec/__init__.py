# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to latents and back: encoders and decoders by name."""

from semcom.codec.base import Codec, Decoder, latent_weights
from semcom.codec.registry import ARCHITECTURES, DECODERS, build, build_decoder

__all__ = ["ARCHITECTURES", "DECODERS", "Codec", "Decoder", "build", "build_decoder", "latent_weights"]
