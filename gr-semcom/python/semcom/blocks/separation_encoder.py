# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to the symbols of the digital rival."""

from semcom import keys
from semcom.blocks.base import check, is_count
from semcom.blocks.deepjscc_encoder import deepjscc_encoder
from semcom.blocks.pdu import Pdu
from semcom.codec.image.source import default_source
from semcom.modem.header import MODE_CODED
from semcom.separation.link import SeparationConfig, encode


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
        model: str = "cifar-1-12",
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
        self._config = SeparationConfig(
            model=model,
            snr_db=10.0,
            mcs=mcs,
            source=source or default_source(),
            header_bytes=int(header_bytes),
        )
        super().__init__(model, snr_db, max_age_s, device, threads, batch, max_queue)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        return [self._encode(*item) for item in items]

    def _encode(self, pdu: Pdu, pixels) -> tuple[str, Pdu]:
        count = self.model.codec.latent_count(*pixels.shape[:2])
        symbols, code, mcs = encode(pixels.numpy(), count, pdu.number(keys.SNR_DB), self._config)
        self.count(f"pictures sent as {mcs.name}")
        meta = {keys.MODEL_HASH: code, keys.MODE: MODE_CODED, keys.LATENT_COUNT: count}
        return keys.PORT_OUT, Pdu(pdu.with_meta(**meta).meta, symbols)
