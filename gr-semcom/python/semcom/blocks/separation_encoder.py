# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to the symbols of the digital rival."""

from semcom.blocks.base import check, is_count
from semcom.blocks.deepjscc_encoder import deepjscc_encoder
from semcom.radio.profile import DEFAULT_MODEL
from semcom.system.coded import Coded


class separation_encoder(deepjscc_encoder):
    """Pictures to QAM symbols of LDPC code words, as many as a DeepJSCC model would send; for ``burst_modulator``.

    Ports: as ``deepjscc_encoder``; the SNR decides the scheme where it is adaptive.

    Args:
        model: name in the zoo of the model whose number of symbols is taken.
        mcs: name of a scheme, such as "16-3/4", or "adaptive".
        source: "hevc" (needs PyAV), "jpeg", or "" for the better one that is installed.
        header_bytes: bytes a picture that count as a file's header.
        snr_db, max_age_s, device, threads, batch, max_queue: as in ``deepjscc_encoder``.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        mcs: str = "adaptive",
        source: str = "",
        header_bytes: int = 0,
        snr_db: float = 10.0,
        max_age_s: float = 2.0,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
    ):
        check(
            "separation_encoder",
            header_bytes=(header_bytes, is_count(header_bytes, 0), "a whole number of bytes, 0 or more"),
        )
        payload = Coded(mcs, source, int(header_bytes))
        super().__init__(model, snr_db, max_age_s, device, threads, batch, max_queue, payload)
