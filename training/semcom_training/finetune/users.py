# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's decoder fine-tuned on a capture, the encoder as it is: distortion measured and taken out, then weights."""

import copy
from collections.abc import Callable
from dataclasses import asdict

import torch

from semcom.codec.base import Decoder
from semcom.codec.image.adapted import Adapted, without_encoder
from semcom.equivalent_snr import equivalent_snr_db
from semcom.system.zoo import LoadedModel
from semcom_training.finetune import loop
from semcom_training.finetune.captured import Capture, Example, split
from semcom_training.finetune.loop import Tuned
from semcom_training.finetune.measuring import encode_again, fit_canceller
from semcom_training.finetune.options import Options

_AT_ONCE = 16


def tune_user(
    model: LoadedModel, capture: Capture, options: Options, progress: Callable[[str], None] | None = None
) -> tuple[Adapted, Tuned]:
    """Fine-tunes a copy of the model's decoder; the held-out pictures (``captured.split``) are not looked at.

    Returns:
        The decoder behind a canceller, and the course of its training.

    Raises:
        TrainingError: the loss is not a number.
    """
    seen, _ = split(capture.examples, options.held_out)
    training, choosing = split(seen, options.chosen)
    adapted = Adapted(decoder_of(model), asdict(capture.modem)).eval().to(model.device)
    sent = encode_again(model.codec, training, options.encoder_snr_db)
    fit_canceller(adapted.canceller, training, sent, adapted.stride)
    training, choosing = _cleaned(adapted, training), _cleaned(adapted, choosing)

    def decode(examples: list[Example], generator=None) -> torch.Tensor:
        return decode_examples(adapted.decoder, examples)

    def choose() -> float:
        return float(received_psnr_db(adapted.decoder, choosing).mean())

    return adapted, loop.tune(adapted.decoder, decode, training, choose, options, progress)


def decoder_of(model: LoadedModel) -> Decoder:
    """A copy of what decodes: a user's decoder (without the canceller of an earlier capture), or a codec's own half."""
    own = copy.deepcopy(model.own)
    if model.card.anchor is None:
        return without_encoder(own)
    return own.decoder if isinstance(own, Adapted) else own


def decode_examples(decoder: Decoder, examples: list[Example]) -> torch.Tensor:
    """Examples of one size to ``[B, 3, H, W]``, with the fields that a receiver would have."""
    received = torch.stack([example.received for example in examples])
    noise_var = torch.stack([example.noise_var for example in examples])
    return decoder.decode(received, equivalent_snr_db(noise_var), examples[0].size, noise_var)


@torch.no_grad()
def received_psnr_db(decoder: Decoder, examples: list[Example]) -> torch.Tensor:
    """PSNR in dB of every example as received, decoded. ``[N]``, grouped by size."""
    decoder.eval()
    groups = loop.by_size(examples, _AT_ONCE)
    return torch.cat([loop.psnr_db(decode_examples(decoder, group), group) for group in groups])


@torch.no_grad()
def _cleaned(adapted: Adapted, examples: list[Example]) -> list[Example]:
    """The same examples after the canceller, which training leaves as it is."""
    out = []
    for example in examples:
        cleaned, left = adapted.canceller(
            example.received[None], example.noise_var[None], example.grid(adapted.stride)
        )
        out.append(Example(example.key, example.name, example.original, cleaned[0], left[0], example.snr_db))
    return out
