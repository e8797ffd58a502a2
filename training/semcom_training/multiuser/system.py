# SPDX-License-Identifier: GPL-3.0-or-later
"""One encoder, several users' decoders, and the one gradient step that all schemes are made of."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from semcom.codec.registry import build, build_decoder
from semcom_training.channels import channel
from semcom_training.errors import TrainingError
from semcom_training.multiuser.experiment import Experiment


class System(nn.Module):
    """A base station's encoder and its users' decoders, freshly initialised from a seed.

    Every part draws from its own seed, so that adding a user changes no other's initial weights.
    """

    def __init__(self, experiment: Experiment, seed: int):
        super().__init__()
        self.experiment = experiment
        self.send = channel(experiment.channel, **experiment.channel_options)
        shape = {"channels": experiment.channels, "stride": experiment.stride}
        (anchor, first), *others = experiment.users.items()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1_000)
            arguments = shape | {"width": first.width, "depth": first.depth, "linear": first.linear}
            self.anchor = build("anchor", arguments)
            decoders = {anchor: self.anchor.decoder}
            for index, (name, user) in enumerate(others, 1):
                torch.manual_seed(seed * 1_000 + index)
                arguments = shape | {"width": user.width, "depth": user.depth, "linear": user.linear}
                decoders[name] = build_decoder(user.family, arguments)
        self.decoders = nn.ModuleDict(decoders)

    @property
    def users(self) -> list[str]:
        """Names in the order of the experiment."""
        return list(self.decoders)

    @property
    def encoder(self) -> nn.Module:
        """The shared part: what is trained in stage 1 and frozen in stage 2."""
        return self.anchor.encoder

    def parts(self) -> dict[str, nn.Module]:
        """Encoder and decoders by name; no parameter is in two of them."""
        return {"encoder": self.encoder, **self.decoders}

    def digest(self, part: str) -> str:
        """SHA-256 over parameters and buffers of a part: equal if and only if every bit is."""
        digest = hashlib.sha256()
        for tensor in self.parts()[part].state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Pictures ``[B, 3, H, W]`` in 0..1, an average SNR in dB each ``[B]``, and the seed of fades and noise.

    number: of the batch in the training. names: of the pictures.
    """

    images: torch.Tensor
    snr_db: torch.Tensor
    seed: int
    number: int
    names: tuple[str, ...]


def draw_batch(pictures, experiment: Experiment, seed: int, number: int, device="cpu") -> Batch:
    """Batch ``number`` of a training: the same for every scheme and every user. SNRs are of the experiment's list."""
    seed = seed * 1_000_003 + number
    generator = torch.Generator().manual_seed(seed)
    images = pictures.batch(experiment.batch, generator).to(device).float() / 255
    snrs = torch.tensor(experiment.snr_db, dtype=torch.float32)
    picks = torch.randint(len(snrs), (len(images),), generator=generator)
    names = pictures.batch_names(experiment.batch, torch.Generator().manual_seed(seed))
    return Batch(images, snrs[picks].to(device), seed, number, tuple(names))


def user_loss(system: System, user: str, latents: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean squared error of what a user makes of the latents ``[B, k]`` after its own channel.

    Users are as far from the base station as each other (one average SNR), but fade on their own.
    """
    index = system.users.index(user)
    generator = torch.Generator().manual_seed(batch.seed * 101 + index)
    got = system.send(latents, batch.snr_db, generator)
    size = batch.images.shape[-2:]
    decoded = system.decoders[user].decode(got.latents, got.snr_db, size, got.noise_var)
    return (decoded - batch.images).square().mean()


def losses(system: System, users: Sequence[str], batch: Batch, encoder: bool) -> dict[str, torch.Tensor]:
    """Each user's loss; without ``encoder`` no gradient reaches the encoder."""
    with torch.set_grad_enabled(encoder and torch.is_grad_enabled()):
        latents = system.anchor.encode(batch.images, batch.snr_db)
    return {user: user_loss(system, user, latents, batch) for user in users}


class Optimisers:
    """Adam for the encoder and for each decoder apart, so that each part's moments are its own."""

    def __init__(self, system: System):
        self.system = system
        rate = system.experiment.learning_rate
        self.of = {
            name: torch.optim.Adam(part.parameters(), lr=rate, fused=True)
            for name, part in system.parts().items()
        }

    def step(self, users: Sequence[str], batch: Batch, encoder: bool, rate: float) -> dict[str, float]:
        """One gradient step on the sum of these users' losses; all three schemes are made of it.

        Moves the decoders of ``users`` and, with ``encoder``, the encoder; every other bit of the system stays.

        Returns:
            Each user's loss before the step.

        Raises:
            TrainingError: a loss or a gradient is not a number; it names step and pictures, and no weight has changed.
        """
        self.system.train()
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.images.is_cuda):
            found = losses(self.system, users, batch, encoder)
        total = sum(found.values())
        moving = [*users, "encoder"] if encoder else list(users)
        for name in moving:
            self.of[name].zero_grad(set_to_none=True)
        total.backward()
        clip = self.system.experiment.clip
        norms = [
            torch.nn.utils.clip_grad_norm_(self.of[name].param_groups[0]["params"], clip) for name in moving
        ]
        if not torch.isfinite(total.detach() + sum(norms)):
            raise TrainingError(
                f"the loss is {total.item()} (or its gradient is not a number) at step {batch.number} with "
                f"{', '.join(users)}: the training stops. The batch was {', '.join(batch.names)}."
            )
        for name in moving:
            for group in self.of[name].param_groups:
                group["lr"] = rate
            self.of[name].step()
        return {user: loss.item() for user, loss in found.items()}

    def state_dict(self) -> dict:
        """Of all optimisers by part."""
        return {name: optimiser.state_dict() for name, optimiser in self.of.items()}

    def load_state_dict(self, state: dict) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, optimiser in self.of.items():
            optimiser.load_state_dict(state[name])


def learning_rate(experiment: Experiment, number: int) -> float:
    """Of the step on batch ``number``: warm-up, constant, then linearly to zero over the last ``decay_fraction``."""
    warm = min(1.0, (number + 1) / max(experiment.warmup_steps, 1))
    left = 1 - number / experiment.steps
    fall = min(1.0, left / experiment.decay_fraction) if experiment.decay_fraction else 1.0
    return experiment.learning_rate * warm * fall
