# SPDX-License-Identifier: GPL-3.0-or-later
"""A codec over a differentiable channel, measured: what `semcom evaluate` and the model cards report."""

from dataclasses import replace

import numpy as np
import torch

from semcom import quality
from semcom.channel.symbols import symbol_channel
from semcom.codec.zoo import LoadedModel, to_uint8
from semcom.equivalent_snr import equivalent_snr_db

BATCH_PIXELS = 512 * 1024  # images of one size are taken together up to this many pixels


@torch.inference_mode()
def evaluate(
    model: LoadedModel, images, snr_db, channel="awgn", seed: int = 0, with_ms_ssim: bool = True, rho=None
) -> list[dict]:
    """Encodes, passes the channel and decodes every image at every SNR.

    Args:
        model: from ``zoo.load``.
        images: (name, uint8 ``[H, W, 3]``) pairs.
        snr_db: Es/N0 in dB, one or several. The encoder is told this value, the decoder the equivalent SNR of
            the latents as received (perfect channel knowledge).
        channel: name in ``semcom.channel.named`` or a function
            ``(latents [B, k], snr_db, generator) -> (received, noise_var)``.
        seed: of noise and multipath; the same seed gives the same numbers on the same machine, and the multipath
            of a link with that seed.
        with_ms_ssim: compute MS-SSIM too (slow; ``None`` for pictures below 176 pixels a side).
        rho: another bandwidth ratio than the model's own, where its codec has a choice.

    Returns:
        One dictionary per image and SNR: image, snr_db, snr_est_db (equivalent SNR after equalisation),
        psnr_db (of the picture clipped and rounded to uint8), ms_ssim, rho (complex symbols per source value,
        padding and side information counted), latents (those symbols), height, width.
    """
    send = symbol_channel(channel, seed) if isinstance(channel, str) else channel
    generator = torch.Generator(model.device).manual_seed(seed)
    rows = []
    for snr in np.atleast_1d(np.asarray(snr_db, dtype=float)).tolist():
        for names, pixels in _batches(images):
            pixels = pixels.to(model.device)
            size = tuple(pixels.shape[-2:])
            latents = model.codec.send(pixels.float() / 255, snr, rho=rho)
            values, noise_var = send(latents.values, snr, generator)
            estimated = equivalent_snr_db(noise_var)
            received = replace(latents, values=values, noise_var=noise_var)
            decoded = to_uint8(model.codec.receive(received, estimated, size))
            psnr = quality.psnr(decoded, pixels)
            for n, name in enumerate(names):
                similarity = None
                if with_ms_ssim:
                    similarity = quality.ms_ssim(decoded[n].permute(1, 2, 0), pixels[n].permute(1, 2, 0))
                rows.append(
                    {
                        "image": name,
                        "snr_db": snr,
                        "snr_est_db": float(estimated[n]),
                        "psnr_db": float(psnr[n]),
                        "ms_ssim": similarity,
                        "rho": values.shape[1] / (3 * size[0] * size[1]),
                        "latents": values.shape[1],
                        "height": size[0],
                        "width": size[1],
                    }
                )
    return rows


def summarise(rows: list[dict]) -> list[dict]:
    """Means over the images at each SNR: snr_db, psnr_db (mean of per-image PSNR), ms_ssim, images."""
    table = []
    for snr in sorted({row["snr_db"] for row in rows}):
        some = [row for row in rows if row["snr_db"] == snr]
        similarity = [row["ms_ssim"] for row in some if row["ms_ssim"] is not None]
        table.append(
            {
                "snr_db": snr,
                "psnr_db": float(np.mean([row["psnr_db"] for row in some])),
                "ms_ssim": float(np.mean(similarity)) if similarity else None,
                "images": len(some),
            }
        )
    return table


def _batches(images):
    """Neighbours of one size, together: (names, uint8 ``[B, 3, H, W]``)."""
    names, stack = [], []
    for name, pixels in images:
        pixels = np.asarray(pixels)
        if stack and (pixels.shape != stack[0].shape or len(stack) * pixels.size // 3 >= BATCH_PIXELS):
            yield names, torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2)
            names, stack = [], []
        names.append(name)
        stack.append(pixels)
    if stack:
        yield names, torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2)
