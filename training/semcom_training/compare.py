# SPDX-License-Identifier: GPL-3.0-or-later
"""LinRes beside ADJSCC at an equal training budget: same data, same loop, same wall-clock minutes, one core
each.

python -m semcom_training.compare --data FOLDER --out FOLDER --minutes 6
"""

import dataclasses
import json
import time
from pathlib import Path

import torch
from torch import nn

from semcom.codec import build
from semcom.codec.layers.conditioning import QueryAttention
from semcom.experiments.evaluate import evaluate, summarise
from semcom.experiments.table import markdown_table
from semcom.system import zoo
from semcom_training import train
from semcom_training.export import evaluation_images, export_checkpoint
from semcom_training.recipe import load_recipe

RIVALS = {
    "LinRes": ("linres", {"widths": [96], "encoder_blocks": [4], "decoder_blocks": [6]}, "muon", 1.2e-3),
    "LinRes, AdamW": (
        "linres",
        {"widths": [96], "encoder_blocks": [4], "decoder_blocks": [6]},
        "adamw",
        1e-3,
    ),
    "ADJSCC-256": ("adjscc", {"filters": 256}, "adamw", 3e-4),
    "ADJSCC-64": ("adjscc", {"filters": 64}, "adamw", 1e-3),
}
SNR_DB = [1, 10, 20]


def compare(data, out, minutes: float, images: int = 1000, rivals=tuple(RIVALS)) -> list[dict]:
    """Trains each rival on CIFAR-10 at rho = 1/12 for ``minutes`` and measures it on ``images`` test images.

    Returns:
        One dictionary a rival: psnr_db at 1, 10 and 20 dB, macs per 32x32 image (encoder + decoder),
        parameters, training images seen, encode_ms and decode_ms for a 256x256 picture.
    """
    rows = []
    for rival in rivals:
        architecture, arguments, optimiser, rate = RIVALS[rival]
        recipe = dataclasses.replace(
            load_recipe("cifar-1-12"),
            name=rival.replace(", ", "-").lower(),
            architecture=architecture,
            arguments={"channels": 8, **arguments},
            optimiser=optimiser,
            learning_rate=rate,
            steps=10**9,
            max_minutes=minutes,
            warmup_steps=50,
            log_every=10**6,
        )
        folder = train.run(recipe, data, out, threads=1, resume=False, export=False)
        model = zoo.load(export_checkpoint(folder / "checkpoint.pt", folder, measure=False))
        title, pictures = evaluation_images(recipe, data, images)
        measured = summarise(evaluate(model, pictures, SNR_DB, with_ms_ssim=False))
        row = {"codec": rival, "minutes": minutes, "images_seen": model.card.budget["steps"] * recipe.batch}
        row |= {f"psnr_{m['snr_db']:.0f}_db": round(m["psnr_db"], 2) for m in measured}
        row |= {"parameters": model.card.parameters, "macs_32x32": sum(count_macs(model.codec, (32, 32)))}
        row |= timing(model.codec, (256, 256))
        rows.append(row)
    return rows


def count_macs(codec, size, device="cpu") -> tuple[int, int]:
    """Multiply-accumulates of convolutions, dense layers and attention for one image ``size``: (encoder, decoder)."""
    total = 0

    def hook(layer, inputs, output):
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            total += inputs[0].shape[-2:].numel() * layer.weight.numel()
        elif isinstance(layer, nn.Conv2d):
            total += output.shape[-2:].numel() * layer.weight.numel()
        elif isinstance(layer, nn.Linear):
            total += inputs[0].shape[:-1].numel() * layer.weight.numel()
        elif isinstance(layer, QueryAttention):
            total += layer.multiply_accumulates(*output.shape[-2:])
        elif hasattr(layer, "gamma_root"):
            total += output.shape[-2:].numel() * layer.gamma_root.numel()

    handles = [layer.register_forward_hook(hook) for layer in codec.modules()]
    with torch.no_grad():
        sent = codec.send(torch.rand(1, 3, *size, device=device), 10.0)
        encoder, total = total, 0
        codec.receive(sent.with_noise(10.0), 10.0, size)
    for handle in handles:
        handle.remove()
    return encoder, total


@torch.inference_mode()
def timing(codec, size, repeats: int = 3) -> dict:
    """Best-of-``repeats`` milliseconds to encode and to decode one image on the present threads."""
    images = torch.rand(1, 3, *size)
    sent = codec.send(images, 10.0).with_noise(10.0)
    codec.receive(sent, 10.0, size)
    best = {}
    for name, call in {
        "encode_ms": lambda: codec.send(images, 10.0),
        "decode_ms": lambda: codec.receive(sent, 10.0, size),
    }.items():
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        best[name] = round(1e3 * min(times), 1)
    return best


def markdown(rows: list[dict]) -> str:
    """A table for the documentation."""
    return markdown_table(list(rows[0]), ([str(value) for value in row.values()] for row in rows))


def architecture_table() -> str:
    """Parameters, MACs and milliseconds at three sizes, without training."""
    rows = []
    photo = load_recipe("photo-1-12")
    codecs = {
        name: build(a, {"channels": 8, **args}) for name, (a, args, *_) in RIVALS.items() if "," not in name
    }
    codecs["LinRes, photo"] = build(photo.architecture, photo.arguments)
    for name, codec in codecs.items():
        codec.eval()
        row = {"codec": name, "parameters": sum(p.numel() for p in codec.parameters())}
        row["kMAC/pixel"] = round(sum(count_macs(codec, (256, 256))) / 65536 / 1e3, 1)
        for size in ((32, 32), (256, 256), (512, 768)):
            t = timing(codec, size)
            row[f"{size[1]}x{size[0]} enc / dec ms"] = f"{t['encode_ms']} / {t['decode_ms']}"
        rows.append(row)
    return markdown(rows)


if __name__ == "__main__":
    import typer

    def main(
        data: str = typer.Option(...),
        out: str = "runs/compare",
        minutes: float = 6.0,
        images: int = 1000,
        speed_only: bool = False,
    ):
        torch.set_num_threads(1)
        if not speed_only:
            rows = compare(data, out, minutes, images)
            (Path(out) / "compare.json").write_text(json.dumps(rows, indent=1) + "\n")
            print(markdown(rows))
        print(architecture_table())

    typer.run(main)
