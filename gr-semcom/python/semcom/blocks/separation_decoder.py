# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols of the digital rival to pictures."""

from collections.abc import Callable

import torch

from semcom import keys
from semcom.blocks.deepjscc_decoder import deepjscc_decoder
from semcom.blocks.pdu import Pdu
from semcom.modem import ImageAssembler
from semcom.modem.header import MODE_CODED
from semcom.separation.link import decode

_GREY = (128, 128, 128)


class separation_decoder(deepjscc_decoder):
    """Collects the bursts of each picture, demaps, decodes and decompresses; one colour where a block fails its CRC.

    Ports: as ``deepjscc_decoder``; ``decoded``, False, comes with a picture of one colour. The scheme and the source
    codec are in the bursts' headers.

    Args:
        model: name in the zoo of the model whose number of symbols pictures take.
        profile, max_open, device, threads, batch, max_queue: as in ``deepjscc_decoder``.
        colour_of: number of a picture to the (red, green, blue) that stands for it when it cannot be decoded; grey
            where None. A simulation gives the picture's mean colour here.
    """

    modes = (MODE_CODED,)

    def __init__(
        self,
        model: str = "cifar-1-12",
        profile: str = "",
        max_open: int = 2,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
        colour_of: Callable[[int], tuple[int, int, int]] | None = None,
    ):
        super().__init__(model, profile, max_open, device, threads, batch, max_queue)
        self._colour_of = colour_of or (lambda image_id: _GREY)

    def _make_assembler(self, max_open: int) -> ImageAssembler:
        return ImageAssembler(
            self._profile,
            None,
            self.model.codec.latent_count,
            max_open=max_open,
            modes=self.modes,
            limits=self._limits,
        )

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        return [self._decode_one(item) for item in items]

    def _decode_one(self, item) -> tuple[str, Pdu]:
        pixels = decode(item.image)
        self.count("pictures decoded" if pixels is not None else "pictures that failed: one colour instead")
        if pixels is not None:
            return self._message(item, torch.from_numpy(pixels))
        colour = torch.tensor(self._colour_of(item.image.image_id), dtype=torch.uint8)
        port, pdu = self._message(item, colour.expand(*item.image.size, 3).contiguous())
        return port, pdu.with_meta(**{keys.DECODED: False})
