# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to baseband samples and back: one batched, differentiable modem."""

from semcom.modem.assembler import AssembledImage, ImageAssembler, PictureLimits
from semcom.modem.header import BurstHeader
from semcom.modem.modem import DemodulatedBurst, Modem
from semcom.modem.profile import FramePlan, ModemProfile
from semcom.modem.snr import SnrEstimate, estimate_snr
from semcom.modem.sync import DetectedBurst, Detection, StreamDetector

__all__ = [
    "AssembledImage",
    "BurstHeader",
    "DemodulatedBurst",
    "DetectedBurst",
    "Detection",
    "FramePlan",
    "ImageAssembler",
    "PictureLimits",
    "Modem",
    "ModemProfile",
    "SnrEstimate",
    "StreamDetector",
    "estimate_snr",
]
