# SPDX-License-Identifier: GPL-3.0-or-later
"""Encoder and decoder fine-tuned together through the replayed channel of a capture."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch

from semcom.codec.base import BaseCodec
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ModelError
from semcom.system.zoo import LoadedModel
from semcom_training.finetune import loop
from semcom_training.finetune.captured import Capture, Example, split
from semcom_training.finetune.loop import Tuned
from semcom_training.finetune.measuring import encode_again
from semcom_training.finetune.options import Options
from semcom_training.finetune.replayed import ReplayedChannel

_AT_ONCE = 8
_SEED_DECIDES, _SEED_CHOOSES = 71, 72


def tune_pair(
    model: LoadedModel,
    capture: Capture,
    options: Options,
    progress: Callable[[str], None] | None = None,
    fresh: list[Example] | None = None,
) -> tuple[BaseCodec, Tuned]:
    """Fine-tunes a copy of a whole codec; the encoder is given the mean of the SNRs that the receiver estimated.

    Args:
        fresh: other pictures to train on (``fresh.fresh_examples``); the channel is that of the captured ones, whose
            few pictures a whole codec soon knows by heart. None: the captured ones.

    Raises:
        ModelError: a user decoder; its anchor is what can be tuned.
        TrainingError: the loss is not a number.
    """
    if model.card.anchor is not None:
        raise ModelError(
            f"'{model.card.name}' is a user decoder: give --model '{model.card.anchor['name']}'."
        )
    seen, _ = split(capture.examples, options.held_out)
    training, choosing = split(seen, options.chosen)
    codec = copy.deepcopy(model.codec)
    channel = replayed(model, capture, training, options)
    choosing_channel = replayed(model, capture, choosing, options)

    def decode(examples: list[Example], generator: torch.Generator) -> torch.Tensor:
        return transmit(codec, channel, examples, capture.snr_db, generator)

    def choose() -> float:
        generator = torch.Generator().manual_seed(_SEED_CHOOSES)
        return float(replayed_psnr_db(codec, choosing_channel, choosing, capture.snr_db, generator).mean())

    return codec, loop.tune(codec, decode, fresh or training, choose, options, progress)


def replayed(
    model: LoadedModel, capture: Capture, examples: list[Example], options: Options
) -> ReplayedChannel:
    """The channel as these examples met it."""
    sent = encode_again(model.codec, examples, options.encoder_snr_db)
    return ReplayedChannel(capture.modem, examples, sent)


def transmit(codec: BaseCodec, channel: ReplayedChannel, examples: list[Example], snr_db: float, generator):
    """Originals of one size encoded, through the channel and decoded: ``[B, 3, H, W]``."""
    sent = codec.send(loop.originals(examples), snr_db, in_memory=True)
    values, noise_var = channel(sent.values, generator)
    received = replace(sent, values=values, noise_var=noise_var)
    return codec.receive(received, equivalent_snr_db(noise_var), examples[0].size)


@torch.no_grad()
def replayed_psnr_db(
    codec: BaseCodec, channel: ReplayedChannel, examples: list[Example], snr_db: float, generator=None
) -> torch.Tensor:
    """PSNR in dB of every original over the replayed channel, ``[N]``; the same noise for every codec."""
    codec.eval()
    generator = generator or torch.Generator().manual_seed(_SEED_DECIDES)
    return torch.cat(
        [
            loop.psnr_db(transmit(codec, channel, group, snr_db, generator), group)
            for group in loop.by_size(examples, _AT_ONCE)
        ]
    )
