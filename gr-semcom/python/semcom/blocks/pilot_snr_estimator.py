# SPDX-License-Identifier: GPL-3.0-or-later
"""Pilots to an SNR estimate with its standard error."""

import time
from collections import deque

import numpy as np
import torch

from semcom import keys
from semcom.blocks.base import PduBlock, check, is_count, runs
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError
from semcom.modem import estimate_snr


class Estimation:
    """PDUs of bursts' latents to the same with their SNR: what a block does between messages and messages.

    Args:
        block: its name. history: as in ``pilot_snr_estimator``.

    Raises:
        ConfigError: naming the block and what is wrong.
    """

    def __init__(self, block: str, history: int):
        check(block, history=(history, is_count(history, 2), "a whole number, 2 or more"))
        self._history: deque[float] = deque(maxlen=int(history))

    def clear(self) -> None:
        """Forgets former estimates."""
        self._history.clear()

    def process(self, items: list[tuple[Pdu, torch.Tensor]]) -> list[tuple[str, Pdu]]:
        """PDUs with their pilots ``[2, p]``, as received and as they would be without noise, to PDUs for the ports
        ``out``, ``snr`` and ``history``."""
        out = []
        for group in runs(items, lambda item: item[1].shape):
            pilots = torch.stack([pair for _, pair in group])
            dof = torch.tensor([pdu.number(keys.PILOT_DOF, 1.0) for pdu, _ in group])
            estimate = estimate_snr(pilots[:, 0], pilots[:, 1], dof)
            for (pdu, _), snr_db, stderr_db in zip(
                group, estimate.snr_db.tolist(), estimate.stderr_db.tolist(), strict=True
            ):
                estimate_db = {keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: stderr_db}
                now_s = time.monotonic()
                out.append((keys.PORT_OUT, pdu.with_meta(**estimate_db, **{keys.ESTIMATED_S: now_s})))
                out.append((keys.PORT_SNR, Pdu({**estimate_db, keys.TIMESTAMP_S: now_s}, None)))
                self._history.append(snr_db)
        out.append((keys.PORT_HISTORY, Pdu({}, np.array(self._history, dtype=np.float32))))
        return out


class pilot_snr_estimator(PduBlock):
    """Adds snr_db and snr_stderr_db to each burst's PDU, estimated from its pilots.

    Ports: ``in``, ``out`` PDUs; ``snr`` a dictionary a burst (snr_db, snr_stderr_db, timestamp_s) for the
    encoder; ``history`` the latest estimates in dB as an f32vector, for a time plot.

    Args:
        history: estimates in the PDU of ``history``. threads, batch, max_queue: as in every block.
    """

    drains = True

    def __init__(self, history: int = 200, threads: int = 1, batch: int = 32, max_queue: int = 256):
        super().__init__(
            "pilot_snr_estimator",
            outputs=(keys.PORT_OUT, keys.PORT_SNR, keys.PORT_HISTORY),
            threads=threads,
            batch=batch,
            max_queue=max_queue,
        )
        self._estimation = Estimation("pilot_snr_estimator", history)

    def reset(self) -> None:
        self._estimation.clear()

    def prepare(self, pdu: Pdu) -> list:
        received, reference = (
            pdu.vector(np.complex64, keys.PILOTS_RX),
            pdu.vector(np.complex64, keys.PILOTS_REF),
        )
        pdu.number(keys.PILOT_DOF, 1.0)
        if len(received) != len(reference):
            raise PduError("PDU whose pilots_rx and pilots_ref differ in length")
        return [(pdu, torch.from_numpy(np.stack([received, reference])))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        return self._estimation.process(items)
