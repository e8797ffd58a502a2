# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols of the digital rival to pictures."""

from collections.abc import Callable

from semcom.blocks.deepjscc_decoder import deepjscc_decoder
from semcom.radio.profile import DEFAULT_MODEL
from semcom.system.coded import Coded


class separation_decoder(deepjscc_decoder):
    """Collects the bursts of each picture, demaps, decodes and decompresses; one colour where a block fails its CRC.

    Ports: as ``deepjscc_decoder``; ``decoded``, False, comes with a picture of one colour. The scheme and the source
    codec are in the bursts' headers.

    Args:
        model: name in the zoo of the model whose number of symbols pictures take.
        profile, max_open, device, threads, batch, max_queue, colour_of: as in ``deepjscc_decoder``.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        profile: str = "",
        max_open: int = 2,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
        colour_of: Callable[[int], tuple[int, int, int]] | None = None,
    ):
        super().__init__(model, profile, max_open, device, threads, batch, max_queue, Coded(), colour_of)
