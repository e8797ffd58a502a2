# SPDX-License-Identifier: GPL-3.0-or-later
"""The digital semantic mode: latents quantised to codebook entries, their labels sent as PSK or QAM symbols.

After DeepJSCC-Q (Tung, Kurka, Jankowski, Gündüz, arXiv:2206.08100): where a label has as many bits as a symbol,
neighbouring entries are neighbouring points, and a symbol error costs little. Labels of another length go out as bits.
"""

from semcom.payload.quantised.codebook import (
    BEST,
    LEARNED,
    UNIFORM,
    Codebook,
    CodebookSet,
    load,
    resolved,
    save,
    uniform,
)
from semcom.payload.quantised.mode import DigitalMode, latents_of, mode_from, over
from semcom.payload.quantised.payload import receive, send

__all__ = [
    "BEST",
    "LEARNED",
    "UNIFORM",
    "Codebook",
    "CodebookSet",
    "DigitalMode",
    "latents_of",
    "load",
    "mode_from",
    "over",
    "receive",
    "resolved",
    "save",
    "send",
    "uniform",
]
