# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody without the key makes of pictures: PSNR beside the picture of one mean colour, for each attack.

.venv/bin/python scripts/security_attacks.py [--model cifar-1-12]
"""

import argparse
import os

import numpy as np
import torch
from tables import write_table

from semcom.codec.base import Latents
from semcom.kinds import quality
from semcom.kinds.pictures import mean_colour, samples
from semcom.security.cipher import scramble, unscramble
from semcom.system import zoo
from semcom.system.latents import LatentSystem

SNR_DB = (0.0, 10.0, 20.0)


class Eavesdropper:
    """A receiver with the public decoder, and equalised symbols of the very SNR that the true one has."""

    def __init__(self, model: str):
        self.system = LatentSystem(zoo.load(model))
        self.pictures = [picture.pixels for picture in samples()]
        self.generator = torch.Generator().manual_seed(0)

    def sent(self, snr_db: float) -> list[torch.Tensor]:
        return [self.system.send([pixels], [snr_db]).symbols[0] for pixels in self.pictures]

    def noisy(self, symbols: torch.Tensor, snr_db: float) -> torch.Tensor:
        noise = torch.randn(symbols.shape, dtype=symbols.dtype, generator=self.generator)
        return symbols + 10 ** (-snr_db / 20) * noise

    def psnr(self, received: list[torch.Tensor], snr_db: float) -> float:
        """Mean over the pictures, decoded from these symbols."""
        values = []
        for pixels, symbols in zip(self.pictures, received, strict=True):
            noise = torch.full((1, len(symbols)), 10 ** (-snr_db / 10))
            codec, size = self.system.codec, pixels.shape[:2]
            latents = Latents(symbols[None], side=torch.zeros(1, dtype=torch.int64), noise_var=noise)
            decoded = codec.receive(latents, torch.tensor([snr_db]), size)
            values.append(float(quality.psnr(pixels, self.system.result.values(decoded)[0])))
        return float(np.mean(values))


def rows_of(attacker: Eavesdropper) -> list[list]:
    keys = [os.urandom(32) for _ in attacker.pictures]
    found: dict[str, list[float]] = {}
    for snr_db in SNR_DB:
        clear = attacker.sent(snr_db)
        plain = [attacker.noisy(symbols, snr_db) for symbols in clear]
        sealed = [
            attacker.noisy(scramble(symbols, key), snr_db) for symbols, key in zip(clear, keys, strict=True)
        ]

        def opened(keys_used, sealed=sealed):
            nothing = [torch.zeros(len(symbols)) for symbols in sealed]
            return [
                unscramble(*received, key)[0]
                for *received, key in zip(sealed, nothing, keys_used, strict=True)
            ]

        # the order of one picture, learnt from its known content, used on the next one
        learnt = [scramble(torch.arange(len(s)).to(torch.complex64), keys[0]) for s in clear]
        known = [_by_order(received, order) for received, order in zip(sealed, learnt, strict=True)]
        reused = opened(
            [keys[0]] * len(keys), [attacker.noisy(scramble(symbols, keys[0]), snr_db) for symbols in clear]
        )
        for name, received in (
            ("no cipher: the public decoder", plain),
            ("scrambled: the holder of the key", opened(keys)),
            ("scrambled: the public decoder", sealed),
            ("scrambled: a wrong key", opened([os.urandom(32) for _ in keys])),
            ("scrambled: order and turns of a known picture, on the others", known[1:]),
            ("scrambled: the same, had the key stream been used twice", reused[1:]),
        ):
            pictures, attacker.pictures = attacker.pictures, attacker.pictures[-len(received) :]
            found.setdefault(name, []).append(attacker.psnr(received, snr_db))
            attacker.pictures = pictures
    one_colour = float(np.mean([quality.psnr(p, mean_colour(p)) for p in attacker.pictures]))
    rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in found.items()]
    return [*rows, ["the picture's mean colour alone", *[f"{one_colour:.2f}"] * len(SNR_DB)]]


def _by_order(received: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Symbols put where those of a known picture came from, and turned as they were."""
    places = (learnt.real.abs() + learnt.imag.abs()).round().long()
    out = torch.empty_like(received)
    parts = torch.view_as_real(received)
    swapped = (learnt.imag != 0)[:, None]
    sign = torch.where(learnt.real + learnt.imag < 0, -1.0, 1.0)
    out[places] = torch.view_as_complex(
        (torch.where(swapped, parts.flip(1), parts) * sign[:, None]).contiguous()
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="cifar-1-12")
    model = parser.parse_args().model
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = rows_of(Eavesdropper(model))
    write_table(
        "security_attacks",
        "What somebody without the key makes of pictures",
        "scripts/security_attacks.py" + (f" --model {model}" if model != "cifar-1-12" else ""),
        ["who", *(f"PSNR in dB at {snr:g} dB" for snr in SNR_DB)],
        rows,
        f"Model {model}, the packaged pictures, AWGN. No attacker was trained. Key streams are never used twice: the "
        "line that says what if shows why.",
    )


if __name__ == "__main__":
    main()
