# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures out of the chain: to files, to memory, to a function."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semcom import keys
from semcom.blocks.pdu import Pdu
from semcom.blocks.result_sink import ResultSink
from semcom.blocks.results import picture_of
from semcom.errors import OutputError
from semcom.files import FreeNames
from semcom.kinds import pictures


class image_sink(ResultSink):
    """Takes pictures (u8vector of RGB bytes with height and width), writes them as PNG and keeps the latest.

    Ports: ``in`` PDUs; ``done`` a dictionary a picture (image_id, bursts_received, burst_count), which opens
    the image source's window again.

    Args:
        folder: where pictures are written, made when missing; "" writes nothing. Their names are the stem of
            ``image_name`` where the PDU has one, else <image_id> (<sender>-<image_id> from a transmitter whose number
            is not 0); what is there already, of this run or an earlier one, stays: a name that comes again becomes
            ``stem-2.png``, ``stem-3.png``, ...
        name_of: gives the name of the picture with a PDU's metadata, "" for none; None: ``image_name``.
        keep: the latest pictures held in ``pictures``, as (meta, pixels uint8 ``[H, W, 3]``).
        callback: called with (meta, pixels) for each picture. max_queue: as in every block.
    """

    def __init__(
        self,
        folder: str = "",
        keep: int = 16,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None = None,
        max_queue: int = 256,
        name_of: Callable[[dict[str, Any]], str] | None = None,
    ):
        super().__init__("image_sink", "pictures", keep, callback, max_queue)
        self._name_of = name_of or (lambda meta: str(meta.get(keys.IMAGE_NAME, "")))
        self._names = FreeNames()
        #: where the latest picture was written; None: nowhere
        self.latest: Path | None = None
        self._folder = Path(folder).expanduser() if str(folder) else None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def pictures(self) -> deque[tuple[dict[str, Any], np.ndarray]]:
        """The latest, as (meta, pixels uint8 ``[H, W, 3]``)."""
        return self.kept

    def value_of(self, pdu: Pdu) -> np.ndarray:
        return picture_of(pdu)

    def use(self, pdu: Pdu, value: np.ndarray) -> None:
        if self._folder is not None:
            self.latest = None
            stem = pictures.stem_of(self._name_of(pdu.meta)) or _name(pdu)
            try:
                self.latest = pictures.write_png(self._names.path(self._folder, stem), value)
            except OutputError as error:
                raise OutputError(str(error), kind=f"{self.not_written}{error.kind}") from error
            self.count(self.written)


def _name(pdu: Pdu) -> str:
    """Of an item's file: its number, and that of its transmitter where there is more than the one."""
    sender, number = pdu.integer(keys.SENDER, 0), f"{pdu.integer(keys.IMAGE_ID, 0):05d}"
    return f"{sender:02d}-{number}" if sender else number
