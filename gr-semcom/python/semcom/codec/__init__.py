# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to latents and back: encoders, decoders, the zoo of trained models."""

from semcom.codec.base import Codec, equivalent_snr_db, latent_weights
from semcom.codec.registry import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "Codec", "build", "equivalent_snr_db", "latent_weights"]
