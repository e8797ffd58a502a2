# SPDX-License-Identifier: GPL-3.0-or-later
"""What each cipher costs in PSNR, beside the same payload in the open: symbols over white noise.

.venv/bin/python scripts/security_cost.py
.venv/bin/python scripts/security_cost.py --model photo-adaptive
"""

import argparse
import os

import numpy as np
import torch
from tables import write_table

from semcom.kinds import quality
from semcom.kinds.pictures import mean_colour, samples
from semcom.modem import AssembledImage
from semcom.payload.base import Analog
from semcom.payload.quantised import DigitalMode
from semcom.security import cipher, lwe, ring
from semcom.system import zoo
from semcom.system.coded import ring_order
from semcom.system.latents import LatentSystem
from semcom.system.lattice import LatticeSystem

SNR_DB = (10.0, 15.0, 20.0, 25.0)
DRAWS = 2  # of noise and key streams, of each picture
PAYLOADS = {
    "order 16, labels of 4 bits, one symbol each": DigitalMode(16),
    "order 64, labels of 6 bits, one symbol each": DigitalMode(64),
    "order 256, labels of 8 bits, one symbol each": DigitalMode(256),
    "order 16, labels of 8 bits as bits": DigitalMode(16, 8),
    "order 64, labels of 8 bits as bits": DigitalMode(64, 8),
    "order 256, labels of 4 bits as bits": DigitalMode(256, 4),
    "analog latents": Analog(),
}


def psnr(system: LatentSystem, snr_db: float, how: str) -> float:
    """Mean over the packaged pictures. how: "none", "scramble" or "ring"."""
    generator, values = torch.Generator().manual_seed(0), []
    for picture in [*samples()] * DRAWS:
        sent, key = system.send([picture.pixels], [snr_db]), os.urandom(32)
        symbols, order = sent.symbols[0], ring_order(sent.mode, sent.model_hash)
        if how == "scramble":
            symbols = cipher.scramble(symbols, key)
        elif how == "ring":
            symbols = ring.add(symbols, key, order, sent.ring_scale[0])
        noise = torch.randn(symbols.shape, dtype=symbols.dtype, generator=generator)
        received, noise_var = (
            symbols + 10 ** (-snr_db / 20) * noise,
            torch.full(symbols.shape, 10 ** (-snr_db / 10)),
        )
        if how == "scramble":
            received, noise_var = cipher.unscramble(received, noise_var, key)
        item = AssembledImage(
            0,
            sent.size,
            received,
            noise_var,
            1,
            1,
            snr_db,
            sent.mode,
            sent.model_hash,
            side=sent.side[0] if sent.side else 0,
            steps=ring.steps(key, len(symbols)) if how == "ring" else None,
        )
        values.append(quality.psnr(picture.pixels, system.receive([item])[0].value))
    return float(np.mean(values))


def lattice_psnr(system: LatticeSystem, snr_db: float) -> float:
    """As ``psnr``, of pictures of 64 x 64 under a public key; the mean colour where c1 was lost."""
    generator, values = torch.Generator().manual_seed(0), []
    for picture in samples():
        pixels = np.ascontiguousarray(picture.pixels[:64, :64])
        sent = system.send([pixels], [snr_db])
        symbols, k = sent.symbols[0], sent.symbols.shape[1]
        noise = torch.randn(k, dtype=symbols.dtype, generator=generator)
        received, noise_var = symbols + 10 ** (-snr_db / 20) * noise, torch.full((k,), 10 ** (-snr_db / 10))
        item = AssembledImage(0, sent.size, received, noise_var, 1, 1, snr_db, sent.mode, sent.model_hash)
        value = system.receive([item])[0].value
        values.append(quality.psnr(pixels, mean_colour(pixels) if value is None else value))
    return float(np.mean(values))


def rows_of(model: str, payloads: dict) -> list[list]:
    rows, loaded = [], zoo.load(model)
    model = loaded.card.name
    for name, payload in payloads.items():
        system = LatentSystem(loaded, payload)
        plain = [psnr(system, snr_db, "none") for snr_db in SNR_DB]
        rows.append([model, name, "none", *(f"{value:.2f}" for value in plain)])
        for how in ("scramble", "ring"):
            got = [psnr(system, snr_db, how) for snr_db in SNR_DB]
            rows.append(
                [model, name, how, *(f"{b:.2f} ({b - a:+.2f})" for a, b in zip(plain, got, strict=True))]
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="cifar-1-12")
    parser.add_argument("--trained", default="", help="card of weights of recipe cifar-1-12-modulo")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        labels = zoo.QUANTISED in zoo.card(args.model).payloads
        rows = rows_of(args.model, PAYLOADS if labels else {"analog latents": Analog()})
        if args.trained:
            rows += rows_of(args.trained, {"analog latents": Analog()})
        # what has labels decodes from its latents alone, which is what learning with errors carries
        for name in [args.model] * labels + [args.trained] * bool(args.trained):
            model = zoo.load(name)
            system = LatticeSystem(model, *lwe.make_keys(2 * model.codec.latent_count(64, 64)))
            got = [f"{lattice_psnr(system, snr_db):.2f}" for snr_db in SNR_DB]
            what = f"analog latents, 64x64 pictures, c1 in {system.key_layout.symbols} symbols more"
            rows.append([model.card.name, what, "learning with errors (research)", *got])
    own = args.model != parser.get_default("model")
    write_table(
        f"security_cost_{args.model}" if own else "security_cost",
        "What each cipher costs in PSNR",
        "scripts/security_cost.py" + (f" --model {args.model}" if own else ""),
        ["model", "payload", "cipher", *(f"dB at {snr:g} dB" for snr in SNR_DB)],
        rows,
        "The packaged pictures, two draws of noise each, symbols over white noise behind a perfect modem; in brackets "
        "the difference to the open payload of that line's model. Scrambling gives back the very symbols: what differs "
        "is which noise each meets.",
    )


if __name__ == "__main__":
    main()
