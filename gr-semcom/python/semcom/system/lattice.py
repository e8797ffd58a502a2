# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJSCEC as a research mode: a codec's analog latents encrypted with a public key (``semcom.security.lwe``).

Each axis of a latent is bounded, one of q places on the ring of ``semcom.channel.modulo``, encrypted, and sent as the
place that comes out: one axis a number, so that latents take the symbols that they always take (the paper sends a number
as a point of 4096-QAM, twice as many). c1 goes before them as coded bits, QPSK at rate 1/2: without it, no picture. The
receiver takes the pad off and knows the compound noise beside the channel's. No security of a product: see there.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from semcom.channel.modulo import HALF_RANGE, bound, fold, opened
from semcom.codec.base import Latents
from semcom.equivalent_snr import equivalent_snr_db
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import MODE_LATENTS
from semcom.modulation import pack_bits, unpack_bits
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded import transport
from semcom.security import lwe
from semcom.system.base import Received, Sent, System
from semcom.system.zoo import LoadedModel

_SCHEME = "4-1/2"
_C1_BITS = 12
_C1_BYTES = lwe.DIMENSION * _C1_BITS // 8
_STEP = 2 * HALF_RANGE / lwe.MODULUS


class LatticeSystem(System):
    """Analog latents of a model under a public key.

    Args:
        model: from ``zoo.load``. public: the receiver's key, to send. secret: to receive; None: nothing is read.
    """

    modes = (MODE_LATENTS,)
    one_by_one = True

    def __init__(self, model: LoadedModel, public: lwe.PublicKey, secret: lwe.SecretKey | None = None):
        self.model, self.codec, self._public, self._secret = model, model.codec, public, secret
        self.source, self.result = model.codec.source, model.codec.result
        self.name = f"{model.card.name}, encrypted by learning with errors"
        made = hashlib.sha256(bytes.fromhex(model.card.encoder_sha256) + public.seed).digest()
        self._hash = int.from_bytes(made[:4], "big") >> 10

    @cached_property
    def key_layout(self) -> transport.Layout:
        """How c1 is laid into symbols: the fewest that hold it."""
        scheme = schemes.named(_SCHEME)
        symbols = 8 * _C1_BYTES
        while transport.Layout(symbols, scheme).payload_bytes < _C1_BYTES:
            symbols += 16
        return transport.Layout(symbols, scheme)

    def symbol_count(self, size: tuple[int, int]) -> int:
        return self.key_layout.symbols + self.codec.latent_count(*size)

    @torch.inference_mode()
    def send(self, values: Sequence[np.ndarray], snr_db: Sequence[float], rho: float | None = None) -> Sent:
        (value,) = values
        self.source.check(value)
        latents = self.codec.send(self.source.batch(values, self.model.device), torch.tensor(snr_db), rho=rho)
        axes = torch.view_as_real(bound(latents.values[0].cpu())).flatten().double()
        c0, c1 = lwe.encrypt(torch.round(axes / _STEP).long().numpy(), self._public)
        places = torch.from_numpy((c0 + 0.5) * _STEP - HALF_RANGE).float().view(-1, 2)
        bits = unpack_bits(torch.from_numpy(c1), _C1_BITS).numpy().astype(np.uint8)
        key_symbols = transport.send(np.packbits(bits).tobytes(), self.key_layout)
        symbols = torch.cat([key_symbols, torch.view_as_complex(places)])[None]
        size = self.codec.result_size(self.source.size(value))
        return Sent(symbols, MODE_LATENTS, self._hash, size, self.result.code)

    def mismatch(self, header: BurstHeader) -> str | None:
        if header.model_hash != self._hash:
            return "bursts of another model or public key"
        if header.latent_count != self.symbol_count((header.height, header.width)):
            return "bursts whose size does not fit the model"
        return None

    @torch.inference_mode()
    def receive(self, items: Sequence[AssembledImage]) -> list[Received]:
        return [self._received(item) for item in items]

    def _received(self, item: AssembledImage) -> Received:
        ahead = self.key_layout.symbols
        packed = transport.receive(item.latents[:ahead], item.noise_var[:ahead], self.key_layout)
        if packed is None or self._secret is None:
            return Received(None, {"decoded": False})
        bits = np.unpackbits(np.frombuffer(packed[:_C1_BYTES], np.uint8))
        c1 = pack_bits(torch.from_numpy(bits), _C1_BITS).numpy()
        received, noise_var = item.latents[ahead:], item.noise_var[ahead:]
        taken = lwe.pad(c1, 2 * len(received), self._secret) * _STEP
        offset = HALF_RANGE - _STEP / 2  # of place 0
        moved = torch.view_as_complex(torch.from_numpy(taken + offset).float().view(-1, 2))
        # both axes of a symbol have the compound noise
        noise_var = (noise_var + 2 * (lwe.compound_sigma() * _STEP) ** 2)[None]
        latents, noise_var = opened(fold((received + moved)[None]), noise_var)
        latents, noise_var = latents.to(self.model.device), noise_var.to(self.model.device)
        found = Latents(latents, side=torch.zeros(1, dtype=torch.int64), noise_var=noise_var)
        decoded = self.codec.receive(found, equivalent_snr_db(noise_var), item.size)
        return Received(self.result.values(decoded)[0], {"decoded": True})
