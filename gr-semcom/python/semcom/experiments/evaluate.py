# SPDX-License-Identifier: GPL-3.0-or-later
"""A codec over a differentiable channel, measured: what `semcom evaluate` and the model cards report."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from semcom.channel.symbols import symbol_channel
from semcom.codec.base import BaseCodec
from semcom.equivalent_snr import equivalent_snr_db
from semcom.kinds import quality
from semcom.kinds.label import LABEL
from semcom.perceptual import load as load_perceptual
from semcom.system.zoo import LoadedModel

BATCH_PIXELS = 512 * 1024  # images of one size are taken together up to this many pixels
PERCEPTUAL = {"lpips": "lpips-alex", "lpips_vgg": "lpips-vgg", "dists": "dists"}  # key of a result to name

SCORES = ("psnr_db", "ms_ssim", *PERCEPTUAL, "correct", "confidence")


@torch.inference_mode()
def evaluate(
    model: LoadedModel,
    images,
    snr_db,
    channel="awgn",
    seed: int = 0,
    with_ms_ssim: bool = True,
    rho=None,
    perceptual: Sequence[str] = (),
    on_row: Callable[[int, dict], None] | None = None,
    skip: Callable[[int, float], bool] = lambda place, snr_db: False,
) -> list[dict]:
    """Encodes, passes the channel and decodes every image at every SNR.

    Args:
        model: from ``zoo.load``.
        images: (name, uint8 ``[H, W, 3]``), and for classifiers (name, pixels, number of the true class).
        snr_db: Es/N0 in dB, one or several. The encoder is given this value, the decoder the equivalent SNR of
            the latents as received (perfect channel knowledge).
        channel: name in ``semcom.channel.named`` or a function
            ``(latents [B, k], snr_db, generator) -> (received, noise_var)``.
        seed: of noise and multipath; the same seed gives the same numbers on the same machine, and the multipath
            of a link with that seed.
        with_ms_ssim: compute MS-SSIM too (slow; ``None`` for pictures below 176 pixels a side).
        rho: another bandwidth ratio than the model's own, where its codec has a choice.
        perceptual: names of ``PERCEPTUAL`` to measure too (slow; ``None`` below 64 pixels a side).
        on_row: called with an image's place, from 0, and its row as soon as there is one.
        skip: whether an image, by its place, is left out at an SNR; what is left out draws no noise.

    Returns:
        One dictionary per image and SNR: image, snr_db, snr_est_db (equivalent SNR after equalisation), the scores of
        the result's kind (psnr_db of the picture clipped and rounded to uint8, ms_ssim, lpips, and lpips_vgg and dists
        if asked for; of a label correct and confidence), rho (complex symbols per source value,
        padding and side information counted), latents (those symbols), height, width.
    """
    for name in perceptual:
        # complains before anything is sent
        load_perceptual(PERCEPTUAL[name], model.device)
    send = symbol_channel(channel, seed) if isinstance(channel, str) else channel
    generator = torch.Generator(model.device).manual_seed(seed)
    rows = []
    for snr in np.atleast_1d(np.asarray(snr_db, dtype=float)).tolist():
        wanted = ((place, *image) for place, image in enumerate(images) if not skip(place, snr))
        for items, pixels in _batches(wanted):
            pixels = pixels.to(model.device)
            size = tuple(pixels.shape[-2:])
            decoded, count, estimated = across(model.codec, pixels, snr, send, generator, rho=rho)
            for n, (place, name, _, *truth) in enumerate(items):
                if model.codec.result is LABEL:
                    scores = LABEL.score(truth[0] if truth else None, decoded[n].cpu().numpy())
                else:
                    scores = _looks(decoded[n], pixels[n], with_ms_ssim, perceptual)
                rows.append(
                    {
                        "image": name,
                        "snr_db": snr,
                        "snr_est_db": float(estimated[n]),
                        **scores,
                        "rho": count / (3 * size[0] * size[1]),
                        "latents": count,
                        "height": size[0],
                        "width": size[1],
                    }
                )
                if on_row:
                    on_row(place, rows[-1])
    return rows


def _looks(decoded: torch.Tensor, pixels: torch.Tensor, with_ms_ssim: bool, perceptual) -> dict:
    """Scores of one picture, uint8 ``[3, H, W]`` both."""
    pair = decoded.permute(1, 2, 0), pixels.permute(1, 2, 0)
    return {
        "psnr_db": float(quality.psnr(*pair)),
        "ms_ssim": quality.ms_ssim(*pair) if with_ms_ssim else None,
        "lpips": None,
        **{key: quality.lpips(*pair, PERCEPTUAL[key]) for key in perceptual},
    }


@torch.no_grad()
def across(
    codec: BaseCodec,
    pixels: torch.Tensor,
    snr_db: float,
    send,
    generator,
    *,
    rho=None,
    in_memory: bool = False,
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """A batch across a channel: what :func:`evaluate` measures, and what a training validates.

    Args:
        pixels: uint8 ``[B, 3, H, W]``. snr_db: Es/N0 in dB, which the encoder is given. send: a channel, as of
            :func:`evaluate`. rho, in_memory: as of ``BaseCodec.send``.

    Returns:
        What was decoded, finished as its kind has it (uint8 as ``pixels``, probabilities); symbols an image; equivalent
        SNR in dB that the decoder was given, ``[B]``.
    """
    latents = codec.send(pixels.float() / 255, snr_db, rho=rho, in_memory=in_memory)
    values, noise_var = send(latents.values, snr_db, generator)
    estimated = equivalent_snr_db(noise_var)
    received = replace(latents, values=values, noise_var=noise_var)
    size = codec.result_size((pixels.shape[-2], pixels.shape[-1]))
    decoded = codec.result.finish(codec.receive(received, estimated, size))
    return decoded, values.shape[1], estimated


def summarise(rows: list[dict]) -> list[dict]:
    """Means over the images at each SNR: snr_db, images, and every score that was measured: psnr_db (mean of per-image
    PSNR), ms_ssim, each of ``PERCEPTUAL``; of labels correct (1 minus the error rate) and confidence."""
    table = []
    for snr in sorted({row["snr_db"] for row in rows}):
        some = [row for row in rows if row["snr_db"] == snr]
        means = {}
        for key in SCORES:
            there = [row[key] for row in some if row.get(key) is not None]
            if there or key in ("psnr_db", "ms_ssim") and key in some[0]:
                means[key] = float(np.mean(there)) if there else None
        table.append(
            {
                "snr_db": snr,
                **means,
                "images": len(some),
            }
        )
    return table


def _batches(images):
    """Neighbours of one size, together: the items (place, name, pixels, ...), and uint8 ``[B, 3, H, W]``."""
    items, stack = [], []
    for item in images:
        pixels = np.asarray(item[2])
        if stack and (pixels.shape != stack[0].shape or len(stack) * pixels.size // 3 >= BATCH_PIXELS):
            yield items, torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2)
            items, stack = [], []
        items.append(item)
        stack.append(pixels)
    if stack:
        yield items, torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2)
