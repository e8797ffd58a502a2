# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to latents and back: encoders, decoders, the zoo of trained models."""

from semcom.codec.base import Codec, latent_weights
from semcom.codec.registry import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "Codec", "build", "latent_weights"]
