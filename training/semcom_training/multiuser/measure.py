# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system of encoder and users is worth: PSNR a user, and how their gradients at the encoder agree."""

from itertools import combinations

import torch

from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom_training.data import image_files, read_image
from semcom_training.multiuser.experiment import EvaluationSet
from semcom_training.multiuser.system import Batch, System, losses
from semcom_training.train import centre_crop

BATCH = 8  # pictures measured together


def load_evaluation(root, chosen: EvaluationSet) -> torch.Tensor:
    """The pictures of an evaluation set, uint8 ``[N, 3, crop, crop]``.

    Raises:
        ConfigError: the folder is absent or holds fewer pictures of at least that size.
    """
    folder = root / chosen.folder
    if not folder.is_dir():
        raise ConfigError(f"the experiment measures on '{chosen.folder}', but {folder} does not exist.")
    found = []
    for path in image_files(folder):
        image = read_image(path)
        if min(image.shape[1:]) >= chosen.crop:
            found.append(centre_crop(image, chosen.crop))
        if len(found) == chosen.images:
            return torch.stack(found)
    raise ConfigError(
        f"{folder} holds {len(found)} pictures of at least {chosen.crop} pixels a side, but the experiment "
        f"measures on {chosen.images}: lower 'images' or 'crop'."
    )


@torch.inference_mode()
def psnr_by_user(system: System, images: torch.Tensor, snr_db: float, draws: int, seed: int = 0) -> dict:
    """Mean per-image PSNR in dB of each user over ``draws`` channel realisations of every picture.

    Every user of every scheme meets the same fades and noise, so that differences are between systems.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        snr_db: average Es/N0, which the encoder is given; decoders are given the SNR that they received.
    """
    system.eval()
    device = next(system.parameters()).device
    found = {user: [] for user in system.users}
    for start in range(0, len(images), BATCH):
        pixels = images[start : start + BATCH].to(device)
        size = pixels.shape[-2:]
        snr = torch.full((len(pixels),), float(snr_db), device=device)
        latents = system.anchor.encode(pixels.float() / 255, snr)
        generator = torch.Generator(device).manual_seed(seed * 7919 + start)
        for _ in range(draws):
            got = system.send(latents, snr, generator)
            for user, decoder in system.decoders.items():
                decoded = to_uint8(decoder.decode(got.latents, got.snr_db, size, got.noise_var))
                found[user].append(quality.psnr(decoded, pixels))
    return {user: float(torch.cat(values).mean()) for user, values in found.items()}


def cosines(gradients: dict[str, torch.Tensor]) -> dict[str, float]:
    """Cosine of the angle between each two gradients (flat, one length), keys ``a/b``; 0 where one vanishes."""
    return {
        f"{a}/{b}": float(torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=0))
        for (a, x), (b, y) in combinations(gradients.items(), 2)
    }


def encoder_gradients(system: System, batch: Batch) -> dict[str, torch.Tensor]:
    """Each user's loss gradient at the shared encoder, flat. Leaves the system as it is."""
    system.eval()
    parameters = list(system.encoder.parameters())
    found = losses(system, system.users, batch, encoder=True)
    return {
        user: torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for user, loss in found.items()
    }


def gradient_report(system: System, batch: Batch) -> dict:
    """``cosines`` of the users' gradients at the encoder on a fixed batch, and each gradient's ``norms``."""
    gradients = encoder_gradients(system, batch)
    return {"cosines": cosines(gradients), "norms": {user: float(g.norm()) for user, g in gradients.items()}}
