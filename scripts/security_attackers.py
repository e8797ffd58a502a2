# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn, measured: PSNR beside the mean colour and class accuracy beside chance, for each cipher.

.venv/bin/python scripts/security_attackers.py --data FOLDER [--pairs 20000] [--steps 3000]
"""

import argparse
import time
from pathlib import Path

import torch
from tables import write_table

from semcom.kinds.sets import load_cifar10, load_cifar10_labels
from semcom.system import zoo
from semcom_training.figures import attackers

CIPHERS = ("none", "scramble", "ring 16", "ring")
SNR_DB = (0.0, 10.0, 20.0)
HELD_OUT, INVERTED, SEARCH_STEPS = 500, 4, 100


def labelled(folder: Path, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first pictures ``[n, 3, 32, 32]`` in 0..1 and their classes ``[n]``."""
    pictures = torch.from_numpy(load_cifar10(folder, split)[:count].copy()).permute(0, 3, 1, 2).float() / 255
    return pictures.contiguous(), torch.from_numpy(load_cifar10_labels(folder, split)[:count])


@torch.inference_mode()
def encoded(model: zoo.LoadedModel, pictures: torch.Tensor, snr_db: float) -> torch.Tensor:
    return torch.cat([model.codec.encode(some, snr_db) for some in pictures.split(250)]).clone()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, help="folder that holds cifar10")
    parser.add_argument("--model", default="cifar-1-12")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder, model = Path(args.data) / "cifar10", zoo.load(args.model)
    pictures, labels = labelled(folder, "train", args.pairs)
    others, classes = labelled(folder, "test", HELD_OUT)
    latents, unseen = encoded(model, pictures, 10.0), encoded(model, others, 10.0)
    mean_db = attackers.psnr(attackers.mean_colours(others), others)
    rows, minutes = [], []
    for cipher in CIPHERS:
        began = time.monotonic()
        net = attackers.trained_attacker(cipher, latents, pictures, labels, args.steps)
        minutes.append((time.monotonic() - began) / 60)
        for snr_db in SNR_DB:
            psnr_db, right = attackers.gained(net, cipher, unseen, others, classes, snr_db)
            rows.append([cipher, "trained, ciphertext only", f"{snr_db:g}", f"{psnr_db:.2f}", f"{right:.1%}"])
            print(rows[-1], flush=True)
        few, generator = unseen[:INVERTED], torch.Generator().manual_seed(3)
        heard = attackers.heard(cipher, few, 20.0, generator)
        found = attackers.inverted(model, heard, (32, 32), 10.0, SEARCH_STEPS)
        rows.append([cipher, "model inversion", "20", f"{attackers.psnr(found, others[:INVERTED]):.2f}", "-"])
        print(rows[-1], flush=True)
    rows.append(["any", "the mean colour, of the test pictures", "-", f"{mean_db:.2f}", "10.0%"])
    mean_db = attackers.psnr(attackers.mean_colours(others[:INVERTED]), others[:INVERTED])
    rows.append(["any", "the mean colour, of those inverted", "-", f"{mean_db:.2f}", "-"])
    write_table(
        "security_attackers",
        "Attackers who learn",
        f"scripts/security_attackers.py --data FOLDER --pairs {args.pairs} --steps {args.steps}",
        ["cipher", "attacker", "SNR in dB", "PSNR in dB", "class accuracy"],
        rows,
        f"Model {args.model}, CIFAR-10. The trained attackers had {args.pairs:,} pairs of training pictures and what is "
        f"heard of them, key streams drawn anew each time, {args.steps:,} steps of 128 pairs at 0 to 20 dB, no known "
        f"plaintext: {min(minutes):.0f} to {max(minutes):.0f} minutes of one loaded core each; measured on {HELD_OUT:,} "
        f"test pictures. Inversion: {SEARCH_STEPS} steps of Adam on {INVERTED} test pictures, by the public encoder. "
        "Chance is 10 %. 'ring' is of analog latents, 'ring 16' of labels at order 16.",
    )


if __name__ == "__main__":
    main()
